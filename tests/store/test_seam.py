"""The seam to the database: what read and write promise, on both databases."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import Connection, event
from sqlalchemy.exc import IntegrityError

from gatepost_idp import models
from gatepost_idp.database import Database
from gatepost_idp.models import LimitWindow
from gatepost_idp.protocol import Refused
from gatepost_idp.sqlite import _Held
from gatepost_idp.transaction import DatabaseUnavailable, Transaction, Work, insert_query
from tests.store.parts import at_once, busy, person, rows
from tests.store.servers import Postgres

_PUT = insert_query(LimitWindow)


class Stumble(Exception):
    """An error that the test raises."""


def put(key: str) -> Work[str]:
    """Writes one row, whose key says who wrote it."""

    def work(tx: Transaction) -> str:
        tx.run(_PUT, key=key, count=1, expires_at=0)
        return key

    return work


def put_and_stumble(key: str) -> Work[str]:
    def work(tx: Transaction) -> str:
        put(key)(tx)
        raise Stumble(key)

    return work


def sign_up_twice(tx: Transaction) -> str:
    """Violates a database constraint through the session."""
    for number in ("1", "2"):
        tx.session.add(models.Account(id=number, email="a", email_key="the same", created_at=0, seen_at=0))
        tx.session.flush()
    return "both"


def say(statement: str) -> Work[list[tuple[Any, ...]]]:
    """Runs one statement on the driver's cursor."""

    def work(tx: Transaction) -> list[tuple[Any, ...]]:
        tx._cursor.execute(statement)
        return tx._cursor.fetchall() if tx._cursor.description else []

    return work


async def keys_of(database: Database) -> set[str]:
    return {row.key for row in await rows(database, LimitWindow)}


async def test_what_was_written_can_be_read(database: Database) -> None:
    """A write returns its function's result, and the next read sees the rows."""
    assert await database.write(put("a")) == "a"
    assert await keys_of(database) == {"a"}


async def test_the_session_is_flushed_by_the_commit(database: Database) -> None:
    """Whoever adds a row through the session need not flush."""
    row = models.Account(id="1", email="a", email_key="a", created_at=0, seen_at=0)
    await database.write(lambda tx: tx.session.add(row))
    assert [found.id for found in await rows(database, models.Account)] == ["1"]


async def test_an_exception_undoes_its_own_function_alone(database: Database) -> None:
    """The others of its group commit, and only the function that failed sees the exception."""
    async with busy(database):
        good = [asyncio.ensure_future(database.write(put(f"good {n}"))) for n in range(3)]
        bad = asyncio.ensure_future(database.write(put_and_stumble("bad")))
        later = asyncio.ensure_future(database.write(put("later")))
    with pytest.raises(Stumble):
        await bad
    assert [*await asyncio.gather(*good), await later] == ["good 0", "good 1", "good 2", "later"]
    assert await keys_of(database) == {"good 0", "good 1", "good 2", "later"}


async def test_a_broken_rule_in_a_session_undoes_its_own_function_alone(database: Database) -> None:
    """The session rolls back only its own function: what the others wrote stays, and nobody gets a 503."""
    async with busy(database):
        before = asyncio.ensure_future(database.write(put("before")))
        bad = asyncio.ensure_future(database.write(sign_up_twice))
        after = asyncio.ensure_future(database.write(put("after")))
    with pytest.raises(IntegrityError):
        await bad
    assert [await before, await after] == ["before", "after"]
    assert await keys_of(database) == {"before", "after"}
    assert await rows(database, models.Account) == []


