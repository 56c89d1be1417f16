"""``gatepost users …``: people and the scopes they hold."""

import json
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatepost_idp.commands import console
from gatepost_idp.commands.console import Json, T

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost_idp.store.accounts import Person
    from gatepost_idp.transaction import Transaction

app = typer.Typer(no_args_is_help=True, help="People, and the scopes they hold.")
Email = Annotated[str, typer.Argument(metavar="EMAIL")]
What = Annotated[str, typer.Argument(metavar="SCOPE", help="A scope of the catalogue; or the role `admin`.")]


@app.command("list")
def list_(
    search: Annotated[str, typer.Option(metavar="TEXT", help="Only those whose address contains this.")] = "",
    as_json: Json = False,
) -> None:
    """List people and the scopes they hold, by address."""
    from gatepost_idp.store import accounts

    pages = console.stream(partial(accounts.people, search=search), lambda person: person.email_key)
    console.show_pages(([_row(person) for person in people] for people in pages), as_json)


def _row(person: "Person") -> dict[str, Any]:
    scopes = " ".join(dict.fromkeys(scope for _, scope in person.scopes))
    return {
        "email": person.email,
        "id": person.id,
        "scopes": scopes,
        "role": person.role,
        "disabled": person.disabled,
    }


@app.command("show")
def show(email: Email, as_json: Json = False) -> None:
    """Show a person: what they hold, what is connected, where they are signed in."""
    from dataclasses import asdict

    from gatepost_idp.protocol import system_clock
    from gatepost_idp.store import accounts, connections, personal_tokens

    def work(tx: "Transaction", account_id: str) -> dict[str, Any]:
        person, now = accounts.find(tx, _key(email)), system_clock()
        shown = asdict(person) if person else {}
        shown["scopes"] = [{"resource": resource, "scope": scope} for resource, scope in shown.get("scopes", ())]
        listed = (connections.living, personal_tokens.living, accounts.sessions)
        found = [[asdict(each) for each in living(tx, account_id, now)] for living in listed]
        return shown | dict(zip(("connections", "personal_tokens", "sessions"), found, strict=True))

    found = json.loads(json.dumps(_with(email, as_json, work), default=lambda instant: instant.isoformat()))
    console.show(found, as_json, "\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> list[str]:
    plain = [f"{name}: {value}" for name, value in found.items() if not isinstance(value, list)]
    scopes = [f"scope: {held['scope']} at {held['resource']}" for held in found["scopes"]]
    apps = [
        f"connection: {app['client_name']} ({app['client_id']}), {' '.join(app['scope'])}, used {app['used_at']}"
        for app in found["connections"]
    ]
    tokens = [
        f"personal token: {one['name']}, {' '.join(one['scope'])}, until {one['expires_at']}"
        for one in found["personal_tokens"]
    ]
    sessions = [f"signed in: {one['browser']}, {one['network']}, seen {one['seen']}" for one in found["sessions"]]
    return [*plain, *scopes, *apps, *tokens, *sessions]


@app.command("grant")
def grant(email: Email, scope: What, as_json: Json = False) -> None:
    """Give a person a scope, from the next refresh on; or the role `admin`."""
    _entitle(email, scope, as_json, give=True)


@app.command("revoke")
def revoke(email: Email, scope: What, as_json: Json = False) -> None:
    """Take a scope away from a person, from the next refresh on; or the role `admin`."""
    _entitle(email, scope, as_json, give=False)


@app.command("disable")
def disable(email: Email, as_json: Json = False) -> None:
    """Disable a person: no sign-in and no refresh; access tokens end within minutes."""
    _switch_account(email, as_json, off=True)


@app.command("enable")
def enable(email: Email, as_json: Json = False) -> None:
    """Enable a person again; their connections go on."""
    _switch_account(email, as_json, off=False)


@app.command("invite")
def invite(email: Email, as_json: Json = False) -> None:
    """Let an address sign up even if SIGNUP is invite or domains."""
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.settings import load_or_exit
    from gatepost_idp.signin import addresses
    from gatepost_idp.store import accounts

    address = addresses.parse(email)
    if address is None:
        console.fail(f"{email!r} is not an email address.", as_json)

    def work(tx: "Transaction") -> None:
        accounts.invite(tx, address.key, system_clock())
        console.note(tx, "account.invited", address=address.key)

    console.in_database(work)
    url = load_or_exit().mcp_resource_url
    said = f"{address.key} may sign up now. No mail was sent: tell them to connect their app to {url}"
    console.show({"email": address.key, "mcp_url": url}, as_json, said)


@app.command("export")
def export(email: Email, as_json: Json = False) -> None:
    """Print all that is stored about a person, as one JSON object with or without --json."""
    from gatepost_idp.store import personal_data

    def work(tx: "Transaction", account_id: str) -> dict[str, Any]:
        console.note(tx, "account.exported", account_id=account_id)
        return personal_data.exported(tx, account_id)

    found = _with(email, as_json, work)
    console.show(found, as_json, json.dumps(found, indent=2))


@app.command("delete")
def delete(
    email: Email,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a person and everything that belongs to the account; asks unless --yes."""
    from gatepost_idp.store import personal_data

    _with(email, as_json, lambda tx, account_id: account_id)
    if not yes and not console.confirm(f"Delete {email}, with every connection, token and consent?"):
        console.fail("Nothing was deleted.", as_json)

    def work(tx: "Transaction", account_id: str) -> None:
        personal_data.delete_account(tx, account_id)
        console.note(tx, "account.deleted")

    _with(email, as_json, work)
    console.show({"email": email, "deleted": True}, as_json, f"{email} is deleted.")


def _key(email: str) -> str:
    from gatepost_idp.signin import addresses

    address = addresses.parse(email)
    return address.key if address else email.lower()


def _with(email: str, as_json: bool, work: "Callable[[Transaction, str], T]") -> T:
    """Runs ``work`` with the account's id in one transaction; exits if no account has that address."""
    from gatepost_idp.store import accounts

    def found(tx: "Transaction") -> T:
        account = accounts.by_key(tx, _key(email))
        if account is None:
            raise LookupError
        return work(tx, account.id)

    try:
        return console.in_database(found)
    except LookupError:
        console.fail(f"Nobody has signed up as {email} yet; list people: gatepost users list", as_json)


def _switch_account(email: str, as_json: bool, off: bool) -> None:
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.store import accounts

    def work(tx: "Transaction", account_id: str) -> None:
        accounts.set_disabled(tx, account_id, system_clock() if off else None)
        console.note(tx, "account.disabled" if off else "account.enabled", account_id=account_id)

    _with(email, as_json, work)
    console.show({"email": email, "disabled": off}, as_json, f"{email} is {'disabled' if off else 'enabled'}.")


def _entitle(email: str, scope: str, as_json: bool, give: bool) -> None:
    from gatepost_idp.store.people import ADMIN

    if scope == ADMIN:
        _with(email, as_json, partial(_set_admin, give=give))
        word = "is an administrator now" if give else "is no longer an administrator"
        console.show({"email": email, "role": ADMIN if give else ""}, as_json, f"{email} {word}.")
        return
    _with(email, as_json, partial(_set_scope, scope=scope, resources=_having(scope, as_json), give=give))
    word = "holds" if give else "no longer holds"
    said = f"{email} {word} {scope}, from the next refresh on."
    console.show({"email": email, "scope": scope, "held": give}, as_json, said)


def _having(scope: str, as_json: bool) -> list[str]:
    """The resources that have the scope."""
    from gatepost_idp import catalogue as catalogues
    from gatepost_idp.settings import load_or_exit

    catalogue = catalogues.load(load_or_exit())
    resources = [resource.url for resource in catalogue.resource if scope in resource.scope_names]
    if not resources:
        console.fail(f"No resource has the scope {scope}; the scopes are: {', '.join(catalogue.scope_names)}", as_json)
    return resources


def _set_admin(tx: "Transaction", account_id: str, give: bool) -> None:
    from gatepost_idp.store import accounts
    from gatepost_idp.store.people import ADMIN

    if accounts.set_role(tx, account_id, ADMIN if give else ""):
        console.note(tx, "role.granted" if give else "role.revoked", account_id=account_id, detail=ADMIN)


def _set_scope(tx: "Transaction", account_id: str, scope: str, resources: list[str], give: bool) -> None:
    """Gives or takes a scope; no error if nothing changes. The audit log records only changes."""
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.store import accounts

    for resource in resources:
        is_held = scope in accounts.held_scopes(tx, account_id, resource)
        if give and not is_held:
            accounts.grant_scope(tx, account_id, resource, scope, system_clock())
        if not give and is_held:
            accounts.revoke_scope(tx, account_id, resource, scope)
        if give is not is_held:
            event = "scope.granted" if give else "scope.revoked"
            console.note(tx, event, account_id=account_id, detail=f"{scope} at {resource}")
