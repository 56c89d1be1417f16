"""Leases: let one process at a time, of all on one database, do a background task."""

from datetime import datetime, timedelta

from sqlalchemy import bindparam
from sqlmodel import col, or_, update

from gatepost_idp.models import Lease
from gatepost_idp.protocol import milliseconds
from gatepost_idp.transaction import Query, Transaction, columns, insert_query

_INSERT = insert_query(Lease)
_EXISTS = Query(columns(Lease.name).where(col(Lease.name) == bindparam("of")))
_TAKE = Query(
    update(Lease)
    .where(
        col(Lease.name) == bindparam("of"),
        or_(col(Lease.until) <= bindparam("now"), col(Lease.holder) == bindparam("me")),
    )
    .values(holder=bindparam("me"), until=bindparam("new_until"))
)


def take(tx: Transaction, name: str, holder: str, now: datetime, life: timedelta) -> bool:
    """Takes or extends the lease for ``life`` from now; False while another holder has it."""
    now_ms, until = milliseconds(now), milliseconds(now + life)
    if tx.run(_TAKE, of=name, now=now_ms, me=holder, new_until=until) == 1:
        return True
    if tx.one(_EXISTS, of=name) is not None:
        return False
    tx.run(_INSERT, name=name, holder=holder, until=until)  # if two insert at once, one is retried and finds the row
    return True
