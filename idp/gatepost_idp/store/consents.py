"""Remembered consents: what people agreed to, and until when."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam
from sqlmodel import col, delete, select

from gatepost_idp.crypto import random_id
from gatepost_idp.models import Consent
from gatepost_idp.protocol import instant, milliseconds, scope_set, scope_text
from gatepost_idp.transaction import Query, Transaction, columns, upsert_query


@dataclass(frozen=True, slots=True)
class Agreement:
    """One remembered consent: the scopes that were asked for, and those of them that the person approved."""

    client_id: str
    asked: tuple[str, ...]
    approved: tuple[str, ...]
    until: datetime


_LIVING = Query(
    columns(Consent.client_id, Consent.scope_asked, Consent.scope_approved, Consent.expires_at)
    .where(
        col(Consent.account_id) == bindparam("account_id"),
        col(Consent.client_row) == bindparam("client_row"),
        col(Consent.redirect_host) == bindparam("redirect_host"),
        col(Consent.resource) == bindparam("resource"),
        col(Consent.expires_at) > bindparam("now"),
    )
    .order_by(col(Consent.granted_at).desc())
    .limit(50)
)
_DELETE = Query(
    delete(Consent).where(
        col(Consent.account_id) == bindparam("account_id"),
        col(Consent.client_id) == bindparam("client_id"),
        col(Consent.redirect_host) == bindparam("redirect_host"),
        col(Consent.resource) == bindparam("resource"),
    )
)
_COLUMNS = tuple(Consent.model_fields)
_THING = ("account_id", "client_id", "redirect_host", "resource")


_UPSERT = upsert_query(  # so that two tabs may consent concurrently
    Consent,
    keys=_THING,
    values={name: bindparam(name) for name in _COLUMNS},
    changes=lambda new: {name: new[name] for name in _COLUMNS if name not in ("id", *_THING)},
)


@dataclass(frozen=True, slots=True)
class Remembered:
    """One remembered consent, as the account page shows it."""

    id: str
    client_id: str
    client_row: str
    redirect_host: str
    resource: str
    approved: tuple[str, ...]
    until: datetime


def remembered(tx: Transaction, account_id: str, now: datetime) -> list[Remembered]:
    """A person's living consents, newest first; at most 100."""
    statement = (
        select(Consent)
        .where(col(Consent.account_id) == account_id, col(Consent.expires_at) > milliseconds(now))
        .order_by(col(Consent.granted_at).desc())
        .limit(100)
    )
    return [
        Remembered(
            row.id, row.client_id, row.client_row, row.redirect_host, row.resource, scope_set(row.scope_approved),
            instant(row.expires_at),
        )
        for row in tx.session.exec(statement)
    ]  # fmt: skip  # one row


def forget(tx: Transaction, account_id: str, client_id: str) -> None:
    """Deletes a person's consents for one client id, which then has to ask again."""
    tx.session.exec(delete(Consent).where(col(Consent.account_id) == account_id, col(Consent.client_id) == client_id))


def living(
    tx: Transaction, account_id: str, client_row: str, redirect_host: str, resource: str, now: datetime
) -> list[Agreement]:
    """A person's agreements with any registration of one client row, newest first; at most 50."""
    rows = tx.all(
        _LIVING,
        account_id=account_id,
        client_row=client_row,
        redirect_host=redirect_host,
        resource=resource,
        now=milliseconds(now),
    )
    return [Agreement(row[0], scope_set(row[1]), scope_set(row[2]), instant(row[3])) for row in rows]


def remember(
    tx: Transaction,
    account_id: str,
    client_row: str,
    redirect_host: str,
    resource: str,
    agreed: Agreement,
    now: datetime,
) -> None:
    """Replaces the earlier agreement by ``agreed``; if its date is not in the future, only deletes the earlier one."""
    if agreed.until <= now:
        tx.run(
            _DELETE, account_id=account_id, client_id=agreed.client_id, redirect_host=redirect_host, resource=resource
        )
        return
    tx.run(
        _UPSERT,
        id=random_id(),
        account_id=account_id,
        client_id=agreed.client_id,
        client_row=client_row,
        redirect_host=redirect_host,
        resource=resource,
        scope_asked=scope_text(agreed.asked),
        scope_approved=scope_text(agreed.approved),
        granted_at=milliseconds(now),
        expires_at=milliseconds(agreed.until),
    )
