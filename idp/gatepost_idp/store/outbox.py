"""The outbox table: mails claimed with a lease by a conditional UPDATE, and done only after the mail server's 250."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import bindparam, func
from sqlmodel import col, delete, select, update

from gatepost_idp import models
from gatepost_idp.crypto import random_id
from gatepost_idp.models import MailSuppression, Outbox
from gatepost_idp.protocol import instant, milliseconds, scope_set
from gatepost_idp.store import attempts, clients
from gatepost_idp.store.attempts import Attempt
from gatepost_idp.transaction import Query, Transaction, columns, insert_query

Progress = Literal["queued", "sent", "delayed", "failed"]
NOBODY = ""
"""The recipient of a letter for an address that may not sign in; it is processed but never sent."""
LEASE = timedelta(seconds=60)
SUPPRESSED_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Letter:
    """A claimed mail, about a sign-in or (``attempt_id`` None) a connection."""

    id: str
    attempt_id: str | None
    grant_id: str
    recipient: str
    message_id: str
    tries: int


_LETTER = (Outbox.id, Outbox.attempt_id, Outbox.grant_id, Outbox.recipient, Outbox.message_id, Outbox.tries)
_INSERT = insert_query(Outbox)
_DUE = Query(
    columns(*_LETTER)
    .where(
        col(Outbox.state) == "queued",
        col(Outbox.next_at) <= bindparam("now"),
        col(Outbox.lease_until) <= bindparam("now"),
    )
    .order_by(col(Outbox.next_at))
    .limit(20)
)
_CLAIM = Query(
    update(Outbox)
    .where(
        col(Outbox.id) == bindparam("of"),
        col(Outbox.state) == "queued",
        col(Outbox.lease_until) <= bindparam("now"),
    )
    .values(lease_until=bindparam("until"), tries=col(Outbox.tries) + 1)
)
_CLOSE = Query(
    update(Outbox)
    .where(col(Outbox.id) == bindparam("of"))
    .values(state=bindparam("into"), answer=bindparam("said"), lease_until=0)
)
_POSTPONE = Query(
    update(Outbox)
    .where(col(Outbox.id) == bindparam("of"))
    .values(next_at=bindparam("at"), answer=bindparam("said"), lease_until=0)
)


_SUPPRESSED = Query(
    columns(MailSuppression.until).where(
        col(MailSuppression.email_key) == bindparam("key"), col(MailSuppression.until) > bindparam("now")
    )
)


def add(tx: Transaction, letter_id: str, attempt_id: str, recipient: str, message_id: str, now: datetime) -> None:
    """Queues a sign-in mail; one to a suppressed address is stored as failed."""
    _add(tx, letter_id, attempt_id, "", recipient, message_id, now)


def announce(tx: Transaction, grant_id: str, recipient: str, now: datetime) -> None:
    """Queues the mail that tells a person of a new connection; its Message-ID is derived from its id."""
    _add(tx, random_id(12), None, grant_id, recipient, "", now)


def _add(
    tx: Transaction,
    letter_id: str,
    attempt_id: str | None,
    grant_id: str,
    recipient: str,
    message_id: str,
    now: datetime,
) -> None:
    now_ms = milliseconds(now)
    is_suppressed = tx.one(_SUPPRESSED, key=recipient.lower(), now=now_ms) is not None
    tx.run(
        _INSERT,
        id=letter_id,
        attempt_id=attempt_id,
        grant_id=grant_id,
        recipient=recipient,
        message_id=message_id,
        state="failed" if is_suppressed else "queued",
        tries=0,
        next_at=now_ms,
        lease_until=0,
        created_at=now_ms,
        answer="",
    )


def claim(tx: Transaction, now: datetime, at_most: int = 20) -> list[Letter]:
    """Claims due mails, each for one process until its lease ends, so that a killed process loses none."""
    now_ms = milliseconds(now)
    due = [Letter(*row) for row in tx.all(_DUE, now=now_ms)][:at_most]
    until = milliseconds(now + LEASE)
    return [letter for letter in due if tx.run(_CLAIM, of=letter.id, now=now_ms, until=until) == 1]


_NEWEST = Query(
    columns(*_LETTER)
    .where(col(Outbox.attempt_id) == bindparam("attempt_id"))
    .order_by(col(Outbox.created_at).desc())
    .limit(1)
)


def newest(tx: Transaction, attempt_id: str) -> Letter | None:
    """The last mail of an attempt, or None."""
    row = tx.one(_NEWEST, attempt_id=attempt_id)
    return Letter(*row) if row else None


_PROGRESS = Query(
    columns(Outbox.state, Outbox.answer)
    .where(col(Outbox.attempt_id) == bindparam("attempt_id"))
    .order_by(col(Outbox.created_at).desc())
    .limit(1)
)


def progress(tx: Transaction, attempt_id: str) -> Progress:
    """The progress of an attempt's newest mail; ``delayed`` once a try has failed."""
    row = tx.one(_PROGRESS, attempt_id=attempt_id)
    state, answer = row or ("queued", "")
    if state == "queued":
        return "delayed" if answer else "queued"
    return "failed" if state == "failed" else "sent"


