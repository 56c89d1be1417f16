"""Chores beside the requests: each goes on, since nobody would miss one that died."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger("gatepost_resource.chores")

AFTER_FAILURE_SECONDS = 1.0


async def steadily(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Runs ``work`` until it is done or cancelled; what it fails with is logged, and it is begun again."""
    while True:
        try:
            return await work()
        except Exception:
            log.exception("chore_failed", chore=name)
            await asyncio.sleep(AFTER_FAILURE_SECONDS)
