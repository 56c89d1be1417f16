"""Daily sign-ups, sign-ins, tokens and refusals, counted in the background instead of when the page is opened.

A busy server writes thousands of events an hour, so counting a month of them for a page would read the whole log.
Instead each hour is counted once, some minutes after it ends, and only the current hour is counted live.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock
from gatepost_idp.store import figures as store
from gatepost_idp.transaction import Transaction

DAYS = 30
LATE = timedelta(minutes=5)
"""How long after its time an event may still be committed."""
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)

KINDS = {
    "Sign-ups": frozenset(("account.created",)),
    "Sign-ins": frozenset(("sign_in",)),
    "Tokens": frozenset(("grant.started", "grant.refreshed", "token.made")),
    "Refusals": frozenset(("sign_in.not_me", "consent.denied")),
}
"""The events that each chart counts; those whose name begins with ``refused`` count as refusals too."""


@dataclass(frozen=True, slots=True)
class Days:
    """How often a kind of event happened on each of the last DAYS days, today last."""

    kind: str
    days: tuple[tuple[datetime, int], ...]


class Figures:
    """Counts events in the background, and returns the counts."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def work(self) -> None:
        """Counts every completed hour not counted yet, at most as far back as the charts go."""
        now = self._clock()
        end = _whole(now - LATE, _HOUR)
        start = await self._database.read(store.counted_until)
        if start is None:
            start = await self._begin(now, end)
        for since, until in pairwise(_cuts(start, end)):
            counts = await self._database.read(lambda tx, s=since, u=until: _kinds(store.count(tx, s, u)))  # type: ignore[misc]  # a lambda's defaults
            added = await self._database.write(
                lambda tx, s=since, u=until, c=counts: store.add(tx, s, u, c, now)  # type: ignore[misc]  # a lambda's defaults
            )
            if not added:
                return  # another process is counting

    async def last(self) -> list[Days]:
        """The figures of all charts, including the current hour."""
        now = self._clock()
        today = _whole(now, _DAY)
        days = [today - _DAY * back for back in reversed(range(DAYS))]
        found = await self._database.read(lambda tx: _found(tx, days, now))
        return [Days(kind, tuple((day, found[kind, day]) for day in days)) for kind in KINDS]

    async def _begin(self, now: datetime, end: datetime) -> datetime:
        first = await self._database.read(lambda tx: store.oldest(tx, now - _DAY * DAYS))
        start = min(_whole(first, _HOUR), end) if first else end
        await self._database.write(lambda tx: store.begin(tx, start, now))
        return start


def _found(tx: Transaction, days: list[datetime], now: datetime) -> Counter[tuple[str, datetime]]:
    """The stored counts plus what has happened since the last count."""
    found = Counter(store.stored(tx, tuple(KINDS), days))
    since = max(store.counted_until(tx) or days[0], days[0])
    for one, other in pairwise(_cuts(since, now + timedelta(milliseconds=1))):
        for kind, number in _kinds(store.count(tx, one, other)).items():
            found[kind, _whole(one, _DAY)] += number
    return found


def _cuts(start: datetime, end: datetime) -> list[datetime]:
    """``start``, every midnight in between, and ``end``; only ``start`` if ``end`` is not later."""
    cuts = [start]
    while cuts[-1] < end:
        cuts.append(min(_whole(cuts[-1], _DAY) + _DAY, end))
    return cuts


def _whole(at: datetime, unit: timedelta) -> datetime:
    """The beginning of the hour or day (``unit``) of ``at``, in UTC."""
    return datetime.fromtimestamp(at.timestamp() // unit.total_seconds() * unit.total_seconds(), at.tzinfo)


def _kinds(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts of events summed by chart."""
    found: Counter[str] = Counter()
    for event, number in counts.items():
        for kind, events in KINDS.items():
            if event in events or (kind == "Refusals" and event.startswith("refused")):
                found[kind] += number
    return dict(found)
