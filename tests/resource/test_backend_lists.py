"""One list of all tools: ours, then each backend's, in pages; and what becomes of it when a backend is down."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gatepost_resource.backends import line
from gatepost_resource.backends.circuit import FAILURES, PAUSE_SECONDS, Circuit
from tests.resource.backend import Backend, backing, scripted, text
from tests.resource.gate import gate, listing
from tests.resource.issuer import Issuer
from tests.resource.running import ERAS, LIST, MODERN, wait_for
from tests.support.ports import free_port

ALL = {"*": "demo:read"}
OURS = ["whoami", "request_access", "demo_get_help", "demo_get_time", "demo_echo"]


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with backing() as running:
        yield running


def _many(number: int) -> list[dict[str, Any]]:
    return [{"name": f"tool_{n:04}", "inputSchema": {"type": "object"}} for n in range(number)]


def test_ours_come_first_then_the_backends_in_the_files_order(
    shared_issuer: Issuer, backend: Backend, tmp_path: Path
) -> None:
    """Each backend's in its own order; the same list for everybody with those scopes, in either era."""
    with (
        scripted(lambda backend, message: text(message), _many(3)) as many,
        gate(shared_issuer, tmp_path, listing(("zoo", many.url), ("crm", backend.url))) as door,
    ):
        token = door.token()
        names = door.names(token)
        assert names[: len(OURS)] == OURS
        assert names[len(OURS) : len(OURS) + 4] == [
            "zoo_tool_0000",
            "zoo_tool_0001",
            "zoo_tool_0002",
            "crm_find_person",
        ]
        assert "crm_delete_person" not in names
        assert "crm_unruled" not in names
        for era in ERAS:
            assert door.names(door.token(sub="user-2"), era) == names


def test_the_demos_tools_can_be_turned_off(shared_issuer: Issuer, backend: Backend, tmp_path: Path) -> None:
    """Without DEMO_TOOLS they can be neither listed nor called, and a backend may use their names."""
    with (
        scripted(
            lambda backend, message: text(message, "theirs"), [{"name": "echo", "inputSchema": {"type": "object"}}]
        ) as demo,
        gate(shared_issuer, tmp_path, listing(("demo", demo.url), rules=ALL), demo_tools=False) as door,
    ):
        token = door.token("demo:read demo:echo demo:ops")
        assert door.names(token) == ["whoami", "request_access", "demo_echo"]
        assert door.result("demo_echo", token)["content"][0]["text"] == "theirs"
        assert door.words("demo_get_time", token) == "Unknown tool: demo_get_time"


@pytest.mark.parametrize("era", ERAS)
def test_a_long_list_comes_in_pages(shared_issuer: Issuer, tmp_path: Path, era: str) -> None:
    """Every tool once, in order; a cursor is valid only for its own list."""
    with (
        scripted(lambda backend, message: text(message), _many(450)) as many,
        gate(shared_issuer, tmp_path, listing(("zoo", many.url), rules=ALL)) as door,
    ):
        token, narrow = door.token(), door.token("demo:read")
        assert door.names(token, era) == OURS + [f"zoo_tool_{n:04}" for n in range(450)]
        first = door.running.post(LIST, token, era).json()["result"]
        assert len(first["tools"]) == 100
        cursor = first["nextCursor"]
        for wrong in ("x", "", cursor + "0", cursor[:-1], "0" * 16 + "-100", cursor.replace("-100", "-101")):
            answer = door.running.post({**LIST, "params": {"cursor": wrong}}, token, era)
            assert answer.json()["error"]["code"] == -32602, wrong
        answer = door.running.post({**LIST, "params": {"cursor": cursor}}, narrow, era)
        assert answer.json()["error"]["code"] == -32602  # another list, of other scopes


def test_every_page_is_private(shared_issuer: Issuer, tmp_path: Path) -> None:
    """No shared cache may keep one person's list for another."""
    with (
        scripted(lambda backend, message: text(message), _many(150)) as many,
        gate(shared_issuer, tmp_path, listing(("zoo", many.url), rules=ALL)) as door,
    ):
        token = door.token()
        first = door.running.post(LIST, token, MODERN).json()["result"]
        second = door.running.post({**LIST, "params": {"cursor": first["nextCursor"]}}, token, MODERN).json()["result"]
        assert [first["cacheScope"], second["cacheScope"]] == ["private", "private"]


def test_the_list_is_ready_before_the_first_request(shared_issuer: Issuer, backend: Backend, tmp_path: Path) -> None:
    """The start waits for the backends' first answers."""
    with gate(shared_issuer, tmp_path, listing(("crm", backend.url))) as door:
        assert "crm_find_person" in door.names(door.token())


