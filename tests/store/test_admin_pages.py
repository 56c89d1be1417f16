"""Lists of the admin pages on large tables: each page is read by an index, whatever is searched for."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gatepost_idp.database import Database
from gatepost_idp.store import (
    audit_pages,
    client_pages,
    connection_pages,
    figures,
    outbox_state,
    paging,
    people,
    schema,
)
from gatepost_idp.store.audit_pages import Wanted
from gatepost_idp.store.paging import Page
from gatepost_idp.transaction import Query, Transaction
from tests.store.parts import NOW
from tests.store.servers import Postgres

T = TypeVar("T")

PEOPLE = 100_000
CONNECTIONS = 50_000
EVENTS = 50_000
KINDS = 300
AT = int(NOW.timestamp() * 1000)

NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {})",
    "postgresql": "WITH n(i) AS (SELECT generate_series(0, {} - 1))",
}
FILLED = (
    (PEOPLE, "account (id, email, email_key, role, created_at, seen_at)",
     "'a' || i, 'p' || i || '@example.com', 'p' || i || '@example.com', '', 0, 0"),
    (KINDS, "client (id, origin, name, registration, resource, created_at)",
     "CASE WHEN i < 30 THEN 'gp_mc_' WHEN i < 60 THEN 'gp_rs_' ELSE 'gp_dc_' END || (1000 + i), 'registered', "
     "'Client ' || i, '{\"redirect_uris\": [\"https://client.test/callback\"]}', '', 0"),
    (CONNECTIONS, "authorization_grant (id, account_id, client_id, client_row, resource, scope, redirect_uri, browser, "
     "network, auth_time, trace_id, created_at, used_at, ends_at, ended_at, end_reason)",
     "'g' || i, 'a' || i, 'gp_dc_1100.x', 'gp_dc_1100', 'r', 'demo:read', '', '', '', 0, '', i, i, i, "
     "CASE WHEN i - i / 3 * 3 = 0 THEN 1 END, ''"),
    (EVENTS, "audit_event (id, at, event, account_id, client_id, grant_id, trace_id, network, detail)",
     f"'e' || i, {AT} - CAST(i AS BIGINT) * 60000, CASE WHEN i = 700 THEN 'key.rotated' WHEN i - i / 10 * 10 = 0 THEN "
     "'sign_in' ELSE 'grant.refreshed' END, 'a' || i, '', '', '', '', ''"),
)  # fmt: skip  # count, table, values


def fill(database: Database) -> None:
    """Fills every table in a few statements, and updates the planner's statistics."""
    numbers = NUMBERS[database.engine.dialect.name]
    with database.engine.begin() as connection:
        for count, table, values in FILLED:
            statement = f"INSERT INTO {table} {numbers.format(count)} SELECT {values} FROM n"  # noqa: S608 (our words)
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("ANALYZE")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database of each kind, filled once."""
    if request.param == "sqlite":
        path: Path = tmp_path_factory.mktemp("large") / "gatepost.db"
        database = Database(f"sqlite:///{path}")
        schema.upgrade(database.engine)
        fill(database)
        yield database
        database.close()
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.migrated()
    database = Database(url)
    fill(database)
    yield database
    database.close()
    server.drop(url)


QUERIES: dict[str, tuple[Query, dict[str, Any]]] = {
    "people": (people._PIECE, {"start": "p5"}),
    "one person": (people._FIND, {"of": "a5"}),
    "what they hold": (people._HELD, {"of": "a5"}),
    "connections": (connection_pages._PIECE, {"at": 40_000, "row_id": "g40000"}),
    "clients": (client_pages._PIECE, {"start": "gp_dc", "end": "gp_dd"}),
    "documents": (client_pages._URL_PIECE, {"start": ""}),
    "audit": (audit_pages._PIECE, {"at": AT - 60_000_000, "row_id": "e1000"}),
    "an hour": (figures._RANGE, {"since": AT - 7_200_000, "until": AT - 3_600_000}),
    "the first event": (figures._OLDEST, {"since": AT - 7_200_000}),
    "mail": (outbox_state._WAITING, {}),
}
SMALL = ("client", "client_document", "outbox", "entitlement")
"""Tables that stay small here: PostgreSQL rightly reads a few rows at once."""


def plan(tx: Transaction, query: Query, values: dict[str, Any]) -> list[str]:
    """The database's query plan, for these values and its own statistics."""
    statement, preset = query.sql(tx._connection.dialect)
    tx._cursor.execute(
        f"{'EXPLAIN QUERY PLAN' if tx.dialect == 'sqlite' else 'EXPLAIN'} {statement}", {**preset, **values}
    )
    return [str(row[-1]) for row in tx._cursor.fetchall()]


@pytest.mark.parametrize("name", QUERIES)
async def test_no_page_reads_a_large_table_whole(large: Database, name: str) -> None:
    """With its own statistics on 100,000 people, each database uses an index."""
    query, values = QUERIES[name]
    steps = await large.write(lambda tx: plan(tx, query, values))
    whole = [step for step in steps if step.startswith("SCAN") or "Seq Scan on" in step]
    assert not [step for step in whole if not any(f"Seq Scan on {table}" in step for table in SMALL)], steps


