"""Personal tokens, for clients that cannot do OAuth: stored as hashes, valid until revoked or expired."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam
from sqlmodel import col, select, update

from gatepost_idp.models import Account, PersonalToken
from gatepost_idp.protocol import instant, milliseconds, scope_set, scope_text
from gatepost_idp.transaction import Query, Transaction, columns, insert_query

_USED_EVERY_MS = 60_000


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to be stored."""

    id: str
    token_hash: bytes
    account_id: str
    name: str
    resource: str
    scope: tuple[str, ...]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Shown:
    """A token as the account page shows it; ``used_at`` is None if it was never used."""

    id: str
    name: str
    resource: str
    scope: tuple[str, ...]
    created_at: datetime
    used_at: datetime | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """A valid token and its account."""

    id: str
    account_id: str
    email: str
    name: str
    resource: str
    scope: tuple[str, ...]
    created_at: datetime
    expires_at: datetime


_INSERT = insert_query(PersonalToken)
_STANDING = Query(
    columns(
        PersonalToken.id,
        PersonalToken.account_id,
        Account.email,
        PersonalToken.name,
        PersonalToken.resource,
        PersonalToken.scope,
        PersonalToken.created_at,
        PersonalToken.expires_at,
    )
    .join(Account, col(Account.id) == col(PersonalToken.account_id))
    .where(
        col(PersonalToken.token_hash) == bindparam("token_hash"),
        col(PersonalToken.ended_at).is_(None),
        col(PersonalToken.expires_at) > bindparam("now"),
        col(Account.disabled_at).is_(None),
    )
)
_USED = Query(
    update(PersonalToken)
    .where(
        col(PersonalToken.token_hash) == bindparam("of"),
        col(PersonalToken.used_at).is_(None) | (col(PersonalToken.used_at) < bindparam("before")),
    )
    .values(used_at=bindparam("now"))
)


def add(tx: Transaction, new: NewToken, now: datetime) -> None:
    """Stores a token's hash."""
    tx.run(
        _INSERT,
        token_hash=new.token_hash,
        id=new.id,
        account_id=new.account_id,
        name=new.name,
        resource=new.resource,
        scope=scope_text(new.scope),
        created_at=milliseconds(now),
        used_at=None,
        expires_at=milliseconds(new.expires_at),
        ended_at=None,
    )


def standing(tx: Transaction, token_hash: bytes, now: datetime) -> Standing | None:
    """The token with that hash; None if it was ended or has expired, or its account is disabled."""
    row = tx.one(_STANDING, token_hash=token_hash, now=milliseconds(now))
    if row is None:
        return None
    token_id, account_id, email, name, resource, scope, created_at, expires_at = row
    return Standing(
        token_id, account_id, email, name, resource, scope_set(scope), instant(created_at), instant(expires_at)
    )


def mark_used(tx: Transaction, token_hash: bytes, now: datetime) -> None:
    """Records that it was used; writes at most once a minute."""
    now_ms = milliseconds(now)
    tx.run(_USED, of=token_hash, before=now_ms - _USED_EVERY_MS, now=now_ms)


def living(tx: Transaction, account_id: str, now: datetime) -> list[Shown]:
    """A person's valid tokens, newest first."""
    statement = (
        select(PersonalToken)
        .where(
            col(PersonalToken.account_id) == account_id,
            col(PersonalToken.ended_at).is_(None),
            col(PersonalToken.expires_at) > milliseconds(now),
        )
        .order_by(col(PersonalToken.created_at).desc(), col(PersonalToken.id))
    )
    return [
        Shown(
            row.id, row.name, row.resource, scope_set(row.scope), instant(row.created_at),
            None if row.used_at is None else instant(row.used_at), instant(row.expires_at),
        )
        for row in tx.session.exec(statement)
    ]  # fmt: skip  # one row


def end(tx: Transaction, account_id: str, now: datetime, token_id: str | None = None) -> int:
    """Ends all of a person's tokens, or the one named ``token_id``; returns how many."""
    statement = update(PersonalToken).where(
        col(PersonalToken.account_id) == account_id, col(PersonalToken.ended_at).is_(None)
    )
    if token_id is not None:
        statement = statement.where(col(PersonalToken.id) == token_id)
    return tx.session.exec(statement.values(ended_at=milliseconds(now))).rowcount
