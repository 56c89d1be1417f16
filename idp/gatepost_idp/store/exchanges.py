"""Resolves the subject token of an exchange (RFC 8693) to its person, if its grant or token and account are valid."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, func
from sqlmodel import col

from gatepost_idp.models import AuditEvent, Client
from gatepost_idp.protocol import milliseconds
from gatepost_idp.store import accounts, grants, personal_tokens
from gatepost_idp.transaction import Query, Transaction, columns

EXCHANGED = "token.exchanged"
"""The event of each exchange; its detail is the backend's name."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A person and their token: its ``scope``, those of it that they still hold (``held``), and when it expires.

    ``origin`` is the id of the grant or personal token; ``auth_time`` is in seconds since the epoch, if known.
    """

    account_id: str
    email: str
    resource: str
    scope: frozenset[str]
    held: frozenset[str]
    ends_at: datetime
    origin: str
    auth_time: int | None = None
    trace_id: str = ""


_COUNTED = Query(
    columns(AuditEvent.detail, func.count())
    .where(col(AuditEvent.at) > bindparam("since"), col(AuditEvent.at) <= bindparam("until"))
    .where(col(AuditEvent.event) == EXCHANGED)
    .group_by(col(AuditEvent.detail))
)
_CREDENTIALS = Query(
    columns(Client.resource)
    .where(col(Client.origin) == "resource_server", col(Client.disabled_at).is_(None))
    .distinct()
)


def of_access_token(
    tx: Transaction, grant_id: str, scope: tuple[str, ...], ends_at: datetime, auth_time: int, now: datetime
) -> Subject | None:
    """The subject of an access token; None if its grant has ended, or its account or client is disabled."""
    grant = grants.standing(tx, grant_id, now)
    if grant is None:
        return None
    held = accounts.held_scopes(tx, grant.account_id, grant.resource).intersection(scope)
    return Subject(
        grant.account_id, grant.email, grant.resource, frozenset(scope), held, ends_at, grant_id, auth_time,
        grant.trace_id,
    )  # fmt: skip  # one row


def of_personal_token(tx: Transaction, token_hash: bytes, now: datetime) -> Subject | None:
    """The subject of a personal token, which is marked used; None if it has ended or its account is disabled."""
    found = personal_tokens.standing(tx, token_hash, now)
    if found is None:
        return None
    personal_tokens.mark_used(tx, token_hash, now)
    held = accounts.held_scopes(tx, found.account_id, found.resource).intersection(found.scope)
    return Subject(
        found.account_id, found.email, found.resource, frozenset(found.scope), held, found.expires_at, found.id
    )


def counted(tx: Transaction, since: datetime, until: datetime) -> dict[str, int]:
    """How many tokens were issued for each backend after ``since`` through ``until``, by the backend's name."""
    return dict(tx.all(_COUNTED, since=milliseconds(since), until=milliseconds(until)))


def resources_with_credentials(tx: Transaction) -> frozenset[str]:
    """The resources that have enabled resource server credentials, and so can exchange tokens."""
    return frozenset(row[0] for row in tx.all(_CREDENTIALS))
