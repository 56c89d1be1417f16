"""The purge: it bounds the tables, keeps what is still valid, and uses only short transactions."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Boolean, LargeBinary, insert
from sqlmodel import SQLModel

from gatepost_idp import models, tokens
from gatepost_idp.database import Database
from gatepost_idp.operate import background
from gatepost_idp.operate.background import Purge
from gatepost_idp.protocol import Refused, milliseconds
from gatepost_idp.store import accounts, audit, purge
from gatepost_idp.store.grants import Granted
from gatepost_idp.store.purge import BATCH, ENDED, FAMILY_ENDED, UNUSED
from gatepost_idp.transaction import Transaction, Work
from tests.store.parts import (
    NOW,
    a_code,
    connection,
    person,
    redeeming,
    refresh_token_of,
    rotating,
    rows,
    the_row,
)

TICK = timedelta(milliseconds=1)
YEAR = timedelta(days=365)
ALICE = "alice"


def filling(table: type[SQLModel], count: int, **values: Any) -> Work[None]:
    """Inserts ``count`` rows; a callable value gets the row's number, a missing one is filled in."""

    def value(column: Any, number: int) -> Any:
        if column.name in values:
            given = values[column.name]
            return given(number) if callable(given) else given
        if column.nullable or isinstance(column.type, Boolean):
            return None if column.nullable else False
        is_key = column.primary_key or column.unique
        if isinstance(column.type, LargeBinary):
            return f"{number:09}".encode() if is_key else b""
        if column.type.python_type is int:
            return 0
        return f"{number:09}" if is_key else ""

    columns = SQLModel.metadata.tables[str(table.__tablename__)].columns
    made = [{column.name: value(column, number) for column in columns} for number in range(count)]

    def work(tx: Transaction) -> None:
        tx._connection.execute(insert(table), made)

    return work


async def fill(database: Database, table: type[SQLModel], count: int, **values: Any) -> None:
    await database.write(filling(table, count, **values))


async def somebody(database: Database) -> None:
    await fill(database, models.Account, 1, id=ALICE)


async def purged(database: Database, now: datetime) -> None:
    """One whole round of the chore, at ``now``."""
    await Purge(database, lambda: now).work()


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the purge's pauses: nobody else waits for the database here."""
    monkeypatch.setattr(background, "BETWEEN_BATCHES_SECONDS", 0)


async def test_what_ends_during_a_round_waits_for_the_next(database: Database) -> None:
    """Under load something always expires: a round that waited for a quiet moment would never reach its later steps."""
    instants = (NOW + number * TICK for number in range(1000))
    await fill(database, models.LimitWindow, 40, expires_at=lambda number: milliseconds(NOW - ENDED) + number)
    await Purge(database, lambda: next(instants)).work()
    assert len(await rows(database, models.LimitWindow)) == 40
    await Purge(database, lambda: next(instants)).work()
    assert 30 < len(await rows(database, models.LimitWindow)) < 40


EXPIRING: dict[str, tuple[type[SQLModel], str, dict[str, Any]]] = {
    "requests": (models.AuthorizationRequest, "expires_at", {}),
    "codes": (models.AuthorizationCode, "expires_at", {"account_id": ALICE}),
    "sessions": (models.BrowserSession, "expires_at", {"account_id": ALICE}),
    "consents": (models.Consent, "expires_at", {"account_id": ALICE, "client_id": str}),
    "limits": (models.LimitWindow, "expires_at", {}),
    "suppressions": (models.MailSuppression, "until", {}),
    "personal_tokens": (models.PersonalToken, "expires_at", {"account_id": ALICE}),
    "sent_mails": (models.Outbox, "next_at", {"state": "sent"}),
    "failed_mails": (models.Outbox, "next_at", {"state": "failed"}),
    "dropped_mails": (models.Outbox, "next_at", {"state": "dropped"}),
}


def test_each_step_is_tried() -> None:
    """A new step needs a test."""
    assert set(purge.STEPS) == {*EXPIRING, "refresh_tokens", "old_families", "ended_families"}


