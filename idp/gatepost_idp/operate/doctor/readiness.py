"""The cheap inside checks for METRICS_ADDRESS, run by the server itself, at most once a minute."""

import asyncio
from datetime import timedelta

from gatepost_idp.database import Database
from gatepost_idp.operate.doctor.examination import examine
from gatepost_idp.operate.doctor.finding import Finding
from gatepost_idp.operate.doctor.inside import CHEAP
from gatepost_idp.operate.doctor.inside.installation import Installation
from gatepost_idp.protocol import Clock
from gatepost_idp.settings import Settings

KEPT = timedelta(minutes=1)


class Readiness:
    """This server's findings, cached for a minute, so that asking often costs nothing."""

    def __init__(self, settings: Settings, database: Database, now: Clock) -> None:
        self._settings = settings
        self._database = database
        self._now = now
        self._kept: tuple[Finding, ...] = ()
        self._until = now()
        self._asking = asyncio.Lock()

    async def findings(self) -> tuple[Finding, ...]:
        """The findings of the cheap inside checks; problems with mail are reported separately."""
        async with self._asking:
            if self._now() >= self._until:
                installation = Installation(lambda: self._settings, self._now, database=self._database)
                self._kept = tuple([f async for outcome in examine(CHEAP, installation) for f in outcome.findings])
                self._until = self._now() + KEPT
            return self._kept
