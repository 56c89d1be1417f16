"""The audit log as administrators search it: the newest first, and no search reads further than a bound."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import bindparam, or_
from sqlmodel import col

from gatepost_idp.database import Query, Transaction, columns
from gatepost_idp.models import Account, AuditEvent
from gatepost_idp.protocol import instant
from gatepost_idp.store import paging
from gatepost_idp.store.paging import Page


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the log; ``email`` is that of its account, while there is one."""

    at: datetime
    event: str
    account_id: str
    email: str
    client_id: str
    grant_id: str
    trace_id: str
    network: str
    detail: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search: each text is the beginning of what the row has, and an empty one fits every row."""

    event: str = ""
    email: str = ""
    client_id: str = ""
    trace_id: str = ""

    def fits(self, event: Event) -> bool:
        """Whether the row is wanted. Nothing is a wildcard: texts are compared here."""
        return (
            event.event.startswith(self.event)
            and event.email.lower().startswith(self.email.lower())
            and event.client_id.startswith(self.client_id)
            and event.trace_id.startswith(self.trace_id)
        )


_PIECE = Query(
    columns(
        AuditEvent.id,
        AuditEvent.at,
        AuditEvent.event,
        AuditEvent.account_id,
        Account.email,
        AuditEvent.client_id,
        AuditEvent.grant_id,
        AuditEvent.trace_id,
        AuditEvent.network,
        AuditEvent.detail,
    )
    .join(Account, col(Account.id) == col(AuditEvent.account_id), isouter=True)
    .where(
        col(AuditEvent.at) <= bindparam("at"),
        or_(col(AuditEvent.at) < bindparam("at"), col(AuditEvent.id) <= bindparam("row_id")),
    )
    .order_by(col(AuditEvent.at).desc(), col(AuditEvent.id).desc())
    .limit(paging.PIECE)
)


def page(tx: Transaction, wanted: Wanted, start: str) -> Page[Event]:
    """Events that are wanted, the newest first, from ``start`` on; a rare one may be on a later page."""
    return paging.collected(partial(_piece, tx), start, wanted.fits)


def _piece(tx: Transaction, start: str) -> list[tuple[str, Event]]:
    at, row_id = paging.placed(start)
    return [(paging.place(at, row_id), _event(at, *row)) for row_id, at, *row in tx.all(_PIECE, at=at, row_id=row_id)]


def _event(at: int, event: str, account_id: str, email: str | None, *rest: str) -> Event:
    return Event(instant(at), event, account_id, email or "", *rest)