@pytest.mark.parametrize("what", EXPIRING)
async def test_what_expired_goes_after_a_day_and_what_lives_stays(database: Database, what: str) -> None:
    """Exactly to the millisecond; a batch never exceeds its size, and takes the oldest rows."""
    table, instant, values = EXPIRING[what]
    await somebody(database)
    edge = milliseconds(NOW - ENDED)
    await fill(database, table, BATCH + 7, **values, **{instant: lambda number: edge + 5 - number})
    step = purge.STEPS[what]
    assert await database.write(lambda tx: step(tx, NOW)) == BATCH
    assert await database.write(lambda tx: step(tx, NOW)) == 1
    assert await database.write(lambda tx: step(tx, NOW)) == 0
    left = sorted(getattr(row, instant) - edge for row in await rows(database, table))
    assert left == [0, 1, 2, 3, 4, 5]


async def test_a_request_takes_its_attempts_and_their_mails_along(database: Database) -> None:
    """The seeds of links and the recipients' addresses are kept no longer than the request."""
    await fill(database, models.AuthorizationRequest, 4, expires_at=lambda n: milliseconds(NOW) if n else 0)
    await fill(database, models.SignInAttempt, 8, request_id=lambda n: f"{n // 2:09}")
    await fill(database, models.Outbox, 16, attempt_id=lambda n: f"{n // 2:09}", state="queued")
    await purged(database, NOW)
    assert len(await rows(database, models.SignInAttempt)) == 6
    assert len(await rows(database, models.Outbox)) == 12


async def test_a_replayed_code_ends_its_grant_as_long_as_its_row_stays(database: Database) -> None:
    """That is a day; after it the code is unknown, and refused too."""
    code = await a_code(database, await person(database))
    assert isinstance(await database.write(redeeming(code)), Granted)
    await purged(database, NOW + tokens.CODE_LIFE + ENDED)
    replay = await database.write(redeeming(code, NOW + ENDED))
    assert isinstance(replay, Refused)
    assert replay.reason == "code replayed; its grant is ended"
    assert (await the_row(database, models.AuthorizationGrant)).end_reason == "code replayed"
    await purged(database, NOW + tokens.CODE_LIFE + ENDED + TICK)
    assert await rows(database, models.AuthorizationCode) == []


async def test_spent_tokens_of_a_living_family_stay_until_they_expire(database: Database) -> None:
    """A replay of any of them still ends the family: nothing that detects theft is deleted early."""
    first = refresh_token_of(await connection(database))
    await database.write(rotating(first))
    last_day = NOW + timedelta(days=30) - TICK
    await purged(database, last_day)
    assert len(await rows(database, models.RefreshToken)) == 2
    assert isinstance(await database.write(rotating(first, last_day)), Refused)
    assert (await the_row(database, models.AuthorizationGrant)).end_reason == "refresh token replayed"


async def test_a_family_in_use_loses_only_its_expired_tokens(database: Database) -> None:
    """A year of refreshes keeps thirty days of rows, and the connection goes on."""
    token, now = refresh_token_of(await connection(database)), NOW
    for _ in range(9):
        now += timedelta(days=10)
        token = refresh_token_of(await database.write(rotating(token, now, expires_at=now + timedelta(days=30))))
        await purged(database, now)
    assert len(await rows(database, models.RefreshToken)) == 4
    assert (await the_row(database, models.AuthorizationGrant)).ended_at is None
    assert isinstance(await database.write(rotating(token, now)), Granted)


async def test_a_family_that_nobody_uses_ends_with_its_last_token(database: Database) -> None:
    """After thirty days idle it is shown as expired for a week, then it is deleted."""
    await connection(database)
    expired = NOW + timedelta(days=30) + ENDED
    await purged(database, expired)
    assert (await the_row(database, models.AuthorizationGrant)).ended_at is None
    await purged(database, expired + TICK)
    grant = await the_row(database, models.AuthorizationGrant)
    assert (grant.ended_at, grant.end_reason) == (milliseconds(expired + TICK), "expired")
    await purged(database, expired + TICK + FAMILY_ENDED)
    assert len(await rows(database, models.AuthorizationGrant)) == 1
    await purged(database, expired + 2 * TICK + FAMILY_ENDED)
    assert await rows(database, models.AuthorizationGrant) == []


