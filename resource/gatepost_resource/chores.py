"""Background tasks, restarted when they fail, since nobody would notice one that had died."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger("gatepost_resource.chores")

AFTER_FAILURE_SECONDS = 1.0


async def steadily(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Runs ``work`` until it returns or is cancelled; logs a failure and starts it again after a pause."""
    while True:
        try:
            return await work()
        except Exception:
            log.exception("chore_failed", chore=name)
            await asyncio.sleep(AFTER_FAILURE_SECONDS)
