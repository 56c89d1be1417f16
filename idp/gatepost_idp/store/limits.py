"""Fixed-window counters, updated in the transaction that they limit, so that parallel requests cannot exceed them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, bindparam, case
from sqlmodel import col, update

from gatepost_idp.models import LimitWindow
from gatepost_idp.protocol import milliseconds
from gatepost_idp.transaction import Query, Transaction, columns, upsert_query


@dataclass(frozen=True, slots=True)
class Rule:
    """At most ``amount`` in ``seconds``, counted under ``key``."""

    key: str
    amount: int
    seconds: int


_FIND = Query(columns(LimitWindow.count, LimitWindow.expires_at).where(col(LimitWindow.key) == bindparam("key")))


_IS_OVER = col(LimitWindow.expires_at) <= bindparam("now", type_=BigInteger)
_UPSERT = upsert_query(  # counts in the current window, or begins a new one
    LimitWindow,
    keys=("key",),
    values={"key": bindparam("key"), "count": 1, "expires_at": bindparam("until")},
    changes=lambda new: {
        "count": case((_IS_OVER, 1), else_=col(LimitWindow.count) + 1),
        "expires_at": case((_IS_OVER, new.expires_at), else_=col(LimitWindow.expires_at)),
    },
    returning=(col(LimitWindow.count), col(LimitWindow.expires_at)),
)
_GIVE_BACK = Query(
    update(LimitWindow).where(col(LimitWindow.key) == bindparam("of")).values(count=col(LimitWindow.count) - 1)
)


def take(tx: Transaction, rules: Sequence[Rule], now: datetime) -> int:
    """Counts one try under every rule and returns 0, or counts nothing and returns the seconds to wait.

    A window begins with its first try. Refused tries are not counted, so they do not lengthen the wait.
    """
    wait = max((left(tx, rule, now) for rule in rules), default=0)
    if wait:
        return wait
    now_ms = milliseconds(now)
    for number, rule in enumerate(rules, start=1):
        row = tx.one(_UPSERT, key=_key(rule), until=now_ms + rule.seconds * 1000, now=now_ms)
        if row is not None and row[0] > rule.amount:  # another process counted in between
            for counted in rules[:number]:
                tx.run(_GIVE_BACK, of=_key(counted))
            return _seconds(row[1] - now_ms)
    return 0


def left(tx: Transaction, rule: Rule, now: datetime) -> int:
    """Seconds until the next try under ``rule``; 0 where one may be made now. Counts nothing."""
    row, now_ms = tx.one(_FIND, key=_key(rule)), milliseconds(now)
    if row is None or row[0] < rule.amount or row[1] <= now_ms:
        return 0
    return _seconds(row[1] - now_ms)


def used(tx: Transaction, rule: Rule, now: datetime) -> int:
    """How many tries were counted under ``rule`` in the current window."""
    row = tx.one(_FIND, key=_key(rule))
    return 0 if row is None or row[1] <= milliseconds(now) else int(row[0])


def _seconds(ms: int) -> int:
    return max(1, (ms + 999) // 1000)


def _key(rule: Rule) -> str:
    return f"{rule.key}/{rule.seconds}"
