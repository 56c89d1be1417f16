"""Signing keys and the server's own secrets, at rest only sealed."""

from sqlmodel import col, or_, select

from gatepost_idp.models import ServerSecret, SigningKey
from gatepost_idp.transaction import Transaction


def lock(tx: Transaction) -> None:
    """One process at a time makes or rotates keys, so that fifty that start at once agree on one."""
    tx.lock(SigningKey)


def living(tx: Transaction, now_ms: int) -> list[SigningKey]:
    """Keys that verify now or will, the newest first."""
    statement = select(SigningKey).where(or_(col(SigningKey.retired_at).is_(None), col(SigningKey.retired_at) > now_ms))
    rows = list(tx.session.exec(statement.order_by(col(SigningKey.active_at).desc(), col(SigningKey.kid))))
    for row in rows:
        tx.session.expunge(row)
    return rows


def save(tx: Transaction, key: SigningKey | ServerSecret) -> None:
    """Stores a key, or its new seal."""
    tx.session.merge(key)
    tx.session.flush()


def secret(tx: Transaction, name: str) -> ServerSecret | None:
    """The server's secret ``name``."""
    row = tx.session.get(ServerSecret, name)
    if row is not None:
        tx.session.expunge(row)
    return row
