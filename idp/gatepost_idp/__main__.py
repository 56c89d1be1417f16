"""The command line: ``gatepost …``; each command imports what it runs, so that ``--help`` answers at once."""

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from gatepost_idp.database import Transaction

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

cli = typer.Typer(no_args_is_help=True, add_completion=False, help="Sign-in by mail, consent and tokens for MCP.")
db = typer.Typer(no_args_is_help=True, help="The database's schema.")
keys = typer.Typer(no_args_is_help=True, help="The keys that sign tokens.")
clients = typer.Typer(no_args_is_help=True, help="Clients: those made by hand and those that registered.")
users = typer.Typer(no_args_is_help=True, help="People and the scopes they hold.")
mail = typer.Typer(no_args_is_help=True, help="Mail: a test, and addresses that the mail server refused.")
for name, group in (("db", db), ("keys", keys), ("clients", clients), ("users", users), ("mail", mail)):
    cli.add_typer(group, name=name)


def main() -> None:
    """The entry point of ``gatepost`` and ``python -m gatepost_idp``."""
    cli(prog_name="gatepost")


@cli.command()
def demo(
    public: Annotated[
        str | None, typer.Option(metavar="URL", help="A tunnel's https URL that leads to port 9000 of this machine.")
    ] = None,
) -> None:
    """Run the whole product on this machine: both servers, a mailbox, SQLite."""
    from gatepost_idp.demo import run

    raise typer.Exit(run(public))


@cli.command()
def idp() -> None:
    """Run the authorization server."""
    from gatepost_idp.operate.serve import serve
    from gatepost_idp.settings import load_or_exit

    settings = load_or_exit()
    _checked_at_start()
    serve(settings.idp_host, settings.idp_port, settings.workers)


@cli.command()
def resource() -> None:
    """Run the resource server: MCP, with the tools that each token's scopes allow."""
    # Another package and another process: the two servers share nothing but the wire.
    os.execv(sys.executable, [sys.executable, "-m", "gatepost_resource"])  # noqa: S606 (no shell is wanted)


@db.command("upgrade")
def db_upgrade(as_json: Json = False) -> None:
    """Bring the database to this version's schema."""
    from gatepost_idp.models import SCHEMA
    from gatepost_idp.store import schema

    before = _with_engine(schema.upgrade)
    _print({"before": before, "now": SCHEMA}, as_json, f"The database is at {SCHEMA}.")


@db.command("check")
def db_check(as_json: Json = False) -> None:
    """Say whether the database is at this version's schema; exit code 1 where it is not."""
    from gatepost_idp.models import SCHEMA
    from gatepost_idp.store import schema

    try:
        _with_engine(schema.check)
    except schema.WrongSchema as wrong:
        _fail(str(wrong), as_json)
    _print({"schema": SCHEMA}, as_json, f"The database is at {SCHEMA}, as this version wants it.")


@keys.command("list")
def keys_list(as_json: Json = False) -> None:
    """List the signing keys that verify."""
    from gatepost_idp.protocol import instant, milliseconds, system_clock
    from gatepost_idp.store import keys as store

    rows = _in_database(lambda tx: store.living(tx, milliseconds(system_clock())))
    found = [
        {
            "kid": row.kid,
            "algorithm": row.algorithm,
            "active_at": instant(row.active_at).isoformat(),
            "retired_at": instant(row.retired_at).isoformat() if row.retired_at else None,
        }
        for row in rows
    ]
    _table(found, as_json)


@keys.command("rotate")
def keys_rotate(as_json: Json = False) -> None:
    """Make a new signing key; it signs after a minute, and the old one verifies for one token life more."""
    from datetime import timedelta

    from gatepost_idp.keys import rotate
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.settings import load_or_exit

    settings = load_or_exit()
    life = timedelta(minutes=settings.access_token_minutes)
    kid = _in_database(lambda tx: rotate(tx, settings.secret_keys, system_clock(), life).kid)
    _print({"kid": kid}, as_json, f"New key {kid}; it signs in 60 seconds.")


