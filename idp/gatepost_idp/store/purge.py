"""Deletes rows that have ended, in small batches, so that no request waits long for it. The audit log stays.

Replicas may purge at the same time: on PostgreSQL each skips the rows that another has locked.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CTE, Select, bindparam, exists
from sqlmodel import SQLModel, col, delete, select, update

from gatepost_idp.models import (
    AuthorizationCode,
    AuthorizationGrant,
    AuthorizationRequest,
    BrowserSession,
    Client,
    Consent,
    LimitWindow,
    MailSuppression,
    Outbox,
    PersonalToken,
    RefreshToken,
)
from gatepost_idp.protocol import milliseconds
from gatepost_idp.transaction import Query, Transaction, columns

BATCH = 200
"""Rows of one table that one transaction deletes; twice as many for refresh tokens of ended families."""
ENDED = timedelta(days=1)
"""How long expired rows stay: a replayed code still ends its grant (A8), an old link is reported as expired rather than
unknown, and a replica whose clock is behind still finds what it considers valid."""
FAMILY_ENDED = timedelta(days=7)
"""How long an ended family stays: a stolen refresh token used late is still recognised and logged, and a client that
was connected last week does not count as new."""
UNUSED = timedelta(days=30)
"""How long a registration stays that nobody has consented to."""

Step = Callable[[Transaction, datetime], int]
"""Deletes one batch; returns how many rows were deleted, 0 if nothing is left to do."""


def _locked(rows: Any, limit: int, name: str) -> CTE:
    """The first of ``rows``, locked so that other replicas skip them; as a CTE, or the limit might be applied twice."""
    return rows.limit(limit).with_for_update(skip_locked=True).cte(name)  # type: ignore[no-any-return]  # SQLAlchemy leaves cte untyped here


def _before(key: Any, instant: Any) -> "Select[Any]":
    return columns(key).where(col(instant) < bindparam("before")).order_by(col(instant))


def _delete(table: type[SQLModel], key: Any, instant: Any, *conditions: Any) -> Query:
    """Deletes the rows with the oldest ``instant``, and by ON DELETE CASCADE the rows that refer to them."""
    batch = _locked(_before(key, instant).where(*conditions), BATCH, "batch")
    return Query(delete(table).where(col(key).in_(select(batch.c[key.key]))).returning(col(key)))


_EXPIRED = {
    # With their sign-in attempts and mails: neither outlives its request.
    "requests": _delete(AuthorizationRequest, AuthorizationRequest.id, AuthorizationRequest.expires_at),
    "codes": _delete(AuthorizationCode, AuthorizationCode.code_hash, AuthorizationCode.expires_at),
    "sessions": _delete(BrowserSession, BrowserSession.token_hash, BrowserSession.expires_at),
    "consents": _delete(Consent, Consent.id, Consent.expires_at),
    "limits": _delete(LimitWindow, LimitWindow.key, LimitWindow.expires_at),
    "suppressions": _delete(MailSuppression, MailSuppression.email_key, MailSuppression.until),
    "personal_tokens": _delete(PersonalToken, PersonalToken.token_hash, PersonalToken.expires_at),
}
# Mails about a grant refer to no sign-in, so no cascade deletes them. The outbox itself drops one that still waits,
# since it may be being sent.
_EXPIRED |= {
    f"{state}_mails": _delete(Outbox, Outbox.id, Outbox.next_at, col(Outbox.state) == state)
    for state in ("sent", "failed", "dropped")
}

_EXPIRED_TOKENS = _locked(_before(RefreshToken.token_hash, RefreshToken.expires_at), BATCH, "batch")
_DELETE_TOKENS = Query(
    delete(RefreshToken)
    .where(col(RefreshToken.token_hash).in_(select(_EXPIRED_TOKENS.c.token_hash)))
    .returning(col(RefreshToken.grant_id))
)
_HAS_TOKEN = exists().where(col(RefreshToken.grant_id) == col(AuthorizationGrant.id))
_END_IDLE = Query(
    update(AuthorizationGrant)
    .where(col(AuthorizationGrant.id) == bindparam("of"), col(AuthorizationGrant.ended_at).is_(None), ~_HAS_TOKEN)
    .values(ended_at=bindparam("now"), end_reason="expired")
)
_OLD = _locked(
    _before(AuthorizationGrant.id, AuthorizationGrant.ends_at).where(col(AuthorizationGrant.ended_at).is_(None)),
    BATCH,
    "batch",
)
_END_OLD = Query(
    update(AuthorizationGrant)
    .where(col(AuthorizationGrant.id).in_(select(_OLD.c.id)))
    .values(ended_at=bindparam("now"), end_reason="expired")
    .returning(col(AuthorizationGrant.id))
)

_DEAD = _locked(_before(AuthorizationGrant.id, AuthorizationGrant.ended_at), BATCH, "dead")
_THEIR_TOKENS = (
    columns(RefreshToken.token_hash)
    .where(col(RefreshToken.grant_id).in_(select(_DEAD.c.id)))
    .limit(2 * BATCH)
    .cte("tokens")
)
_DELETE_THEIR_TOKENS = Query(
    delete(RefreshToken)
    .where(col(RefreshToken.token_hash).in_(select(_THEIR_TOKENS.c.token_hash)))
    .returning(col(RefreshToken.token_hash))
)
_DELETE_FAMILIES = Query(
    delete(AuthorizationGrant)
    .where(col(AuthorizationGrant.id).in_(select(_DEAD.c.id)), ~_HAS_TOKEN)
    .returning(col(AuthorizationGrant.id))
)

_PAGE = Query(columns(Client.id).where(col(Client.id) > bindparam("after")).order_by(col(Client.id)).limit(BATCH))
_DELETE_UNUSED = Query(
    delete(Client).where(
        col(Client.id) > bindparam("after"),
        col(Client.id) <= bindparam("last"),
        col(Client.origin) == "registered",
        col(Client.disabled_at).is_(None),  # or it could register again and be enabled
        col(Client.created_at) < bindparam("before"),
        *(
            ~exists().where(col(of.client_row) == col(Client.id))
            for of in (AuthorizationGrant, Consent, AuthorizationRequest)
        ),
    )
)


def _rows(tx: Transaction, query: Query, **values: int) -> int:
    """How many rows ``query`` returned: Python's sqlite3 has no row count for statements that begin with WITH."""
    return len(tx.all(query, **values))


