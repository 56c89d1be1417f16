"""People: their accounts, the scopes they hold, and the browsers in which they are signed in."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam
from sqlmodel import col, delete, select, update

from gatepost_idp.crypto import random_id
from gatepost_idp.models import Account, BrowserSession, Entitlement, Invitation
from gatepost_idp.protocol import instant, milliseconds
from gatepost_idp.transaction import Query, Transaction, columns, insert_query

IDLE_MS = 7 * 86_400_000
_SEEN_EVERY_MS = 60_000


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in person in a browser; ``seen_lately``: marked seen within the last minute."""

    account_id: str
    email: str
    auth_time: datetime
    seen_lately: bool


_HELD = Query(
    columns(Entitlement.scope)
    .where(col(Entitlement.account_id) == bindparam("account_id"), col(Entitlement.resource) == bindparam("resource"))
    .order_by(col(Entitlement.scope))
)
_SESSION = Query(
    columns(Account.id, Account.email, BrowserSession.auth_time, BrowserSession.seen_at)
    .join(Account, col(Account.id) == col(BrowserSession.account_id))
    .where(
        col(BrowserSession.token_hash) == bindparam("token_hash"),
        col(BrowserSession.ended_at).is_(None),
        col(BrowserSession.expires_at) > bindparam("now"),
        col(BrowserSession.seen_at) > bindparam("idle_since"),
        col(Account.disabled_at).is_(None),
    )
)
_SEEN = Query(
    update(BrowserSession)
    .where(col(BrowserSession.token_hash) == bindparam("of"), col(BrowserSession.seen_at) < bindparam("before"))
    .values(seen_at=bindparam("now"))
)
_SIGNED_IN = Query(update(Account).where(col(Account.id) == bindparam("of")).values(seen_at=bindparam("now")))
_INSERT_SESSION = insert_query(BrowserSession)


def held_scopes(tx: Transaction, account_id: str, resource: str) -> frozenset[str]:
    """The scopes that an account holds at ``resource``."""
    return frozenset(row[0] for row in tx.all(_HELD, account_id=account_id, resource=resource))


def session(tx: Transaction, token_hash: bytes, now: datetime) -> Session | None:
    """The session of this cookie; None if it ended, expired or was idle too long, or the account is disabled."""
    now_ms = milliseconds(now)
    found = tx.one(_SESSION, token_hash=token_hash, now=now_ms, idle_since=now_ms - IDLE_MS)
    if found is None:
        return None
    account_id, email, auth_time, seen_at = found
    return Session(account_id, email, instant(auth_time), seen_at >= now_ms - _SEEN_EVERY_MS)


def mark_seen(tx: Transaction, token_hash: bytes, now: datetime) -> None:
    """Keeps a session from idling out; writes at most once a minute."""
    now_ms = milliseconds(now)
    tx.run(_SEEN, of=token_hash, before=now_ms - _SEEN_EVERY_MS, now=now_ms)


def start_session(
    tx: Transaction, token_hash: bytes, account_id: str, now: datetime, expires_at: datetime, browser: str, network: str
) -> None:
    """Stores a new session. Its token is new at every sign-in, which prevents session fixation."""
    now_ms = milliseconds(now)
    tx.run(_SIGNED_IN, of=account_id, now=now_ms)
    tx.run(
        _INSERT_SESSION,
        token_hash=token_hash,
        account_id=account_id,
        auth_time=now_ms,
        seen_at=now_ms,
        expires_at=milliseconds(expires_at),
        ended_at=None,
        browser=browser,
        network=network,
    )


def end_session(tx: Transaction, token_hash: bytes, now: datetime) -> None:
    """Signs one browser out."""
    statement = update(BrowserSession).where(col(BrowserSession.token_hash) == token_hash)
    tx.session.exec(statement.values(ended_at=milliseconds(now)))


@dataclass(frozen=True, slots=True)
class SignedIn:
    """One browser in which a person is signed in; ``id`` is the token's hash in hex, not a credential."""

    id: str
    browser: str
    network: str
    since: datetime
    seen: datetime


def sessions(tx: Transaction, account_id: str, now: datetime) -> list[SignedIn]:
    """The browsers in which a person is signed in, most recently seen first."""
    now_ms = milliseconds(now)
    statement = (
        select(BrowserSession)
        .where(
            col(BrowserSession.account_id) == account_id,
            col(BrowserSession.ended_at).is_(None),
            col(BrowserSession.expires_at) > now_ms,
            col(BrowserSession.seen_at) > now_ms - IDLE_MS,
        )
        .order_by(col(BrowserSession.seen_at).desc())
    )
    return [
        SignedIn(row.token_hash.hex(), row.browser, row.network, instant(row.auth_time), instant(row.seen_at))
        for row in tx.session.exec(statement)
    ]