@clients.command("add")
def clients_add(
    name: str,
    redirect: Annotated[list[str] | None, typer.Option(help="A redirect URI; may be given several times.")] = None,
    confidential: Annotated[bool, typer.Option(help="Give it a secret, which is shown once.")] = False,
    claude: Annotated[bool, typer.Option(help="Add both of Claude's callback addresses.")] = False,
    as_json: Json = False,
) -> None:
    """Make a client by hand."""
    from gatepost_idp import redirects
    from gatepost_idp.clients.registry import CLAUDE_CALLBACKS, Registration

    uris = [*(redirect or []), *(CLAUDE_CALLBACKS if claude else ())]
    bad = [uri for uri in uris if redirects.split(uri) is None]
    if bad or not uris:
        _fail(
            f"--redirect {bad[0]!r} is not allowed." if bad else "Give at least one --redirect, or --claude.", as_json
        )
    registration = Registration(
        client_name=redirects.plain_name(name, 100),
        redirect_uris=tuple(sorted({redirects.canonical(uri) for uri in uris})),
        token_endpoint_auth_method="client_secret_basic" if confidential else "none",
        grant_types=("authorization_code", "refresh_token"),
    )
    made = _register(registration, confidential)
    _print(made, as_json, "\n".join(f"{key}: {value}" for key, value in made.items()))


@clients.command("list")
def clients_list(as_json: Json = False) -> None:
    """List every client, the newest first."""
    from gatepost_idp.store import clients as store

    rows = _in_database(store.listed)
    found = [
        {"client": row.id, "name": row.name, "origin": row.origin, "disabled": row.disabled_at is not None}
        for row in rows
    ]
    _table(found, as_json)


@clients.command("show")
def clients_show(client_id: str, as_json: Json = False) -> None:
    """Show a client, or the kind that a registration belongs to."""
    from gatepost_idp.store import clients as store

    row = client_id.partition(".")[0]
    found = _in_database(lambda tx: store.find(tx, client_id, row))
    if found is None:
        _fail(f"There is no client {client_id}; list them: gatepost clients list", as_json)
    shown = {
        "client": row,
        "name": found.name,
        "origin": found.origin,
        "redirect_uris": list(found.redirect_uris),
        "confidential": found.secret_hash is not None,
        "disabled": found.disabled,
    }
    _print(shown, as_json, "\n".join(f"{key}: {value}" for key, value in shown.items()))


@clients.command("disable")
def clients_disable(client_id: str, as_json: Json = False) -> None:
    """Switch a client off, or every registration of its kind, within 10 seconds."""
    _switch_client(client_id, as_json, off=True)


@clients.command("enable")
def clients_enable(client_id: str, as_json: Json = False) -> None:
    """Switch a client on again."""
    _switch_client(client_id, as_json, off=False)


@users.command("list")
def users_list(as_json: Json = False) -> None:
    """List people and the scopes they hold."""
    from gatepost_idp.store import accounts

    _table(_in_database(accounts.listed), as_json)


@users.command("grant")
def users_grant(email: str, scope: str, as_json: Json = False) -> None:
    """Give a person a scope; it takes effect at the next refresh."""
    _entitle(email, scope, as_json, give=True)


@users.command("revoke")
def users_revoke(email: str, scope: str, as_json: Json = False) -> None:
    """Take a scope away from a person; it takes effect at the next refresh."""
    _entitle(email, scope, as_json, give=False)


@users.command("invite")
def users_invite(email: str, as_json: Json = False) -> None:
    """Let an address sign up where SIGNUP is invite or domains."""
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.settings import load_or_exit
    from gatepost_idp.signin import addresses
    from gatepost_idp.store import accounts

    address = addresses.parse(email)
    if address is None:
        _fail(f"{email!r} is no email address.", as_json)
    _in_database(lambda tx: accounts.invite(tx, address.key, system_clock()))
    url = load_or_exit().mcp_resource_url
    said = f"{address.key} may sign up now. No mail was sent: tell them to connect their app to {url}"
    _print({"email": address.key, "mcp_url": url}, as_json, said)


@mail.command("test")
def mail_test(address: str, as_json: Json = False) -> None:
    """Send a test mail and say what the mail server answered; exit code 1 where it did not take it."""
    import asyncio

    from gatepost_idp import catalogue as catalogues
    from gatepost_idp.mail.letters import Letters
    from gatepost_idp.mail.smtp import deliver
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.settings import load_or_exit

    settings = load_or_exit()
    if not settings.smtp_host:
        _fail("SMTP_HOST: is not set. Example: SMTP_HOST=smtp.example.com", as_json)
    letter = Letters(settings, catalogues.load(settings)).test(address, system_clock())
    delivery = asyncio.run(deliver(settings, letter, address))
    said = (
        f"{settings.smtp_host}:{settings.smtp_port} ({settings.smtp_security}): {delivery.outcome}: {delivery.answer}"
    )
    if delivery.outcome != "accepted":
        _fail(said, as_json)
    _print({"outcome": delivery.outcome, "answer": delivery.answer}, as_json, said)


