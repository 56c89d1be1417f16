"""Counts in windows of time, in the transaction of what they limit: parallel requests and processes hold them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col, select

from gatepost_idp.database import Query, Transaction
from gatepost_idp.models import LimitWindow
from gatepost_idp.protocol import milliseconds


@dataclass(frozen=True, slots=True)
class Rule:
    """At most ``amount`` in ``seconds``, counted under ``key``."""

    key: str
    amount: int
    seconds: int


_COUNT = Query(select(LimitWindow.count).where(col(LimitWindow.key) == bindparam("key")))


def _upsert(dialect: str) -> Query:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(LimitWindow).values(key=bindparam("key"), count=1, expires_at=bindparam("expires_at"))
    return Query(
        statement.on_conflict_do_update(index_elements=["key"], set_={"count": col(LimitWindow.count) + 1}).returning(
            col(LimitWindow.count)
        )
    )


_UPSERT = {name: _upsert(name) for name in ("sqlite", "postgresql")}


def take(tx: Transaction, rules: Sequence[Rule], now: datetime) -> int:
    """Counts one try under every rule and answers 0, or counts nothing and answers the seconds to wait.

    A refused try is not counted, so that trying again does not lengthen the wait.
    """
    now_ms = milliseconds(now)
    wait = max((left(tx, rule, now) for rule in rules), default=0)
    if wait:
        return wait
    windows = [(rule, now_ms // (rule.seconds * 1000)) for rule in rules]
    for rule, window in windows:
        expires_at = (window + 1) * rule.seconds * 1000
        row = tx.one(_UPSERT[tx.dialect], key=_key(rule, window), expires_at=expires_at)
        if row is not None and row[0] > rule.amount:  # another process counted in between
            return max(1, (expires_at - now_ms) // 1000)
    return 0


def left(tx: Transaction, rule: Rule, now: datetime) -> int:
    """Seconds until the next try under ``rule``; 0 where one may be made now. Counts nothing."""
    now_ms = milliseconds(now)
    window = now_ms // (rule.seconds * 1000)
    row = tx.one(_COUNT, key=_key(rule, window))
    if row is None or row[0] < rule.amount:
        return 0
    return max(1, ((window + 1) * rule.seconds * 1000 - now_ms + 999) // 1000)


def _key(rule: Rule, window: int) -> str:
    return f"{rule.key}/{rule.seconds}/{window}"
