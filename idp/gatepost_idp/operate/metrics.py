"""Metrics of this process and its database in Prometheus's format; imported at the first scrape."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gatepost_idp.counts import BOUNDS, Counts, Latency
from gatepost_idp.database import Database
from gatepost_idp.keys import ID_TOKEN_ALGORITHMS, Keys
from gatepost_idp.protocol import Clock
from gatepost_idp.store import outbox
from gatepost_idp.store.outbox import Backlog
from gatepost_idp.transaction import DatabaseUnavailable


@dataclass(frozen=True, slots=True)
class Observed:
    """The sources of the metrics: counters, and what is looked up at each scrape."""

    counts: Counts
    database: Database
    keys: Keys
    clock: Clock

    async def exposition(self, accept: str, mail_problem: str) -> tuple[bytes, str]:
        """The metrics' text and its media type, chosen by the ``Accept`` header."""
        now = self.clock()
        try:
            backlog = await self.database.read(lambda tx: outbox.backlog(tx, now))
        except DatabaseUnavailable:
            backlog = None
        ages = {name: (now - self.keys.signing(name).active_at).total_seconds() for name in ID_TOKEN_ALGORITHMS}
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Families([*_counted(self.counts), *_looked_up(backlog, ages, mail_problem)]))
        encode, media_type = choose_encoder(accept)
        return encode(registry), media_type


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """All metric families."""
        return self._families


def _counted(counts: Counts) -> Iterator[Metric]:
    steps = CounterMetricFamily("gatepost_steps", "Requests by step and outcome.", labels=["step", "outcome"])
    for (step, outcome), number in counts.steps.items():
        steps.add_metric([step, outcome], number)
    yield steps
    yield _counter(
        "gatepost_refusals", "Refusals by OAuth error code; page: a page said why.", "error", counts.refusals
    )
    yield _counter("gatepost_tokens", "Token responses by grant type.", "grant_type", counts.tokens)
    yield _counter("gatepost_mails", "Attempts to send a mail by how they ended.", "outcome", counts.mails)
    yield _histogram("gatepost_answer_seconds", "From request to answer, by step.", "step", counts.latencies)


def _looked_up(backlog: Backlog | None, ages: Mapping[str, float], mail_problem: str) -> Iterator[Metric]:
    yield GaugeMetricFamily("gatepost_database_up", "1: the database answers.", value=backlog is not None)
    yield GaugeMetricFamily("gatepost_mail_up", "1: nothing is holding mail up.", value=not mail_problem)
    if backlog is not None:
        yield GaugeMetricFamily("gatepost_outbox_mails", "Mails waiting to be sent.", value=backlog.mails)
        yield GaugeMetricFamily(
            "gatepost_outbox_oldest_seconds", "How long the oldest of them has waited.", value=backlog.oldest_seconds
        )
    age = GaugeMetricFamily("gatepost_signing_key_age_seconds", "Since it began to sign.", labels=["algorithm"])
    for algorithm, seconds in ages.items():
        age.add_metric([algorithm], seconds)
    yield age


def _counter(name: str, what: str, label: str, numbers: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, what, labels=[label])
    for value, number in numbers.items():
        family.add_metric([value], number)
    return family


def _histogram(name: str, what: str, label: str, latencies: Mapping[str, Latency]) -> Metric:
    family = HistogramMetricFamily(name, what, labels=[label])
    for value, latency in latencies.items():
        bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
        totals = [sum(latency.at_most[: place + 1]) for place in range(len(bounds))]
        family.add_metric([value], list(zip(bounds, totals, strict=True)), latency.seconds)
    return family