async def test_a_session_that_was_used_before_a_fault_leaves_the_next_one_whole(database: Database) -> None:
    """A function that wrote through its session and then failed is undone; the next one has its own session."""

    def sign_up(key: str, stumbles: bool = False) -> Work[str]:
        def work(tx: Transaction) -> str:
            tx.session.add(models.Account(id=key, email=key, email_key=key, created_at=0, seen_at=0))
            tx.session.flush()
            if stumbles:
                raise Stumble(key)
            return key

        return work

    async with busy(database):
        asked = asyncio.gather(
            database.write(sign_up("first")),
            database.write(sign_up("bad", stumbles=True)),
            database.write(sign_up("second")),
            database.write(sign_up("worse", stumbles=True)),
            return_exceptions=True,
        )
    assert [answer if isinstance(answer, str) else type(answer) for answer in await asked] == [
        "first",
        Stumble,
        "second",
        Stumble,
    ]
    assert {row.id for row in await rows(database, models.Account)} == {"first", "second"}


async def test_a_broken_rule_on_the_cursor_undoes_its_own_function_alone(database: Database) -> None:
    """The same on the driver's cursor, which the hot path uses."""
    await database.write(put("there"))

    def again(tx: Transaction) -> None:
        put("new")(tx)
        put("there")(tx)

    async with busy(database):
        bad = asyncio.ensure_future(database.write(again))
        good = asyncio.ensure_future(database.write(put("good")))
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        await bad
    assert await good == "good"
    assert await keys_of(database) == {"there", "good"}


async def test_a_refusal_that_is_returned_keeps_its_trace(database: Database) -> None:
    """What a refusal counted or recorded stays: it is raised only after the commit."""

    def refuse(tx: Transaction) -> Refused:
        put("trace")(tx)
        return Refused("invalid_grant", "No.", "a test")

    assert isinstance(await database.write(refuse), Refused)
    assert await keys_of(database) == {"trace"}


async def test_a_read_cannot_write(database: Database) -> None:
    """A writing function passed to ``read`` by mistake fails, and nothing of it is stored."""
    with pytest.raises((DatabaseUnavailable, psycopg.Error)):
        await database.read(put("sneaked in"))
    assert await keys_of(database) == set()


async def test_a_read_sees_no_half_of_a_write(database: Database) -> None:
    """Uncommitted rows are not visible."""
    wrote, go_on = threading.Event(), threading.Event()

    def slowly(tx: Transaction) -> None:
        put("half")(tx)
        wrote.set()
        assert go_on.wait(20)

    writing = asyncio.ensure_future(database.write(slowly))
    assert await asyncio.to_thread(wrote.wait, 20)
    assert await keys_of(database) == set()
    go_on.set()
    await writing
    assert await keys_of(database) == {"half"}


