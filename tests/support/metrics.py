"""What a server exposes to Prometheus, read by Prometheus's own parser."""

import time
from dataclasses import dataclass

import httpx2
from prometheus_client.parser import text_string_to_metric_families


@dataclass
class Scrape:
    """One answer of /metrics: samples by name and labels."""

    samples: dict[str, list[tuple[dict[str, str], float]]]

    def value(self, name: str, **labels: str) -> float:
        """The one sample with these labels."""
        [found] = [value for told, value in self.samples[name] if labels.items() <= told.items()]
        return found

    def labels(self) -> dict[str, set[str]]:
        """Every value of each label, except the bounds of histograms."""
        found: dict[str, set[str]] = {}
        for told, _ in (sample for samples in self.samples.values() for sample in samples):
            for name, value in told.items():
                found.setdefault(name, set()).add(value)
        found.pop("le", None)
        return found


def scrape(address: str) -> Scrape:
    """Asks METRICS_ADDRESS once, as soon as it listens."""
    answer = _get(f"http://{address}/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation, family.name
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return Scrape(samples)


def _get(url: str) -> httpx2.Response:
    deadline = time.monotonic() + 10
    while True:
        try:
            return httpx2.get(url, trust_env=False, timeout=10)
        except httpx2.ConnectError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.05)