async def whole_list(database: Database, page: Callable[[Transaction, str], Page[T]]) -> list[Page[T]]:
    """Every page from the first to the last."""
    pages = [await database.read(lambda tx: page(tx, ""))]
    while pages[-1].following:
        pages.append(await database.read(partial(_page, page, pages[-1].following)))
    return pages


def _page(page: Callable[[Transaction, str], Page[T]], start: str, tx: Transaction) -> Page[T]:
    return page(tx, start)


async def test_people_of_a_large_table_are_found(large: Database) -> None:
    """Everybody whose address has that prefix, once, in order, over several pages."""
    pages = await whole_list(large, lambda tx, start: people.page(tx, "p9999", start))
    found = [person.email for page in pages for person in page.rows]
    assert sorted(found) == sorted(f"p{i}@example.com" for i in [9999, *range(99990, 100_000)])
    assert [len(page.rows) for page in pages] == [11]
    pages = await whole_list(large, lambda tx, start: people.page(tx, "p1234", start))
    found = [person.email for page in pages for person in page.rows]
    assert sorted(found) == sorted(f"p{i}@example.com" for i in [1234, *range(12340, 12350)])


async def test_a_page_of_people_is_small_and_the_next_one_follows(large: Database) -> None:
    """Two pages list fifty different people."""
    first = await large.read(lambda tx: people.page(tx, "", ""))
    second = await large.read(lambda tx: people.page(tx, "", first.following))
    assert len({person.id for person in (*first.rows, *second.rows)}) == 2 * paging.SIZE


async def test_what_nobody_is_called_costs_no_more_than_a_bound(large: Database) -> None:
    """The page is empty and links to where the search goes on."""
    found = await large.read(lambda tx: people.page(tx, "p\u00e4", "p"))
    assert found.rows == ()
    assert found.following


async def test_connections_come_newest_first_and_only_those_that_stand(large: Database) -> None:
    """No duplicates and no ended ones, over several pages."""
    first = await large.read(lambda tx: connection_pages.page(tx, ""))
    second = await large.read(lambda tx: connection_pages.page(tx, first.following))
    found = [int(row.grant_id[1:]) for row in (*first.rows, *second.rows)]
    assert found == [i for i in range(CONNECTIONS - 1, 0, -1) if i % 3][: 2 * paging.SIZE]


async def test_every_client_of_a_kind_is_listed_once(large: Database) -> None:
    """With its use, counted up to a bound, and no client of another kind."""
    pages = await whole_list(large, lambda tx, start: client_pages.page(tx, "gp_dc", start))
    found = [client.id for page in pages for client in page.rows]
    assert found == [f"gp_dc_{1000 + i}" for i in range(60, KINDS)]
    used = [client for page in pages for client in page.rows if client.use.last]
    assert [client.id for client in used] == ["gp_dc_1100"]
    assert 0 < used[0].use.connections < client_pages.LOOKED_AT  # a third of them ended
    assert [client.use.more for page in pages for client in page.rows if client.use.more] == [True]
    assert len((await large.read(lambda tx: client_pages.page(tx, "gp_mc", ""))).rows) == paging.SIZE


async def test_a_rare_event_is_found_page_after_page(large: Database) -> None:
    """Each page reads no further than its bound, and links to where the search goes on."""
    pages = await whole_list(large, lambda tx, start: audit_pages.page(tx, Wanted(event="key."), start))
    assert [event.event for page in pages for event in page.rows] == ["key.rotated"]
    assert len(pages) == -(-EVENTS // (paging.PIECES * (paging.PIECE - 1)))


async def test_the_log_is_searched_by_person(large: Database) -> None:
    """By a prefix of the address of the account that the row names."""
    found = await large.read(lambda tx: audit_pages.page(tx, Wanted(email="P1500@"), ""))
    assert [event.email for event in found.rows] == ["p1500@example.com"]


@pytest.mark.parametrize("bent", ["x", "-1.a", "9" * 30, "1.\u0661", "\u0661.a", "1e9.a", "."])
def test_a_bent_place_begins_anew(bent: str) -> None:
    """A cursor with a number too large for the database starts at the first page."""
    at, _ = paging.placed(bent)
    assert 0 <= at <= 10**15


def test_a_row_where_two_pieces_meet_is_there_once() -> None:
    """Each piece begins with the last row of the one before."""

    def piece(start: str) -> list[tuple[str, int]]:
        first = int(start or 0)
        return [(str(number), number) for number in range(first, min(first + paging.PIECE, 3900))]

    found = paging.collected(piece, "", lambda number: number % (paging.PIECE - 1) == 0)
    again = paging.collected(piece, found.following, lambda number: number % (paging.PIECE - 1) == 0)
    assert [*found.rows, *again.rows] == list(range(0, 3900, paging.PIECE - 1))
