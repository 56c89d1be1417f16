"""All that is stored about a person: exported as one object, or deleted."""

from typing import Any

from sqlmodel import SQLModel, col, delete, select, update

from gatepost_idp.models import (
    Account,
    AuditEvent,
    AuthorizationGrant,
    BrowserSession,
    Consent,
    Entitlement,
    Invitation,
    MailSuppression,
    Outbox,
    PersonalToken,
    SignInAttempt,
)
from gatepost_idp.protocol import instant
from gatepost_idp.transaction import Transaction

_TABLES: dict[str, type[SQLModel]] = {
    "scopes": Entitlement,
    "connections": AuthorizationGrant,
    "consents": Consent,
    "personal_tokens": PersonalToken,
    "sessions": BrowserSession,
    "events": AuditEvent,
}
_INSTANTS = ("at", "auth_time", "until")


def exported(tx: Transaction, account_id: str) -> dict[str, Any]:
    """All rows of an account as JSON values, without hashes (``bytes``); instants in ISO 8601. Empty if unknown."""
    account = tx.session.get(Account, account_id)
    if account is None:
        return {}
    found: dict[str, Any] = {"account": _plain(account)}
    for name, table in _TABLES.items():
        rows = tx.session.exec(select(table).where(col(table.account_id) == account_id)).all()  # type: ignore[attr-defined]  # each of them has it
        found[name] = [_plain(row) for row in rows]
    return found


def _plain(row: SQLModel) -> dict[str, Any]:
    members = {name: value for name, value in row.model_dump().items() if not isinstance(value, bytes)}
    return {
        name: instant(value).isoformat() if value is not None and (name.endswith("_at") or name in _INSTANTS) else value
        for name, value in members.items()
    }


def delete_account(tx: Transaction, account_id: str) -> bool:
    """Deletes an account and all that refers to it, and blanks the person in the audit log; False if unknown."""
    account = tx.session.get(Account, account_id)
    if account is None:
        return False
    for table in (SignInAttempt, Invitation, MailSuppression):
        tx.session.exec(delete(table).where(col(table.email_key) == account.email_key))
    tx.session.exec(delete(Outbox).where(col(Outbox.recipient) == account.email))
    # The salt goes too: without it the remaining digest does not reveal who it was (docs/audit.md).
    for own in (col(AuditEvent.account_id) == account_id, col(AuditEvent.address) == account.email_key):
        tx.session.exec(update(AuditEvent).where(own).values(account_id="", address="", network="", salt=None))
    tx.session.exec(delete(Account).where(col(Account.id) == account_id))
    return True
