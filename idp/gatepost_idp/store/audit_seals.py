"""The seals of the audit log: a hash chain over batches of events; docs/audit.md has the format.

The chain's two ends, the head, are sealed under SECRET_KEY: with the database alone nobody can truncate or rebuild the
chain undetected.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import bindparam, func
from sqlmodel import col, delete, select, update

from gatepost_idp.crypto import SecretKeys
from gatepost_idp.models import AuditBatch, AuditEvent, ServerSecret
from gatepost_idp.protocol import compact_json, milliseconds
from gatepost_idp.store import audit, keys
from gatepost_idp.transaction import Query, Transaction, columns, insert_query

BATCH = 250
HEAD = "audit head"
NOTHING = bytes(32)
"""The ``previous`` digest of the first batch."""


@dataclass(frozen=True, slots=True)
class Head:
    """Number and digest of the last sealed batch, and number of the last one that retention dropped (0: none)."""

    number: int
    digest: bytes
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """A stored batch; ``sealed_at`` in milliseconds, ``leaves`` the 32-byte digests of its events."""

    number: int
    sealed_at: int
    previous: bytes
    leaves: tuple[bytes, ...]
    digest: bytes


class Event(NamedTuple):
    """A stored event, column for column. Not an ORM object, which would be slower: every event passes here."""

    id: str
    at: int
    event: str
    account_id: str
    client_id: str
    grant_id: str
    trace_id: str
    network: str
    detail: str
    actor: str
    address: str
    batch: int | None
    salt: bytes | None
    who: bytes | None


_COLUMNS = columns(*(getattr(AuditEvent, name) for name in Event._fields))
_UNSEALED = Query(
    _COLUMNS.where(col(AuditEvent.batch).is_(None))
    .order_by(col(AuditEvent.id))
    .limit(bindparam("most"))
    .with_for_update()  # so that no account is deleted between this read and the seal
)
_OF_BATCH = Query(_COLUMNS.where(col(AuditEvent.batch) == bindparam("number")).order_by(col(AuditEvent.id)))
_INSERT = insert_query(AuditBatch)
_SEAL = Query(
    update(AuditEvent)
    .where(col(AuditEvent.id) == bindparam("of"))
    .values(batch=bindparam("into"), salt=bindparam("new_salt"), who=bindparam("new_who"))
)


def who_digest(salt: bytes, event: Event) -> bytes:
    """The digest of the columns that are blanked when a person is deleted; without the salt it reveals nothing."""
    return sha256(salt + _json(event.account_id, event.address, event.network)).digest()


def leaf(event: Event, who: bytes) -> bytes:
    """The digest of an event, with ``who`` in place of the columns that may be blanked."""
    return sha256(
        _json(
            event.id, event.at, event.event, event.actor, event.client_id, event.grant_id, event.trace_id,
            event.detail, who.hex(),
        )
    ).digest()  # fmt: skip  # one row


def batch_digest(number: int, sealed_at: int, previous: bytes, leaves: Sequence[bytes]) -> bytes:
    """The digest of a batch: over its leaves and the digest of the batch before it."""
    return sha256(_json(number, sealed_at, previous.hex()) + b"".join(leaves)).digest()


def _json(*members: str | int) -> bytes:
    return compact_json(members).encode("utf-8", "surrogatepass")


def head(tx: Transaction, secret_keys: SecretKeys) -> Head | None:
    """The sealed head, None before the first batch; raises SealBroken if it was changed."""
    row = keys.secret(tx, HEAD)
    if row is None:
        return None
    number, digest, dropped = json.loads(secret_keys.opened(HEAD, row.sealed))
    return Head(number, bytes.fromhex(digest), dropped)


def keep_head(tx: Transaction, secret_keys: SecretKeys, new: Head) -> None:
    """Stores the head, sealed under the newest SECRET_KEY."""
    text = json.dumps([new.number, new.digest.hex(), new.dropped]).encode()
    keys.save(tx, ServerSecret(name=HEAD, sealed=secret_keys.seal(HEAD, text)))


def seal_next(tx: Transaction, secret_keys: SecretKeys, now: datetime) -> tuple[Head, bool] | None:
    """Seals the oldest unsealed events; returns the new head and whether the batch was full, None if there are none.

    It continues from the head, not from the last row, so batches that somebody deleted leave a permanent gap.
    """
    events = [Event._make(row) for row in tx.all(_UNSEALED, most=BATCH)]
    if not events:
        return None
    last = head(tx, secret_keys) or Head(0, NOTHING)
    number, sealed_at = last.number + 1, milliseconds(now)
    salts = [secrets.token_bytes(16) for _ in events]
    whos = [who_digest(salt, event) for salt, event in zip(salts, events, strict=True)]
    leaves = [leaf(event, who) for event, who in zip(events, whos, strict=True)]
    tx.each(
        _SEAL,
        (
            {"of": event.id, "into": number, "new_salt": salt, "new_who": who}
            for event, salt, who in zip(events, salts, whos, strict=True)
        ),
    )
    digest = batch_digest(number, sealed_at, last.digest, leaves)
    tx.run(_INSERT, number=number, sealed_at=sealed_at, previous=last.digest, leaves=b"".join(leaves), digest=digest)
    new = Head(number, digest, last.dropped)
    keep_head(tx, secret_keys, new)
    return new, len(events) == BATCH


def batch_after(tx: Transaction, number: int) -> Batch | None:
    """The first batch after ``number``, or None."""
    statement = select(AuditBatch).where(col(AuditBatch.number) > number).order_by(col(AuditBatch.number)).limit(1)
    row = tx.session.exec(statement).first()
    if row is None:
        return None
    leaves = tuple(row.leaves[at : at + 32] for at in range(0, len(row.leaves), 32))
    return Batch(row.number, row.sealed_at, row.previous, leaves, row.digest)


def events_of(tx: Transaction, number: int) -> list[Event]:
    """The events that name this batch, by id."""
    return [Event._make(row) for row in tx.all(_OF_BATCH, number=number)]


def stray(tx: Transaction) -> tuple[str, int | None] | None:
    """The id of an event that names a missing batch, and that batch's number; None if there is none."""
    numbers = select(AuditBatch.number)
    statement = select(AuditEvent.id, AuditEvent.batch).where(
        col(AuditEvent.batch).is_not(None), col(AuditEvent.batch).not_in(numbers)
    )
    return tx.session.exec(statement.order_by(col(AuditEvent.id)).limit(1)).first()


