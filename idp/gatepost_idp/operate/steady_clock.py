"""A clock whose steps back revive nothing: what had expired by the latest time seen stays expired."""

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
"""Only a step back by more than this counts; smaller ones are normal clock corrections."""
SKEW = timedelta(seconds=60)
"""How far another machine's clock may be ahead, when a process starts and reads the latest time seen."""
NOTED_EACH = timedelta(seconds=10)


class SteadyClock:
    """The system's clock; a step back takes effect only once the database has expired what had expired before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest = clock()

    def __call__(self) -> datetime:
        """The current time; after an unhandled step back, the latest time seen."""
        now = self._clock()
        if now < self._latest - STEP:
            return self._latest
        self._latest = max(now, self._latest)
        return now

    def set_back(self) -> tuple[datetime, datetime] | None:
        """The times before and after an unhandled step back; None if there was none."""
        now = self._clock()
        return (self._latest, now) if now < self._latest - STEP else None

    def agree(self, now: datetime) -> None:
        """Accepts the step back: the clock continues from ``now``."""
        self._latest = now


class TimeSeen:
    """Stores the latest time seen in the database, for the next start, and expires there what a step would revive.

    A high-water mark alone would suffice for that, but after a clock was an hour ahead, time would stand still for an
    hour.
    """

    def __init__(self, database: Database, clock: SteadyClock) -> None:
        self._database = database
        self._clock = clock
        self._noted: datetime | None = None
        self._stepped: tuple[datetime, datetime] | None = None

    async def load(self) -> None:
        """Checks, before the first request, whether the clock was set back while nothing ran."""
        now = self._clock()
        await self._database.write(partial(self._begin, now=now))

    async def work(self) -> None:
        """One check of the clock; also stores the time every NOTED_EACH."""
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
