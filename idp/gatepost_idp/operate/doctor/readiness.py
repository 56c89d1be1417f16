"""The cheap inside checks for METRICS_ADDRESS: a running server asks itself, once a minute at the most."""

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
    """Findings of this server, kept for a minute: whoever asks often costs nothing."""

    def __init__(self, settings: Settings, database: Database, now: Clock) -> None:
        self._settings = settings
        self._database = database
        self._now = now
        self._kept: tuple[Finding, ...] = ()
        self._until = now()
        self._asking = asyncio.Lock()

    async def findings(self) -> tuple[Finding, ...]:
        """What the inside checks find, the mail server's aside: what keeps mail back is told beside."""
        async with self._asking:
            if self._now() >= self._until:
                installation = Installation(lambda: self._settings, self._now, database=self._database)
                self._kept = tuple([f async for outcome in examine(CHEAP, installation) for f in outcome.findings])
                self._until = self._now() + KEPT
            return self._kept
