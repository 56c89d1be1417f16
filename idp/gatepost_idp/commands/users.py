"""``gatepost users …``: people and the scopes they hold."""

from typing import TYPE_CHECKING

import typer

from gatepost_idp.commands import console
from gatepost_idp.commands.console import Json

if TYPE_CHECKING:
    from gatepost_idp.database import Transaction

app = typer.Typer(no_args_is_help=True, help="People and the scopes they hold.")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List people and the scopes they hold."""
    from gatepost_idp.store import accounts

    console.show_table(console.in_database(accounts.listed), as_json)


@app.command("grant")
def grant(email: str, scope: str, as_json: Json = False) -> None:
    """Give a person a scope; it takes effect at the next refresh."""
    _entitle(email, scope, as_json, give=True)


@app.command("revoke")
def revoke(email: str, scope: str, as_json: Json = False) -> None:
    """Take a scope away from a person; it takes effect at the next refresh."""
    _entitle(email, scope, as_json, give=False)


@app.command("disable")
def disable(email: str, as_json: Json = False) -> None:
    """Shut a person out: no sign-in and no refresh; access tokens end within their minutes."""
    _switch_account(email, as_json, off=True)


@app.command("enable")
def enable(email: str, as_json: Json = False) -> None:
    """Let a person in again; their connections go on."""
    _switch_account(email, as_json, off=False)


@app.command("invite")
def invite(email: str, as_json: Json = False) -> None:
    """Let an address sign up where SIGNUP is invite or domains."""
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.settings import load_or_exit
    from gatepost_idp.signin import addresses
    from gatepost_idp.store import accounts

    address = addresses.parse(email)
    if address is None:
        console.fail(f"{email!r} is no email address.", as_json)
    console.in_database(lambda tx: accounts.invite(tx, address.key, system_clock()))
    url = load_or_exit().mcp_resource_url
    said = f"{address.key} may sign up now. No mail was sent: tell them to connect their app to {url}"
    console.show({"email": address.key, "mcp_url": url}, as_json, said)


def _switch_account(email: str, as_json: bool, off: bool) -> None:
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.store import accounts

    def work(tx: "Transaction") -> bool:
        account = accounts.by_key(tx, email.lower())
        if account is not None:
            accounts.set_disabled(tx, account.id, system_clock() if off else None)
        return account is not None

    if not console.in_database(work):
        console.fail(f"Nobody signed up as {email} yet; list people: gatepost users list", as_json)
    console.show({"email": email, "disabled": off}, as_json, f"{email} is {'disabled' if off else 'enabled'}.")


def _entitle(email: str, scope: str, as_json: bool, give: bool) -> None:
    from gatepost_idp import catalogue as catalogues
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.settings import load_or_exit
    from gatepost_idp.store import accounts

    catalogue = catalogues.load(load_or_exit())
    resources = [resource.url for resource in catalogue.resource if scope in resource.scope_names]
    if not resources:
        console.fail(f"No resource has the scope {scope}; there are: {', '.join(catalogue.scope_names)}", as_json)

    def work(tx: "Transaction") -> bool:
        account = accounts.by_key(tx, email.lower())
        if account is None:
            return False
        for resource in resources:
            if give:
                accounts.grant_scope(tx, account.id, resource, scope, system_clock())
            else:
                accounts.revoke_scope(tx, account.id, resource, scope)
        return True

    if not console.in_database(work):
        console.fail(f"Nobody signed up as {email} yet; list people: gatepost users list", as_json)
    word = "holds" if give else "no longer holds"
    console.show(
        {"email": email, "scope": scope, "held": give}, as_json, f"{email} {word} {scope}, from the next refresh on."
    )