def _step(query: Query) -> Step:
    return lambda tx, now: _rows(tx, query, before=milliseconds(now - ENDED))


def refresh_tokens(tx: Transaction, now: datetime) -> int:
    """Deletes expired refresh tokens, which are refused anyway, and ends families that have none left."""
    rows = tx.all(_DELETE_TOKENS, before=milliseconds(now - ENDED))
    for grant_id in sorted({row[0] for row in rows}):
        tx.run(_END_IDLE, of=grant_id, now=milliseconds(now))
    return len(rows)


def old_families(tx: Transaction, now: datetime) -> int:
    """Ends the grants whose ``ends_at`` has passed; they are deleted FAMILY_ENDED later."""
    return _rows(tx, _END_OLD, before=milliseconds(now), now=milliseconds(now))


def ended_families(tx: Transaction, now: datetime) -> int:
    """Deletes families that ended FAMILY_ENDED ago: first their tokens, of which a year's worth takes many batches."""
    before = milliseconds(now - FAMILY_ENDED)
    return _rows(tx, _DELETE_THEIR_TOKENS, before=before) + _rows(tx, _DELETE_FAMILIES, before=before)


STEPS: Mapping[str, Step] = {
    **{name: _step(query) for name, query in _EXPIRED.items()},
    "refresh_tokens": refresh_tokens,
    "old_families": old_families,
    "ended_families": ended_families,
}


def unused_registrations(tx: Transaction, after: str, now: datetime) -> tuple[int, str]:
    """Deletes, from the next page of clients after ``after``, registrations older than UNUSED that nothing refers to.

    Returns how many were deleted and the id to continue after, empty after the last page. Clients that were added by an
    operator, are disabled, or are named by a grant, consent or request stay.
    """
    page = tx.all(_PAGE, after=after)
    if not page:
        return 0, ""
    last = str(page[-1][0])
    gone = tx.run(_DELETE_UNUSED, after=after, last=last, before=milliseconds(now - UNUSED))
    return gone, last if len(page) == BATCH else ""
