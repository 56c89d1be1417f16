"""Daily counts of events, computed from the audit log once, an hour at a time.

They are stored in the limits' table, which also counts how often something happened in a window of time.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import bindparam, func
from sqlmodel import col, select, update

from gatepost_idp.models import AuditEvent, LimitWindow
from gatepost_idp.protocol import instant, milliseconds
from gatepost_idp.transaction import Query, Transaction, columns, upsert_query

HOUR_MS = 3_600_000
KEPT = timedelta(days=400)
_COUNTED = "figures counted until"

_RANGE = Query(
    columns(AuditEvent.event, func.count())
    .where(col(AuditEvent.at) >= bindparam("since"), col(AuditEvent.at) < bindparam("until"))
    .group_by(col(AuditEvent.event))
)
_OLDEST = Query(
    columns(AuditEvent.at).where(col(AuditEvent.at) >= bindparam("since")).order_by(col(AuditEvent.at)).limit(1)
)
_MARK = Query(columns(LimitWindow.count).where(col(LimitWindow.key) == bindparam("key")))
_MOVE = Query(
    update(LimitWindow)
    .where(col(LimitWindow.key) == bindparam("of"), col(LimitWindow.count) == bindparam("expected"))
    .values(count=bindparam("hour"), expires_at=bindparam("until"))
)


_ADD = upsert_query(
    LimitWindow,
    keys=("key",),
    values={"key": bindparam("key"), "count": bindparam("more"), "expires_at": bindparam("until")},
    changes=lambda new: {"count": col(LimitWindow.count) + new.count, "expires_at": new.expires_at},
)


def counted_until(tx: Transaction) -> datetime | None:
    """The instant up to which events are counted; None if none ever were."""
    row = tx.one(_MARK, key=_COUNTED)
    return None if row is None else instant(row[0] * HOUR_MS)


def oldest(tx: Transaction, since: datetime) -> datetime | None:
    """When the first event since ``since`` happened, or None."""
    row = tx.one(_OLDEST, since=milliseconds(since))
    return None if row is None else instant(row[0])


def count(tx: Transaction, since: datetime, until: datetime) -> dict[str, int]:
    """How often each event happened from ``since`` until just before ``until``."""
    return dict(tx.all(_RANGE, since=milliseconds(since), until=milliseconds(until)))


def begin(tx: Transaction, at: datetime, now: datetime) -> None:
    """Sets the mark from which counting starts to ``at``, unless another process has set it already."""
    if tx.one(_MARK, key=_COUNTED) is None:
        tx.session.add(LimitWindow(key=_COUNTED, count=_hour(at), expires_at=milliseconds(now + KEPT)))
        tx.session.flush()


def add(tx: Transaction, since: datetime, until: datetime, counts: Mapping[str, int], now: datetime) -> bool:
    """Adds the counts of a part of a day and moves the mark; False, and no change, if another process moved it."""
    kept_until = milliseconds(now + KEPT)
    if tx.run(_MOVE, of=_COUNTED, expected=_hour(since), hour=_hour(until), until=kept_until) != 1:
        return False
    for kind, number in counts.items():
        tx.run(_ADD, key=_key(kind, since), more=number, until=kept_until)
    return True


def stored(tx: Transaction, kinds: tuple[str, ...], days: list[datetime]) -> dict[tuple[str, datetime], int]:
    """The stored count of each kind on each day; days begin at midnight UTC."""
    keys = {_key(kind, day): (kind, day) for kind in kinds for day in days}
    statement = select(LimitWindow.key, LimitWindow.count).where(col(LimitWindow.key).in_(keys))
    return {keys[key]: number for key, number in tx.session.exec(statement)}


def _hour(at: datetime) -> int:
    return milliseconds(at) // HOUR_MS


def _key(kind: str, at: datetime) -> str:
    return f"figures {kind} {at:%Y-%m-%d}"
