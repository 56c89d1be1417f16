"""Sign-ups, sign-ins, tokens and refusals of each day: counted beside the requests, not when somebody looks.

A server with many connections writes thousands of events an hour, so a page that counted a month of them would read
the whole log. Instead each hour is counted once, some minutes after it ended, and only the hour that runs is counted
live; both along the index of the instants.
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
"""How long after its instant an event may be committed."""
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)

KINDS = {
    "Sign-ups": frozenset(("account.created",)),
    "Sign-ins": frozenset(("sign_in",)),
    "Tokens": frozenset(("grant.started", "grant.refreshed", "token.made")),
    "Refusals": frozenset(("sign_in.not_me", "consent.denied")),
}
"""Which events each chart counts; one whose name begins with ``refused`` is a refusal as well."""


@dataclass(frozen=True, slots=True)
class Days:
    """How often a kind of event happened on each of the last days, today last."""

    kind: str
    days: tuple[tuple[datetime, int], ...]


class Figures:
    """Counts on, and answers what was counted."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def work(self) -> None:
        """Counts every hour that is over and was not counted yet; what is older than the charts is passed over."""
        now = self._clock()
        end = _whole(now - LATE, _HOUR)
        start = await self._database.read(store.counted_until)
        if start is None:
            start = await self._begin(now, end)
        for since, until in pairwise(_cuts(start, end)):
            counts = await self._database.read(lambda tx, s=since, u=until: _kinds(store.count(tx, s, u)))  # type: ignore[misc]  # a lambda's defaults
            added = await self._database.write(
                lambda tx, s=since, u=until, c=counts: store.add(tx, s, u, c, now)  # type: ignore[misc]  # as above
            )
            if not added:
                return  # another process counts

    async def last(self) -> list[Days]:
        """The charts' figures."""
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
    """What is stored, and what has happened since the last count."""
    found = Counter(store.stored(tx, tuple(KINDS), days))
    since = max(store.counted_until(tx) or days[0], days[0])
    for one, other in pairwise(_cuts(since, now + timedelta(milliseconds=1))):
        for kind, number in _kinds(store.count(tx, one, other)).items():
            found[kind, _whole(one, _DAY)] += number
    return found


def _cuts(start: datetime, end: datetime) -> list[datetime]:
    """``start``, every midnight until ``end``, and ``end``; alone where there is nothing between."""
    cuts = [start]
    while cuts[-1] < end:
        cuts.append(min(_whole(cuts[-1], _DAY) + _DAY, end))
    return cuts


def _whole(at: datetime, unit: timedelta) -> datetime:
    """The beginning of the hour or day in UTC."""
    return datetime.fromtimestamp(at.timestamp() // unit.total_seconds() * unit.total_seconds(), at.tzinfo)


def _kinds(counts: Mapping[str, int]) -> dict[str, int]:
    """Events summed up by chart."""
    found: Counter[str] = Counter()
    for event, number in counts.items():
        for kind, events in KINDS.items():
            if event in events or (kind == "Refusals" and event.startswith("refused")):
                found[kind] += number
    return dict(found)
