"""What this process counts for ``/metrics``: plain numbers in memory, since every request pays for them.

``metrics`` shows them to Prometheus. Every label is one of a handful of words of ours: what a stranger sends makes no
new one.
"""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal, get_args

Outcome = Literal["ok", "error"]
Refused = Literal[
    "no_token", "invalid_request", "invalid_token", "insufficient_scope", "temporarily_unavailable", "host", "origin"
]
PassedOn = Literal[
    "ok", "error", "arguments", "cancelled", "no_token", "refused", "rested", "busy", "timeout", "unreachable", "unfit"
]
"""How a call to a backend ended: with its result, with an error of its own, or without either and why."""
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds. 10 is what clients wait at the most."""


@dataclass(slots=True)
class Latency:
    """How long answers took: ``at_most`` counts those up to each bound, and beyond; ``seconds`` is their sum."""

    at_most: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """One answer more."""
        self.at_most[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Counts:
    """The event loop's thread alone counts and reads, so no lock is needed."""

    def __init__(self) -> None:
        self.requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.latencies: defaultdict[str, Latency] = defaultdict(Latency)
        # Zeros from the start: Prometheus sees no increase where a series begins with its first event.
        self.refusals: dict[Refused, int] = dict.fromkeys(get_args(Refused), 0)
        self.calls: dict[tuple[str, Outcome], int] = {}
        self.passed: dict[tuple[str, PassedOn], int] = {}

    def answered(self, place: str, status: int, seconds: float) -> None:
        """A request that was answered; ``place`` is one of the names that ``logs`` gives to addresses."""
        if place not in self.latencies:
            self.requests.update({(place, 500): 0, (place, 503): 0})
        self.requests[place, status] += 1
        self.latencies[place].add(seconds)

    def refused(self, error: Refused) -> None:
        """A refusal by its RFC 6750 code, or by the rule that made it."""
        self.refusals[error] += 1

    def called(self, tool: str, outcome: Outcome) -> None:
        """A call of a tool of ours."""
        if (tool, outcome) not in self.calls:
            self.calls = {(tool, other): 0 for other in get_args(Outcome)} | self.calls
        self.calls[tool, outcome] += 1

    def passed_on(self, backend: str, outcome: PassedOn) -> None:
        """A call that was meant for a backend."""
        if (backend, outcome) not in self.passed:
            self.passed = {(backend, other): 0 for other in get_args(PassedOn)} | self.passed
        self.passed[backend, outcome] += 1
