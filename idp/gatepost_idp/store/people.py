"""People for the admin pages: a list by address, and one person with the scopes that they hold."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import bindparam
from sqlmodel import col

from gatepost_idp.models import Account, Entitlement
from gatepost_idp.protocol import instant
from gatepost_idp.store import paging
from gatepost_idp.store.paging import Page
from gatepost_idp.transaction import Query, Row, Transaction, columns

ADMIN = "admin"
"""The role that may use the admin pages."""


@dataclass(frozen=True, slots=True)
class Person:
    """An account."""

    id: str
    email: str
    role: str
    created_at: datetime
    disabled_at: datetime | None


_COLUMNS = (Account.id, Account.email, Account.role, Account.created_at, Account.disabled_at)
_ROLE = Query(columns(Account.role).where(col(Account.id) == bindparam("of"), col(Account.disabled_at).is_(None)))
_FIND = Query(columns(*_COLUMNS).where(col(Account.id) == bindparam("of")))
_PIECE = Query(
    columns(Account.email_key, *_COLUMNS)
    .where(col(Account.email_key) >= bindparam("start"))
    .order_by(col(Account.email_key))
    .limit(paging.PIECE)
)
_HELD = Query(
    columns(Entitlement.resource, Entitlement.scope)
    .where(col(Entitlement.account_id) == bindparam("of"))
    .order_by(col(Entitlement.resource), col(Entitlement.scope))
)


def is_admin(tx: Transaction, account_id: str) -> bool:
    """Whether the account is enabled and has the role ADMIN now."""
    return tx.one(_ROLE, of=account_id) == (ADMIN,)


def find(tx: Transaction, account_id: str) -> Person | None:
    """One person, or None."""
    row = tx.one(_FIND, of=account_id)
    return None if row is None else _person(row)


def held(tx: Transaction, account_id: str) -> list[tuple[str, str]]:
    """The scopes that a person holds: pairs of resource and scope."""
    return [(resource, scope) for resource, scope in tx.all(_HELD, of=account_id)]


def page(tx: Transaction, beginning: str, start: str) -> Page[Person]:
    """People whose address begins with ``beginning``, by address, from ``start`` on.

    The prefix is compared here, so it has no wildcards; the database only reads along its index from there on, since
    its order of punctuation depends on the locale.
    """
    found = paging.collected(partial(_piece, tx), start or beginning, lambda keyed: keyed[0].startswith(beginning))
    return Page(tuple(person for _, person in found.rows), found.following)


def _piece(tx: Transaction, start: str) -> list[tuple[str, tuple[str, Person]]]:
    return [(row[0], (row[0], _person(row[1:]))) for row in tx.all(_PIECE, start=start)]


def _person(row: Row) -> Person:
    account_id, email, role, created_at, disabled_at = row
    disabled = None if disabled_at is None else instant(disabled_at)
    return Person(account_id, email, role, instant(created_at), disabled)
