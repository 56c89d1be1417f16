"""The audit log: one row for each security event, written in the transaction of what it tells."""

import uuid
from datetime import datetime

from gatepost_idp.database import Transaction, insert_query
from gatepost_idp.models import AuditEvent
from gatepost_idp.protocol import milliseconds

_INSERT = insert_query(AuditEvent)


def record(
    tx: Transaction,
    event: str,
    now: datetime,
    *,
    account_id: str = "",
    client_id: str = "",
    grant_id: str = "",
    trace_id: str = "",
    network: str = "",
    detail: str = "",
) -> None:
    """Adds an event; ``detail`` holds no secret."""
    tx.run(
        _INSERT,
        id=uuid.uuid4().hex,
        at=milliseconds(now),
        event=event,
        account_id=account_id,
        client_id=client_id,
        grant_id=grant_id,
        trace_id=trace_id,
        network=network,
        detail=detail,
    )
