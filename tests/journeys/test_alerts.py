"""deploy/prometheus: every alert queries metrics, labels and label values that the servers really expose."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.resource.backend import scripted, text
from tests.resource.gate import gate, listing
from tests.resource.issuer import issuing
from tests.resource.running import LIST
from tests.support.metrics import Scrape, scrape
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.serving import serving

FOLDER = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
OF_PROMETHEUS = {"up", "job", "instance"}
_SELECTOR = re.compile(r"\b([a-z][a-z_]+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'([a-z_]+)(=~|=)"([^"]*)"')
_WORDS = {
    "and", "by", "histogram_quantile", "increase", "le", "max", "min", "or", "place", "rate", "step", "sum", "tool",
    "algorithm",
}  # fmt: skip  # what PromQL itself understands, and the labels that sums keep


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scrape]:
    """The metrics of both servers after a journey, a refused call and one to a backend."""
    idp_address, resource_address = (f"127.0.0.1:{free_port()}" for _ in range(2))
    with (
        serving(tmp_path_factory.mktemp("alerts"), metrics_address=idp_address) as idp,
        issuing() as issuer,
        scripted(lambda backend, message: text(message)) as crm,
        gate(
            issuer,
            tmp_path_factory.mktemp("gate"),
            listing(("crm", crm.url), rules={"*": "demo:read"}),
            metrics_address=resource_address,
        ) as door,
        Person("alerts@example.com", idp.postbox) as person,
    ):
        resource = door.running
        registered(idp).connect(person)
        idp.get("/.well-known/oauth-authorization-server")
        resource.post(LIST)
        resource.call("whoami", resource.token())
        resource.call("crm_act", resource.token())
        yield Scrape({**scrape(idp_address).samples, **scrape(resource_address).samples})


def asked_for(expression: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """The series that a PromQL expression names, with their matchers."""
    for name, matchers in _SELECTOR.findall(re.sub(r"\[\d+[mh]\]", "", expression)):
        if name not in _WORDS:
            yield name, _MATCHER.findall(matchers)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is(told: Scrape, rule: dict[str, Any]) -> None:
    """Otherwise an alert would stay silent for ever, as if all were well."""
    series = list(asked_for(rule["expr"]))
    assert series
    for name, matchers in series:
        assert name in told.samples or name in OF_PROMETHEUS, name
        for label, how, wanted in matchers:
            if label in OF_PROMETHEUS:
                continue
            given = {labels[label] for labels, _ in told.samples[name]}
            wanted_values = wanted.split("|") if how == "=~" else [wanted]
            for value in wanted_values:
                assert any(re.fullmatch(value, one) for one in given), f"{name}: {label}={value}, there is {given}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    """In one sentence each, with a severity; the labels used are ones that the expression keeps."""
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "action"}
    kept = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert all(label in rule["expr"] or label in OF_PROMETHEUS for label in kept)


def test_the_runbook_has_every_metric(told: Scrape) -> None:
    """The runbook has every metric, and none that does not exist."""
    named = set(re.findall(r"`(gatepost_[a-z_]+)`", (ROOT / "docs" / "runbook.md").read_text()))
    exposed = {re.sub(r"_(bucket|count|sum)$", "", name) for name in told.samples if name.startswith("gatepost_")}
    assert named == exposed


def test_the_alerts_have_names_of_their_own() -> None:
    """Alert names are unique, and the example configuration names their file and each server's default address."""
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    configuration = yaml.safe_load(Path(FOLDER / "prometheus.yml").read_text())
    assert configuration["rule_files"] == ["alerts.yml"]
    targets = [target for job in configuration["scrape_configs"] for target in job["static_configs"][0]["targets"]]
    assert targets == ["127.0.0.1:9100", "127.0.0.1:9101"]
