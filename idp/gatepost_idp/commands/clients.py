"""``gatepost clients …``: clients added by an operator, registered clients, and metadata documents."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatepost_idp.commands import console
from gatepost_idp.commands.console import Json

if TYPE_CHECKING:
    from gatepost_idp.clients.registry import Registry
    from gatepost_idp.settings import Settings
    from gatepost_idp.transaction import Transaction

app = typer.Typer(
    no_args_is_help=True, help="Clients: added here, registered, or identified by the URL of their metadata."
)


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Its name; or the URL of its metadata, with --checks-iss.")],
    redirect: Annotated[list[str] | None, typer.Option(help="A redirect URI; may be given several times.")] = None,
    confidential: Annotated[
        bool, typer.Option("--confidential", help="Give it a secret, which is shown once.")
    ] = False,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="A scope that it may get, and gets by default; may be given several times."),
    ] = None,
    claude: Annotated[bool, typer.Option("--claude", help="Add both of Claude's callback addresses.")] = False,
    checks_iss: Annotated[
        bool | None,
        typer.Option(help="For a metadata URL: that client checks `iss`, so a remembered consent may skip the page."),
    ] = None,
    resource_server: Annotated[
        bool, typer.Option("--resource-server", help="Make the credentials with which a resource server introspects.")
    ] = False,
    resource: Annotated[
        str, typer.Option(help="With --resource-server: its URL; otherwise the catalogue's first.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Add a client, and print what its set-up dialog asks for."""
    from gatepost_idp.clients import metadata_document

    if metadata_document.is_url(name):
        _mark(name, checks_iss, as_json)
        return
    if checks_iss is not None:
        console.fail("--checks-iss is for a client that is the URL of its metadata: gatepost clients add URL", as_json)
    if resource_server:
        _show_made(_resource_server(name, resource, as_json), as_json)
        return
    made = _client(name, _redirects(redirect or [], claude, as_json), scope or [], confidential, as_json)
    _show_made(made, as_json)


def _client(name: str, uris: list[str], scope: list[str], confidential: bool, as_json: bool) -> dict[str, str]:
    """Stores a client, and returns the values that its set-up dialog asks for."""
    from gatepost_idp.clients import by_hand
    from gatepost_idp.protocol import OIDC_SCOPES, system_clock
    from gatepost_idp.settings import load_or_exit

    settings = load_or_exit()
    scopes = _scopes(settings, scope, as_json)
    asked = by_hand.registration(name, uris, scopes, confidential=confidential)
    if isinstance(asked, by_hand.Wrong):
        console.fail(asked.words, as_json)
    registration = asked

    def work(tx: "Transaction") -> by_hand.Made:
        made = by_hand.add(tx, registration, system_clock())
        console.note(tx, "client.made", client_id=made.client_id, detail="manual")
        return made

    made = console.in_database(work)
    secret = {"client_secret": made.secret} if made.secret else {}
    return {"client_id": made.client_id, **secret} | {
        "authorization_url": f"{settings.oauth_issuer}/authorize",
        "token_url": f"{settings.oauth_issuer}/token",
        "scopes": " ".join((*OIDC_SCOPES, *scopes)),
    }


def _redirects(given: list[str], claude: bool, as_json: bool) -> list[str]:
    from gatepost_idp.clients.registry import CLAUDE_CALLBACKS

    uris = [*given, *(CLAUDE_CALLBACKS if claude else ())]
    if not uris:
        console.fail("Give at least one --redirect, or --claude.", as_json)
    return uris


def _scopes(settings: "Settings", given: list[str], as_json: bool) -> list[str]:
    """The given scopes, without OpenID Connect's, which are always allowed; exits if one is not in the catalogue."""
    from gatepost_idp import catalogue as catalogues
    from gatepost_idp.protocol import OIDC_SCOPES

    known = catalogues.load(settings).scope_names
    names = list(dict.fromkeys(name for each in given for name in each.split()))
    unknown = [name for name in names if name not in (*known, *OIDC_SCOPES)]
    if unknown:
        console.fail(f"--scope {unknown[0]!r} is not in the catalogue, which has: {' '.join(known)}", as_json)
    found = [name for name in names if name in known]
    if names and not found:
        console.fail(f"--scope names none of the catalogue's, which has: {' '.join(known)}", as_json)
    return found


def _mark(url: str, checks_iss: bool | None, as_json: bool) -> None:
    """Stores whether a metadata document client checks ``iss``."""
    from gatepost_idp.store import documents

    _check_url(url, as_json)
    if checks_iss is None:
        console.fail("A metadata URL is a client without being added; give --checks-iss or --no-checks-iss.", as_json)

    def work(tx: "Transaction") -> None:
        documents.mark(tx, url, checks_iss)
        console.note(tx, "client.marked", client_id=url, detail=f"checks_iss: {checks_iss}".lower())

    console.in_database(work)
    _show_made({"client_id": url, "checks_iss": checks_iss}, as_json)


