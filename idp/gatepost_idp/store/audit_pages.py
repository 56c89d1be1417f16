"""The audit log for the admin pages: newest first; each page of a search reads a bounded number of rows."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import bindparam, or_
from sqlalchemy.orm import aliased
from sqlmodel import col

from gatepost_idp.models import Account, AuditEvent
from gatepost_idp.protocol import instant
from gatepost_idp.store import paging
from gatepost_idp.store.paging import Page
from gatepost_idp.transaction import Query, Transaction, columns


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the log: ``actor`` did it to ``account_id``; their addresses are empty if the accounts are gone.

    ``address``: a mailbox without an account.
    """

    at: datetime
    event: str
    account_id: str
    email: str
    address: str
    actor: str
    actor_email: str
    client_id: str
    grant_id: str
    trace_id: str
    network: str
    detail: str

    @property
    def people(self) -> tuple[str, ...]:
        """The addresses of everyone involved; some may be empty."""
        return self.email, self.address, self.actor_email


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search: each text is a prefix of the row's value, and an empty one fits every row."""

    event: str = ""
    email: str = ""
    client_id: str = ""
    trace_id: str = ""

    def fits(self, event: Event) -> bool:
        """Whether the row matches. Texts are compared here, not in SQL, so they have no wildcards."""
        return (
            event.event.startswith(self.event)
            and any(each.lower().startswith(self.email.lower()) for each in event.people)
            and event.client_id.startswith(self.client_id)
            and event.trace_id.startswith(self.trace_id)
        )


_ACTOR = aliased(Account)
_PIECE = Query(
    columns(
        AuditEvent.id,
        AuditEvent.at,
        AuditEvent.event,
        AuditEvent.account_id,
        Account.email,
        AuditEvent.address,
        AuditEvent.actor,
        _ACTOR.email,
        AuditEvent.client_id,
        AuditEvent.grant_id,
        AuditEvent.trace_id,
        AuditEvent.network,
        AuditEvent.detail,
    )
    .join(Account, col(Account.id) == col(AuditEvent.account_id), isouter=True)
    .join(_ACTOR, col(_ACTOR.id) == col(AuditEvent.actor), isouter=True)
    .where(
        col(AuditEvent.at) <= bindparam("at"),
        or_(col(AuditEvent.at) < bindparam("at"), col(AuditEvent.id) <= bindparam("row_id")),
    )
    .order_by(col(AuditEvent.at).desc(), col(AuditEvent.id).desc())
    .limit(paging.PIECE)
)


def page(tx: Transaction, wanted: Wanted, start: str) -> Page[Event]:
    """Matching events, newest first, from ``start`` on; rare ones may only be on a later page."""
    return paging.collected(partial(_piece, tx), start, wanted.fits)


def _piece(tx: Transaction, start: str) -> list[tuple[str, Event]]:
    at, row_id = paging.placed(start)
    return [(paging.place(at, row_id), _event(at, *row)) for row_id, at, *row in tx.all(_PIECE, at=at, row_id=row_id)]


def _event(
    at: int, event: str, account_id: str, email: str | None, address: str, actor: str, actor_email: str | None,
    *rest: str,
) -> Event:  # fmt: skip  # one row
    return Event(instant(at), event, account_id, email or "", address, actor, actor_email or "", *rest)
