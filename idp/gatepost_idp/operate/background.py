"""Chores beside the requests: each goes on for ever, since nobody would miss one that died."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import structlog

from gatepost_idp.database import Database, DatabaseUnavailable
from gatepost_idp.protocol import Clock
from gatepost_idp.store import grants

log = structlog.get_logger("gatepost.background")

AFTER_FAILURE_SECONDS = 1.0


async def steadily(name: str, work: Callable[[], Awaitable[None]], pause: float) -> None:
    """Runs ``work`` until cancelled, ``pause`` seconds apart; a failure is logged, and it is tried again."""
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


async def erase_salts(database: Database, grace: timedelta, clock: Clock) -> None:
    """Erases the salts of spent refresh tokens whose grace is over."""
    await database.write(partial(grants.erase_salts, grace=grace, now=clock()))
