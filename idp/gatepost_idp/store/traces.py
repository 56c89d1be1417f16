"""The recorded steps of authorizations, for `gatepost trace`: written in batches and kept for a day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam
from sqlmodel import col, delete, select

from gatepost_idp.models import TraceStep
from gatepost_idp.protocol import milliseconds
from gatepost_idp.transaction import Query, Transaction, columns, insert_query

KEPT_FOR = timedelta(days=1)
BEFORE = timedelta(minutes=5)
"""How long before a registration or authorization a discovery from the same network counts as the same client's."""
AFTER = timedelta(minutes=10)
"""How long after an authorization its client's calls that name no authorization still count as part of it."""
_MOST = 300
_CALLS = ("token", "revoke", "introspect", "userinfo")


@dataclass(frozen=True, slots=True)
class Step:
    """One step; ``at`` is in milliseconds since the epoch, ``detail`` a JSON object, ``joined`` how it was matched."""

    id: str
    at: int
    trace_id: str
    client_id: str
    network: str
    step: str
    outcome: str
    detail: str
    joined: str = ""


_NAMES = ("id", "at", "trace_id", "client_id", "network", "step", "outcome", "detail")
_INSERT = insert_query(TraceStep)
_AGED = Query(delete(TraceStep).where(col(TraceStep.at) <= bindparam("before")))
_LAST_KEPT = Query(
    columns(TraceStep.at)
    .where(col(TraceStep.at) > bindparam("before"))
    .order_by(col(TraceStep.at).desc())
    .limit(1)
    .offset(bindparam("most"))
)


def add(tx: Transaction, steps: Sequence[Step]) -> None:
    """Stores a batch of steps."""
    tx.each(_INSERT, ({name: getattr(step, name) for name in _NAMES} for step in steps))


def trim(tx: Transaction, most: int, now: datetime) -> None:
    """Deletes steps older than a day, and all but the ``most`` newest."""
    before = milliseconds(now - KEPT_FOR)
    tx.run(_AGED, before=before)
    row = tx.one(_LAST_KEPT, before=before, most=most)
    if row is not None:
        tx.run(_AGED, before=row[0])


def story(tx: Transaction, key: str, now: datetime) -> list[Step]:
    """The steps of the trace or client that ``key`` names, in order; empty if there are none.

    A registration is matched by the client id that it returned; discovery, which names no client, by network and time;
    a call to /token with an unknown code or token, by client and time.
    """
    since = milliseconds(now - KEPT_FOR)
    own = _found(tx, since, TraceStep.trace_id, [key]) or _whole(tx, since, key)
    if not own:
        return []
    ids = {step.id for step in own}
    joined = [step for step in _of_clients(tx, own, since) if step.id not in ids]
    ids |= {step.id for step in joined}
    before = [step for step in _of_networks(tx, [*own, *joined], since) if step.id not in ids]
    return sorted([*own, *joined, *before], key=lambda step: step.id)


def _whole(tx: Transaction, since: int, client_id: str) -> list[Step]:
    """All steps of a client's authorizations, including the pages, whose steps do not name the client."""
    return _found(
        tx, since, TraceStep.trace_id, {s.trace_id for s in _found(tx, since, TraceStep.client_id, [client_id])}
    )


def _of_clients(tx: Transaction, own: list[Step], since: int) -> list[Step]:
    """The clients' registrations, and their calls that name no authorization."""
    steps = _found(tx, since, TraceStep.client_id, {step.client_id for step in own} - {""}, "client")
    begun = {step.trace_id for step in steps if step.step not in _CALLS}
    first, last = own[0].at, own[-1].at + AFTER // timedelta(milliseconds=1)
    return [s for s in steps if s.step == "register" or (s.trace_id not in begun and first <= s.at <= last)]


def _of_networks(tx: Transaction, known: list[Step], since: int) -> list[Step]:
    """Discovery and refused registrations from the client's network, just before its first request."""
    starts = [step.at for step in known if step.step in ("register", "authorize")] or [known[0].at]
    networks = {step.network for step in known if step.step in ("register", "authorize", "token")} - {""}
    before = BEFORE // timedelta(milliseconds=1)
    return [
        step
        for step in _found(tx, max(since, min(starts) - before), TraceStep.network, networks, "network and time")
        if not step.client_id
        and step.step in ("discovery", "register")
        and any(at - before <= step.at <= at for at in starts)
    ]


def _found(
    tx: Transaction, since: int, column: object, values: "Sequence[str] | set[str]", joined: str = ""
) -> list[Step]:
    """The newest steps (at most _MOST) with one of ``values`` in ``column``, oldest first."""
    rows = tx.session.exec(
        select(TraceStep)
        .where(col(column).in_(values), col(TraceStep.at) > since)
        .order_by(col(TraceStep.id).desc())
        .limit(_MOST)
    )
    return [Step(**{name: getattr(row, name) for name in _NAMES}, joined=joined) for row in reversed(rows.all())]
