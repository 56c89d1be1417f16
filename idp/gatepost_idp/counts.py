"""This process's counters for ``/metrics``: plain numbers in memory, since every request updates them.

``operate/metrics`` exports them to Prometheus. All labels are from a small fixed set; no request can add one.
"""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal, get_args

from gatepost_idp.protocol import GRANT_TYPES, RESOURCE_SERVER_GRANT_TYPES, ErrorCode
from gatepost_idp.traces import Trace

Outcome = Literal["ok", "refused", "limited", "failed"]
"""``limited`` is 429, by a brake; ``failed`` is 5xx, a fault of this server."""
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Histogram bounds in seconds; clients wait at most 10."""
_PAGE = "page"
MailOutcome = Literal["accepted", "later", "refused", "unreachable", "misconfigured", "withheld"]
"""``withheld``: not sent, because the address may not sign in. The others are those of ``mail.smtp``."""


@dataclass(slots=True)
class Latency:
    """A histogram of response times: ``at_most`` counts by bound, the last beyond all; ``seconds`` is the sum."""

    at_most: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Counts one response."""
        self.at_most[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Counts:
    """The counters. Only the event loop's thread uses them, so no lock is needed."""

    def __init__(self) -> None:
        self.steps: dict[tuple[str, Outcome], int] = {}
        self.latencies: defaultdict[str, Latency] = defaultdict(Latency)
        # Zeros from the start: Prometheus would not see the first event of a series as an increase.
        self.refusals = dict.fromkeys((*get_args(ErrorCode), _PAGE), 0)
        self.tokens = dict.fromkeys((*GRANT_TYPES, *RESOURCE_SERVER_GRANT_TYPES), 0)
        self.mails = dict.fromkeys(get_args(MailOutcome), 0)

    def answered(self, trace: Trace, status: int, seconds: float) -> None:
        """Counts a response, by its trace, status and duration in seconds."""
        step, outcome = trace.step or "other", _outcome(trace, status)
        if step not in self.latencies:
            self.steps.update(((step, other), 0) for other in get_args(Outcome))
        self.steps[step, outcome] += 1
        self.latencies[step].add(seconds)
        if trace.reason:
            code = trace.reason.partition(":")[0]
            self.refusals[code if code in self.refusals else _PAGE] += 1
        if step == "token" and outcome == "ok" and trace.asked is not None:
            self.tokens[trace.asked.values["grant_type"]] += 1

    def mail(self, outcome: MailOutcome) -> None:
        """Counts a try to send a mail."""
        self.mails[outcome] += 1


def _outcome(trace: Trace, status: int) -> Outcome:
    if status >= 500:
        return "failed"
    if status == 429:
        return "limited"
    return "refused" if status >= 400 or trace.reason else "ok"
