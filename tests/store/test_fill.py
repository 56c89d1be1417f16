"""bench/fill.py fills a database as months of use would, so that measurements on it are realistic."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import sqlalchemy
from sqlmodel import SQLModel

from bench import fill
from gatepost_idp.database import Database
from tests.store.parts import RESOURCE, refresh_token_of, rotating

CLIENTS = [f"gp_dc_{'k' * 22}.{number}.mac" for number in range(7)]
GRANTS = 61


@pytest.fixture
def filled(database_url: str) -> str:
    """A database with 61 connections."""
    fill.filled(database_url, GRANTS, CLIENTS, RESOURCE, lambda _line: None)
    return database_url


def _count(url: str, query: str) -> int:
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        found = connection.exec_driver_sql(query).scalar_one()
    engine.dispose()
    return int(found)


def _indexes(url: str) -> dict[str, list[str]]:
    engine = sqlalchemy.create_engine(url)
    found = sqlalchemy.inspect(engine)
    made = {name: sorted(str(one["name"]) for one in found.get_indexes(name)) for name in fill.TABLES}
    engine.dispose()
    return made


def test_every_table_has_its_rows_and_its_indexes(database_url: str) -> None:
    """Two connections a person, two scopes; for each a consent, two refresh tokens and two events."""
    before = _indexes(database_url)
    told = fill.filled(database_url, GRANTS, CLIENTS, RESOURCE, lambda _line: None)
    rows = {
        "account": 31, "entitlement": 62, "consent": 61, "authorization_grant": 61, "refresh_token": 122,
        "audit_event": 122, "audit_batch": 1,
    }  # fmt: skip  # a table
    assert {name: _count(database_url, f"SELECT count(*) FROM {name}") for name in rows} == rows  # noqa: S608 (ours)
    assert {one.table: one.rows for one in told if one.table} == rows
    assert told[-1].bytes > 0
    assert _indexes(database_url) == before


def test_what_is_referred_to_is_there(filled: str) -> None:
    """No foreign key dangles, although none was checked while writing."""
    for name in fill.TABLES:
        for key in SQLModel.metadata.tables[name].foreign_keys:
            of, to = key.parent.name, f"{key.column.table.name}.{key.column.name}"
            other = key.column.table.name
            query = f"SELECT count(*) FROM {name} LEFT JOIN {other} ON {name}.{of} = {to} WHERE {to} IS NULL"  # noqa: S608 (ours)
            assert _count(filled, query) == 0, key
    events = "SELECT count(*) FROM audit_event e JOIN authorization_grant g ON g.id = e.grant_id"
    assert _count(filled, f"{events} AND g.account_id = e.account_id AND g.client_id = e.client_id") == 2 * GRANTS


async def test_a_stored_connection_can_be_taken_up(filled: str, opened: Callable[[str], Database]) -> None:
    """It can be refreshed like any other; the samples are of different people, spread over the whole table."""
    holders = fill.taken_up(filled, GRANTS, 20)
    assert len({holder.refresh_token for holder in holders}) == 20
    database = opened(filled)
    for holder in holders:
        work = rotating(holder.refresh_token, datetime.now(UTC), client_id=holder.client_id)
        assert refresh_token_of(await database.write(work)) != holder.refresh_token
    distinct = "SELECT count(DISTINCT grant_id) FROM refresh_token WHERE salt IS NOT NULL"
    assert _count(filled, distinct) == 20
    assert _count(filled, f"{distinct} AND grant_id > '{fill.spread(GRANTS // 2, GRANTS, 16)}'") == 9


def test_a_fill_is_known_again(filled: str) -> None:
    """By its size, and by an end mark that an interrupted fill does not have."""
    assert fill.is_filled(filled, GRANTS)
    assert not fill.is_filled(filled, 10 * GRANTS)
    engine = sqlalchemy.create_engine(filled)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM audit_batch")
    engine.dispose()
    assert not fill.is_filled(filled, GRANTS)


def test_keys_ascend_and_lie_anywhere() -> None:
    """They ascend in SQLite's order, so that a fill appends, and cover the whole range of possible keys."""
    keys = [fill.spread(number, 1_000) for number in range(1_000)]
    assert keys == sorted(keys)
    assert len({key[0] for key in keys}) == 64
    assert {len(key) for key in keys} == {22}
