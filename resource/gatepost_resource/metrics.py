"""The numbers of this process as Prometheus reads them; imported by the first who asks."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gatepost_resource.counts import BOUNDS, Counts
from gatepost_resource.jwks import IssuerKeys


def exposition(accept: str, counts: Counts, keys: IssuerKeys) -> tuple[bytes, str]:
    """The text and its media type, which follows the ``Accept`` header."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Families([*_counted(counts), *_of_keys(keys)]))
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
