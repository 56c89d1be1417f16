"""The audit log: one row per security event, written in the transaction it reports, and read page by page."""

import itertools
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement
from sqlmodel import col, or_, select

from gatepost_idp.models import Account, AuditEvent
from gatepost_idp.protocol import instant, milliseconds
from gatepost_idp.transaction import Transaction, insert_query

COMMAND_LINE = "command line"
"""The ``network`` of events caused by a command."""
_INSERT = insert_query(AuditEvent)
_NUMBERS = itertools.count()
_UNSEALED = {"batch": None, "salt": None, "who": None}


@dataclass(frozen=True, slots=True)
class Source:
    """The network from which something was done, and its trace id."""

    network: str
    trace_id: str


NOWHERE = Source("", "")


def record(
    tx: Transaction,
    event: str,
    now: datetime,
    *,
    account_id: str = "",
    client_id: str = "",
    grant_id: str = "",
    trace_id: str = "",
    network: str = "",
    detail: str = "",
    actor: str = "",
    address: str = "",
) -> None:
    """Adds an event about ``account_id``, or about ``address``, a mailbox without an account.

    ``actor`` is the account id of the administrator who did it, if not the person. ``detail`` must hold no secret and
    nothing personal: it stays when the person is deleted.
    """
    at = milliseconds(now)
    tx.run(
        _INSERT,
        id=f"{at:012x}{next(_NUMBERS) % 0x1000000:06x}{secrets.token_hex(7)}",  # sorts by time, then by sequence
        at=at,
        event=event,
        account_id=account_id,
        client_id=client_id,
        grant_id=grant_id,
        trace_id=trace_id,
        network=network,
        detail=detail,
        actor=actor,
        address=address,
        **_UNSEALED,
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter; empty fields match everything. ``event`` may be just the part before the dot.

    ``account_id`` and ``address`` name one person: events about either, or done by that account, match. ``until`` is
    exclusive.
    """

    event: str = ""
    account_id: str = ""
    address: str = ""
    client_id: str = ""
    trace_id: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the log; ``email`` is the account's, empty if there is none."""

    id: str
    at: datetime
    event: str
    email: str
    account_id: str
    address: str
    actor: str
    client_id: str
    grant_id: str
    trace_id: str
    network: str
    detail: str
    batch: int | None
    salt: bytes | None
    who: bytes | None


def page(tx: Transaction, wanted: Wanted, after: str = "", limit: int = 500, *, newest: bool = False) -> list[Event]:
    """The next events after the id ``after``, oldest first, or ``newest`` first; empty after the last."""
    by_id = col(AuditEvent.id)
    statement = (
        select(AuditEvent, Account.email)
        .outerjoin(Account, col(Account.id) == col(AuditEvent.account_id))
        .where(*_conditions(wanted))
        .order_by(by_id.desc() if newest else by_id)
        .limit(limit)
    )
    if after:
        statement = statement.where(by_id < after if newest else by_id > after)
    return [_event(row, email) for row, email in tx.session.exec(statement)]


def _event(row: AuditEvent, email: str | None) -> Event:
    return Event(
        row.id, instant(row.at), row.event, email or "", row.account_id, row.address, row.actor, row.client_id,
        row.grant_id, row.trace_id, row.network, row.detail, row.batch, row.salt, row.who,
    )  # fmt: skip  # one row


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.event:
        event = col(AuditEvent.event)
        found.append(or_(event == wanted.event, event.startswith(f"{wanted.event}.", autoescape=True)))
    whom = [column == wanted.account_id for column in (col(AuditEvent.account_id), col(AuditEvent.actor))]
    if wanted.account_id or wanted.address:
        mailbox = [col(AuditEvent.address) == wanted.address] if wanted.address else []
        found.append(or_(*(whom if wanted.account_id else ()), *mailbox))
    if wanted.client_id:
        client_id = col(AuditEvent.client_id)  # of one registration, or of the row that many share
        found.append(or_(client_id == wanted.client_id, client_id.startswith(f"{wanted.client_id}.", autoescape=True)))
    if wanted.trace_id:
        found.append(col(AuditEvent.trace_id) == wanted.trace_id)
    if wanted.since:
        found.append(col(AuditEvent.id) >= f"{milliseconds(wanted.since):012x}")
    if wanted.until:
        found.append(col(AuditEvent.id) < f"{milliseconds(wanted.until):012x}")
    return found