def unsealed(tx: Transaction) -> int:
    """How many events are not sealed yet."""
    return tx.session.exec(select(func.count()).select_from(AuditEvent).where(col(AuditEvent.batch).is_(None))).one()


def announce_drop(tx: Transaction, secret_keys: SecretKeys, before: datetime, now: datetime) -> int:
    """Records in the head and the log that batches sealed before ``before`` are dropped; returns the last one, or 0."""
    old = select(AuditBatch.number).where(col(AuditBatch.sealed_at) < milliseconds(before))
    last = tx.session.exec(old.order_by(col(AuditBatch.number).desc()).limit(1)).first()
    known = head(tx, secret_keys)
    if last is None or known is None:
        return 0
    keep_head(tx, secret_keys, replace(known, dropped=last))
    audit.record(tx, "audit.dropped", now, detail=f"batches through {last}")
    return last


def drop_next(tx: Transaction, through: int) -> bool:
    """Deletes the oldest batch with its events; False if none is left up to number ``through``."""
    oldest = tx.session.exec(select(AuditBatch.number).order_by(col(AuditBatch.number)).limit(1)).first()
    if oldest is None or oldest > through:
        return False
    tx.session.exec(delete(AuditEvent).where(col(AuditEvent.batch) == oldest))
    tx.session.exec(delete(AuditBatch).where(col(AuditBatch.number) == oldest))
    return True
