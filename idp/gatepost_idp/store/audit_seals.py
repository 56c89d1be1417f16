"""The seals of the audit log: a chain of digests over batches of events; docs/audit.md has the format.

Its two ends, the head, are kept sealed under SECRET_KEY: whoever has the database alone can neither shorten the chain
nor make it anew unseen.
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
"""What the first batch follows."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last batch that was sealed, and the last one that retention dropped."""

    number: int
    digest: bytes
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """A stored seal."""

    number: int
    sealed_at: int
    previous: bytes
    leaves: tuple[bytes, ...]
    digest: bytes


class Event(NamedTuple):
    """A stored event, column for column: no object of the mapper's, for every event that is written passes here."""

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
    .with_for_update()  # so that a person who goes at this moment is not sealed in between
)
_OF_BATCH = Query(_COLUMNS.where(col(AuditEvent.batch) == bindparam("number")).order_by(col(AuditEvent.id)))
_INSERT = insert_query(AuditBatch)
_SEAL = Query(
    update(AuditEvent)
    .where(col(AuditEvent.id) == bindparam("of"))
    .values(batch=bindparam("into"), salt=bindparam("new_salt"), who=bindparam("new_who"))
)


def who_digest(salt: bytes, event: Event) -> bytes:
    """The digest of what is blanked when a person goes; without its salt it says nothing about them."""
    return sha256(salt + _json(event.account_id, event.address, event.network)).digest()


def leaf(event: Event, who: bytes) -> bytes:
    """The digest of an event."""
    return sha256(
        _json(
            event.id, event.at, event.event, event.actor, event.client_id, event.grant_id, event.trace_id,
            event.detail, who.hex(),
        )
    ).digest()  # fmt: skip  # one row


def batch_digest(number: int, sealed_at: int, previous: bytes, leaves: Sequence[bytes]) -> bytes:
    """The digest of a batch: of its leaves, and of the batch before it."""
    return sha256(_json(number, sealed_at, previous.hex()) + b"".join(leaves)).digest()


def _json(*members: str | int) -> bytes:
    return compact_json(members).encode("utf-8", "surrogatepass")


def head(tx: Transaction, secret_keys: SecretKeys) -> Head | None:
    """The last batch, from what is sealed; raises SealBroken where that was changed."""
    row = keys.secret(tx, HEAD)
    if row is None:
        return None
    number, digest, dropped = json.loads(secret_keys.opened(HEAD, row.sealed))
    return Head(number, bytes.fromhex(digest), dropped)


def keep_head(tx: Transaction, secret_keys: SecretKeys, new: Head) -> None:
    """Stores the head under the newest SECRET_KEY."""
    text = json.dumps([new.number, new.digest.hex(), new.dropped]).encode()
    keys.save(tx, ServerSecret(name=HEAD, sealed=secret_keys.seal(HEAD, text)))


def seal_next(tx: Transaction, secret_keys: SecretKeys, now: datetime) -> tuple[Head, bool] | None:
    """Seals the oldest events that are not sealed yet, and says whether the batch was full; None where there are none.

    It goes on from the head and not from the last row: what somebody cut off leaves a gap for ever.
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
    """The first batch behind ``number``."""
    statement = select(AuditBatch).where(col(AuditBatch.number) > number).order_by(col(AuditBatch.number)).limit(1)
    row = tx.session.exec(statement).first()
    if row is None:
        return None
    leaves = tuple(row.leaves[at : at + 32] for at in range(0, len(row.leaves), 32))
    return Batch(row.number, row.sealed_at, row.previous, leaves, row.digest)


def events_of(tx: Transaction, number: int) -> list[Event]:
    """The events that say they are in a batch, in the order of their ids."""
    return [Event._make(row) for row in tx.all(_OF_BATCH, number=number)]


def stray(tx: Transaction) -> tuple[str, int | None] | None:
    """The id of an event that names a batch which is not there, and that number."""
    numbers = select(AuditBatch.number)
    statement = select(AuditEvent.id, AuditEvent.batch).where(
        col(AuditEvent.batch).is_not(None), col(AuditEvent.batch).not_in(numbers)
    )
    return tx.session.exec(statement.order_by(col(AuditEvent.id)).limit(1)).first()


def unsealed(tx: Transaction) -> int:
    """How many events wait for the next seal."""
    return tx.session.exec(select(func.count()).select_from(AuditEvent).where(col(AuditEvent.batch).is_(None))).one()


def announce_drop(tx: Transaction, secret_keys: SecretKeys, before: datetime, now: datetime) -> int:
    """Notes that the batches sealed before then go, and answers the last of them; 0 where there are none."""
    old = select(AuditBatch.number).where(col(AuditBatch.sealed_at) < milliseconds(before))
    last = tx.session.exec(old.order_by(col(AuditBatch.number).desc()).limit(1)).first()
    known = head(tx, secret_keys)
    if last is None or known is None:
        return 0
    keep_head(tx, secret_keys, replace(known, dropped=last))
    audit.record(tx, "audit.dropped", now, detail=f"batches through {last}")
    return last


def drop_next(tx: Transaction, through: int) -> bool:
    """Deletes the oldest batch with its events; False where none is left up to ``through``."""
    oldest = tx.session.exec(select(AuditBatch.number).order_by(col(AuditBatch.number)).limit(1)).first()
    if oldest is None or oldest > through:
        return False
    tx.session.exec(delete(AuditEvent).where(col(AuditEvent.batch) == oldest))
    tx.session.exec(delete(AuditBatch).where(col(AuditBatch.number) == oldest))
    return True