def test_a_start_does_not_wait_for_ever(
    shared_issuer: Issuer, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that hangs is added later, if ever; the others are there."""
    monkeypatch.setattr("gatepost_resource.backends.roster.READY_SECONDS", 0.5)
    monkeypatch.setattr("gatepost_resource.backends.peer.REQUEST_SECONDS", 2.0)
    with backing() as slow:
        slow.hangs = True
        with gate(shared_issuer, tmp_path, listing(("slow", slow.url), ("crm", backend.url))) as door:
            token = door.token()
            door.shows("crm_find_person", token)
            assert not any(name.startswith("slow_") for name in door.names(token))


def test_a_backend_that_is_away_takes_only_its_own_tools_and_comes_back(
    shared_issuer: Issuer, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """whoami names the backend to callers with a scope of it; a call of its tool is told why it fails."""
    monkeypatch.setattr(line, "REFRESH_SECONDS", 0.2)
    monkeypatch.setattr(line, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(line, "GRACE_SECONDS", 0.3)
    with backing() as other, gate(shared_issuer, tmp_path, listing(("hr", other.url), ("crm", backend.url))) as door:
        token = door.token()
        door.shows("hr_find_person", token)
        assert door.result("whoami", token)["structuredContent"]["unreachable"] == []
        other.stop()
        door.hides("hr_find_person", token)
        assert "crm_find_person" in door.names(token)
        assert door.result("whoami", token)["structuredContent"]["unreachable"] == ["hr"]
        assert "hr, the server behind hr_find_person, cannot be reached" in door.words("hr_find_person", token)
        stranger = door.token("demo:echo")
        assert door.result("whoami", stranger)["structuredContent"]["unreachable"] == []
        assert door.words("hr_find_person", stranger) == "Unknown tool: hr_find_person"
        other.start()
        door.shows("hr_find_person", token)
        wait_for(lambda: not door.result("hr_find_person", token, name="x")["isError"])
        assert door.result("whoami", token)["structuredContent"]["unreachable"] == []


def test_a_restart_of_a_backend_is_no_change_of_the_list(
    shared_issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last list stays for a while: clients would drop the tools, and seldom ask again."""
    monkeypatch.setattr(line, "REFRESH_SECONDS", 0.1)
    with backing() as backend, gate(shared_issuer, tmp_path, listing(("crm", backend.url))) as door:
        token = door.token()
        before = door.names(token)
        backend.stop()
        wait_for(lambda: door.result("whoami", token)["structuredContent"]["unreachable"] == ["crm"])
        assert door.names(token) == before
        assert "cannot be reached" in door.words("crm_find_person", token, name="x")


def test_a_tool_that_comes_later_is_listed_later(
    shared_issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists are refreshed in the background, never during somebody's request."""
    monkeypatch.setattr(line, "REFRESH_SECONDS", 0.1)
    with (
        scripted(lambda backend, message: text(message), _many(1)) as many,
        gate(shared_issuer, tmp_path, listing(("zoo", many.url), rules=ALL)) as door,
    ):
        token = door.token()
        assert "zoo_tool_0001" not in door.names(token)
        many.tools = _many(2)
        door.shows("zoo_tool_0001", token)


def test_the_operator_sees_how_each_backend_stands(shared_issuer: Issuer, backend: Backend, tmp_path: Path) -> None:
    """In the readiness details and as metrics: tools offered, tools that no rule names, tools that cannot be shown."""
    address = f"127.0.0.1:{free_port()}"
    rules = {"find_*": "demo:read", "everything": "demo:read", "nothing_*": "demo:read"}
    text_ = listing(("crm", backend.url), ("hr", "http://localhost:1/mcp"), rules=rules)
    with gate(shared_issuer, tmp_path, text_, metrics_address=address) as door:
        door.result("crm_find_person", door.token(), name="x")
        crm, hr = httpx2.get(f"http://{address}/readyz", trust_env=False).json()["backends"]
        assert (crm["name"], crm["problem"], crm["circuit"], crm["offered"]) == ("crm", "", "closed", 2)
        assert "unruled" in crm["unruled"]
        assert crm["unused_rules"] == ["nothing_*"]
        assert "http://localhost:1/mcp" in hr["problem"]
        numbers = httpx2.get(f"http://{address}/metrics", trust_env=False).text
    assert 'gatepost_resource_backend_up{backend="crm"} 1.0' in numbers
    assert 'gatepost_resource_backend_up{backend="hr"} 0.0' in numbers
    assert 'gatepost_resource_tools{backend="crm",state="offered"} 2.0' in numbers
    assert 'gatepost_resource_backend_calls_total{backend="crm",outcome="ok"} 1.0' in numbers


def test_a_circuit_opens_rests_and_lets_one_through() -> None:
    """Only failures in a row count; while it is open no call is let through, then one, and no second beside it."""
    now = [0.0]
    circuit = Circuit(lambda: now[0])
    for number in range(FAILURES - 1):
        assert circuit.enter()
        circuit.failed(f"person {number}")
    assert circuit.enter()
    circuit.succeeded()
    for number in range(FAILURES):
        assert circuit.enter()
        circuit.failed(f"person {number}")
    assert not circuit.enter()
    now[0] += PAUSE_SECONDS
    assert circuit.enter()
    assert not circuit.enter()
    circuit.left()  # the caller cancelled: the next one may try
    assert circuit.enter()
    circuit.failed("anybody")
    assert not circuit.enter()
    now[0] += PAUSE_SECONDS
    assert circuit.enter()
    circuit.succeeded()
    assert circuit.state == "closed"


def test_one_persons_failures_shut_nobody_out() -> None:
    """However many they are; failures of a second person do, and so does a refused connection."""
    for more in ({"whose": "another"}, {"whose": "one", "is_away": True}):
        circuit = Circuit(lambda: 0.0)
        for _ in range(3 * FAILURES):
            circuit.failed("one")
            assert circuit.enter()
        circuit.failed(**more)
        assert not circuit.enter()
