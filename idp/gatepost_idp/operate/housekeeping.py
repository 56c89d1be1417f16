"""Small chores in the background: erases the salts of spent refresh tokens once their grace is over."""

import asyncio
from datetime import timedelta
from functools import partial

import structlog

from gatepost_idp.database import Database, DatabaseUnavailable
from gatepost_idp.protocol import Clock
from gatepost_idp.settings import Settings
from gatepost_idp.store import grants

log = structlog.get_logger("gatepost.housekeeping")
EVERY_SECONDS = 10.0


async def keep_house(database: Database, settings: Settings, clock: Clock) -> None:
    """Works until cancelled."""
    grace = timedelta(seconds=settings.refresh_grace_seconds)
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        erase = partial(grants.erase_salts, grace=grace, now=clock())
        try:
            await database.write(erase)
        except DatabaseUnavailable as problem:
            log.error("housekeeping_waits", reason=str(problem))  # noqa: TRY400 (no trace: the reason says it)