async def test_a_function_is_answered_only_after_its_commit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No success is reported that a power cut could still undo."""
    committing, go_on = threading.Event(), threading.Event()

    def hold(_connection: object) -> None:
        committing.set()
        assert go_on.wait(20)

    commit = _Held._commit

    def holding(held: _Held, connection: Connection) -> None:
        hold(connection)
        commit(held, connection)

    event.listen(database.engine, "commit", hold)
    monkeypatch.setattr(_Held, "_commit", holding)
    writing = asyncio.ensure_future(database.write(put("a")))
    assert await asyncio.to_thread(committing.wait, 20)
    await asyncio.sleep(0.05)
    assert not writing.done()
    go_on.set()
    assert await writing == "a"


async def test_who_goes_away_while_waiting_does_no_harm(database: Database) -> None:
    """A client that disconnects affects neither the others of its group nor the writer thread."""
    async with busy(database):
        gone = asyncio.ensure_future(database.write(put("gone")))
        also_gone = asyncio.ensure_future(database.write(put_and_stumble("also gone")))
        stays = asyncio.ensure_future(database.write(put("stays")))
        await asyncio.sleep(0.02)
        gone.cancel()
        also_gone.cancel()
    async with asyncio.timeout(20):
        assert await stays == "stays"
    for left in await asyncio.gather(gone, also_gone, return_exceptions=True):
        assert isinstance(left, str | Stumble | asyncio.CancelledError)  # on PostgreSQL it may have been done before
    assert await database.write(put("next")) == "next"


async def test_an_event_loop_that_is_gone_does_no_harm(database: Database) -> None:
    """The writer goes on for everybody else after an event loop is gone with results outstanding."""

    def abandon() -> None:
        async def ask() -> None:
            abandoned = asyncio.ensure_future(database.write(put("abandoned")))
            await asyncio.sleep(0)
            assert not abandoned.done()

        asyncio.run(ask())

    async with busy(database):
        await asyncio.to_thread(abandon)
    assert await database.write(put("next")) == "next"


async def test_closing_finishes_what_waits(database_url: str) -> None:
    """At shutdown, writes requested before are still committed and answered."""
    database = Database(database_url)
    async with busy(database):
        waiting = [asyncio.ensure_future(database.write(put(str(n)))) for n in range(5)]
    await asyncio.to_thread(database.close)
    assert await asyncio.gather(*waiting) == ["0", "1", "2", "3", "4"]


# --- SQLite -----------------------------------------------------------------------------------------------------------


async def test_parallel_writes_share_a_commit(sqlite_database: Database) -> None:
    """Writes that wait while the writer is busy go to disk together: thirty writes, one commit."""
    said: list[str] = []

    def listen(tx: Transaction) -> None:
        driver: Any = tx._connection.connection.driver_connection
        driver.set_trace_callback(said.append)

    await sqlite_database.write(listen)
    said.clear()
    async with busy(sqlite_database):
        writing = [asyncio.ensure_future(sqlite_database.write(put(str(n)))) for n in range(30)]
        await asyncio.sleep(0.02)
    await asyncio.gather(*writing)
    assert said.count("COMMIT") == 2  # of the one that kept the writer busy, and of the thirty
    assert len(await keys_of(sqlite_database)) == 30


async def test_the_writer_begins_immediate_and_isolates_each_function(sqlite_database: Database) -> None:
    """The write lock is taken first, so that no transaction fails in upgrading its lock; then each has a savepoint."""
    said: list[str] = []

    def listen(tx: Transaction) -> None:
        driver: Any = tx._connection.connection.driver_connection
        driver.set_trace_callback(said.append)

    await sqlite_database.write(listen)
    said.clear()
    await sqlite_database.write(say("SELECT 1"))
    assert said == ["BEGIN IMMEDIATE", "SAVEPOINT job", "SELECT 1", "RELEASE job", "COMMIT"]


async def test_a_power_cut_loses_nothing(sqlite_database: Database) -> None:
    """WAL with synchronous=FULL, so each commit is on disk before anybody is answered; foreign keys are enforced."""
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000, "query_only": 0}
    found = {name: (await sqlite_database.write(say(f"PRAGMA {name}")))[0][0] for name in wanted}
    assert found == wanted
    assert await sqlite_database.read(say("PRAGMA query_only")) == [(1,)]


async def test_a_locked_file_is_unavailable_and_then_works_again(
    sqlite_database: Database, sqlite_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Another program's lock, such as a backup's, gives the whole group a 503; none of it is stored."""
    await sqlite_database.write(say("PRAGMA busy_timeout=100"))
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        answers = await asyncio.gather(*(sqlite_database.write(put(str(n))) for n in range(5)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 5
        other.execute("ROLLBACK")
    finally:
        other.close()
    assert await sqlite_database.write(put("after")) == "after"
    assert await keys_of(sqlite_database) == {"after"}
    assert "Traceback" not in capfd.readouterr().err


async def test_a_read_only_file_is_unavailable_and_then_works_again(sqlite_database: Database) -> None:
    """A mount that became read-only after a disk error gives 503; once it is repaired, writes go on."""
    await sqlite_database.write(say("PRAGMA query_only=ON"))
    with pytest.raises(DatabaseUnavailable, match="readonly"):
        await sqlite_database.write(put("lost"))
    mended = sqlite_database.engine.raw_connection()
    mended.cursor().execute("PRAGMA query_only=OFF")
    mended.close()
    assert await sqlite_database.write(put("kept")) == "kept"
    assert await keys_of(sqlite_database) == {"kept"}


async def test_a_full_disk_is_unavailable_and_then_works_again(sqlite_database: Database) -> None:
    """Nothing of a write that did not fit is stored, and the writer survives it."""
    await sqlite_database.write(put("before"))
    pages = (await sqlite_database.write(say("PRAGMA page_count")))[0][0]
    await sqlite_database.write(say(f"PRAGMA max_page_count={pages}"))

    def much(tx: Transaction) -> None:
        for number in range(2000):
            put(f"{number} {'x' * 500}")(tx)

    with pytest.raises(DatabaseUnavailable):
        await sqlite_database.write(much)
    assert await keys_of(sqlite_database) == {"before"}
    await sqlite_database.write(say("PRAGMA max_page_count=1000000"))
    await sqlite_database.write(much)
    assert len(await keys_of(sqlite_database)) == 2001


async def test_a_full_disk_says_so_to_the_group_or_keeps_what_it_promised(sqlite_database: Database) -> None:
    """What was reported to a group as success is stored; the rest gets 503."""
    pages = (await sqlite_database.write(say("PRAGMA page_count")))[0][0]
    await sqlite_database.write(say(f"PRAGMA max_page_count={pages + 2}"))
    works = [put(f"{number} {'x' * 900}") for number in range(40)]
    async with busy(sqlite_database):
        asked = asyncio.gather(*(sqlite_database.write(work) for work in works), return_exceptions=True)
    answers = await asked
    kept = {answer for answer in answers if isinstance(answer, str)}
    assert all(isinstance(answer, str | DatabaseUnavailable) for answer in answers)
    assert len(kept) < 40
    await sqlite_database.write(say("PRAGMA max_page_count=1000000"))
    assert await keys_of(sqlite_database) == kept


async def test_a_failed_commit_is_unavailable_for_the_whole_group(sqlite_database: Database) -> None:
    """If the COMMIT itself fails, the whole group gets 503, and nothing of it is stored."""

    def orphan(tx: Transaction) -> None:
        tx._cursor.execute("PRAGMA defer_foreign_keys=ON")  # the constraint is violated now and checked at the COMMIT
        tx._cursor.execute("INSERT INTO entitlement VALUES ('nobody', 'r', 's', 0)")

    async with busy(sqlite_database):
        asked = asyncio.gather(
            sqlite_database.write(put("a")),
            sqlite_database.write(orphan),
            sqlite_database.write(put("b")),
            return_exceptions=True,
        )
    assert [type(answer) for answer in await asked] == [DatabaseUnavailable] * 3
    assert await sqlite_database.write(put("after")) == "after"
    assert await keys_of(sqlite_database) == {"after"}


async def test_two_processes_on_one_file_wait_for_each_other(
    sqlite_url: str, opened: Callable[[str], Database]
) -> None:
    """The command line works while a server runs: neither gets "database is locked"."""
    server, command = opened(sqlite_url), opened(sqlite_url)
    await asyncio.gather(
        at_once(server, (put(f"server {n}") for n in range(100))),
        at_once(command, (put(f"command {n}") for n in range(100))),
    )
    assert len(await keys_of(server)) == 200


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


async def test_a_serialization_failure_is_run_again(postgres_database: Database) -> None:
    """PostgreSQL asks for the transaction to be repeated, and functions are written to be repeatable."""
    tries: list[int] = []

    def fails_twice(tx: Transaction) -> int:
        tries.append(1)
        put(f"try {len(tries)}")(tx)
        if len(tries) < 3:
            tx._cursor.execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")
        return len(tries)

    assert await postgres_database.write(fails_twice) == 3
    assert await keys_of(postgres_database) == {"try 3"}


async def test_a_deadlock_is_run_again(postgres_database: Database) -> None:
    """Two transactions that lock the same rows in opposite order both succeed."""
    await at_once(postgres_database, [put("a"), put("b")])
    both_hold_one = threading.Barrier(2)

    def crosswise(first: str, second: str) -> Work[int]:
        tries: list[int] = []

        def work(tx: Transaction) -> int:
            tries.append(1)
            tx._cursor.execute("SET LOCAL deadlock_timeout = '20ms'")
            tx._cursor.execute("UPDATE limit_window SET count = count + 1 WHERE key = %s", (first,))
            if len(tries) == 1:
                both_hold_one.wait(20)
            tx._cursor.execute("UPDATE limit_window SET count = count + 1 WHERE key = %s", (second,))
            return len(tries)

        return work

    tries = await at_once(postgres_database, [crosswise("a", "b"), crosswise("b", "a")])
    assert sorted(tries) in ([1, 2], [2, 2])  # on a busy machine both can get the deadlock error
    assert {row.count for row in await rows(postgres_database, LimitWindow)} == {3}


async def test_what_fails_again_and_again_is_unavailable(postgres_database: Database) -> None:
    """After five tries the caller is told that the database is unavailable; nobody waits for ever."""
    tries: list[int] = []

    def fails(tx: Transaction) -> None:
        tries.append(1)
        tx._cursor.execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$")

    with pytest.raises(DatabaseUnavailable):
        await postgres_database.write(fails)
    assert len(tries) == 5


async def test_a_pool_without_a_free_connection_is_unavailable(postgres_database: Database) -> None:
    """A caller who waits for one in vain gets 503; once one is returned, all goes on."""
    pool: Any = postgres_database.engine.pool
    pool._timeout = 0.05
    with contextlib.ExitStack() as taken:
        for _ in range(pool.size()):
            taken.enter_context(postgres_database.engine.connect())
        with pytest.raises(DatabaseUnavailable):
            await postgres_database.write(put("lost"))
        with pytest.raises(DatabaseUnavailable):
            await postgres_database.ping()
    assert await postgres_database.write(put("kept")) == "kept"
    assert await keys_of(postgres_database) == {"kept"}


async def test_a_restarted_server_is_found_again(
    postgres: Postgres, postgres_url: str, postgres_database: Database
) -> None:
    """Dead connections are noticed once, at worst with a 503; then new ones are opened."""
    all_at_work = threading.Barrier(8)
    await at_once(postgres_database, [lambda tx: all_at_work.wait(20)] * 8)
    assert postgres.disconnect(postgres_url) == 8
    failures = 0
    for number in range(10):
        try:
            await postgres_database.write(put(str(number)))
        except DatabaseUnavailable:
            failures += 1
    assert failures <= 1
    assert len(await keys_of(postgres_database)) == 10 - failures


async def test_a_server_that_is_not_there_is_unavailable(
    opened: Callable[[str], Database], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither read nor write lets the driver's own message out."""
    nowhere = opened(f"postgresql+psycopg://gatepost:hunter2@/gatepost?host={tmp_path_factory.mktemp('nowhere')}")
    for asked in (nowhere.read(say("SELECT 1")), nowhere.write(say("SELECT 1"))):
        with pytest.raises(DatabaseUnavailable) as caught:
            await asked
        assert "hunter2" not in str(caught.value)


async def test_a_standby_is_unavailable(postgres: Postgres, opened: Callable[[str], Database]) -> None:
    """A failover that leaves this server on a read-only database gives 503, not 500."""
    url = postgres.migrated()
    standby = opened(f"{url}&options=-c%20default_transaction_read_only%3Don")
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        await standby.write(put("lost"))
    assert await keys_of(standby) == set()


async def test_transactions_run_beside_each_other(postgres_database: Database) -> None:
    """On PostgreSQL eight functions run their transactions at the same time."""
    all_inside = threading.Barrier(8)
    await at_once(postgres_database, [lambda _tx: all_inside.wait(20)] * 8)


async def test_an_account_of_a_session_can_be_used_after_the_commit(database: Database) -> None:
    """The objects a function returns are fully loaded, so they do not need the closed session."""
    account_id = await person(database, "alice@example.com")
    found = await rows(database, models.Account)
    assert [(row.id, row.email) for row in found] == [(account_id, "alice@example.com")]
    assert sqlalchemy.inspect(found[0]).detached