@mail.command("suppressed")
def mail_suppressed(as_json: Json = False) -> None:
    """List addresses that get no mail for a day, since the mail server refused them."""
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.store import outbox

    _table(_in_database(lambda tx: outbox.suppressed(tx, system_clock())), as_json)


@mail.command("allow")
def mail_allow(address: str, as_json: Json = False) -> None:
    """Let mail go to a suppressed address again."""
    from gatepost_idp.store import outbox

    if not _in_database(lambda tx: outbox.allow(tx, address)):
        _fail(f"{address} is not suppressed; list them: gatepost mail suppressed", as_json)
    _print({"email": address, "suppressed": False}, as_json, f"Mail to {address} goes out again.")


def _entitle(email: str, scope: str, as_json: bool, give: bool) -> None:
    from gatepost_idp import catalogue as catalogues
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.settings import load_or_exit
    from gatepost_idp.store import accounts

    catalogue = catalogues.load(load_or_exit())
    resources = [resource.url for resource in catalogue.resource if scope in resource.scope_names]
    if not resources:
        _fail(f"No resource has the scope {scope}; there are: {', '.join(catalogue.scope_names)}", as_json)

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

    if not _in_database(work):
        _fail(f"Nobody signed up as {email} yet; list people: gatepost users list", as_json)
    word = "holds" if give else "no longer holds"
    _print(
        {"email": email, "scope": scope, "held": give}, as_json, f"{email} {word} {scope}, from the next refresh on."
    )


def _switch_client(client_id: str, as_json: bool, off: bool) -> None:
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.store import clients as store

    row, at = client_id.partition(".")[0], system_clock() if off else None
    if not _in_database(lambda tx: store.set_disabled(tx, row, at)):
        _fail(f"There is no client {client_id}; list them: gatepost clients list", as_json)
    _print({"client": row, "disabled": off}, as_json, f"{row} is {'disabled' if off else 'enabled'}.")


def _register(registration: Any, confidential: bool) -> dict[str, str]:
    """Stores a client made by hand; a secret is in the answer and nowhere else."""
    import asyncio

    from gatepost_idp.clients.registry import Registry
    from gatepost_idp.database import Database
    from gatepost_idp.keys import Keys
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.settings import load_or_exit

    settings = load_or_exit()
    _checked_at_start()
    database = Database(settings.database_url)
    registry = Registry(database, Keys(database, settings.secret_keys, system_clock), system_clock)

    async def register() -> dict[str, str]:
        if confidential:
            client_id, secret = await registry.register_confidential(registration, "manual")
            return {"client_id": client_id, "client_secret": secret}
        return {"client_id": await registry.register_manual(registration)}

    try:
        return asyncio.run(register())
    finally:
        database.close()


def _in_database(work: "Callable[[Transaction], T]") -> T:
    """Runs ``work`` in one transaction beside whatever servers run."""
    import asyncio

    from gatepost_idp.database import Database
    from gatepost_idp.settings import load_or_exit

    _checked_at_start()
    database = Database(load_or_exit().database_url)

    async def write() -> T:
        return await database.write(work)

    try:
        return asyncio.run(write())
    finally:
        database.close()


def _with_engine(work: Callable[[Any], T]) -> T:
    from gatepost_idp.database import Database
    from gatepost_idp.settings import load_or_exit

    database = Database(load_or_exit().database_url)
    try:
        return work(database.engine)
    finally:
        database.close()


def _checked_at_start() -> None:
    """Ends the process with one line where the database is not at this version's schema."""
    from gatepost_idp.store import schema

    try:
        _with_engine(schema.check)
    except schema.WrongSchema as wrong:
        _fail(str(wrong), as_json=False)


def _print(found: dict[str, Any], as_json: bool, text: str) -> None:
    print(json.dumps(found) if as_json else text)


def _table(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    if not rows:
        print("None.")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0])
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)


def _fail(message: str, as_json: bool) -> NoReturn:
    print(json.dumps({"error": message}) if as_json else message, file=sys.stderr)
    raise typer.Exit(1)


if __name__ == "__main__":
    main()
