"""Background tasks: runs each for ever, logging and retrying failures."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

import structlog

from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock
from gatepost_idp.store import idle_accounts, purge, refresh_tokens
from gatepost_idp.transaction import DatabaseUnavailable

log = structlog.get_logger("gatepost.background")

START_SECONDS = 60.0
AFTER_FAILURE_SECONDS = 1.0
BETWEEN_BATCHES_SECONDS = 0.05


async def steadily(name: str, work: Callable[[], Awaitable[None]], pause: float) -> None:
    """Runs ``work`` until cancelled, with ``pause`` seconds in between; failures are logged and retried."""
    while True:
        try:
            await work()
        except DatabaseUnavailable as problem:
            log.error("chore_waits", chore=name, reason=str(problem))  # noqa: TRY400 (no trace: the reason says it)
            await asyncio.sleep(AFTER_FAILURE_SECONDS)
        except Exception:
            log.exception("chore_failed", chore=name)
            await asyncio.sleep(AFTER_FAILURE_SECONDS)
        await asyncio.sleep(pause)


async def before_serving(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Runs ``work``; retries for START_SECONDS while the database is unavailable, as when many processes start."""
    ends = asyncio.get_running_loop().time() + START_SECONDS
    while True:
        try:
            return await work()
        except DatabaseUnavailable as problem:
            if asyncio.get_running_loop().time() > ends:
                raise
            log.warning("start_waits", waits_for=name, reason=str(problem))
            await asyncio.sleep(AFTER_FAILURE_SECONDS)


async def erase_salts(database: Database, grace: timedelta, clock: Clock) -> None:
    """Erases the salts of spent refresh tokens whose grace period is over."""
    await database.write(partial(refresh_tokens.erase_salts, grace=grace, now=clock()))


class Purge:
    """Deletes what has ended, batch by batch, with pauses in which requests have the database to themselves."""

    def __init__(self, database: Database, clock: Clock, account_idle: timedelta | None = None) -> None:
        """``account_idle``: how long an unused account stays; None means for ever."""
        self._database = database
        self._clock = clock
        self._account_idle = account_idle
        self._after = self._after_account = ""

    async def work(self) -> None:
        """One round: everything that has ended by now, at least one page of clients, and one page of accounts.

        What ends during a round is for the next one, or under load the first step would never finish.
        """
        now = self._clock()
        for name, step in purge.STEPS.items():
            gone = 0
            while batch := await self._batch(step, now):
                gone += batch
                await asyncio.sleep(BETWEEN_BATCHES_SECONDS)
            if gone:
                log.info("purged", what=name, rows=gone)
        await self._clients()
        if self._account_idle is not None:
            await self._accounts(self._account_idle)

    async def _batch(self, step: purge.Step, now: datetime) -> int:
        return await self._database.write(lambda tx: step(tx, now))

    async def _clients(self) -> None:
        """One page per round, more only while something is deleted: most clients are in use."""
        gone = 1
        while gone:
            page = partial(purge.unused_registrations, after=self._after, now=self._clock())
            gone, self._after = await self._database.write(page)
            if gone:
                log.info("purged", what="registrations", rows=gone)
            await asyncio.sleep(BETWEEN_BATCHES_SECONDS)

    async def _accounts(self, idle: timedelta) -> None:
        """One page per round: the limit is in days, so there is no hurry."""
        now = self._clock()
        page = partial(idle_accounts.delete_idle, after=self._after_account, idle_since=now - idle, now=now)
        gone, self._after_account = await self._database.write(page)
        if gone:
            log.info("purged", what="accounts", rows=gone)
