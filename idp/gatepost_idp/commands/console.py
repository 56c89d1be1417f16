"""What every command shares: the database beside running servers, and how an answer is printed."""

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from gatepost_idp.database import Transaction

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def in_database(work: "Callable[[Transaction], T]") -> T:
    """Runs ``work`` in one transaction beside whatever servers run."""
    import asyncio

    from gatepost_idp.database import Database
    from gatepost_idp.settings import load_or_exit

    check_schema()
    database = Database(load_or_exit().database_url)

    async def write() -> T:
        return await database.write(work)

    try:
        return asyncio.run(write())
    finally:
        database.close()


def with_engine(work: Callable[[Any], T]) -> T:
    """Runs ``work`` on the database's engine, for the schema."""
    from gatepost_idp.database import Database
    from gatepost_idp.settings import load_or_exit

    database = Database(load_or_exit().database_url)
    try:
        return work(database.engine)
    finally:
        database.close()


def check_schema() -> None:
    """Ends the process with one line where the database is not at this version's schema."""
    from gatepost_idp.store import schema

    try:
        with_engine(schema.check)
    except schema.WrongSchema as wrong:
        fail(str(wrong), as_json=False)


def show(found: dict[str, Any], as_json: bool, text: str) -> None:
    """Prints ``found`` as JSON where that was asked for, else ``text``."""
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

    table = Table(*rows[0])
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)


def fail(message: str, as_json: bool) -> NoReturn:
    """Ends the command with exit code 1 and one line that says why."""
    print(json.dumps({"error": message}) if as_json else message, file=sys.stderr)
    raise typer.Exit(1)
