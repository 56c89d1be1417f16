"""Refresh tokens: each is spent once, by one conditional UPDATE, for its one successor."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam
from sqlmodel import col, update

from gatepost_idp.models import Account, AuthorizationGrant, RefreshToken
from gatepost_idp.protocol import Refused, milliseconds, scope_set
from gatepost_idp.store import accounts, audit, grants
from gatepost_idp.store.grants import Granted
from gatepost_idp.transaction import Query, Row, Transaction, columns, insert_query


@dataclass(frozen=True, slots=True)
class Rotation:
    """A request to rotate a refresh token; ``successor`` maps a salt to the next token and its hash."""

    token_hash: bytes
    client_id: str
    resource: str | None
    successor: Callable[[bytes], tuple[str, bytes]]
    expires_at: datetime
    grace: timedelta
    network: str


_INSERT_REFRESH = insert_query(RefreshToken)

_REFRESH = Query(
    columns(
        RefreshToken.grant_id,
        RefreshToken.expires_at,
        AuthorizationGrant.account_id,
        Account.email,
        AuthorizationGrant.client_id,
        AuthorizationGrant.resource,
        AuthorizationGrant.scope,
        AuthorizationGrant.auth_time,
        AuthorizationGrant.ends_at,
        AuthorizationGrant.ended_at,
        AuthorizationGrant.end_reason,
        AuthorizationGrant.trace_id,
        Account.disabled_at,
    )
    .join(AuthorizationGrant, col(AuthorizationGrant.id) == col(RefreshToken.grant_id))
    .join(Account, col(Account.id) == col(AuthorizationGrant.account_id))
    .where(col(RefreshToken.token_hash) == bindparam("token_hash"))
)
_SPEND_REFRESH = Query(
    update(RefreshToken)
    .where(col(RefreshToken.token_hash) == bindparam("of"), col(RefreshToken.spent_at).is_(None))
    .values(spent_at=bindparam("now"), salt=bindparam("new_salt"))
)
_SPENT = Query(
    columns(RefreshToken.spent_at, RefreshToken.salt).where(col(RefreshToken.token_hash) == bindparam("token_hash"))
)
_USED = Query(
    update(AuthorizationGrant).where(col(AuthorizationGrant.id) == bindparam("of")).values(used_at=bindparam("now"))
)
_ERASE_SALTS = Query(
    update(RefreshToken)
    .where(col(RefreshToken.salt).is_not(None), col(RefreshToken.spent_at) < bindparam("before"))
    .values(salt=None)
)
_OWNER = Query(
    columns(RefreshToken.grant_id, AuthorizationGrant.client_id, AuthorizationGrant.account_id)
    .join(AuthorizationGrant, col(AuthorizationGrant.id) == col(RefreshToken.grant_id))
    .where(col(RefreshToken.token_hash) == bindparam("token_hash"))
)

_REFUSED = "The refresh token is no longer valid. Start the authorization again."
_ANEW = "a new authorization"


def rotate_refresh_token(tx: Transaction, asked: Rotation, now: datetime) -> Granted | Refused:
    """Spends a refresh token for its one successor (OAuth 2.1 section 4.3.1); ``invalid_grant`` etc. if refused.

    Its first use draws a salt from which the successor is computed. A repeat within the grace period computes the same
    successor, so a lost response or two racing processes do no harm and the family never branches. A later repeat is
    treated as theft and ends the family.
    """
    now_ms = milliseconds(now)
    row = tx.one(_REFRESH, token_hash=asked.token_hash)
    if row is None:
        received, expected = "a refresh token that nobody was given", "the one in the last answer, unchanged"
        return Refused("invalid_grant", _REFUSED, "unknown refresh token", received, expected)
    grant_id, _expires_at, account_id, email, client_id, resource, scope = row[:7]
    auth_time, ends_at, _ended_at, _reason, trace_id, _disabled_at = row[7:]
    refused = _cannot_refresh(asked, row, now_ms)
    if refused is not None:
        return refused
    salt = secrets.token_bytes(16)
    if tx.run(_SPEND_REFRESH, of=asked.token_hash, now=now_ms, new_salt=salt) == 1:
        token, successor_hash = asked.successor(salt)
        add_refresh_token(tx, successor_hash, grant_id, min(milliseconds(asked.expires_at), ends_at))
        tx.run(_USED, of=grant_id, now=now_ms)
        audit.record(
            tx, "grant.refreshed", now, account_id=account_id, client_id=client_id, grant_id=grant_id,
            trace_id=trace_id, network=asked.network,
        )  # fmt: skip  # one row
    else:
        kept = _kept_salt(tx, asked, now_ms)
        if kept is None:
            grants.end(tx, grant_id, "refresh token replayed", now, network=asked.network)
            return _replayed(trace_id)
        token, _ = asked.successor(kept)
    held = accounts.held_scopes(tx, account_id, resource)
    return Granted(grant_id, account_id, email, resource, scope_set(scope), held, auth_time, None, token, trace_id)


def _replayed(trace_id: str) -> Refused:
    reason, received = "refresh token replayed; its family is ended", "a token spent before, after the grace"
    expected, event = "the newest refresh token", "refused.refresh_replayed"
    return Refused("invalid_grant", _REFUSED, reason, received, expected, trace_id, event)


def _cannot_refresh(asked: Rotation, grant: Row, now_ms: int) -> Refused | None:
    """Refuses a client or resource other than the grant's, and a grant that is over; this ends nothing."""
    _grant_id, expires_at, _account_id, _email, client_id, resource = grant[:6]
    ends_at, ended_at, end_reason, trace_id, disabled_at = grant[8:]
    if client_id != asked.client_id:
        received, expected = f"client_id {asked.client_id}", f"client_id {client_id}"
        return Refused(
            "invalid_grant", _REFUSED, "refresh token of another client", received, expected, trace_id,
            "refused.refresh_of_another",
        )  # fmt: skip  # one row
    if ended_at is not None or disabled_at is not None:
        reason, received = ("ended grant", end_reason) if ended_at is not None else ("disabled account", "")
        event = "refused.grant_ended" if ended_at is not None else "refused.account_disabled"
        return Refused("invalid_grant", _REFUSED, reason, received, _ANEW, trace_id, event)
    if over := grants.lateness(now_ms, min(expires_at, ends_at), "the refresh token"):
        return Refused("invalid_grant", _REFUSED, *over, _ANEW, trace_id)
    return grants.refuse_other_resource(asked.resource, resource, "the grant", trace_id)


