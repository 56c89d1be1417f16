"""People: their accounts, the scopes they hold, and the browsers in which they are signed in."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam
from sqlmodel import col, delete, select, update

from gatepost_idp.crypto import random_id
from gatepost_idp.database import Query, Transaction, columns, insert_query
from gatepost_idp.models import Account, BrowserSession, Entitlement, Invitation
from gatepost_idp.protocol import instant, milliseconds

IDLE_MS = 7 * 86_400_000
_SEEN_EVERY_MS = 60_000


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in person in a browser."""

    account_id: str
    email: str
    auth_time: datetime


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
_INSERT_SESSION = insert_query(BrowserSession)


def held_scopes(tx: Transaction, account_id: str, resource: str) -> frozenset[str]:
    """The scopes that a person holds at ``resource``."""
    return frozenset(row[0] for row in tx.all(_HELD, account_id=account_id, resource=resource))


def session(tx: Transaction, token_hash: bytes, now: datetime) -> Session | None:
    """Who is signed in with this cookie, unless it ended, idled too long or the account is disabled."""
    now_ms = milliseconds(now)
    found = tx.one(_SESSION, token_hash=token_hash, now=now_ms, idle_since=now_ms - IDLE_MS)
    if found is None:
        return None
    account_id, email, auth_time, _seen = found
    return Session(account_id, email, instant(auth_time))


def mark_seen(tx: Transaction, token_hash: bytes, now: datetime) -> None:
    """Keeps a session from idling out; written once a minute at the most."""
    now_ms = milliseconds(now)
    tx.run(_SEEN, of=token_hash, before=now_ms - _SEEN_EVERY_MS, now=now_ms)


def start_session(
    tx: Transaction, token_hash: bytes, account_id: str, now: datetime, expires_at: datetime, browser: str, network: str
) -> None:
    """Stores a fresh session; its id is new at every sign-in, so that nobody can fix one beforehand."""
    now_ms = milliseconds(now)
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
    """One browser in which a person is signed in; ``id`` names it to its owner and opens nothing."""

    id: str
    browser: str
    network: str
    since: datetime
    seen: datetime


def sessions(tx: Transaction, account_id: str, now: datetime) -> list[SignedIn]:
    """Where a person is signed in, the one seen last first."""
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
    """Signs a person out of every browser, or of the one that ``session_id`` names."""
    statement = update(BrowserSession).where(
        col(BrowserSession.account_id) == account_id, col(BrowserSession.ended_at).is_(None)
    )
    if session_id is not None:
        statement = statement.where(col(BrowserSession.token_hash) == bytes.fromhex(session_id))
    return tx.session.exec(statement.values(ended_at=milliseconds(now))).rowcount


def by_key(tx: Transaction, email_key: str) -> Account | None:
    """The account of a mailbox."""
    return tx.session.exec(select(Account).where(col(Account.email_key) == email_key)).first()


def sign_up(tx: Transaction, email: str, email_key: str, entitlements: list[tuple[str, str]], now: datetime) -> Account:
    """Makes an account that holds ``entitlements``, pairs of resource and scope; an invitation is used up by it."""
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
    """Shuts a person out, or lets them in again; their connections stand still meanwhile."""
    value = milliseconds(disabled_at) if disabled_at else None
    tx.session.exec(update(Account).where(col(Account.id) == account_id).values(disabled_at=value))


def invite(tx: Transaction, email_key: str, now: datetime) -> None:
    """Lets a mailbox sign up where SIGNUP=invite."""
    tx.session.merge(Invitation(email_key=email_key, invited_at=milliseconds(now)))


def is_invited(tx: Transaction, email_key: str) -> bool:
    """Whether that mailbox was invited."""
    return tx.session.get(Invitation, email_key) is not None


def grant_scope(tx: Transaction, account_id: str, resource: str, scope: str, now: datetime) -> None:
    """Gives a person a scope; to hold it already is no error."""
    tx.session.merge(Entitlement(account_id=account_id, resource=resource, scope=scope, granted_at=milliseconds(now)))


def revoke_scope(tx: Transaction, account_id: str, resource: str, scope: str) -> bool:
    """Takes a scope away from the next refresh on; False where the person did not hold it."""
    gone = tx.session.exec(
        delete(Entitlement).where(
            col(Entitlement.account_id) == account_id,
            col(Entitlement.resource) == resource,
            col(Entitlement.scope) == scope,
        )
    )
    return gone.rowcount == 1


def listed(tx: Transaction) -> list[dict[str, str]]:
    """Every person with the scopes they hold, by address."""
    held: dict[str, list[str]] = {}
    for entitlement in tx.session.exec(select(Entitlement).order_by(col(Entitlement.scope))):
        held.setdefault(entitlement.account_id, []).append(entitlement.scope)
    people = tx.session.exec(select(Account).order_by(col(Account.email_key)))
    return [{"email": person.email, "id": person.id, "scopes": " ".join(held.get(person.id, []))} for person in people]
