"""A clock that was set back revives nothing: what had ended by the latest time that was seen has ended for good."""

from datetime import datetime, timedelta
from functools import partial

import structlog

from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock
from gatepost_idp.store import time_seen
from gatepost_idp.transaction import Transaction

log = structlog.get_logger("gatepost.clock")

LOOK_SECONDS = 1.0
STEP = timedelta(seconds=1)
"""A step back by more than this is one; less is what keeps a clock right."""
SKEW = timedelta(seconds=60)
"""By how much another machine's clock may be ahead, when a process starts and asks what was seen before."""
NOTED_EACH = timedelta(seconds=10)


class SteadyClock:
    """The system's clock; a step back shows only once the database has ended what had ended before it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest = clock()

    def __call__(self) -> datetime:
        """The present."""
        now = self._clock()
        if now < self._latest - STEP:
            return self._latest
        self._latest = max(now, self._latest)
        return now

    def set_back(self) -> tuple[datetime, datetime] | None:
        """From when to when the clock went back, if it did and nobody agreed to it yet."""
        now = self._clock()
        return (self._latest, now) if now < self._latest - STEP else None

    def agree(self, now: datetime) -> None:
        """Goes on from there."""
        self._latest = now


class TimeSeen:
    """Keeps in the database how far time had come, for the next start, and ends there what a step back would revive.

    A high-water mark alone would do for that, but then a clock that was once an hour ahead would have to be waited for.
    """

    def __init__(self, database: Database, clock: SteadyClock) -> None:
        self._database = database
        self._clock = clock
        self._noted: datetime | None = None
        self._stepped: tuple[datetime, datetime] | None = None

    async def load(self) -> None:
        """At the start, before any request: the clock may have gone back while nothing ran."""
        now = self._clock()
        await self._database.write(partial(self._begin, now=now))

    async def work(self) -> None:
        """One look."""
        if self._stepped:
            until, now = self._stepped
            await self._database.write(partial(time_seen.settle, until=until, now=now))
            self._stepped = None
        if found := self._clock.set_back():
            until, now = self._stepped = found
            await self._database.write(partial(time_seen.go_back, until=until, now=now))
            self._clock.agree(now)
            self._noted = now
            log.error("clock_set_back", seconds=round((until - now).total_seconds()))
        now = self._clock()
        if self._noted is None or now - self._noted >= NOTED_EACH:
            await self._database.write(partial(time_seen.note, now=now))
            self._noted = now

    def _begin(self, tx: Transaction, now: datetime) -> None:
        until = time_seen.latest(tx)
        if until is not None and now < until - SKEW:
            time_seen.go_back(tx, until, now)
            log.error("clock_set_back", seconds=round((until - now).total_seconds()))
        time_seen.note(tx, now)
