"""The audit log in the background: seals it as it grows, verifies the seals, and records refusals without delay."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from gatepost_idp.crypto import SealBroken, SecretKeys
from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock
from gatepost_idp.store import audit, leases
from gatepost_idp.store import audit_seals as seals
from gatepost_idp.store.audit_seals import Batch, Event, Head
from gatepost_idp.transaction import DatabaseUnavailable, Transaction

log = structlog.get_logger("gatepost.audit")

SEAL_SECONDS = 30.0
LEASE = timedelta(seconds=120)
BETWEEN_BATCHES_SECONDS = 0.05
DROP_EVERY = timedelta(days=1)


class Sealer:
    """Seals new events and drops batches that are too old; a lease lets one process at a time do so."""

    def __init__(self, database: Database, secret_keys: SecretKeys, clock: Clock, kept_for: timedelta | None) -> None:
        """``kept_for``: how long events are kept; None means for ever."""
        self._database = database
        self._secret_keys = secret_keys
        self._clock = clock
        self._kept_for = kept_for
        self._me = secrets.token_hex(8)
        self._looked_at: datetime | None = None

    async def load(self) -> None:
        """Reseals the head under the newest SECRET_KEY, so that older keys can be dropped from the list."""
        await self._database.write(self._renew_head)

    async def work(self) -> None:
        """One round, if this process has or gets the lease."""
        more = True
        while more:
            # Stops at the first batch that is not full; later events are for the next round. Otherwise constant load
            # would make tiny batches without end, and nothing would ever be dropped.
            head, more = await self._database.write(partial(self._step, now=self._clock()))
            if head is not None:
                # Also logged, so that a copy of the log elsewhere reveals a truncated or rebuilt chain. Only after the
                # commit: a batch that is rolled back is sealed again, with another digest.
                log.info("audit_sealed", batch=head.number, digest=head.digest.hex())
            await asyncio.sleep(BETWEEN_BATCHES_SECONDS)
        await self._drop()

    def _step(self, tx: Transaction, now: datetime) -> tuple[Head | None, bool]:
        """Seals a batch; returns the new head, None if nothing was sealed, and whether the batch was full."""
        if not leases.take(tx, "audit", self._me, now, LEASE):
            return None, False
        return seals.seal_next(tx, self._secret_keys, now) or (None, False)

    async def _drop(self) -> None:
        now = self._clock()
        if self._kept_for is None or (self._looked_at is not None and now - self._looked_at < DROP_EVERY):
            return
        self._looked_at = now
        through = await self._database.write(partial(self._announce, before=now - self._kept_for, now=now))
        more = through > 0
        while more:
            more = await self._database.write(partial(seals.drop_next, through=through))
            await asyncio.sleep(BETWEEN_BATCHES_SECONDS)

    def _announce(self, tx: Transaction, before: datetime, now: datetime) -> int:
        if not leases.take(tx, "audit", self._me, now, LEASE):
            return 0
        return seals.announce_drop(tx, self._secret_keys, before, now)

    def _renew_head(self, tx: Transaction) -> None:
        try:
            head = seals.head(tx, self._secret_keys)
        except SealBroken as broken:  # left as it is, so that `gatepost audit verify` reports it
            log.error("audit_head_broken", reason=str(broken))  # noqa: TRY400 (no trace: the reason says it)
            return
        if head is not None:
            seals.keep_head(tx, self._secret_keys, head)


@dataclass(frozen=True, slots=True)
class Break:
    """The first difference from what was sealed; ``event`` is an id, empty if the batch itself is wrong."""

    batch: int
    event: str
    words: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a check; ``head`` is worth keeping elsewhere, ``erased`` counts events whose person was deleted."""

    batches: int
    first: int
    sealed: int
    erased: int
    unsealed: int
    head: Head | None
    broken: Break | None


class _Check:
    """Checks the chain batch by batch."""

    def __init__(self, head: Head | None) -> None:
        self._head = head
        self._dropped = head.dropped if head else 0
        self._last: Head | None = None
        self.batches = self.first = self.sealed = self.erased = 0

    @property
    def last(self) -> int:
        """The number of the last batch checked; 0 before the first."""
        return self._last.number if self._last else 0

    def add(self, batch: Batch, events: list[Event]) -> Break | None:
        """Checks the next batch; None if it is whole."""
        broken = self._misplaced(batch) or _differing(batch, events)
        if broken is None:
            self._last = Head(batch.number, batch.digest)
            self.first = self.first or batch.number
            self.batches += 1
            self.sealed += len(events)
            self.erased += sum(event.salt is None for event in events)
        return broken

    def end(self) -> Break | None:
        """What is missing after the last batch, or None."""
        last = max(self.last, self._dropped)
        if self._head is not None and last < self._head.number:
            return Break(last + 1, "", "the batch and all after it are missing")
        if self._head is None and self._last is not None:
            return Break(self.last, "", "the sealed head of the chain is missing")
        return None

    def _misplaced(self, batch: Batch) -> Break | None:
        if self._last is None:
            if batch.number > self._dropped + 1:
                return Break(self._dropped + 1, "", "the batch is missing, and retention did not drop it")
            expected = seals.NOTHING if batch.number == 1 else batch.previous  # its predecessor was dropped
        else:
            if batch.number != self._last.number + 1:
                return Break(self._last.number + 1, "", "the batch is missing")
            expected = self._last.digest
        right = seals.batch_digest(batch.number, batch.sealed_at, expected, batch.leaves)
        kept = self._head.digest if self._head is not None and self._head.number == batch.number else right
        is_whole = (batch.previous, batch.digest, kept) == (expected, right, right)
        return None if is_whole else Break(batch.number, "", "its seal was changed")


