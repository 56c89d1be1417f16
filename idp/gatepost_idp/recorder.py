"""The flight recorder: keeps every authorization's steps for a day, without delaying any request."""

import asyncio
import json
import secrets
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog

from gatepost_idp import traces
from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock, milliseconds
from gatepost_idp.store import traces as store
from gatepost_idp.store.traces import Step
from gatepost_idp.traces import Trace
from gatepost_idp.transaction import DatabaseUnavailable

log = structlog.get_logger("gatepost.recorder")

HELD = 2_000
"""The most steps in memory while the database is unavailable: some 2 MB, 6 MB at worst."""
KEPT_ROWS = 50_000
"""The most steps in the database, some 40 MB; beyond that, the oldest are deleted."""
BATCH = 50
WRITE_SECONDS = 1.0
TRIM_AFTER = timedelta(minutes=1)
TRIM_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class _Noted:
    at: int
    trace_id: str
    client_id: str
    network: str
    step: str
    is_refused: bool
    detail: dict[str, Any]


class Recorder:
    """Requests append steps in memory; ``work`` writes them to the database, one batch per transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: deque[_Noted] = deque(maxlen=HELD)
        self._process = secrets.token_hex(3)
        self._written = 0
        self._untrimmed = TRIM_ROWS
        self._trimmed_at: datetime | None = None
        self.dropped = 0
        """Steps lost since this was last logged, because more came than the database could take."""

    def note(self, trace: Trace, network: str, status: int, ms: float = 0) -> None:
        """Queues a request's step, in microseconds; drops the oldest if the queue is full.

        The step's time is when the request arrived: ``ms`` milliseconds ago.
        """
        self._add(trace, network, trace.detail(status), is_refused=status >= 400 or bool(trace.reason), ms=ms)

    def note_mail(self, trace_id: str, outcome: str, answer: str) -> None:
        """Queues a step for the outcome of a mail, which is sent in the background."""
        trace, sent = Trace(trace_id, "mail"), outcome == "accepted"
        trace.tell(outcome=outcome)
        if outcome == "withheld":
            trace.refuse("no mail was sent", "an address that may not sign in", f"one that {_WHO_MAY} let in")
        elif not sent:
            trace.refuse(f"the mail is {outcome}", answer, "a mail server that accepts it: gatepost mail test ADDRESS")
        self._add(trace, "", trace.detail(0), is_refused=not sent)

    async def work(self) -> None:
        """Writes the queued steps and trims the table; raises DatabaseUnavailable without losing a step."""
        left = len(self._waiting)  # not what comes meanwhile: during a flood this would never end or trim
        while left > 0:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, left))]
            left -= len(batch)
            try:
                # Shielded, so that a cancellation here neither loses these steps nor writes them twice.
                await asyncio.shield(self._database.write(partial(store.add, steps=[self._row(n) for n in batch])))
            except DatabaseUnavailable:
                self._put_back(batch)
                raise
            self._untrimmed += len(batch)
        await self._trim()

    async def close(self) -> None:
        """Writes what is left; if the database is unavailable, logs the loss instead of blocking the stop."""
        try:
            await self.work()
        except DatabaseUnavailable as problem:
            log.warning("trace_steps_lost", steps=len(self._waiting), reason=str(problem))

    def _add(self, trace: Trace, network: str, detail: dict[str, Any], is_refused: bool, ms: float = 0) -> None:
        if len(self._waiting) == HELD:
            self.dropped += 1
        client_id = trace.client_id[:_CLIENT_ID]
        at = milliseconds(self._clock()) - round(ms)
        self._waiting.append(_Noted(at, trace.id, client_id, network, trace.step, is_refused, detail))

    def _put_back(self, batch: list[_Noted]) -> None:
        both = [*batch, *self._waiting]
        self.dropped += max(0, len(both) - HELD)
        self._waiting = deque(both, maxlen=HELD)

    async def _trim(self) -> None:
        now = self._clock()
        is_due = self._trimmed_at is None or now - self._trimmed_at >= TRIM_AFTER
        if not is_due and self._untrimmed < TRIM_ROWS:
            return
        await self._database.write(partial(store.trim, most=KEPT_ROWS, now=now))
        self._untrimmed, self._trimmed_at = 0, now
        if self.dropped:
            log.warning("trace_steps_dropped", steps=self.dropped)
            self.dropped = 0

    def _row(self, noted: _Noted) -> Step:
        """The row of a step; its id sorts by time, and within a millisecond by sequence."""
        self._written += 1
        return Step(
            id=f"{noted.at:012x}{self._written % 0x1000000:06x}{self._process}",
            at=noted.at,
            trace_id=noted.trace_id,
            client_id=traces.plain(noted.client_id),
            network=noted.network,
            step=noted.step,
            outcome="refused" if noted.is_refused else "ok",
            detail=json.dumps(_plain(noted.detail)),
        )


_CLIENT_ID = 200
_WHO_MAY = "SIGNUP, EMAIL_ALLOW, EMAIL_DENY and gatepost users"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    return traces.plain(value) if isinstance(value, str) else value
