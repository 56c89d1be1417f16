"""The counters of this process in Prometheus's formats; imported on the first scrape."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gatepost_resource.backends.roster import Roster
from gatepost_resource.counts import BOUNDS, Counts
from gatepost_resource.jwks import IssuerKeys


def exposition(accept: str, counts: Counts, keys: IssuerKeys, roster: Roster) -> tuple[bytes, str]:
    """The text and its media type, which follows the ``Accept`` header."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Families([*_counted(counts), *_of_keys(keys), *_of_backends(counts, roster)]))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """All of them."""
        return self._families


def _counted(counts: Counts) -> Iterator[Metric]:
    requests = CounterMetricFamily("gatepost_resource_requests", "Requests by place.", labels=["place", "status"])
    for (place, status), number in counts.requests.items():
        requests.add_metric([place, str(status)], number)
    yield requests
    refusals = CounterMetricFamily("gatepost_resource_refusals", "Refusals by code or rule.", labels=["error"])
    for error, number in counts.refusals.items():
        refusals.add_metric([error], number)
    yield refusals
    calls = CounterMetricFamily("gatepost_resource_tool_calls", "Calls by how they ended.", labels=["tool", "outcome"])
    for (tool, outcome), number in counts.calls.items():
        calls.add_metric([tool, outcome], number)
    yield calls
    yield _latencies(counts)


def _latencies(counts: Counts) -> Metric:
    family = HistogramMetricFamily("gatepost_resource_answer_seconds", "From request to answer.", labels=["place"])
    for place, latency in counts.latencies.items():
        bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
        totals = [sum(latency.at_most[: rank + 1]) for rank in range(len(bounds))]
        family.add_metric([place], list(zip(bounds, totals, strict=True)), latency.seconds)
    return family


def _of_keys(keys: IssuerKeys) -> Iterator[Metric]:
    yield GaugeMetricFamily("gatepost_resource_keys", "Signing keys of the issuer that are known.", value=keys.number)
    what = "Since the issuer's keys were last fetched."
    age = GaugeMetricFamily("gatepost_resource_keys_age_seconds", what)
    if (seconds := keys.age()) is not None:
        age.add_metric([], seconds)
    yield age


def _of_backends(counts: Counts, roster: Roster) -> Iterator[Metric]:
    read = GaugeMetricFamily("gatepost_resource_catalogue_good", "Whether the catalogue's file could be read.")
    read.add_metric([], 0 if roster.problem else 1)
    kept = GaugeMetricFamily("gatepost_resource_approvals_good", "Whether TOOL_APPROVALS can be read and written.")
    kept.add_metric([], 0 if roster.approvals_problem else 1)
    name = "gatepost_resource_backend_calls"
    calls = CounterMetricFamily(name, "Calls passed on by how they ended.", labels=["backend", "outcome"])
    for (backend, outcome), number in counts.passed.items():
        calls.add_metric([backend, outcome], number)
    up = GaugeMetricFamily(
        "gatepost_resource_backend_up", "Whether its list of tools could be fetched.", labels=["backend"]
    )
    what = "Whether its calls are paused after failures."
    resting = GaugeMetricFamily("gatepost_resource_backend_resting", what, labels=["backend"])
    tools = GaugeMetricFamily("gatepost_resource_tools", "Tools of backends by state.", labels=["backend", "state"])
    for standing in roster.standings:
        up.add_metric([standing.name], 0 if standing.problem else 1)
        resting.add_metric([standing.name], 0 if standing.circuit == "closed" else 1)
        for state in ("unruled", "changed", "unapproved", "left_out"):
            tools.add_metric([standing.name, state], len(getattr(standing, state)))
        tools.add_metric([standing.name, "offered"], standing.offered)
    yield from (read, kept, calls, up, resting, tools)
