"""Codes, grants and refresh tokens. Single use is one UPDATE with its condition in the WHERE and one row back."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam
from sqlmodel import col, update

from gatepost_idp import redirects
from gatepost_idp.database import Query, Row, Transaction, columns, insert_query
from gatepost_idp.models import Account, AuthorizationCode, AuthorizationGrant, RefreshToken
from gatepost_idp.protocol import Refused, milliseconds, names_the_same_resource, scope_set
from gatepost_idp.store import accounts, audit, outbox

WRONG_VERIFIERS = 5
CONNECTION_LIFE = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class NewCode:
    """What a code stands for (OAuth 2.1 section 4.1.2). ``announced``: its person gets a mail about the connection."""

    code_hash: bytes
    grant_id: str
    account_id: str
    client_id: str
    client_row: str
    redirect_uri: str
    code_challenge: str
    resource: str
    scope: str
    nonce: str | None
    auth_time: datetime
    trace_id: str
    browser: str
    network: str
    announced: bool
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Granted:
    """What tokens are made from, once a grant was redeemed."""

    grant_id: str
    account_id: str
    email: str
    resource: str
    approved: tuple[str, ...]
    held: frozenset[str]
    auth_time_ms: int
    nonce: str | None
    refresh_token: str | None
    trace_id: str


@dataclass(frozen=True, slots=True)
class Redemption:
    """What POST /token asks for with a code."""

    code_hash: bytes
    client_id: str
    redirect_uri: str | None
    resource: str | None
    proves: Callable[[str], bool]
    refresh_token: str | None
    refresh_token_hash: bytes | None
    refresh_expires_at: datetime
    network: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """What POST /token asks for with a refresh token; ``successor`` maps a salt to the next token and its hash."""

    token_hash: bytes
    client_id: str
    resource: str | None
    successor: Callable[[bytes], tuple[str, bytes]]
    expires_at: datetime
    grace: timedelta
    network: str


_INSERT_CODE = insert_query(AuthorizationCode)
_INSERT_GRANT = insert_query(AuthorizationGrant)
_INSERT_REFRESH = insert_query(RefreshToken)

_CODE = Query(
    columns(
        AuthorizationCode.grant_id,
        AuthorizationCode.account_id,
        Account.email,
        AuthorizationCode.client_id,
        AuthorizationCode.client_row,
        AuthorizationCode.redirect_uri,
        AuthorizationCode.code_challenge,
        AuthorizationCode.resource,
        AuthorizationCode.scope,
        AuthorizationCode.nonce,
        AuthorizationCode.auth_time,
        AuthorizationCode.trace_id,
        AuthorizationCode.browser,
        AuthorizationCode.network,
        AuthorizationCode.announced,
        AuthorizationCode.expires_at,
        AuthorizationCode.spent_at,
        Account.disabled_at,
    )
    .join(Account, col(Account.id) == col(AuthorizationCode.account_id))
    .where(col(AuthorizationCode.code_hash) == bindparam("code_hash"))
)
_SPEND_CODE = Query(
    update(AuthorizationCode)
    .where(col(AuthorizationCode.code_hash) == bindparam("of"), col(AuthorizationCode.spent_at).is_(None))
    .values(spent_at=bindparam("now"))
)
_COUNT_WRONG_VERIFIER = Query(
    update(AuthorizationCode)
    .where(col(AuthorizationCode.code_hash) == bindparam("of"))
    .values(wrong_verifiers=col(AuthorizationCode.wrong_verifiers) + 1)
    .returning(col(AuthorizationCode.wrong_verifiers))
)
_END_GRANT = Query(
    update(AuthorizationGrant)
    .where(col(AuthorizationGrant.id) == bindparam("of"), col(AuthorizationGrant.ended_at).is_(None))
    .values(ended_at=bindparam("now"), end_reason=bindparam("reason"))
    .returning(col(AuthorizationGrant.account_id), col(AuthorizationGrant.client_id), col(AuthorizationGrant.trace_id))
)
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
_STANDING = Query(
    columns(Account.email)
    .join(AuthorizationGrant, col(AuthorizationGrant.account_id) == col(Account.id))
    .where(
        col(AuthorizationGrant.id) == bindparam("grant_id"),
        col(AuthorizationGrant.ended_at).is_(None),
        col(AuthorizationGrant.ends_at) > bindparam("now"),
        col(Account.disabled_at).is_(None),
    )
)
_OWNER = Query(
    columns(RefreshToken.grant_id, AuthorizationGrant.client_id, AuthorizationGrant.account_id)
    .join(AuthorizationGrant, col(AuthorizationGrant.id) == col(RefreshToken.grant_id))
    .where(col(RefreshToken.token_hash) == bindparam("token_hash"))
)

_CODE_REFUSED = "The authorization code is not valid. Start the authorization again."
_REFRESH_REFUSED = "The refresh token is not valid any more. Start the authorization again."
_ANEW = "a new authorization"
_OTHER_RESOURCE = "The resource is not the one that was authorized."


def add_code(tx: Transaction, new: NewCode) -> None:
    """Stores a fresh code."""
    tx.run(
        _INSERT_CODE,
        code_hash=new.code_hash,
        grant_id=new.grant_id,
        account_id=new.account_id,
        client_id=new.client_id,
        client_row=new.client_row,
        redirect_uri=new.redirect_uri,
        code_challenge=new.code_challenge,
        resource=new.resource,
        scope=new.scope,
        nonce=new.nonce,
        auth_time=milliseconds(new.auth_time),
        trace_id=new.trace_id,
        browser=new.browser,
        network=new.network,
        announced=new.announced,
        expires_at=milliseconds(new.expires_at),
        spent_at=None,
        wrong_verifiers=0,
    )


def redeem_code(tx: Transaction, asked: Redemption, now: datetime) -> Granted | Refused:
    """Spends a code and starts its grant (OAuth 2.1 section 4.1.3).

    A wrong client or redirect spends nothing. A second redemption that is right in all else ends the grant: the
    code was in two hands, and nobody can tell whose tokens are the thief's.
    """
    now_ms = milliseconds(now)
    row = tx.one(_CODE, code_hash=asked.code_hash)
    if row is None:
        return Refused(
            "invalid_grant", _CODE_REFUSED, "unknown code", "a code nobody was given", "that of the redirect"
        )
    grant_id, account_id, email, client_id, _row, _redirect_uri, challenge = row[:7]
    resource, scope, nonce, auth_time, trace_id, _browser, _network, announced = row[7:15]
    expires_at, spent_at, disabled_at = row[15:]
    refused = _other_than_authorized(asked, row)
    if refused is not None:
        return refused
    if not asked.proves(challenge):
        return _wrong_verifier(tx, asked.code_hash, challenge, trace_id, now_ms)
    if spent_at is None and (expires_at <= now_ms or disabled_at is not None):
        return _too_late(now_ms, expires_at, trace_id)
    if spent_at is not None or tx.run(_SPEND_CODE, of=asked.code_hash, now=now_ms) != 1:
        end(tx, grant_id, "code replayed", now, network=asked.network)
        return _code_replayed(trace_id)
    ends_at = _ends_at(asked, now)
    _start_grant(tx, row, now_ms, ends_at)
    if asked.refresh_token_hash is not None:
        _add_refresh_token(tx, asked.refresh_token_hash, grant_id, min(milliseconds(asked.refresh_expires_at), ends_at))
    audit.record(
        tx, "grant.started", now, account_id=account_id, client_id=client_id, grant_id=grant_id, trace_id=trace_id,
        network=asked.network,
    )  # fmt: skip  # one row
    if announced:
        outbox.announce(tx, grant_id, email, now)
    held = accounts.held_scopes(tx, account_id, resource)
    return Granted(
        grant_id, account_id, email, resource, scope_set(scope), held, auth_time, nonce, asked.refresh_token, trace_id
    )


def _too_late(now_ms: int, expires_at: int, trace_id: str) -> Refused:
    """The minute is over, or the account was disabled in it."""
    reason, received = _over(now_ms, expires_at, "the code") or ("disabled account", "")
    expected = "the code within a minute" if received else "an account that is not disabled"
    event = "" if received else "refused.account_disabled"
    return Refused("invalid_grant", _CODE_REFUSED, reason, received, expected, trace_id, event)


def _code_replayed(trace_id: str) -> Refused:
    reason, received = "code replayed; its grant is ended", "a code that was redeemed before"
    return Refused(
        "invalid_grant", _CODE_REFUSED, reason, received, "each code once", trace_id, "refused.code_replayed"
    )


def _other_than_authorized(asked: Redemption, code: Row) -> Refused | None:
    """Refuses another client, return address or resource than was authorized; that spends nothing."""
    client_id, redirect_uri, resource, trace_id = code[3], code[5], code[7], code[11]
    if client_id != asked.client_id:
        received, expected = f"client_id {asked.client_id}", f"client_id {client_id}"
        return Refused(
            "invalid_grant", _CODE_REFUSED, "code of another client", received, expected, trace_id,
            "refused.code_of_another",
        )  # fmt: skip  # one row
    if asked.redirect_uri not in (None, redirect_uri):
        received, expected = redirects.shown(asked.redirect_uri), redirects.shown(redirect_uri)
        reason = "redirect_uri differs from the one at /authorize"
        return Refused("invalid_grant", _CODE_REFUSED, reason, received, expected, trace_id)
    if _is_other_resource(asked.resource, resource):
        reason, received = "the code is for another resource", redirects.shown(asked.resource)
        return Refused("invalid_target", _OTHER_RESOURCE, reason, received, resource, trace_id)
    return None


def _over(now_ms: int, expires_at: int, what: str) -> tuple[str, str] | None:
    """The reason, and how late ``what`` came; None where it came in time."""
    if expires_at > now_ms:
        return None
    return "expired", f"{what} {(now_ms - expires_at) // 1000} s after its end"


def _ends_at(asked: Redemption, now: datetime) -> int:
    """A year from now at the most; a grant without a refresh token is of no use for longer than one would live."""
    return milliseconds(now + CONNECTION_LIFE if asked.refresh_token_hash else asked.refresh_expires_at)


def _start_grant(tx: Transaction, code: Row, now_ms: int, ends_at: int) -> None:
    """Stores the grant that a code stands for, under the id that the code was given."""
    grant_id, account_id, _email, client_id, client_row, redirect_uri, _challenge, resource, scope = code[:9]
    tx.run(
        _INSERT_GRANT,
        id=grant_id,
        account_id=account_id,
        client_id=client_id,
        client_row=client_row,
        resource=resource,
        scope=scope,
        redirect_uri=redirect_uri,
        auth_time=code[10],
        trace_id=code[11],
        browser=code[12],
        network=code[13],
        created_at=now_ms,
        used_at=now_ms,
        ends_at=ends_at,
        ended_at=None,
        end_reason="",
    )


def _is_other_resource(asked: str | None, resource: str) -> bool:
    """Whether another resource is named than was authorized, read as at /authorize."""
    return asked is not None and not names_the_same_resource(asked, resource)


def _wrong_verifier(tx: Transaction, code_hash: bytes, challenge: str, trace_id: str, now_ms: int) -> Refused:
    """Counts a verifier that does not prove the challenge; the fifth spends the code, so that none can be guessed."""
    row = tx.one(_COUNT_WRONG_VERIFIER, of=code_hash)
    if row is not None and row[0] >= WRONG_VERIFIERS:
        tx.run(_SPEND_CODE, of=code_hash, now=now_ms)
    reason, expected = "code_verifier does not match the code_challenge", f"one whose S256 is {challenge[:8]}..."
    received, event = "a verifier of another S256", "refused.wrong_verifier"
    return Refused("invalid_grant", _CODE_REFUSED, reason, received, expected, trace_id, event)


def rotate_refresh_token(tx: Transaction, asked: Rotation, now: datetime) -> Granted | Refused:
    """Spends a refresh token for its one successor (OAuth 2.1 section 4.3.1).

    Its first use draws a salt from which the successor is computed. A repeat within the grace computes the same one,
    so that a lost answer or two racing processes do no harm and no second branch ever grows; a repeat after it is
    theft, and ends the family.
    """
    now_ms = milliseconds(now)
    row = tx.one(_REFRESH, token_hash=asked.token_hash)
    if row is None:
        received, expected = "a refresh token nobody was given", "that of the last answer, whole"
        return Refused("invalid_grant", _REFRESH_REFUSED, "unknown refresh token", received, expected)
    grant_id, _expires_at, account_id, email, client_id, resource, scope = row[:7]
    auth_time, ends_at, _ended_at, _reason, trace_id, _disabled_at = row[7:]
    refused = _cannot_refresh(asked, row, now_ms)
    if refused is not None:
        return refused
    salt = secrets.token_bytes(16)
    if tx.run(_SPEND_REFRESH, of=asked.token_hash, now=now_ms, new_salt=salt) == 1:
        token, successor_hash = asked.successor(salt)
        _add_refresh_token(tx, successor_hash, grant_id, min(milliseconds(asked.expires_at), ends_at))
        tx.run(_USED, of=grant_id, now=now_ms)
        audit.record(
            tx, "grant.refreshed", now, account_id=account_id, client_id=client_id, grant_id=grant_id,
            trace_id=trace_id, network=asked.network,
        )  # fmt: skip  # one row
    else:
        kept = _kept_salt(tx, asked, now_ms)
        if kept is None:
            end(tx, grant_id, "refresh token replayed", now, network=asked.network)
            return _replayed(trace_id)
        token, _ = asked.successor(kept)
    held = accounts.held_scopes(tx, account_id, resource)
    return Granted(grant_id, account_id, email, resource, scope_set(scope), held, auth_time, None, token, trace_id)


def _replayed(trace_id: str) -> Refused:
    reason, received = "refresh token replayed; its family is ended", "a token spent before, after the grace"
    expected, event = "the newest refresh token", "refused.refresh_replayed"
    return Refused("invalid_grant", _REFRESH_REFUSED, reason, received, expected, trace_id, event)


def _cannot_refresh(asked: Rotation, grant: Row, now_ms: int) -> Refused | None:
    """Refuses another client or resource than the grant's, and a grant that is over; that ends nothing."""
    _grant_id, expires_at, _account_id, _email, client_id, resource = grant[:6]
    ends_at, ended_at, end_reason, trace_id, disabled_at = grant[8:]
    if client_id != asked.client_id:
        received, expected = f"client_id {asked.client_id}", f"client_id {client_id}"
        return Refused(
            "invalid_grant", _REFRESH_REFUSED, "refresh token of another client", received, expected, trace_id,
            "refused.refresh_of_another",
        )  # fmt: skip  # one row
    if ended_at is not None or disabled_at is not None:
        reason, received = ("ended grant", end_reason) if ended_at is not None else ("disabled account", "")
        event = "refused.grant_ended" if ended_at is not None else "refused.account_disabled"
        return Refused("invalid_grant", _REFRESH_REFUSED, reason, received, _ANEW, trace_id, event)
    if over := _over(now_ms, min(expires_at, ends_at), "the refresh token"):
        return Refused("invalid_grant", _REFRESH_REFUSED, *over, _ANEW, trace_id)
    if _is_other_resource(asked.resource, resource):
        reason, received = "the grant is for another resource", redirects.shown(asked.resource)
        return Refused("invalid_target", _OTHER_RESOURCE, reason, received, resource, trace_id)
    return None