async def test_a_grant_without_refresh_tokens_is_over_when_they_would_be(database: Database) -> None:
    """The grant of a client without refresh tokens does not stay for a year."""
    granted = await connection(database, refresh_token=None, refresh_token_hash=None)
    ends = NOW + timedelta(days=30)
    await purged(database, ends)
    assert (await the_row(database, models.AuthorizationGrant, id=granted.grant_id)).ended_at is None
    await purged(database, ends + TICK)
    assert (await the_row(database, models.AuthorizationGrant)).end_reason == "expired"


async def test_a_connection_ends_after_its_year_however_much_it_is_used(database: Database) -> None:
    """Its end is recorded when it comes, and only once."""
    await somebody(database)
    await fill(database, models.AuthorizationGrant, 3, account_id=ALICE, ends_at=lambda n: milliseconds(NOW) - 1 + n)
    await purged(database, NOW)
    await purged(database, NOW + TICK)
    await purged(database, NOW + 2 * TICK)
    ended = {grant.id: grant.ended_at for grant in await rows(database, models.AuthorizationGrant)}
    assert [ended[f"{n:09}"] for n in range(3)] == [milliseconds(NOW), milliseconds(NOW) + 1, milliseconds(NOW) + 2]


async def test_an_ended_family_is_recognized_for_a_week_and_then_goes_in_batches(database: Database) -> None:
    """Of its thousands of tokens no transaction deletes more than some hundreds; other families stay."""
    await somebody(database)
    ended_at = milliseconds(NOW)
    later = milliseconds(NOW + YEAR)
    await fill(
        database,
        models.AuthorizationGrant,
        2,
        account_id=ALICE,
        ends_at=later,
        ended_at=lambda number: None if number else ended_at,
    )
    await fill(
        database, models.RefreshToken, 2000, grant_id=lambda n: f"{n % 2:09}", expires_at=later, spent_at=ended_at
    )
    assert await database.write(lambda tx: purge.ended_families(tx, NOW + FAMILY_ENDED)) == 0
    batches = []
    while gone := await database.write(lambda tx: purge.ended_families(tx, NOW + FAMILY_ENDED + TICK)):
        batches.append(gone)
    assert batches == [400, 400, 201]
    assert [grant.id for grant in await rows(database, models.AuthorizationGrant)] == [f"{1:09}"]
    assert {token.grant_id for token in await rows(database, models.RefreshToken)} == {f"{1:09}"}
    assert len(await rows(database, models.RefreshToken)) == 1000


async def test_unused_registrations_go_and_none_that_anybody_uses(database: Database) -> None:
    """A registration stays if a grant, consent or request names it, or if it is recent, made by hand, or disabled."""
    await somebody(database)
    old, young = milliseconds(NOW - UNUSED) - 1, milliseconds(NOW - UNUSED)
    kept = ["granted", "agreed", "asked", "young", "banned", "by hand"]
    names = [*kept, "unused", "unused as well"]

    def add(tx: Transaction) -> None:
        for name in names:
            row = models.Client(id=name, origin="registered", registration="{}", created_at=old)
            row.created_at = young if name == "young" else old
            row.disabled_at = old if name == "banned" else None
            row.origin = "manual" if name == "by hand" else "registered"
            tx.session.add(row)

    await database.write(add)
    later = milliseconds(NOW + YEAR)
    await fill(database, models.AuthorizationGrant, 1, account_id=ALICE, client_row="granted", ends_at=later)
    await fill(database, models.Consent, 1, account_id=ALICE, client_row="agreed", expires_at=later)
    await fill(database, models.AuthorizationRequest, 1, client_row="asked", expires_at=later)
    await purged(database, NOW)
    assert sorted(client.id for client in await rows(database, models.Client)) == sorted(kept)


async def test_clients_are_walked_page_by_page(database: Database) -> None:
    """One page per round while there is nothing to delete; the next round goes on there, and after the last, anew."""
    used = 2 * BATCH + 3
    await fill(database, models.Client, used, origin="manual")
    chore = Purge(database, lambda: NOW)
    await chore.work()
    await fill_unused(database, "000000000x")  # behind the first row: passed by already
    await fill_unused(database, f"{used - 1:09}x")
    left = []
    for _ in range(2):
        await chore.work()
        left.append(len(await rows(database, models.Client)) - used)
    assert left == [2, 0]


