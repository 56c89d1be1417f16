"""Signing keys and the server's own secrets, stored only sealed."""

from sqlmodel import col, or_, select

from gatepost_idp.models import ServerSecret, SigningKey
from gatepost_idp.transaction import Transaction


def lock(tx: Transaction) -> None:
    """Lets one process at a time make or rotate keys, so that fifty that start together agree on one."""
    tx.lock(SigningKey)


def living(tx: Transaction, now_ms: int) -> list[SigningKey]:
    """Keys that are not retired yet, including those not active yet; newest first."""
    statement = select(SigningKey).where(or_(col(SigningKey.retired_at).is_(None), col(SigningKey.retired_at) > now_ms))
    rows = list(tx.session.exec(statement.order_by(col(SigningKey.active_at).desc(), col(SigningKey.kid))))
    for row in rows:
        tx.session.expunge(row)
    return rows


def save(tx: Transaction, key: SigningKey | ServerSecret) -> None:
    """Inserts a key or secret, or updates it."""
    tx.session.merge(key)
    tx.session.flush()


def secret(tx: Transaction, name: str) -> ServerSecret | None:
    """The server's secret ``name``, or None."""
    row = tx.session.get(ServerSecret, name)
    if row is not None:
        tx.session.expunge(row)
    return row
