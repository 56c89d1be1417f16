"""The counters of this process for ``/metrics``: plain numbers in memory, since every request pays for them.

``metrics`` formats them for Prometheus. Labels come from fixed sets: nothing a client sends can create one.
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
"""How a call to a backend ended: with a result, with the backend's error, or why with neither."""
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency buckets, in seconds; clients wait 10 at most."""


@dataclass(slots=True)
class Latency:
    """A latency histogram. ``at_most``: answers per bucket, the last beyond all bounds; ``seconds``: their sum."""

    at_most: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Counts one answer."""
        self.at_most[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Counts:
    """The counters; only the event loop's thread writes and reads them, so there is no lock."""

    def __init__(self) -> None:
        self.requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.latencies: defaultdict[str, Latency] = defaultdict(Latency)
        # Zeros from the start: Prometheus sees no increase in a series that begins with its first event.
        self.refusals: dict[Refused, int] = dict.fromkeys(get_args(Refused), 0)
        self.calls: dict[tuple[str, Outcome], int] = {}
        self.passed: dict[tuple[str, PassedOn], int] = {}

    def answered(self, place: str, status: int, seconds: float) -> None:
        """Counts an answered request; ``place``: the kind of address, as ``logs`` names it."""
        if place not in self.latencies:
            self.requests.update({(place, 500): 0, (place, 503): 0})
        self.requests[place, status] += 1
        self.latencies[place].add(seconds)

    def refused(self, error: Refused) -> None:
        """Counts a refusal by its RFC 6750 code, or by the rule that made it."""
        self.refusals[error] += 1

    def called(self, tool: str, outcome: Outcome) -> None:
        """Counts a call of one of our own tools."""
        if (tool, outcome) not in self.calls:
            self.calls = {(tool, other): 0 for other in get_args(Outcome)} | self.calls
        self.calls[tool, outcome] += 1

    def passed_on(self, backend: str, outcome: PassedOn) -> None:
        """Counts a call meant for a backend, made or not."""
        if (backend, outcome) not in self.passed:
            self.passed = {(backend, other): 0 for other in get_args(PassedOn)} | self.passed
        self.passed[backend, outcome] += 1