async def fill_unused(database: Database, client_id: str) -> None:
    await fill(database, models.Client, 1, id=client_id, origin="registered")


async def test_an_invitation_is_used_up_by_signing_up(database: Database) -> None:
    """A person deleted later needs a new invitation; nobody else's invitation is deleted."""

    def invite(tx: Transaction) -> None:
        accounts.invite(tx, "alice@example.com", NOW)
        accounts.invite(tx, "bob@example.com", NOW)

    await database.write(invite)
    await person(database, "alice@example.com")
    assert [left.email_key for left in await rows(database, models.Invitation)] == ["bob@example.com"]


async def test_the_audit_log_outlives_everything(database: Database) -> None:
    """The audit log has its own retention."""
    await database.write(lambda tx: audit.record(tx, "grant.started", NOW))
    await purged(database, NOW + 10 * YEAR)
    assert len(await rows(database, models.AuditEvent)) == 1


async def test_two_replicas_purge_at_once(replicas: tuple[Database, Database]) -> None:
    """Neither waits for the other, neither fails, and everything is deleted once."""
    await somebody(replicas[0])
    await fill(replicas[0], models.AuthorizationGrant, 900, account_id=ALICE, ended_at=1)
    await fill(replicas[0], models.RefreshToken, 2700, grant_id=lambda number: f"{number % 900:09}")
    await fill(replicas[0], models.AuthorizationRequest, 1000)
    chores = [Purge(replica, lambda: NOW).work() for replica in replicas]
    await asyncio.gather(*chores)
    await purged(replicas[0], NOW)  # what one held when the other had finished
    for table in (models.AuthorizationGrant, models.RefreshToken, models.AuthorizationRequest):
        assert await rows(replicas[0], table) == []


async def test_a_batch_passes_over_what_another_replica_holds(postgres_database: Database) -> None:
    """On PostgreSQL a replica skips rows that another has locked."""
    await fill(postgres_database, models.LimitWindow, 3)
    step = purge.STEPS["limits"]
    counts: list[int] = []

    def hold(tx: Transaction) -> None:
        tx._cursor.execute("SELECT key FROM limit_window ORDER BY key LIMIT 1 FOR UPDATE")
        counts.append(
            asyncio.run_coroutine_threadsafe(postgres_database.write(lambda tx: step(tx, NOW)), loop).result(20)
        )

    loop = asyncio.get_running_loop()
    await postgres_database.write(hold)
    assert counts == [2]
    assert len(await rows(postgres_database, models.LimitWindow)) == 1


async def test_requests_go_on_while_a_big_table_is_purged(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """While twenty thousand rows are deleted, a refresh waits for one batch at most, never for the whole purge."""
    monkeypatch.setattr(background, "BETWEEN_BATCHES_SECONDS", 0.001)
    token = refresh_token_of(await connection(database))
    dead = 4000
    account = (await the_row(database, models.Account)).id
    await fill(database, models.AuthorizationGrant, dead, account_id=account, ended_at=1)
    await fill(database, models.RefreshToken, 4 * dead, grant_id=lambda number: f"{number % dead:09}")
    purging = asyncio.ensure_future(purged(database, NOW + timedelta(minutes=1)))
    waits = []
    while not purging.done():
        began = time.perf_counter()
        token = refresh_token_of(await database.write(rotating(token)))
        waits.append(time.perf_counter() - began)
    await purging
    print(f"{len(waits)} refreshes meanwhile, the longest took {max(waits) * 1000:.0f} ms")
    assert len(waits) > 10  # it ran between the batches
    assert max(waits) < 1
    assert len(await rows(database, models.AuthorizationGrant)) == 1
    assert len(await rows(database, models.RefreshToken)) == len(waits) + 1


async def test_nobody_waits_on_a_chore_that_finds_nothing(database: Database) -> None:
    """An empty round is one lookup in each index."""
    asked: list[Callable[..., Any]] = []

    async def count(work: Callable[..., Any]) -> Any:
        asked.append(work)
        return await Database.write(database, work)

    counting = Database.__new__(Database)
    counting.write = count  # type: ignore[method-assign]  # counts the calls
    await Purge(counting, lambda: NOW).work()
    assert len(asked) == len(purge.STEPS) + 1
