"""Charts: every event counts once, on its own day, whichever process counts it and whenever."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gatepost_idp.admin.figures import DAYS, Figures
from gatepost_idp.database import Database
from gatepost_idp.store import audit, figures, schema

NOON = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database without events."""
    opened = Database(f"sqlite:///{tmp_path / 'gatepost.db'}")
    schema.upgrade(opened.engine)
    yield opened
    opened.close()


async def happened(database: Database, event: str, at: datetime) -> None:
    await database.write(lambda tx: audit.record(tx, event, at))


async def counted(database: Database, now: datetime) -> dict[str, dict[int, int]]:
    """The charts' figures, by kind and days ago, without zeros."""
    days = await Figures(database, lambda: now).last()
    assert [len(kind.days) for kind in days] == [DAYS] * 4
    assert {day for kind in days for day, _ in kind.days[-1:]} == {now.replace(hour=0, minute=0)}
    return {kind.kind: {(now - day).days: n for day, n in kind.days if n} for kind in days}


async def test_events_count_on_their_day_before_and_after_they_are_stored(database: Database) -> None:
    """First live; the same after the chore has counted once, and twice."""
    for event, ago in (
        ("sign_in", timedelta(minutes=1)), ("sign_in", timedelta(hours=3)), ("sign_in", DAY), ("account.created", DAY),
        ("grant.started", timedelta(hours=13)), ("grant.refreshed", 29 * DAY), ("sign_in.not_me", 2 * DAY),
        ("refused.token", 2 * DAY), ("consent.given", DAY), ("sign_in", 31 * DAY),
    ):  # fmt: skip  # a list of events
        await happened(database, event, NOON - ago)
    expected = {
        "Sign-ups": {1: 1},
        "Sign-ins": {0: 2, 1: 1},
        "Tokens": {0: 0, 1: 1, 29: 1},
        "Refusals": {2: 2},
    }
    expected["Tokens"].pop(0)
    assert await counted(database, NOON) == expected
    for _ in range(2):
        await Figures(database, lambda: NOON).work()
        assert await counted(database, NOON) == expected
    assert await database.read(figures.counted_until) == NOON.replace(minute=0)


async def test_the_hour_that_runs_is_counted_later(database: Database) -> None:
    """An event after the count shows at once, and still counts once when its hour is over."""
    await Figures(database, lambda: NOON).work()
    await happened(database, "sign_in", NOON)
    assert (await counted(database, NOON))["Sign-ins"] == {0: 1}
    later = NOON + timedelta(minutes=40)
    await Figures(database, lambda: later).work()
    assert (await counted(database, later))["Sign-ins"] == {0: 1}
    tomorrow = NOON + DAY
    await Figures(database, lambda: tomorrow).work()
    assert (await counted(database, tomorrow))["Sign-ins"] == {1: 1}


async def test_several_processes_count_once(database: Database) -> None:
    """Even if they count the same hours concurrently."""
    for hours in range(1, 60):
        await happened(database, "sign_in", NOON - timedelta(hours=hours))
    await asyncio.gather(*(Figures(database, lambda: NOON).work() for _ in range(5)))
    await asyncio.gather(*(Figures(database, lambda: NOON).work() for _ in range(5)))
    assert sum((await counted(database, NOON))["Sign-ins"].values()) == 59