def _kept_salt(tx: Transaction, asked: Rotation, now_ms: int) -> bytes | None:
    """The salt of a spent token within its grace period, else None.

    Read after the UPDATE, which has waited for a concurrent redemption to commit.
    """
    row = tx.one(_SPENT, token_hash=asked.token_hash)
    if row is None or row[1] is None:
        return None
    # abs: otherwise, after the clock was set back, every token spent before would be within its grace period again.
    return bytes(row[1]) if abs(now_ms - row[0]) <= asked.grace.total_seconds() * 1000 else None


def add_refresh_token(tx: Transaction, token_hash: bytes, grant_id: str, expires_at_ms: int) -> None:
    """Stores a new, unspent token of a grant."""
    tx.run(
        _INSERT_REFRESH, token_hash=token_hash, grant_id=grant_id, expires_at=expires_at_ms, spent_at=None, salt=None
    )


def revoke(tx: Transaction, token_hash: bytes, client_id: str, now: datetime, network: str) -> None:
    """Ends the grant of a refresh token, spent or not, if it is this client's; else does nothing (RFC 7009 2.1)."""
    row = tx.one(_OWNER, token_hash=token_hash)
    if row is not None and row[1] == client_id:
        grants.end(tx, row[0], "revoked by the client", now, network=network)


def erase_salts(tx: Transaction, grace: timedelta, now: datetime) -> int:
    """Erases salts whose grace period is over, after which nobody can compute the successor; returns how many."""
    return tx.run(_ERASE_SALTS, before=milliseconds(now - grace))
