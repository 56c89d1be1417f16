"""Every query of the store finds its rows by an index: what one request costs does not grow with the tables."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Boolean, LargeBinary, String
from sqlmodel.sql.sqltypes import AutoString

from gatepost_idp import store
from gatepost_idp.database import Database, Query, Transaction


def _queries_of(name: str, value: object) -> Iterator[tuple[str, Query]]:
    if isinstance(value, Query):
        yield name, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _queries_of(f"{name}[{key}]", inner)


def queries() -> dict[str, Query]:
    """Every query that stands in a module of the store, by the module's and its own name."""
    found: dict[str, Query] = {}
    for module in pkgutil.iter_modules(store.__path__):
        for name, value in vars(importlib.import_module(f"{store.__name__}.{module.name}")).items():
            found |= {f"{module.name}.{at}": query for at, query in _queries_of(name, value)}
    return found


QUERIES = queries()


def plan(tx: Transaction, query: Query) -> list[str]:
    """What the database says it would do, for any values."""
    statement, preset = query.sql(tx._connection.dialect)
    statement_of: Any = query._statement
    compiled = statement_of.compile(dialect=tx._connection.dialect)
    values = {name: _any_value(bind.type) for name, bind in compiled.binds.items()}
    explain = "EXPLAIN QUERY PLAN" if tx.dialect == "sqlite" else "EXPLAIN"
    if tx.dialect == "postgresql":
        tx._cursor.execute(
            "SET LOCAL enable_seqscan = off"
        )  # the tables are empty: without it, reading all is cheapest
    tx._cursor.execute(f"{explain} {statement}", {**values, **preset})
    return [str(row[-1]) for row in tx._cursor.fetchall()]


def _any_value(kind: object) -> object:
    if isinstance(kind, LargeBinary):
        return b"x"
    if isinstance(kind, Boolean):
        return True
    return "x" if isinstance(kind, String | AutoString) else 1


def test_the_hot_queries_are_among_those_explained() -> None:
    """So that a rename does not leave this file with nothing to say."""
    hot = {
        "grants._CODE", "grants._SPEND_CODE", "grants._COUNT_WRONG_VERIFIER", "grants._END_GRANT", "grants._REFRESH",
        "grants._SPEND_REFRESH", "grants._SPENT", "grants._USED", "grants._ERASE_SALTS", "grants._OWNER",
        "accounts._HELD", "accounts._SESSION", "accounts._SEEN", "consents._LIVING", "consents._DELETE",
        "requests._FIND", "requests._FINISH", "attempts._FIND", "attempts._TURN", "clients._FIND",
        "outbox._DUE", "outbox._CLAIM", "outbox._PROGRESS", "outbox._SUPPRESSED", "limits._FIND",
    }  # fmt: skip  # a list of names
    assert hot <= QUERIES.keys()


@pytest.mark.parametrize("name", [name for name in QUERIES if not name.endswith("[postgresql]")])
async def test_no_query_reads_a_whole_table_on_sqlite(shared_sqlite: Database, name: str) -> None:
    """No SCAN in its plan, and no sorting of more than an index gives."""
    steps = await shared_sqlite.write(lambda tx: plan(tx, QUERIES[name]))
    assert not [step for step in steps if step.startswith("SCAN")], steps


@pytest.mark.parametrize("name", [name for name in QUERIES if not name.endswith("[sqlite]")])
async def test_no_query_reads_a_whole_table_on_postgresql(shared_postgres: Database, name: str) -> None:
    """No sequential scan where an index could be used."""
    steps = await shared_postgres.write(lambda tx: plan(tx, QUERIES[name]))
    assert not [step for step in steps if "Seq Scan" in step], steps
