"""Every query of the store finds its rows by an index: the cost of a request does not grow with the tables."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Boolean, LargeBinary, String, Table, bindparam
from sqlmodel import SQLModel, col
from sqlmodel.sql.sqltypes import AutoString

from gatepost_idp import store
from gatepost_idp.database import Database
from gatepost_idp.models import Client
from gatepost_idp.store import purge
from gatepost_idp.transaction import Query, Transaction, columns
from tests.store.servers import Postgres


def _queries_of(name: str, value: object) -> Iterator[tuple[str, Query]]:
    if isinstance(value, Query):
        yield name, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _queries_of(f"{name}[{key}]", inner)


def queries() -> dict[str, Query]:
    """Every query in a module of the store, by module and name."""
    found: dict[str, Query] = {}
    for module in pkgutil.iter_modules(store.__path__):
        for name, value in vars(importlib.import_module(f"{store.__name__}.{module.name}")).items():
            found |= {f"{module.name}.{at}": query for at, query in _queries_of(name, value)}
    return found


QUERIES = queries()


def plan(tx: Transaction, query: Query) -> list[str]:
    """The database's plan for any values; on PostgreSQL it depends on how much is in the tables."""
    statement, preset = query.sql(tx._connection.dialect)
    statement_of: Any = query.statement(tx.dialect)
    compiled = statement_of.compile(dialect=tx._connection.dialect)
    values = {name: _any_value(bind.type) for name, bind in compiled.binds.items()}
    explain = "EXPLAIN QUERY PLAN" if tx.dialect == "sqlite" else "EXPLAIN"
    tx._cursor.execute(f"{explain} {statement}", {**values, **preset})
    return [str(row[-1]) for row in tx._cursor.fetchall()]


def _any_value(kind: object) -> object:
    if isinstance(kind, LargeBinary):
        return b"x"
    if isinstance(kind, Boolean):
        return True
    return "x" if isinstance(kind, String | AutoString) else 1


def test_the_hot_queries_are_among_those_explained() -> None:
    """So that a rename cannot make these tests check nothing."""
    hot = {
        "codes._CODE", "codes._SPEND_CODE", "codes._COUNT_WRONG_VERIFIER", "grants._END_GRANT", "grants._STANDING",
        "refresh_tokens._REFRESH", "refresh_tokens._SPEND_REFRESH", "refresh_tokens._SPENT", "refresh_tokens._USED",
        "refresh_tokens._ERASE_SALTS", "refresh_tokens._OWNER",
        "accounts._HELD", "accounts._SESSION", "accounts._SEEN", "consents._LIVING", "consents._DELETE",
        "requests._FIND", "requests._FINISH", "attempts._FIND", "attempts._TURN", "clients._FIND",
        "outbox._DUE", "outbox._CLAIM", "outbox._PROGRESS", "outbox._SUPPRESSED", "limits._FIND",
        "limits._UPSERT", "consents._UPSERT", "requests._LIVES", "attempts._LOCK",
        *(f"purge._EXPIRED[{what}]" for what in purge._EXPIRED),
        "purge._DELETE_TOKENS", "purge._END_IDLE", "purge._END_OLD", "purge._DELETE_THEIR_TOKENS",
        "purge._DELETE_FAMILIES", "purge._PAGE", "purge._DELETE_UNUSED",
    }  # fmt: skip  # a list of names
    assert hot <= QUERIES.keys()


TABLES = SQLModel.metadata.tables
ROWS = 20_000


@pytest.fixture(scope="module")
def full_postgres(postgres: Postgres) -> Iterator[Database]:
    """A PostgreSQL database with enough rows in each table to make the planner prefer indexes."""
    url = postgres.migrated()
    database = Database(url)
    with database.engine.begin() as connection:
        for table in SQLModel.metadata.sorted_tables:
            connection.exec_driver_sql(_fill(table))
        connection.exec_driver_sql("ANALYZE")
    yield database
    database.close()
    postgres.drop(url)


def _fill(table: Table) -> str:
    """Row ``n`` of a table refers to row ``n`` of other tables."""
    names = ", ".join(column.name for column in table.columns)
    values = ", ".join(_nth(column.type) for column in table.columns)
    return f'INSERT INTO "{table.name}" ({names}) SELECT {values} FROM generate_series(1, {ROWS}) AS n'  # noqa: S608 (our own names)


def _nth(kind: object) -> str:
    if isinstance(kind, LargeBinary):
        return "decode(lpad(to_hex(n), 8, '0'), 'hex')"
    if isinstance(kind, Boolean):
        return "false"
    return "n::text" if isinstance(kind, String | AutoString) else "n"


@pytest.mark.parametrize("name", [name for name in QUERIES if not name.endswith("[postgresql]")])
async def test_no_query_reads_a_whole_table_on_sqlite(shared_sqlite: Database, name: str) -> None:
    """No SCAN of a table or a whole index in its plan; only a batch limited before may be read through."""
    steps = await shared_sqlite.write(lambda tx: plan(tx, QUERIES[name]))
    assert not [step for step in steps if step.startswith("SCAN") and step.split()[1] in TABLES], steps


@pytest.mark.parametrize("name", [name for name in QUERIES if not name.endswith("[sqlite]")])
async def test_no_query_reads_a_whole_table_on_postgresql(full_postgres: Database, name: str) -> None:
    """No sequential scan: with thousands of rows the planner chooses the index by itself."""
    steps = await full_postgres.write(lambda tx: plan(tx, QUERIES[name]))
    assert not [step for step in steps if "Seq Scan" in step], steps


async def test_a_query_without_an_index_would_be_found(shared_sqlite: Database, full_postgres: Database) -> None:
    """So that the tests above are known to be able to fail: a query without an index is reported."""
    by_name = Query(columns(Client.id).where(col(Client.name) == bindparam("name")))
    assert [step for step in await shared_sqlite.write(lambda tx: plan(tx, by_name)) if step == "SCAN client"]
    assert [step for step in await full_postgres.write(lambda tx: plan(tx, by_name)) if "Seq Scan on client" in step]
