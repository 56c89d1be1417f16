"""The latest time that any process has seen, and the end of what had ended by then, should a clock go back."""

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
"""A lease that nobody holds: it only says how far time had come."""
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
"""What somebody waits for: a mail, its resending, a limit, a chore. It shall not take longer by the step."""


def latest(tx: Transaction) -> datetime | None:
    """How far time had come; None in a fresh database."""
    row = tx.one(_FIND, of=_NAME)
    return None if row is None else instant(row[0])


def note(tx: Transaction, now: datetime) -> None:
    """Time has come so far."""
    known = tx.one(_FIND, of=_NAME)
    if known is None:
        tx.run(_INSERT, name=_NAME, holder="", until=milliseconds(now))
    elif known[0] < milliseconds(now):
        tx.run(_SET, of=_NAME, to=milliseconds(now))


def go_back(tx: Transaction, until: datetime, now: datetime) -> None:
    """Time goes on from ``now``, though it had come to ``until``: whatever had ended by then has ended now, and nobody
    waits longer. What is made from here on lives as long as ever."""
    now_ms, until_ms = milliseconds(now), milliseconds(until)
    for query in _END.values():
        tx.run(query, now=now_ms, latest=until_ms)
    idle = update(BrowserSession).where(  # reads every session: no index for what is asked once in a server's life
        col(BrowserSession.ended_at).is_(None),
        col(BrowserSession.seen_at) > now_ms - IDLE_MS,
        col(BrowserSession.seen_at) <= until_ms - IDLE_MS,
    )
    tx.session.exec(idle.values(ended_at=now_ms))
    _wait_less(tx, now_ms, until_ms, now_ms)
    tx.run(_SET, of=_NAME, to=now_ms)


def settle(tx: Transaction, until: datetime, now: datetime) -> None:
    """Once more, for those who had read the old time and wrote after ``go_back``: a mail would go out that much later.

    ``until`` and ``now`` are those of the step. Nothing made since then waits so long, unless the step was small.
    """
    _wait_less(tx, milliseconds(until) - 1, milliseconds(until), milliseconds(now))


def _wait_less(tx: Transaction, beyond: int, until: int, now: int) -> None:
    """Of what waits for a time after ``beyond``."""
    for table, column in _WAITS:  # these read whole tables
        left = case((col(column) > until, col(column) - (until - now)), else_=now)
        tx.session.exec(update(table).where(col(column) > beyond).values({column.key: left}))
