"""Grants (token families): started by a code, kept alive by refresh tokens, ended by time or by a revocation."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, exists
from sqlmodel import col, update

from gatepost_idp import redirects
from gatepost_idp.models import Account, AuthorizationGrant, Client, ClientDocument
from gatepost_idp.protocol import Refused, milliseconds, names_the_same_resource
from gatepost_idp.store import audit
from gatepost_idp.transaction import Query, Transaction, columns


@dataclass(frozen=True, slots=True)
class Granted:
    """A redeemed grant, from which tokens are made: scopes the person ``approved``, and those they hold now."""

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
class Standing:
    """A grant that has not ended and whose account and client are enabled."""

    account_id: str
    email: str
    resource: str
    trace_id: str


_END_GRANT = Query(
    update(AuthorizationGrant)
    .where(col(AuthorizationGrant.id) == bindparam("of"), col(AuthorizationGrant.ended_at).is_(None))
    .values(ended_at=bindparam("now"), end_reason=bindparam("reason"))
    .returning(col(AuthorizationGrant.account_id), col(AuthorizationGrant.client_id), col(AuthorizationGrant.trace_id))
)
_STANDING = Query(
    columns(Account.id, Account.email, AuthorizationGrant.resource, AuthorizationGrant.trace_id)
    .join(AuthorizationGrant, col(AuthorizationGrant.account_id) == col(Account.id))
    .where(
        col(AuthorizationGrant.id) == bindparam("grant_id"),
        col(AuthorizationGrant.ended_at).is_(None),
        col(AuthorizationGrant.ends_at) > bindparam("now"),
        col(Account.disabled_at).is_(None),
        ~exists().where(col(Client.id) == col(AuthorizationGrant.client_row), col(Client.disabled_at).is_not(None)),
        ~exists().where(
            col(ClientDocument.url) == col(AuthorizationGrant.client_id), col(ClientDocument.disabled_at).is_not(None)
        ),
    )
)


def standing(tx: Transaction, grant_id: str, now: datetime) -> Standing | None:
    """The grant, or None if it has ended or its account or client is disabled."""
    row = tx.one(_STANDING, grant_id=grant_id, now=milliseconds(now))
    return None if row is None else Standing(*row)


def end(tx: Transaction, grant_id: str, reason: str, now: datetime, *, network: str = "") -> bool:
    """Ends a grant and with it its whole family of refresh tokens; False if it had ended before.

    ``network`` is that of the person or client who asked, empty if an administrator did.
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


def refuse_other_resource(asked: str | None, resource: str, what: str, trace_id: str) -> Refused | None:
    """``invalid_target`` if ``asked`` is not the authorized resource, compared as at /authorize; else None.

    ``what`` names the code or grant in the log.
    """
    if asked is None or names_the_same_resource(asked, resource):
        return None
    description, reason = "The resource is not the one that was authorized.", f"{what} is for another resource"
    return Refused("invalid_target", description, reason, redirects.shown(asked), resource, trace_id)


def lateness(now_ms: int, expires_at: int, what: str) -> tuple[str, str] | None:
    """The reason, and how many seconds late ``what`` came; None if it came in time."""
    if expires_at > now_ms:
        return None
    return "expired", f"{what} {(now_ms - expires_at) // 1000} s after its end"