def _differing(batch: Batch, events: list[Event]) -> Break | None:
    """The first event that differs from when the batch was sealed, or None."""
    found = [seals.leaf(event, event.who or b"") for event in events]
    for at, event in enumerate(events):
        if at >= len(batch.leaves) or found[at] != batch.leaves[at]:
            if found[at] in batch.leaves[at:]:
                return Break(batch.number, event.id, f"event {at + 1} of the batch is missing, just before this one")
            is_more = at >= len(batch.leaves) or batch.leaves[at] in found
            return Break(batch.number, event.id, "was not there when it was sealed" if is_more else "was changed")
        if not _is_who_it_was(event):
            return Break(batch.number, event.id, "who it was, or from where, was changed")
    if len(events) < len(batch.leaves):
        return Break(batch.number, "", f"event {len(events) + 1} of the batch is missing")
    return None


def _is_who_it_was(event: Event) -> bool:
    if event.salt is None:  # its person was deleted
        return not (event.account_id or event.address or event.network)
    return seals.who_digest(event.salt, event) == event.who


async def verify(database: Database, secret_keys: SecretKeys, told: Callable[[int], None]) -> Verdict:
    """Checks every seal, up to the first break; ``told`` is called with the number of batches checked so far."""
    try:
        head = await database.read(lambda tx: seals.head(tx, secret_keys))
    except SealBroken as broken:
        unreadable = Break(0, "", f"the head of the chain cannot be opened: {broken}")
        return Verdict(0, 0, 0, 0, 0, None, unreadable)
    check = _Check(head)
    broken_at = None
    while broken_at is None:
        batch = await database.read(partial(seals.batch_after, number=check.last))
        if batch is None:
            broken_at = check.end() or await _stray(database)
            break
        broken_at = check.add(batch, await database.read(partial(seals.events_of, number=batch.number)))
        told(check.batches)
    unsealed = await database.read(seals.unsealed)
    return Verdict(check.batches, check.first, check.sealed, check.erased, unsealed, head, broken_at)


async def _stray(database: Database) -> Break | None:
    found = await database.read(seals.stray)
    if found is None:
        return None
    event_id, batch = found
    return Break(batch or 0, event_id, "names a batch that is not there")


@dataclass(frozen=True, slots=True)
class _Refusal:
    event: str
    client_id: str
    network: str
    reason: str


@dataclass(slots=True)
class _Noted:
    at: datetime
    trace_id: str
    times: int = 1


WRITE_SECONDS = 1.0
_AT_ONCE = 200
_MINUTE = timedelta(minutes=1)


class Refusals:
    """Records refusals that are security events, in the background; a flood makes only one row a minute.

    The first of a kind is written at once; repeats within a minute from the same network and client are counted. Beyond
    200 kinds a minute, refusals are only counted in total.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._fresh: dict[_Refusal, _Noted] = {}
        self._counted: dict[_Refusal, _Noted] = {}
        self._left_out = 0

    def note(self, event: str, client_id: str, network: str, reason: str, trace_id: str) -> None:
        """Queues a refusal, in microseconds; ``reason`` must be constant text, not what was sent."""
        refusal, now = _Refusal(event, client_id, network, reason), self._clock()
        if known := self._counted.get(refusal):
            known.times += 1
        elif fresh := self._fresh.get(refusal):
            fresh.times += 1
        elif len(self._fresh) + len(self._counted) < _AT_ONCE:
            self._fresh[refusal] = _Noted(now, trace_id)
        else:
            self._left_out += 1

    async def work(self) -> None:
        """Writes new refusals, and once a minute their repeats; raises DatabaseUnavailable without losing any."""
        await self._write(self._clock() - _MINUTE)

    async def close(self) -> None:
        """Writes what is left; if the database is unavailable, logs the loss instead of blocking the stop."""
        try:
            await self._write(self._clock())
        except DatabaseUnavailable as problem:
            log.warning("audit_refusals_lost", kinds=len(self._fresh), reason=str(problem))

    async def _write(self, counted_since: datetime) -> None:
        now = self._clock()
        over = {kind: noted for kind, noted in self._counted.items() if noted.at <= counted_since}
        due = {kind: noted for kind, noted in over.items() if noted.times} | self._fresh
        left_out, self._fresh, self._left_out = self._left_out, {}, 0
        self._counted = {kind: noted for kind, noted in self._counted.items() if kind not in over}
        self._counted |= {kind: _Noted(now, "", 0) for kind in due}  # those that come during the write count as repeats
        if not due and not left_out:
            return
        try:
            await asyncio.shield(self._database.write(partial(_write, refusals=due, left_out=left_out, now=now)))
        except DatabaseUnavailable:
            for kind, noted in due.items():
                noted.times += self._counted.pop(kind).times
            self._fresh |= due
            self._left_out += left_out
            raise


def _write(tx: Transaction, refusals: dict[_Refusal, _Noted], left_out: int, now: datetime) -> None:
    for kind, noted in refusals.items():
        detail = kind.reason if noted.times == 1 else f"{kind.reason}; {noted.times} times"
        audit.record(
            tx, kind.event, noted.at, client_id=kind.client_id, network=kind.network, trace_id=noted.trace_id,
            detail=detail,
        )  # fmt: skip  # one row
    if left_out:
        audit.record(tx, "refused.more", now, detail=f"{left_out} times, from very many places at once")