def _check_url(url: str, as_json: bool) -> None:
    from gatepost_idp.clients import metadata_document

    try:
        metadata_document.parse(url)
    except metadata_document.NoDocument as wrong:
        console.fail(f"{url} is not a metadata URL. {wrong.words}", as_json)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List every client, newest first, then those identified by the URL of their metadata."""
    from itertools import chain

    from gatepost_idp.store import clients as store
    from gatepost_idp.store import documents

    made = (
        [_row(row.id, row.name, row.origin, row.disabled_at is not None) for row in rows]
        for rows in console.stream(store.listed, lambda row: row.id)
    )
    urls = (
        [_row(each.url, each.client.name if each.client else "", "document", each.disabled, each.checks_iss)
         for each in found]
        for found in console.stream(documents.listed, lambda each: each.url)
    )  # fmt: skip  # one line a thing
    console.show_pages(chain(made, urls), as_json)


def _row(client: str, name: str, origin: str, disabled: bool, checks_iss: bool | None = None) -> dict[str, Any]:
    return {"client": client, "name": name, "origin": origin, "disabled": disabled, "checks_iss": checks_iss}


@app.command("show")
def show(client_id: str, as_json: Json = False) -> None:
    """Show a client, or the kind that a registration belongs to."""
    from gatepost_idp.clients import metadata_document
    from gatepost_idp.store import clients as store

    if metadata_document.is_url(client_id):
        _show_document(client_id, as_json)
        return
    row = client_id.partition(".")[0]
    found = console.in_database(lambda tx: store.find(tx, client_id, row))
    if found is None:
        console.fail(f"There is no client {client_id}; list them: gatepost clients list", as_json)
    shown: dict[str, Any] = {
        "client": row,
        "name": found.name,
        "origin": found.origin,
        "redirect_uris": list(found.redirect_uris),
        "confidential": found.secret_hash is not None,
        "disabled": found.disabled,
    }
    if found.scope:
        shown["scope"] = " ".join(found.scope)
    _show_made(shown, as_json)


def _show_document(url: str, as_json: bool) -> None:
    from gatepost_idp.store import documents

    found = console.in_database(lambda tx: documents.find(tx, url))
    if found is None:
        console.fail(f"Nobody has used {url} here yet.", as_json)
    shown: dict[str, Any] = {
        "client": url,
        "name": found.client.name if found.client else "",
        "origin": "document",
        "redirect_uris": list(found.client.redirect_uris) if found.client else [],
        "disabled": found.disabled,
        "checks_iss": found.checks_iss,
    }
    if found.client:
        shown |= {"as_of": found.fetched_at.isoformat(), "fresh_until": found.fresh_until.isoformat()}
    _show_made(shown, as_json)


@app.command("disable")
def disable(client_id: str, as_json: Json = False) -> None:
    """Switch a client off, within 10 seconds: every registration of its kind, every version of its metadata."""
    _switch_client(client_id, as_json, off=True)


@app.command("enable")
def enable(client_id: str, as_json: Json = False) -> None:
    """Switch a client on again."""
    _switch_client(client_id, as_json, off=False)


def _switch_client(client_id: str, as_json: bool, off: bool) -> None:
    from gatepost_idp.clients import metadata_document
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.store import clients as store
    from gatepost_idp.store import documents

    at, is_url = system_clock() if off else None, metadata_document.is_url(client_id)
    row = client_id if is_url else client_id.partition(".")[0]
    if is_url:
        _check_url(client_id, as_json)

    def work(tx: "Transaction") -> bool:
        if is_url:
            documents.set_disabled(tx, client_id, at)
        elif not store.set_disabled(tx, row, at):
            return False
        console.note(tx, "client.disabled" if off else "client.enabled", client_id=row)
        return True

    if not console.in_database(work):
        console.fail(f"There is no client {client_id}; list them: gatepost clients list", as_json)
    console.show({"client": row, "disabled": off}, as_json, f"{row} is {'disabled' if off else 'enabled'}.")


def _show_made(made: dict[str, Any], as_json: bool) -> None:
    console.show(made, as_json, "\n".join(f"{key}: {value}" for key, value in made.items()))


def _resource_server(name: str, resource: str, as_json: bool) -> dict[str, str]:
    """Stores credentials of a resource server, for a resource in the catalogue."""
    from gatepost_idp import catalogue as catalogues
    from gatepost_idp.settings import load_or_exit
    from gatepost_idp.store.audit import COMMAND_LINE, Source

    catalogue = catalogues.load(load_or_exit())
    found = catalogue.find(resource) if resource else catalogue.default
    if found is None:
        known = ", ".join(one.url for one in catalogue.resource)
        console.fail(f"--resource {resource!r} is not in the CATALOGUE, which has: {known}", as_json)
    url = found.url

    async def register(registry: "Registry") -> dict[str, str]:
        source = Source(COMMAND_LINE, "")
        client_id, secret = await registry.register_resource_server(name, url, source=source)
        return {"client_id": client_id, "client_secret": secret, "resource": url}

    return _in_registry(register)


def _in_registry(work: "Callable[[Registry], Coroutine[Any, Any, dict[str, str]]]") -> dict[str, str]:
    """Runs ``work`` on the registry; servers may be running meanwhile."""
    from gatepost_idp.clients.registry import Registry
    from gatepost_idp.keys import Keys
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.settings import load_or_exit

    with console.opened() as beside:
        keys = Keys(beside.database, load_or_exit().secret_keys, system_clock)
        return beside.run(work(Registry(beside.database, keys, system_clock)))