def _kept_salt(tx: Transaction, asked: Rotation, now_ms: int) -> bytes | None:
    """The salt of a spent token while its grace runs. Read after the UPDATE, which waited for whoever was first."""
    row = tx.one(_SPENT, token_hash=asked.token_hash)
    if row is None or row[1] is None:
        return None
    # abs: after a clock was set back every token spent before would be in its grace again.
    return bytes(row[1]) if abs(now_ms - row[0]) <= asked.grace.total_seconds() * 1000 else None


def _add_refresh_token(tx: Transaction, token_hash: bytes, grant_id: str, expires_at_ms: int) -> None:
    tx.run(
        _INSERT_REFRESH, token_hash=token_hash, grant_id=grant_id, expires_at=expires_at_ms, spent_at=None, salt=None
    )


def end(tx: Transaction, grant_id: str, reason: str, now: datetime, *, network: str = "") -> bool:
    """Ends a grant and with it every refresh token of its family; False where it had ended before.

    ``network`` is from where its person or client asked for that, empty where an administrator did.
    """
    row = tx.one(_END_GRANT, of=grant_id, now=milliseconds(now), reason=reason)
    if row is None:
        return False
    account_id, client_id, trace_id = row
    audit.record(
        tx, "grant.ended", now, account_id=account_id, client_id=client_id, grant_id=grant_id, trace_id=trace_id,
        network=network, detail=reason,
    )  # fmt: skip  # one row
    return True


def revoke(tx: Transaction, token_hash: bytes, client_id: str, now: datetime, network: str) -> None:
    """Ends the family of a refresh token, if it is this client's (RFC 7009 section 2.1)."""
    row = tx.one(_OWNER, token_hash=token_hash)
    if row is not None and row[1] == client_id:
        end(tx, row[0], "revoked by the client", now, network=network)


def email_of_standing(tx: Transaction, grant_id: str, now: datetime) -> str | None:
    """The address of a grant's person; None where the grant has ended or the account is disabled."""
    row = tx.one(_STANDING, grant_id=grant_id, now=milliseconds(now))
    return None if row is None else str(row[0])


def erase_salts(tx: Transaction, grace: timedelta, now: datetime) -> int:
    """Erases salts whose grace is over: from then on a successor cannot be computed by anybody."""
    return tx.run(_ERASE_SALTS, before=milliseconds(now - grace))
