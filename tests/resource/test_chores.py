"""Background tasks go on after an unforeseen error, and the log reports it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from gatepost_resource import catalogue, chores
from gatepost_resource.backends.vetting import Vetting
from gatepost_resource.details import Details
from gatepost_resource.jwks import IssuerKeys
from tests.resource.backend import backing
from tests.resource.gate import gate, listing, write
from tests.resource.issuer import Issuer, new_key
from tests.resource.running import LIST, serving, wait_for
from tests.support.metrics import scrape
from tests.support.ports import free_port

Failing = Callable[[Any, str], list[str]]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Makes a function fail at its next call only; the list is no longer empty once it has."""
    monkeypatch.setattr(chores, "AFTER_FAILURE_SECONDS", 0.01)

    def fail(place: Any, name: str) -> list[str]:
        sound, done = getattr(place, name), list[str]()

        def once(*given: Any, **named: Any) -> Any:
            if done:
                return sound(*given, **named)
            done.append("failed")
            raise TypeError("unhashable type: 'surprise'")

        monkeypatch.setattr(place, name, once)
        return done

    return fail


def told(logged: list[Any]) -> list[str]:
    """The chores that the log names, each with a traceback."""
    return [line["chore"] for line in logged if line["event"] == "chore_failed" and line["exc_info"]]


def test_keys_are_fetched_on(issuer: Issuer, failing: Failing) -> None:
    """Otherwise the keys would never change again, and /readyz would not tell."""
    with structlog.testing.capture_logs() as logged:
        done = failing(IssuerKeys, "refresh")
        with serving(issuer, refresh_seconds=0.05) as resource:
            issuer.keys = [new_key("next")]
            wait_for(lambda: len(issuer.asked) > 5)
            assert resource.post(LIST, resource.token()).status_code == 200
    assert (done, told(logged)) == (["failed"], ["keys"])


def test_the_operators_pages_come_back(issuer: Issuer, failing: Failing) -> None:
    """They come back on the same address."""
    address = f"127.0.0.1:{free_port()}"
    with structlog.testing.capture_logs() as logged:
        failing(Details, "_listener")
        with serving(issuer, metrics_address=address):
            assert scrape(address).value("gatepost_resource_keys") == 1
    assert told(logged) == ["details"]


@pytest.mark.parametrize(("place", "name"), [(catalogue, "load"), (Vetting, "look"), (Vetting, "offering")])
def test_the_backends_go_on(shared_issuer: Issuer, tmp_path: Path, failing: Failing, place: Any, name: str) -> None:
    """If applying an edit of the catalogue fails, the backends stay, and the next edit is applied."""
    with (
        structlog.testing.capture_logs() as logged,
        backing() as crm,
        gate(shared_issuer, tmp_path, listing(("crm", crm.url))) as door,
    ):
        token = door.token()
        door.shows("crm_find_person", token)
        done = failing(place, name)
        write(door.catalogue, listing(("crm", crm.url), rules={"*_person": "demo:read"}))
        wait_for(lambda: bool(done))
        assert not door.result("crm_find_person", token, name="x")["isError"]
        write(door.catalogue, listing(("crm", crm.url), rules={"count": "demo:read"}))
        door.shows("crm_count", token)
    assert told(logged) == ["backends"]


def test_what_was_new_when_it_failed_is_not_lost(shared_issuer: Issuer, tmp_path: Path, failing: Failing) -> None:
    """The table is rebuilt at once, not at the next change."""
    with backing() as crm, gate(shared_issuer, tmp_path, listing(("crm", crm.url))) as door:
        token = door.token()
        door.shows("crm_find_person", token)
        failing(Vetting, "offering")
        write(door.catalogue, listing(("crm", crm.url), rules={"count": "demo:read"}))
        door.hides("crm_find_person", token)
        assert "crm_count" in door.names(token)
