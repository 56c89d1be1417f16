"""Remembers the latest time that any process has seen, and repairs stored times when the clock is set back."""

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, case
from sqlmodel import col, update

from gatepost_idp.models import (
    AuthorizationCode,
    AuthorizationGrant,
    AuthorizationRequest,
    BrowserSession,
    Consent,
    Lease,
    LimitWindow,
    Outbox,
    PersonalToken,
    RefreshToken,
    SignInAttempt,
)
from gatepost_idp.protocol import instant, milliseconds
from gatepost_idp.store.accounts import IDLE_MS
from gatepost_idp.transaction import Query, Transaction, columns, insert_query

_NAME = "time seen"
"""A lease that nobody holds; its ``until`` stores the latest time seen."""
_INSERT = insert_query(Lease)
_FIND = Query(columns(Lease.until).where(col(Lease.name) == bindparam("of")))
_SET = Query(update(Lease).where(col(Lease.name) == bindparam("of")).values(until=bindparam("to")))
_ENDS: tuple[tuple[type[Any], Any], ...] = (
    *((table, table.expires_at) for table in (AuthorizationCode, AuthorizationRequest, SignInAttempt, BrowserSession)),
    *((table, table.expires_at) for table in (Consent, PersonalToken, RefreshToken)),
    (AuthorizationGrant, AuthorizationGrant.ends_at),
)
_END = {
    str(table.__tablename__): Query(
        update(table)
        .where(col(ends) > bindparam("now"), col(ends) <= bindparam("latest"))
        .values({ends.key: bindparam("now")})
    )
    for table, ends in _ENDS
}


_WAITS: tuple[tuple[type[Any], Any], ...] = (
    (Outbox, Outbox.next_at),
    (Outbox, Outbox.lease_until),
    (SignInAttempt, SignInAttempt.resend_at),
    (LimitWindow, LimitWindow.expires_at),
    (Lease, Lease.until),
)
"""Times that something waits for: a mail, its resending, a limit, a lease. A step back must not lengthen the wait."""


def latest(tx: Transaction) -> datetime | None:
    """The latest time seen; None in a new database."""
    row = tx.one(_FIND, of=_NAME)
    return None if row is None else instant(row[0])


def note(tx: Transaction, now: datetime) -> None:
    """Records ``now`` if it is later than the latest time seen."""
    known = tx.one(_FIND, of=_NAME)
    if known is None:
        tx.run(_INSERT, name=_NAME, holder="", until=milliseconds(now))
    elif known[0] < milliseconds(now):
        tx.run(_SET, of=_NAME, to=milliseconds(now))


def go_back(tx: Transaction, until: datetime, now: datetime) -> None:
    """Handles a clock set back from ``until`` to ``now``: whatever had expired by ``until`` expires now, and waits are
    shortened by the step. What is made from now on lives its full time."""
    now_ms, until_ms = milliseconds(now), milliseconds(until)
    for query in _END.values():
        tx.run(query, now=now_ms, latest=until_ms)
    idle = update(BrowserSession).where(  # a full scan: not worth an index, since it hardly ever runs
        col(BrowserSession.ended_at).is_(None),
        col(BrowserSession.seen_at) > now_ms - IDLE_MS,
        col(BrowserSession.seen_at) <= until_ms - IDLE_MS,
    )
    tx.session.exec(idle.values(ended_at=now_ms))
    _wait_less(tx, now_ms, until_ms, now_ms)
    tx.run(_SET, of=_NAME, to=now_ms)


def settle(tx: Transaction, until: datetime, now: datetime) -> None:
    """Shortens waits again, for transactions that had read the old time but wrote after ``go_back``.

    ``until`` and ``now`` are those of the step. Nothing made since the step waits that long, unless the step was small.
    """
    _wait_less(tx, milliseconds(until) - 1, milliseconds(until), milliseconds(now))


def _wait_less(tx: Transaction, beyond: int, until: int, now: int) -> None:
    """Shifts waits that end after ``beyond`` (milliseconds) back by the step, but not before ``now``."""
    for table, column in _WAITS:  # full scans
        left = case((col(column) > until, col(column) - (until - now)), else_=now)
        tx.session.exec(update(table).where(col(column) > beyond).values({column.key: left}))