def end_sessions(tx: Transaction, account_id: str, now: datetime, session_id: str | None = None) -> int:
    """Signs a person out of every browser, or of the one named by ``session_id``; returns how many sessions ended."""
    statement = update(BrowserSession).where(
        col(BrowserSession.account_id) == account_id, col(BrowserSession.ended_at).is_(None)
    )
    if session_id is not None:
        statement = statement.where(col(BrowserSession.token_hash) == bytes.fromhex(session_id))
    return tx.session.exec(statement.values(ended_at=milliseconds(now))).rowcount


def by_key(tx: Transaction, email_key: str) -> Account | None:
    """The account of a mailbox, disabled or not, or None."""
    return tx.session.exec(select(Account).where(col(Account.email_key) == email_key)).first()


def sign_up(tx: Transaction, email: str, email_key: str, entitlements: list[tuple[str, str]], now: datetime) -> Account:
    """Makes an account that holds ``entitlements`` (pairs of resource and scope), and deletes its invitation."""
    now_ms = milliseconds(now)
    account = Account(id=random_id(), email=email, email_key=email_key, created_at=now_ms, seen_at=now_ms)
    tx.session.add(account)
    tx.session.flush()
    for resource, scope in entitlements:
        tx.session.add(Entitlement(account_id=account.id, resource=resource, scope=scope, granted_at=now_ms))
    tx.session.flush()
    tx.session.exec(delete(Invitation).where(col(Invitation.email_key) == email_key))
    return account


def set_disabled(tx: Transaction, account_id: str, disabled_at: datetime | None) -> None:
    """Disables an account, or enables it with None. Its connections do not end, but are refused meanwhile."""
    value = milliseconds(disabled_at) if disabled_at else None
    tx.session.exec(update(Account).where(col(Account.id) == account_id).values(disabled_at=value))


def invite(tx: Transaction, email_key: str, now: datetime) -> None:
    """Invites a mailbox, which may then sign up unless SIGNUP=closed."""
    tx.session.merge(Invitation(email_key=email_key, invited_at=milliseconds(now)))


def is_invited(tx: Transaction, email_key: str) -> bool:
    """Whether that mailbox was invited."""
    return tx.session.get(Invitation, email_key) is not None


def grant_scope(tx: Transaction, account_id: str, resource: str, scope: str, now: datetime) -> None:
    """Gives an account a scope; no error if it holds the scope already."""
    tx.session.merge(Entitlement(account_id=account_id, resource=resource, scope=scope, granted_at=milliseconds(now)))


def revoke_scope(tx: Transaction, account_id: str, resource: str, scope: str) -> bool:
    """Takes a scope away, with effect from the next refresh; False if the account did not hold it."""
    gone = tx.session.exec(
        delete(Entitlement).where(
            col(Entitlement.account_id) == account_id,
            col(Entitlement.resource) == resource,
            col(Entitlement.scope) == scope,
        )
    )
    return gone.rowcount == 1


def set_role(tx: Transaction, account_id: str, role: str) -> bool:
    """Sets a role, ``admin`` or empty; False if the account had it already."""
    own = (col(Account.id) == account_id, col(Account.role) != role)
    return tx.session.exec(update(Account).where(*own).values(role=role)).rowcount == 1


@dataclass(frozen=True, slots=True)
class Person:
    """A person, and the scopes they hold: pairs of resource and scope."""

    id: str
    email: str
    email_key: str
    role: str
    created_at: datetime
    seen_at: datetime
    disabled: bool
    scopes: tuple[tuple[str, str], ...]


def people(tx: Transaction, search: str = "", after: str = "", limit: int = 500) -> list[Person]:
    """The next people after the mailbox ``after``, by address; ``search``: a part of the address."""
    key = col(Account.email_key)
    statement = select(Account).where(key > after).order_by(key).limit(limit)
    if search:
        statement = statement.where(key.contains(search.lower(), autoescape=True))
    rows = tx.session.exec(statement).all()
    held: dict[str, list[tuple[str, str]]] = {row.id: [] for row in rows}
    theirs = select(Entitlement).where(col(Entitlement.account_id).in_(held))
    for entitlement in tx.session.exec(theirs.order_by(col(Entitlement.resource), col(Entitlement.scope))):
        held[entitlement.account_id].append((entitlement.resource, entitlement.scope))
    return [_person(row, held[row.id]) for row in rows]


def find(tx: Transaction, email_key: str) -> Person | None:
    """The person of a mailbox with their scopes, or None."""
    row = by_key(tx, email_key)
    if row is None:
        return None
    theirs = select(Entitlement).where(col(Entitlement.account_id) == row.id)
    found = tx.session.exec(theirs.order_by(col(Entitlement.resource), col(Entitlement.scope)))
    return _person(row, [(entitlement.resource, entitlement.scope) for entitlement in found])


def _person(row: Account, held: list[tuple[str, str]]) -> Person:
    created_at, seen_at, is_disabled = instant(row.created_at), instant(row.seen_at), row.disabled_at is not None
    return Person(row.id, row.email, row.email_key, row.role, created_at, seen_at, is_disabled, tuple(held))
