"""The outbox for the admin pages: how many mails wait and how many addresses are suppressed, counted up to a bound."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam
from sqlmodel import col

from gatepost_idp.models import MailSuppression, Outbox
from gatepost_idp.protocol import instant, milliseconds
from gatepost_idp.transaction import Query, Transaction, columns

MOST = 1000
"""The bound."""


@dataclass(frozen=True, slots=True)
class OutboxState:
    """``waiting`` and ``suppressed`` are at most MOST; ``since``: when the first waiting mail was due, if any waits."""

    waiting: int
    since: datetime | None
    suppressed: int


_WAITING = Query(columns(Outbox.next_at).where(col(Outbox.state) == "queued").order_by(col(Outbox.next_at)).limit(MOST))
_SUPPRESSED = Query(
    columns(MailSuppression.until)
    .where(col(MailSuppression.until) > bindparam("now"))
    .order_by(col(MailSuppression.until))
    .limit(MOST)
)


def state(tx: Transaction, now: datetime) -> OutboxState:
    """The state at ``now``."""
    waiting = tx.all(_WAITING)
    suppressed = tx.all(_SUPPRESSED, now=milliseconds(now))
    return OutboxState(len(waiting), instant(waiting[0][0]) if waiting else None, len(suppressed))
