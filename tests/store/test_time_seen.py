"""The latest time seen is stored, and what a clock set back would revive is ended."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlmodel import SQLModel

from gatepost_idp import models
from gatepost_idp.database import Database
from gatepost_idp.operate.steady_clock import SteadyClock, TimeSeen
from gatepost_idp.protocol import milliseconds
from gatepost_idp.store import time_seen
from gatepost_idp.store.accounts import IDLE_MS
from tests.store.parts import NOW, rows
from tests.store.test_purge import ALICE, fill, somebody

HOUR = timedelta(hours=1)
BACK, UNTIL = milliseconds(NOW - HOUR), milliseconds(NOW)
ENDS: dict[str, tuple[type[SQLModel], str, dict[str, Any]]] = {
    "requests": (models.AuthorizationRequest, "expires_at", {}),
    "codes": (models.AuthorizationCode, "expires_at", {"account_id": ALICE}),
    "sessions": (models.BrowserSession, "expires_at", {"account_id": ALICE}),
    "consents": (models.Consent, "expires_at", {"account_id": ALICE, "client_id": str}),
    "personal tokens": (models.PersonalToken, "expires_at", {"account_id": ALICE}),
    "attempts": (models.SignInAttempt, "expires_at", {"request_id": "000000000"}),
    "connections": (models.AuthorizationGrant, "ends_at", {"account_id": ALICE}),
    "refresh tokens": (models.RefreshToken, "expires_at", {"grant_id": "000000000"}),
}


@pytest.mark.parametrize("what", ENDS)
async def test_what_had_ended_has_ended_when_the_clock_goes_back(database: Database, what: str) -> None:
    """To the millisecond; what was still valid stays so, and what had ended is not changed."""
    table, column, values = ENDS[what]
    await somebody(database)
    needed: tuple[type[SQLModel], ...] = (models.AuthorizationRequest, models.AuthorizationGrant)
    for parent in needed:
        if parent is not table:
            await fill(database, parent, 1, account_id=ALICE)
    instants = (BACK - 5, BACK, BACK + 1, UNTIL, UNTIL + 1)
    await fill(database, table, len(instants), **values, **{column: instants.__getitem__})
    await database.write(partial(time_seen.note, now=NOW))
    await database.write(partial(time_seen.go_back, until=NOW, now=NOW - HOUR))
    left = sorted(getattr(row, column) for row in await rows(database, table))
    assert left == [BACK - 5, BACK, BACK, BACK, UNTIL + 1]
    assert await database.read(time_seen.latest) == NOW - HOUR


async def test_a_session_that_idled_out_stays_so(database: Database) -> None:
    """A session's end is computed from its last use."""
    await somebody(database)
    seen = (BACK - IDLE_MS, BACK - IDLE_MS + 1, UNTIL - IDLE_MS, UNTIL - IDLE_MS + 1)
    far = UNTIL + 10 * IDLE_MS
    await fill(database, models.BrowserSession, 4, account_id=ALICE, seen_at=seen.__getitem__, expires_at=far)
    await database.write(partial(time_seen.go_back, until=NOW, now=NOW - HOUR))
    ended = {row.seen_at: row.ended_at for row in await rows(database, models.BrowserSession)}
    assert ended == {seen[0]: None, seen[1]: BACK, seen[2]: BACK, seen[3]: None}


WAITS: dict[str, tuple[type[SQLModel], str]] = {
    "a mail": (models.Outbox, "next_at"),
    "a mail that a process died with": (models.Outbox, "lease_until"),
    "another mail": (models.SignInAttempt, "resend_at"),
    "a limit": (models.LimitWindow, "expires_at"),
    "a chore": (models.Lease, "until"),
}


@pytest.mark.parametrize("what", WAITS)
async def test_nobody_waits_longer_when_the_clock_goes_back(database: Database, what: str) -> None:
    """What was due stays due, and what was due in a minute is due in a minute, not in an hour and a minute."""
    table, column = WAITS[what]
    await fill(database, models.AuthorizationRequest, 1)
    parent = {"request_id": "000000000"} if table is models.SignInAttempt else {}
    due = (BACK - 5, BACK + 5, UNTIL, UNTIL + 60_000)
    await fill(database, table, len(due), **parent, **{column: due.__getitem__})
    await database.write(partial(time_seen.go_back, until=NOW, now=NOW - HOUR))
    assert sorted(getattr(row, column) for row in await rows(database, table)) == [BACK - 5, BACK, BACK, BACK + 60_000]


async def test_who_wrote_the_old_time_afterwards_waits_no_longer(database: Database) -> None:
    """A mail queued after the step by a request that read the clock before it goes out at the next poll."""
    present = NOW
    clock = SteadyClock(lambda: present)
    seen = TimeSeen(database, clock)
    await seen.load()
    read_before = clock()
    present = NOW - HOUR
    await seen.work()
    await fill(database, models.Outbox, 2, next_at=(milliseconds(read_before), BACK + 60_000).__getitem__)
    await seen.work()
    assert sorted(row.next_at for row in await rows(database, models.Outbox)) == [BACK, BACK + 60_000]


async def test_time_comes_on(database: Database) -> None:
    """A process whose clock is behind does not set back the time that another one saw."""
    assert await database.read(time_seen.latest) is None
    for now, known in ((NOW, NOW), (NOW - HOUR, NOW), (NOW + HOUR, NOW + HOUR)):
        await database.write(partial(time_seen.note, now=now))
        assert await database.read(time_seen.latest) == known
