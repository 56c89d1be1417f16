"""Projections from the measured costs: what one small machine carries, and what a million people would need.

Every assumption that was not measured is a constant at the top of this file and is shown in the tables.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.fill import Stored
from bench.journeys import JOURNEY
from bench.rounds import Row, medians

USED = 0.7
"""The usable fraction of a core, which leaves room for busy minutes."""
TOKEN_SECONDS = 900
PEOPLE = 1_000_000
REFRESH_DAYS, AUDIT_DAYS, SHORT_AUDIT_DAYS = 31, 365, 30
"""Days that rows stay: a spent refresh token until a day after its expiry; the audit log by default, and shorter."""
SIGN_INS_A_MONTH = 1
MAIL_PEAK = 3
"""Mail in the busiest hour, relative to the average hour."""
DOLLARS_A_CORE, DOLLARS_A_GB, DOLLARS_A_THOUSAND_MAILS = 25.0, 0.115, 0.10
"""Per month; an assumption of 2026-11-21, of the order of a large cloud's list prices, not a quote."""


@dataclass(frozen=True)
class Use:
    """How people use it. ``at_once``: the fraction of them connected in the busiest quarter of an hour."""

    words: str
    refreshes_a_day: int
    at_once: float

    @property
    def refreshes_a_second(self) -> float:
        """Refreshes per second in the busiest quarter of an hour."""
        return PEOPLE * self.at_once / TOKEN_SECONDS


USES = (
    Use("connected day and night", 86_400 // TOKEN_SECONDS, 1.0),
    Use("two hours a day, a quarter at the same time", 8, 0.25),
)


class Measured(Protocol):
    """Anything with raw rows, such as a run."""

    @property
    def rows(self) -> list[Row]: ...


def carries(rows: Sequence[Row]) -> str:
    """A table of what one core of the measured machine carries on SQLite, using ``USED`` of it."""
    costs = {(row.server, row.operation): row.cpu_ms for row in rows if row.at_once == 32 or row.operation == JOURNEY}
    lines = ["| one core at 70 % | |", "| --- | --: |"]
    for words, server, operation, seconds in (
        ("refreshes per second", "gatepost", "refresh", 1),
        ("people connected at once, each refreshing every 15 minutes", "gatepost", "refresh", TOKEN_SECONDS),
        ("code flows with a remembered consent, per hour", "gatepost", "code flow", 3_600),
        ("whole journeys (registration, mail, consent, tokens), per hour", "gatepost", JOURNEY, 3_600),
        ("tool calls per second (2026 wire), on a separate core for the resource server", "gatepost resource",
         "tools/call, 2026 wire", 1),
    ):  # fmt: skip  # a table
        if cost := costs.get((server, operation)):
            lines.append(f"| {words} | {_round(USED * 1000 / cost * seconds)} |")
    return "\n".join(lines)


def million(runs: Sequence[Measured], stored: Sequence[Stored]) -> str:
    """A table for a million people on PostgreSQL, from the largest store measured there; empty if there is none."""
    largest = max((one.grants for one in stored if one.database == "PostgreSQL"), default=0)
    rows = medians(row for run in runs for row in run.rows)
    name = f"PostgreSQL, {largest:,} grants"
    refresh = next(
        (row for row in rows if row.server == name and row.operation == "refresh" and row.at_once == 32), None
    )
    if refresh is None:
        return ""
    tables = [one for one in stored if one.database == "PostgreSQL" and one.grants == largest and one.table]
    weights = {one.table: one.bytes / one.rows for one in tables}
    columns = [list(_column(use, refresh, weights, largest, tables)) for use in USES]
    lines = [f"| {PEOPLE:,} people | " + " | ".join(use.words for use in USES) + " |", "| --- | --: | --: |"]
    lines += [f"| {words} | " + " | ".join(dict(column)[words] for column in columns) + " |" for words, _ in columns[0]]
    return "\n".join(lines)


def _column(
    use: Use, refresh: Row, weights: dict[str, float], grants: int, tables: Sequence[Stored]
) -> Iterator[tuple[str, str]]:
    per_second = use.refreshes_a_second
    processes = math.ceil(per_second * refresh.cpu_ms / 1000 / USED)
    database_cores = math.ceil(per_second * refresh.database_ms / 1000 / USED)
    standing = sum(one.bytes for one in tables if one.table not in ("audit_event", "audit_batch")) / (grants / 2)
    spent = use.refreshes_a_day * REFRESH_DAYS * weights["refresh_token"]
    event = weights["audit_event"] + weights["audit_batch"] / 250
    audit = {days: use.refreshes_a_day * days * event for days in (AUDIT_DAYS, SHORT_AUDIT_DAYS)}
    mails = PEOPLE * SIGN_INS_A_MONTH
    gigabytes = PEOPLE * (standing + spent + audit[SHORT_AUDIT_DAYS]) / 1e9
    yield "refreshes (write transactions) per second, at peak", f"{per_second:,.0f}"
    yield f"server processes, one core each ({refresh.cpu_ms:.2f} ms per refresh)", f"{processes}"
    yield f"cores for PostgreSQL ({refresh.database_ms:.2f} ms per refresh)", f"{database_cores}"
    yield f"stored for people, consents and connections ({standing:,.0f} bytes per person)", _gb(standing)
    yield (
        f"spent refresh tokens, kept until they would have expired ({weights['refresh_token']:.0f} bytes each)",
        _gb(spent),
    )
    yield f"audit log at AUDIT_DAYS={AUDIT_DAYS} ({event:.0f} bytes per event)", _gb(audit[AUDIT_DAYS])
    yield f"audit log at AUDIT_DAYS={SHORT_AUDIT_DAYS}", _gb(audit[SHORT_AUDIT_DAYS])
    yield "rows written per second: token added, token spent, connection used, event added", f"{4 * per_second:,.0f}"
    yield "rows written later, per second: event sealed, token deleted, event dropped", f"{3 * per_second:,.0f}"
    yield f"mails per day ({SIGN_INS_A_MONTH} sign-in per person and month)", f"{mails / 30:,.0f}"
    yield (
        "LIMIT_TOTAL needed in the busiest hour (default 300/hour)",
        f"{mails / 720 * MAIL_PEAK:,.0f}/hour",
    )
    yield f"cores at ${DOLLARS_A_CORE:.0f}, per month", f"${(processes + database_cores) * DOLLARS_A_CORE:,.0f}"
    yield (
        f"storage at ${DOLLARS_A_GB} per GB, AUDIT_DAYS={SHORT_AUDIT_DAYS}, per month",
        f"${gigabytes * DOLLARS_A_GB:,.0f}",
    )
    yield (
        f"mail at ${DOLLARS_A_THOUSAND_MAILS:.2f} per thousand, per month",
        f"${mails / 1000 * DOLLARS_A_THOUSAND_MAILS:,.0f}",
    )


def _gb(bytes_a_person: float) -> str:
    return f"{PEOPLE * bytes_a_person / 1e9:,.0f} GB"


def _round(value: float) -> str:
    """Rounded to two significant figures, since more would suggest false precision."""
    digits = max(0, len(str(int(value))) - 2)
    return f"{round(value, -digits):,.0f}"
