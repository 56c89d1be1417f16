"""What the commands share: access to the database while servers run, and output."""

import contextlib
import json
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Protocol, TypeVar

import typer

if TYPE_CHECKING:
    import asyncio

    from gatepost_idp.database import Database
    from gatepost_idp.settings import Settings
    from gatepost_idp.transaction import Transaction

T = TypeVar("T")
Row_co = TypeVar("Row_co", covariant=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Page(Protocol[Row_co]):
    """Reads the rows after ``after``; empty after the last."""

    def __call__(self, tx: "Transaction", /, *, after: str) -> Sequence[Row_co]: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """An open database and an event loop to run its work on."""

    database: "Database"
    runner: "asyncio.Runner"

    def run(self, work: "Coroutine[Any, Any, T]") -> T:
        """Runs ``work`` to its end; returns its result."""
        return self.runner.run(work)


@contextlib.contextmanager
def plainly(as_json: bool) -> Iterator[None]:
    """Exits with one line if the database is unavailable or has the wrong schema."""
    from gatepost_idp.store.schema import WrongSchema
    from gatepost_idp.transaction import DatabaseUnavailable

    try:
        yield
    except WrongSchema as wrong:
        fail(str(wrong), as_json)
    except DatabaseUnavailable as problem:
        fail(f"DATABASE_URL: the database does not answer: {problem}", as_json)


@contextlib.contextmanager
def opened() -> Iterator[Opened]:
    """Opens the database; exits with one line if it cannot be used."""
    import asyncio

    from gatepost_idp.database import Database
    from gatepost_idp.settings import load_or_exit
    from gatepost_idp.store import schema

    settings = load_or_exit()
    _must_be_there(settings, as_json=False)
    database = Database(settings.database_url)
    try:
        with plainly(as_json=False), asyncio.Runner() as runner:
            beside = Opened(database, runner)
            schema.compare(beside.run(database.read(schema.found)))
            yield beside
    finally:
        database.close()


def _must_be_there(settings: "Settings", as_json: bool) -> None:
    """Exits if opening SQLite would create a file: most often the server's file is in another folder."""
    if settings.is_sqlite and not settings.sqlite_path.exists():
        fail(
            f"DATABASE_URL: there is no database at {settings.sqlite_path.absolute()}. Run this where `gatepost idp` "
            "runs, or set DATABASE_URL to its absolute path; for a new server: gatepost db upgrade",
            as_json,
        )


def in_database(work: "Callable[[Transaction], T]") -> T:
    """Runs ``work`` in one transaction."""
    with opened() as beside:
        return beside.run(beside.database.write(work))


def stream(page: "Page[T]", key: Callable[[T], str]) -> Iterator[Sequence[T]]:
    """Yields page after page, each read in its own transaction, after the ``key`` of the previous page's last row."""
    after = ""
    with opened() as beside:
        while rows := beside.run(beside.database.read(partial(page, after=after))):
            yield rows
            after = key(rows[-1])


def note(tx: "Transaction", event: str, **what: str) -> None:
    """Records a command's action in the audit log."""
    from gatepost_idp.protocol import system_clock
    from gatepost_idp.store import audit

    audit.record(tx, event, system_clock(), network=audit.COMMAND_LINE, **what)


def with_engine(work: Callable[[Any], T], as_json: bool, *, may_make: bool = False) -> T:
    """Runs ``work`` on the database's engine, whatever its schema; exits with one line if it cannot.

    ``may_make``: whether a missing SQLite file is created.
    """
    from gatepost_idp.database import Database
    from gatepost_idp.settings import load_or_exit

    settings = load_or_exit()
    if not may_make:
        _must_be_there(settings, as_json)
    database = Database(settings.database_url)
    try:
        with plainly(as_json):
            return database.directly(work)
    finally:
        database.close()


def check_start(settings: "Settings") -> None:
    """Exits with one line if no worker could start; raises SettingsError for problems of keys or catalogue."""
    from gatepost_idp import catalogue as catalogues

    catalogues.Backends(settings, catalogues.load(settings))
    with opened() as beside:
        beside.run(beside.database.read(lambda tx: check_secret_key(tx, settings)))


def check_secret_key(tx: "Transaction", settings: "Settings") -> None:
    """Raises SettingsError if SECRET_KEY does not open the signing keys; never creates a key file."""
    from gatepost_idp import keys
    from gatepost_idp.protocol import milliseconds, system_clock
    from gatepost_idp.settings import SettingsError
    from gatepost_idp.store import keys as store

    if keys.opens(settings.kept_secret_keys, store.living(tx, milliseconds(system_clock()))):
        return
    file = f"; without SECRET_KEY the file {settings.secret_key_path.absolute()} holds it" if settings.is_sqlite else ""
    raise SettingsError(
        "SECRET_KEY: the signing keys in the database were sealed under another key; "
        f"set SECRET_KEY=OLD,NEW (the last signs, all verify){file}."
    )


def show(found: dict[str, Any], as_json: bool, text: str) -> None:
    """Prints ``found`` as JSON if ``as_json``, else ``text``."""
    print(json.dumps(found) if as_json else text)


def show_table(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Prints rows as JSON, or as a table for people."""
    if as_json:
        print(json.dumps(rows))
        return
    if not rows:
        print("None.")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in rows[0]:
        table.add_column(name, overflow="fold")  # not truncated, so that ids can be copied
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)


def show_pages(pages: Iterable[Sequence[dict[str, Any]]], as_json: bool) -> None:
    """Prints pages of rows as they come: as one JSON array, or as a table per page."""
    if not as_json:
        count = 0
        for rows in pages:
            count += len(rows)
            show_table(list(rows), as_json=False)
        if not count:
            show_table([], as_json=False)
        return
    before = "["
    for row in (row for rows in pages for row in rows):
        print(before, json.dumps(row), sep="")
        before = ","
    print("]" if before == "," else "[]")


def confirm(question: str) -> bool:
    """Asks on stderr, since scripts read stdout; no answer means no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def fail(message: str, as_json: bool) -> NoReturn:
    """Exits with code 1 and one line that says why."""
    tell(message, as_json)
    raise typer.Exit(1)


def tell(message: str, as_json: bool) -> None:
    """Prints one line on stderr, since scripts read stdout."""
    print(json.dumps({"error": message}) if as_json else message, file=sys.stderr)
