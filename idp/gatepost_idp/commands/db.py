"""``gatepost db …``: the database's schema, its backups, and the move from SQLite to PostgreSQL."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatepost_idp.commands import console
from gatepost_idp.commands.console import Json

if TYPE_CHECKING:
    from gatepost_idp.crypto import SecretKeys
    from gatepost_idp.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The database: its schema, backups, a move to PostgreSQL.")
File = Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False)]
_SAY_EVERY = 50_000


@app.command("upgrade")
def upgrade(as_json: Json = False) -> None:
    """Bring the database to this version's schema."""
    from gatepost_idp.models import SCHEMA
    from gatepost_idp.store import schema

    before = console.with_engine(schema.upgrade, as_json, may_make=True)
    console.show({"before": before, "now": SCHEMA}, as_json, f"The database is at {SCHEMA}.")


@app.command("check")
def check(as_json: Json = False) -> None:
    """Say whether the database is at this version's schema; exit code 1 if it is not."""
    from gatepost_idp.models import SCHEMA
    from gatepost_idp.store import schema

    console.with_engine(schema.check, as_json)
    console.show({"schema": SCHEMA}, as_json, f"The database is at {SCHEMA}, as this version expects.")


@app.command("backup")
def backup(file: File, as_json: Json = False) -> None:
    """Save the database to FILE while servers run. Keep SECRET_KEY too, elsewhere: it seals the keys inside."""
    from gatepost_idp.store import backup as store

    with _clearly(as_json):
        size = console.with_engine(lambda engine: store.save(engine, file, _progress(as_json)), as_json)
    said = f"{file}: {size} bytes. The keys in it are sealed: keep SECRET_KEY too, in another place."
    console.show({"file": str(file), "bytes": size}, as_json, said)


@app.command("restore")
def restore(
    file: File,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is in the database without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Restore FILE; stop the servers first. Everybody has to sign in and connect again."""
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.settings import load_or_exit
    from gatepost_idp.store import backup as store

    if not file.is_file():  # before creating a database
        console.fail(f"{file} is not a file; give the path of the backup.", as_json)
    with _clearly(as_json):
        keys = _kept_keys(load_or_exit())
        there = console.with_engine(store.filled, as_json, may_make=True)
        overwrite = bool(there) and (force or _may_overwrite(there, as_json))
        found = console.with_engine(
            lambda engine: store.restore(
                file, engine, keys, system_clock(), force=overwrite, progress=_progress(as_json)
            ),
            as_json,
        )
    said = (
        f"Restored {sum(found.rows.values())} rows from {file}. Ended {found.sessions_ended} sessions, "
        f"{found.grants_ended} connections and {found.personal_tokens_ended} personal tokens: a copy cannot know what "
        "was revoked after it was made.\n"
        "Scopes taken away, people disabled and consents withdrawn since then are back: check them."
    )
    ended = {
        "sessions": found.sessions_ended,
        "grants": found.grants_ended,
        "personal_tokens": found.personal_tokens_ended,
    }
    console.show({"rows": found.rows, "ended": ended}, as_json, said)


@app.command("copy")
def copy(
    source: Annotated[str, typer.Argument(metavar="SQLITE", help="sqlite:///PATH, or the path.")],
    target: Annotated[str, typer.Argument(metavar="POSTGRES_URL", help="postgresql+psycopg://…, an empty database.")],
    as_json: Json = False,
) -> None:
    """Move everything from SQLite to an empty PostgreSQL database. Stop the servers first; nobody is signed out."""
    from gatepost_idp.database import Database
    from gatepost_idp.store import backup as store

    path = Path(source.removeprefix("sqlite:///"))
    if not path.is_file():
        console.fail(f"{path} is not a file; give the path of the SQLite database.", as_json)
    if not target.startswith("postgresql+psycopg://"):
        console.fail("The target must begin with postgresql+psycopg://USER:PASSWORD@HOST/DATABASE.", as_json)
    old, new = Database(f"sqlite:///{path}"), Database(target)
    try:
        with _clearly(as_json), console.plainly(as_json):
            rows = new.directly(lambda engine: store.copy(old.engine, engine, _progress(as_json)))
    finally:
        old.close()
        new.close()
    said = (
        f"Copied {sum(rows.values())} rows, counted on both sides. Now set DATABASE_URL to the new database and "
        f"SECRET_KEY to what it was (the content of {path.parent / 'secret_key'} if it was not set), and start."
    )
    console.show({"rows": rows}, as_json, said)


@contextmanager
def _clearly(as_json: bool) -> Iterator[None]:
    """Prints CannotCopy as one line instead of a traceback."""
    from gatepost_idp.store.backup import CannotCopy

    try:
        yield
    except CannotCopy as problem:
        console.fail(str(problem), as_json)


def _kept_keys(settings: "Settings") -> "SecretKeys":
    """SECRET_KEY as set or stored; does not create one, which would open nothing."""
    from gatepost_idp.store.backup import CannotCopy

    kept = settings.kept_secret_keys
    if kept is None:
        path = settings.secret_key_path
        raise CannotCopy(f"SECRET_KEY: set the key of the server that the backup was made from, or put it in {path}.")
    return kept


def _may_overwrite(there: dict[str, int], as_json: bool) -> bool:
    """Asks at a terminal; scripts have to pass --force."""
    what = f"{there.get('account', 0)} people, {there.get('authorization_grant', 0)} connections"
    if as_json or not sys.stdin.isatty():
        console.fail(f"The database is not empty ({what}); --force overwrites it.", as_json)
    typer.confirm(f"The database is not empty ({what}). Overwrite it?", abort=True)
    return True


def _progress(as_json: bool) -> Callable[[str, int], None]:
    def say(table: str, rows: int) -> None:
        if rows % _SAY_EVERY == 0 and not as_json:
            print(f"{table}: {rows} rows", file=sys.stderr)

    return say
