"""Sign-in attempts: pending, then consumed, cancelled, locked or expired; each change is one conditional UPDATE."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import bindparam
from sqlmodel import col, update

from gatepost_idp.models import SignInAttempt
from gatepost_idp.protocol import instant, milliseconds
from gatepost_idp.transaction import Query, Transaction, columns, insert_query

AttemptState = Literal["pending", "consumed", "cancelled", "locked", "expired"]
WRONG_CODES = 5


@dataclass(frozen=True, slots=True)
class Attempt:
    """One mailed link and code, and the browser that asked for it."""

    id: str
    request_id: str
    browser_hash: bytes
    email: str
    email_key: str
    seed: bytes
    key_id: str
    reference: str
    stored_state: AttemptState
    wrong_codes: int
    browser: str
    network: str
    created_at: datetime
    expires_at: datetime
    polled_at: datetime | None
    resend_at: datetime

    def state(self, now: datetime) -> AttemptState:
        """The state at ``now``; ``expired`` is never stored."""
        if self.stored_state == "pending" and self.expires_at <= now:
            return "expired"
        return self.stored_state


_COLUMNS = (
    "id", "request_id", "browser_hash", "email", "email_key", "seed", "key_id", "reference", "state", "wrong_codes",
    "browser", "network", "created_at", "expires_at", "polled_at", "resend_at",
)  # fmt: skip  # one list of names
_INSERT = insert_query(SignInAttempt)
_BY_ID = columns(*(getattr(SignInAttempt, name) for name in _COLUMNS)).where(col(SignInAttempt.id) == bindparam("id"))
_FIND = Query(_BY_ID)
_LOCK = Query(_BY_ID.with_for_update())
_TURN = Query(
    update(SignInAttempt)
    .where(
        col(SignInAttempt.id) == bindparam("of"),
        col(SignInAttempt.state) == "pending",
        col(SignInAttempt.expires_at) > bindparam("now"),
    )
    .values(state=bindparam("into"))
)
_COUNT_WRONG = Query(
    update(SignInAttempt)
    .where(col(SignInAttempt.id) == bindparam("of"), col(SignInAttempt.state) == "pending")
    .values(wrong_codes=col(SignInAttempt.wrong_codes) + 1)
    .returning(col(SignInAttempt.wrong_codes))
)
_POLLED = Query(
    update(SignInAttempt).where(col(SignInAttempt.id) == bindparam("of")).values(polled_at=bindparam("now"))
)
_RESEND = Query(
    update(SignInAttempt)
    .where(
        col(SignInAttempt.id) == bindparam("of"),
        col(SignInAttempt.state) == "pending",
        col(SignInAttempt.resend_at) <= bindparam("now"),
    )
    .values(resend_at=bindparam("next"))
)
_ACCEPTED = Query(
    update(SignInAttempt)
    .where(col(SignInAttempt.id) == bindparam("of"), col(SignInAttempt.accepted_at).is_(None))
    .values(accepted_at=bindparam("now"), expires_at=bindparam("until"))
)


def add(tx: Transaction, attempt: Attempt) -> None:
    """Stores a fresh attempt."""
    tx.run(
        _INSERT,
        id=attempt.id,
        request_id=attempt.request_id,
        browser_hash=attempt.browser_hash,
        email=attempt.email,
        email_key=attempt.email_key,
        seed=attempt.seed,
        key_id=attempt.key_id,
        reference=attempt.reference,
        state=attempt.stored_state,
        wrong_codes=attempt.wrong_codes,
        browser=attempt.browser,
        network=attempt.network,
        created_at=milliseconds(attempt.created_at),
        expires_at=milliseconds(attempt.expires_at),
        accepted_at=None,
        polled_at=None,
        resend_at=milliseconds(attempt.resend_at),
    )


def locked(tx: Transaction, attempt_id: str) -> Attempt | None:
    """``find`` with a row lock until the commit, so that parallel guesses of the code are checked one by one."""
    return find(tx, attempt_id, query=_LOCK)


def find(tx: Transaction, attempt_id: str, query: Query = _FIND) -> Attempt | None:
    """The attempt or None; does not check which browser it belongs to."""
    row = tx.one(query, id=attempt_id)
    if row is None:
        return None
    values = dict(zip(_COLUMNS, row, strict=True))
    values["stored_state"] = values.pop("state")
    for name in ("created_at", "expires_at", "resend_at"):
        values[name] = instant(values[name])
    values["polled_at"] = None if values["polled_at"] is None else instant(values["polled_at"])
    values |= {"browser_hash": bytes(values["browser_hash"]), "seed": bytes(values["seed"])}
    return Attempt(**values)


def turn(tx: Transaction, attempt_id: str, into: AttemptState, now: datetime) -> bool:
    """Ends a pending attempt; of concurrent calls only one gets True (link and code, double clicks, two tabs)."""
    return tx.run(_TURN, of=attempt_id, into=into, now=milliseconds(now)) == 1


def count_wrong_code(tx: Transaction, attempt_id: str, now: datetime) -> int:
    """Counts a wrong code and locks the attempt at the fifth; returns how many tries are left."""
    row = tx.one(_COUNT_WRONG, of=attempt_id)
    left = 0 if row is None else max(0, WRONG_CODES - int(row[0]))
    if left == 0:
        turn(tx, attempt_id, "locked", now)
    return left


def mark_polled(tx: Transaction, attempt_id: str, now: datetime) -> None:
    """Records that the waiting tab is alive, so that the link's page can send the person back to it."""
    tx.run(_POLLED, of=attempt_id, now=milliseconds(now))


def take_resend(tx: Transaction, attempt_id: str, now: datetime, following: datetime) -> bool:
    """Claims the right to send the mail again, and sets when the next may follow; False if it is too early."""
    return tx.run(_RESEND, of=attempt_id, now=milliseconds(now), next=milliseconds(following)) == 1


def mark_accepted(tx: Transaction, attempt_id: str, now: datetime, until: datetime) -> None:
    """Sets the attempt to expire at ``until``, the first time that the mail server accepts one of its mails."""
    tx.run(_ACCEPTED, of=attempt_id, now=milliseconds(now), until=milliseconds(until))
