"""``gatepost clients …``: those made by hand and those that registered."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from gatepost_idp.commands import console
from gatepost_idp.commands.console import Json

if TYPE_CHECKING:
    from gatepost_idp.clients.registry import Registration, Registry

app = typer.Typer(no_args_is_help=True, help="Clients: those made by hand and those that registered.")


@app.command("add")
def add(
    name: str,
    redirect: Annotated[list[str] | None, typer.Option(help="A redirect URI; may be given several times.")] = None,
    confidential: Annotated[bool, typer.Option(help="Give it a secret, which is shown once.")] = False,
    claude: Annotated[bool, typer.Option(help="Add both of Claude's callback addresses.")] = False,
    resource_server: Annotated[
        bool, typer.Option("--resource-server", help="Make the credentials with which a resource server introspects.")
    ] = False,
    resource: Annotated[str, typer.Option(help="With --resource-server: its URL; else the catalogue's first.")] = "",
    as_json: Json = False,
) -> None:
    """Make a client by hand."""
    if resource_server:
        _show_made(_resource_server(name, resource, as_json), as_json)
        return
    from gatepost_idp import redirects
    from gatepost_idp.clients.registry import CLAUDE_CALLBACKS, Registration

    uris = [*(redirect or []), *(CLAUDE_CALLBACKS if claude else ())]
    bad = [uri for uri in uris if redirects.split(uri) is None]
    if bad or not uris:
        console.fail(
            f"--redirect {bad[0]!r} is not allowed." if bad else "Give at least one --redirect, or --claude.", as_json
        )
    registration = Registration(
        client_name=redirects.plain_name(name, 100),
        redirect_uris=tuple(sorted({redirects.canonical(uri) for uri in uris})),
        token_endpoint_auth_method="client_secret_basic" if confidential else "none",
        grant_types=("authorization_code", "refresh_token"),
    )
    _show_made(_register(registration, confidential), as_json)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List every client, the newest first."""
    from gatepost_idp.store import clients as store

    rows = console.in_database(store.listed)
    found = [
        {"client": row.id, "name": row.name, "origin": row.origin, "disabled": row.disabled_at is not None}
        for row in rows
    ]
    console.show_table(found, as_json)


@app.command("show")
def show(client_id: str, as_json: Json = False) -> None:
    """Show a client, or the kind that a registration belongs to."""
    from gatepost_idp.store import clients as store

    row = client_id.partition(".")[0]
    found = console.in_database(lambda tx: store.find(tx, client_id, row))
    if found is None:
        console.fail(f"There is no client {client_id}; list them: gatepost clients list", as_json)
    shown = {
        "client": row,
        "name": found.name,
        "origin": found.origin,
        "redirect_uris": list(found.redirect_uris),
        "confidential": found.secret_hash is not None,
        "disabled": found.disabled,
    }
    console.show(shown, as_json, "\n".join(f"{key}: {value}" for key, value in shown.items()))


@app.command("disable")
def disable(client_id: str, as_json: Json = False) -> None:
    """Switch a client off, or every registration of its kind, within 10 seconds."""
    _switch_client(client_id, as_json, off=True)


@app.command("enable")
def enable(client_id: str, as_json: Json = False) -> None:
    """Switch a client on again."""
    _switch_client(client_id, as_json, off=False)


def _switch_client(client_id: str, as_json: bool, off: bool) -> None:
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.store import clients as store

    row, at = client_id.partition(".")[0], system_clock() if off else None
    if not console.in_database(lambda tx: store.set_disabled(tx, row, at)):
        console.fail(f"There is no client {client_id}; list them: gatepost clients list", as_json)
    console.show({"client": row, "disabled": off}, as_json, f"{row} is {'disabled' if off else 'enabled'}.")


def _show_made(made: dict[str, str], as_json: bool) -> None:
    console.show(made, as_json, "\n".join(f"{key}: {value}" for key, value in made.items()))


def _register(registration: "Registration", confidential: bool) -> dict[str, str]:
    """Stores a client made by hand; a secret is in the answer and nowhere else."""

    async def register(registry: "Registry") -> dict[str, str]:
        if confidential:
            client_id, secret = await registry.register_confidential(registration, "manual")
            return {"client_id": client_id, "client_secret": secret}
        return {"client_id": await registry.register_manual(registration)}

    return _in_registry(register)


def _resource_server(name: str, resource: str, as_json: bool) -> dict[str, str]:
    """Stores a resource server, for a resource that the catalogue has."""
    from gatepost_idp import catalogue as catalogues
    from gatepost_idp.settings import load_or_exit

    catalogue = catalogues.load(load_or_exit())
    found = catalogue.find(resource) if resource else catalogue.default
    if found is None:
        known = ", ".join(one.url for one in catalogue.resource)
        console.fail(f"--resource {resource!r} is not in the CATALOGUE, which has: {known}", as_json)
    url = found.url

    async def register(registry: "Registry") -> dict[str, str]:
        client_id, secret = await registry.register_resource_server(name, url)
        return {"client_id": client_id, "client_secret": secret, "resource": url}

    return _in_registry(register)


def _in_registry(work: "Callable[[Registry], Awaitable[dict[str, str]]]") -> dict[str, str]:
    """Runs ``work`` on the registry, beside whatever servers run."""
    import asyncio

    from gatepost_idp.clients.registry import Registry
    from gatepost_idp.database import Database
    from gatepost_idp.keys import Keys
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.settings import load_or_exit

    settings = load_or_exit()
    console.check_schema()
    database = Database(settings.database_url)
    registry = Registry(database, Keys(database, settings.secret_keys, system_clock), system_clock)

    async def run() -> dict[str, str]:
        return await work(registry)

    try:
        return asyncio.run(run())
    finally:
        database.close()