def close(tx: Transaction, letter_id: str, into: str, answer: str) -> None:
    """Sets a mail's final state: ``sent`` after a 250, ``failed`` after a permanent refusal, or ``dropped``."""
    tx.run(_CLOSE, of=letter_id, into=into, said=answer[:200])


def postpone(tx: Transaction, letter_id: str, at: datetime, answer: str) -> None:
    """Queues a mail again for ``at``."""
    tx.run(_POSTPONE, of=letter_id, at=milliseconds(at), said=answer[:200])


_OCCASION = Query(
    columns(models.AuthorizationRequest.client_id, models.Client.name, models.AuthorizationRequest.redirect_uri,
           models.AuthorizationRequest.resource, models.AuthorizationRequest.expires_at,
           models.AuthorizationRequest.client_row)
    .outerjoin(models.Client, col(models.Client.id) == col(models.AuthorizationRequest.client_row))
    .where(col(models.AuthorizationRequest.id) == bindparam("request_id"))
)  # fmt: skip  # one query


@dataclass(frozen=True, slots=True)
class Occasion:
    """The attempt that a sign-in mail is about, and the client that asks."""

    attempt: Attempt
    client_id: str
    client_name: str
    redirect_uri: str
    resource: str
    request_expires_at: datetime


@dataclass(frozen=True, slots=True)
class News:
    """The content of a mail about a new connection."""

    grant_id: str
    email: str
    client_id: str
    client_name: str
    redirect_uri: str
    resource: str
    scope: tuple[str, ...]
    browser: str
    network: str
    created_at: datetime


_NEWS = Query(
    columns(models.AuthorizationGrant.id, models.Account.email, models.AuthorizationGrant.client_id,
            models.Client.name, models.AuthorizationGrant.redirect_uri, models.AuthorizationGrant.resource,
            models.AuthorizationGrant.scope, models.AuthorizationGrant.browser, models.AuthorizationGrant.network,
            models.AuthorizationGrant.created_at)
    .join(models.Account, col(models.Account.id) == col(models.AuthorizationGrant.account_id))
    .outerjoin(models.Client, col(models.Client.id) == col(models.AuthorizationGrant.client_row))
    .where(
        col(models.AuthorizationGrant.id) == bindparam("grant_id"),
        col(models.AuthorizationGrant.ended_at).is_(None),
    )
)  # fmt: skip  # one query


def news(tx: Transaction, grant_id: str) -> News | None:
    """The content of the mail about a grant; None if the grant has ended."""
    row = tx.one(_NEWS, grant_id=grant_id)
    if row is None:
        return None
    return News(
        row[0], row[1], row[2], row[3] or "", row[4], row[5], scope_set(row[6]), row[7], row[8], instant(row[9])
    )


def occasion(tx: Transaction, attempt_id: str) -> Occasion | None:
    """The attempt and client behind a mail; None if either is gone."""
    attempt = attempts.find(tx, attempt_id)
    row = tx.one(_OCCASION, request_id=attempt.request_id) if attempt else None
    if attempt is None or row is None or (row[1] is None and row[5] != clients.OWN.row):
        return None
    return Occasion(attempt, row[0], row[1] or "", row[2], row[3], instant(row[4]))


def suppress(tx: Transaction, recipient: str, answer: str, now: datetime) -> None:
    """Sends no mail for a day to an address that the server has refused permanently."""
    until = milliseconds(now + SUPPRESSED_FOR)
    tx.session.merge(MailSuppression(email_key=recipient.lower(), until=until, answer=answer[:200]))


def suppressed(tx: Transaction, now: datetime) -> list[dict[str, str]]:
    """The suppressed addresses: ``email``, ``until`` (ISO 8601) and the server's ``answer``."""
    rows = tx.session.exec(select(MailSuppression).where(col(MailSuppression.until) > milliseconds(now)))
    return [{"email": row.email_key, "until": instant(row.until).isoformat(), "answer": row.answer} for row in rows]


def allow(tx: Transaction, recipient: str) -> bool:
    """Lifts a suppression; False if there was none."""
    gone = tx.session.exec(delete(MailSuppression).where(col(MailSuppression.email_key) == recipient.lower()))
    return gone.rowcount == 1


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many mails are queued, and for how many seconds the oldest has been."""

    mails: int
    oldest_seconds: float


_BACKLOG = Query(columns(func.count(), func.min(Outbox.created_at)).where(col(Outbox.state) == "queued"))


def backlog(tx: Transaction, now: datetime) -> Backlog:
    """The queued mails, including those postponed to a later time."""
    mails, oldest = tx.one(_BACKLOG) or (0, None)
    return Backlog(mails, max(0.0, (milliseconds(now) - oldest) / 1000) if oldest is not None else 0.0)


def any_due(tx: Transaction, now: datetime) -> bool:
    """Whether any mail is due."""
    return bool(tx.all(_DUE, now=milliseconds(now)))
