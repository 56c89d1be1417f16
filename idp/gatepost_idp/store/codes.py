"""Authorization codes: each is spent once, by one conditional UPDATE, and starts its grant."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam
from sqlmodel import col, update

from gatepost_idp import redirects
from gatepost_idp.models import Account, AuthorizationCode, AuthorizationGrant
from gatepost_idp.protocol import Refused, milliseconds, scope_set
from gatepost_idp.store import accounts, audit, grants, outbox, refresh_tokens
from gatepost_idp.store.grants import Granted
from gatepost_idp.transaction import Query, Row, Transaction, columns, insert_query

WRONG_VERIFIERS = 5
CONNECTION_LIFE = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class NewCode:
    """What a code is bound to (OAuth 2.1 section 4.1.2). ``announced``: the person gets a mail about the connection."""

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
class Redemption:
    """A request to redeem a code. ``proves`` tells whether the verifier matches a challenge (RFC 7636 section 4.6)."""

    code_hash: bytes
    client_id: str
    redirect_uri: str | None
    resource: str | None
    proves: Callable[[str], bool]
    refresh_token: str | None
    refresh_token_hash: bytes | None
    refresh_expires_at: datetime
    network: str


_INSERT_CODE = insert_query(AuthorizationCode)
_INSERT_GRANT = insert_query(AuthorizationGrant)

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

_REFUSED = "The authorization code is not valid. Start the authorization again."


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
    """Spends a code and starts its grant (OAuth 2.1 section 4.1.3); ``invalid_grant`` or ``invalid_target`` if refused.

    A wrong client, redirect or resource spends nothing. A second redemption that is otherwise correct ends the grant:
    two parties have had the code, and nobody can tell which of them stole it.
    """
    now_ms = milliseconds(now)
    row = tx.one(_CODE, code_hash=asked.code_hash)
    if row is None:
        return Refused(
            "invalid_grant", _REFUSED, "unknown code", "a code that nobody was given", "the code from the redirect"
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
        grants.end(tx, grant_id, "code replayed", now, network=asked.network)
        return _code_replayed(trace_id)
    ends_at = _ends_at(asked, now)
    _start_grant(tx, row, now_ms, ends_at)
    if asked.refresh_token_hash is not None:
        expires_at = min(milliseconds(asked.refresh_expires_at), ends_at)
        refresh_tokens.add_refresh_token(tx, asked.refresh_token_hash, grant_id, expires_at)
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
    """The refusal of a code that has expired, or whose account was disabled meanwhile."""
    reason, received = grants.lateness(now_ms, expires_at, "the code") or ("disabled account", "")
    expected = "the code within a minute" if received else "an account that is not disabled"
    event = "" if received else "refused.account_disabled"
    return Refused("invalid_grant", _REFUSED, reason, received, expected, trace_id, event)


def _code_replayed(trace_id: str) -> Refused:
    reason, received = "code replayed; its grant is ended", "a code that was redeemed before"
    return Refused("invalid_grant", _REFUSED, reason, received, "each code once", trace_id, "refused.code_replayed")


def _other_than_authorized(asked: Redemption, code: Row) -> Refused | None:
    """Refuses a client, redirect_uri or resource other than the authorized one; the code is not spent."""
    client_id, redirect_uri, resource, trace_id = code[3], code[5], code[7], code[11]
    if client_id != asked.client_id:
        received, expected = f"client_id {asked.client_id}", f"client_id {client_id}"
        return Refused(
            "invalid_grant", _REFUSED, "code of another client", received, expected, trace_id,
            "refused.code_of_another",
        )  # fmt: skip  # one row
    if asked.redirect_uri not in (None, redirect_uri):
        received, expected = redirects.shown(asked.redirect_uri), redirects.shown(redirect_uri)
        reason = "redirect_uri differs from the one at /authorize"
        return Refused("invalid_grant", _REFUSED, reason, received, expected, trace_id)
    return grants.refuse_other_resource(asked.resource, resource, "the code", trace_id)


def _ends_at(asked: Redemption, now: datetime) -> int:
    """When the grant ends, in milliseconds: after a year, or without a refresh token when one would have expired."""
    return milliseconds(now + CONNECTION_LIFE if asked.refresh_token_hash else asked.refresh_expires_at)


def _start_grant(tx: Transaction, code: Row, now_ms: int, ends_at: int) -> None:
    """Stores the grant of a code, under the id that the code was issued with."""
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


def _wrong_verifier(tx: Transaction, code_hash: bytes, challenge: str, trace_id: str, now_ms: int) -> Refused:
    """Counts a verifier that does not match the challenge; the fifth spends the code, which stops guessing."""
    row = tx.one(_COUNT_WRONG_VERIFIER, of=code_hash)
    if row is not None and row[0] >= WRONG_VERIFIERS:
        tx.run(_SPEND_CODE, of=code_hash, now=now_ms)
    reason, expected = "code_verifier does not match the code_challenge", f"one whose S256 is {challenge[:8]}..."
    received, event = "a verifier of another S256", "refused.wrong_verifier"
    return Refused("invalid_grant", _REFUSED, reason, received, expected, trace_id, event)
