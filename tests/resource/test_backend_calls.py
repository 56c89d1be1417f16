"""Calls passed on to a backend: in both protocol eras on both sides; unchanged, bounded, cancellable."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gatepost_resource.backends import line, wire
from tests.resource.backend import ERAS as BACKENDS
from tests.resource.backend import Backend, Scripted, backing, scripted, text
from tests.resource.gate import Gate, answer, gate, listing
from tests.resource.issuer import Issuer
from tests.resource.running import ERAS, LEGACY, MODERN, Mode, calling, modern, wait_for

MODES: list[Mode] = ["legacy", "auto"]


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with backing(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def door(backend: Backend, shared_issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    text = listing(("crm", backend.url), more="timeout = 5")
    with gate(shared_issuer, tmp_path_factory.mktemp("gate"), text) as opened:
        yield opened


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_lists_and_calls_the_tools_of_a_backend(door: Gate, mode: Mode) -> None:
    """They are listed after ours, prefixed with the backend's name, with its schema, title and annotations."""
    async with door.running.client(door.token(), mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools)[:5] == ["whoami", "request_access", "demo_get_help", "demo_get_time", "demo_echo"]
        found = tools["crm_find_person"]
        assert found.title == "Find a person"
        assert found.description == "Finds people by name."
        assert found.annotations is not None
        assert found.annotations.read_only_hint is True
        assert found.input_schema["required"] == ["name"]
        result = await client.call_tool("crm_find_person", {"name": "Ada", "limit": 2})
    assert result.structured_content == {"found": ["Ada", "Ada"]}
    assert not result.is_error


@pytest.mark.parametrize("era", ERAS)
def test_a_result_comes_through_unchanged(door: Gate, era: str) -> None:
    """Every kind of content, structured content with nulls, and the backend's metadata."""
    result = door.result("crm_everything", door.token(), era)
    assert [block["type"] for block in result["content"]] == ["text", "image"]
    assert result["content"][0]["text"] == "héllo\u0000\n"
    assert result["structuredContent"] == {"a": None, "b": [1, None, {"c": 2.5}]}
    assert result["_meta"]["backend"] == {"deep": [None, True]}


@pytest.mark.parametrize("era", ERAS)
def test_an_error_comes_through_unchanged(door: Gate, era: str) -> None:
    """A tool error as its result, a protocol error with code, message and data."""
    failed = door.result("crm_fail", door.token(), era)
    assert (failed["isError"], failed["content"][0]["text"]) == (
        True,
        "Error executing tool fail: the database is full",
    )
    error = answer(door.running.call("crm_refuse", door.token(), era))["error"]
    assert error == {"code": -32050, "message": "no such thing", "data": {"why": ["because"]}}


@pytest.mark.parametrize("era", ERAS)
def test_arguments_that_do_not_fit_the_schema_never_reach_the_backend(door: Gate, backend: Backend, era: str) -> None:
    """The caller is told in one line which argument is missing or has the wrong type."""
    before = len(backend.bodies)
    assert "'name' is a required property" in door.words("crm_find_person", door.token(), era)
    assert "limit: 'many' is not of type 'integer'" in door.words(
        "crm_find_person", door.token(), era, name="x", limit="many"
    )
    assert [body for body in backend.bodies[before:] if body.get("method") == "tools/call"] == []


@pytest.mark.parametrize("mode", MODES)
async def test_progress_comes_through(door: Gate, mode: Mode) -> None:
    """Each step, with its total and message, under the token that the caller chose."""
    steps: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    async with door.running.client(door.token(), mode) as client:
        result = await client.call_tool("crm_slow", {"steps": 3}, progress_callback=note)
    assert not result.is_error
    assert steps == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_is_cancelled_stops_at_the_backend(door: Gate, backend: Backend, mode: Mode) -> None:
    """By closing the stream or by a notification, as the era requires: the backend's work ends too."""
    before = backend.cancelled
    async with door.running.client(door.token(), mode) as client:
        task = asyncio.create_task(client.call_tool("crm_hang", {}))
        await asyncio.to_thread(wait_for, lambda: backend.running > 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(wait_for, lambda: backend.cancelled > before)
    assert backend.cancelled == before + 1
    assert backend.running == 0


async def _in_flight(door: Gate, token: str, id_: Any, http: httpx2.AsyncClient) -> asyncio.Task[httpx2.Response]:
    headers = {
        "authorization": f"Bearer {token}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": LEGACY[1],
    }
    return asyncio.create_task(http.post(door.running.mcp, json={**calling("crm_hang"), "id": id_}, headers=headers))


def _cancel(door: Gate, token: str, id_: Any) -> None:
    message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id_}}
    assert door.running.post(message, token).status_code == 202


async def test_nobody_cancels_another_persons_call(door: Gate, backend: Backend) -> None:
    """An id is a small number that anybody can guess: it counts only with the bearer of the call itself."""
    mine, others = door.token(), door.token(sub="user-2")
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
        call = await _in_flight(door, mine, 7, http)
        await asyncio.to_thread(wait_for, lambda: backend.running > 0)
        for token, id_ in ((others, 7), (mine, "7"), (mine, 8), (mine, None), (mine, [7]), (mine, True)):
            await asyncio.to_thread(_cancel, door, token, id_)
        await asyncio.sleep(0.2)
        assert not call.done()
        await asyncio.to_thread(_cancel, door, mine, 7)
        assert answer(await call)["error"]["code"] == -32800


async def test_an_id_that_two_calls_bear_cancels_neither(door: Gate, backend: Backend) -> None:
    """Two windows of one client share a bearer: choosing between them could end the wrong call."""
    token = door.token()
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
        calls = [await _in_flight(door, token, 1, http) for _ in range(2)]
        await asyncio.to_thread(wait_for, lambda: backend.running == 2)
        await asyncio.to_thread(_cancel, door, token, 1)
        await asyncio.sleep(0.2)
        assert not any(call.done() for call in calls)
        for call in calls:  # they end by their time-out
            assert "did not answer in time" in (await call).text


def test_a_hidden_tool_called_by_its_name_is_not_called(door: Gate, backend: Backend) -> None:
    """Attack: the caller knows the name of a hidden tool from elsewhere."""
    before = len(backend.bodies)
    for era in ERAS:
        assert "crm_delete_person" not in door.names(door.token(), era)
        assert "needs the scope demo:ops" in door.words("crm_delete_person", door.token(), era, name="x")
        assert door.words("crm_unruled", door.token(), era) == "Unknown tool: crm_unruled"
        assert door.words("unruled", door.token(), era) == "Unknown tool: unruled"
        assert door.words("delete_person", door.token(), era, name="x") == "Unknown tool: delete_person"
    assert [body for body in backend.bodies[before:] if body.get("method") == "tools/call"] == []


@pytest.mark.parametrize("era", ERAS)
def test_a_tool_of_a_backend_can_be_stepped_up_to(door: Gate, era: str) -> None:
    """If the person holds the scope and the token does not: 403 with every scope the client has to ask for."""
    token = door.running.token(scope="demo:read", entitlements=["demo:read", "demo:ops"])
    response = door.running.call("crm_delete_person", token, era, name="x")
    assert response.status_code == 403
    assert 'scope="demo:read demo:ops"' in response.headers["www-authenticate"]


def test_a_backend_never_sees_the_callers_own_token(door: Gate, backend: Backend) -> None:
    """Nor the caller's cookie, address or any other header: it gets a token issued for it."""
    token = door.token()
    door.running.post(
        calling("crm_find_person", name="x"), token, cookie="a=b", x_forwarded_for="1.2.3.4", x_user="mallory"
    )
    for headers in backend.seen:
        assert token not in str(headers)
        assert headers["authorization"].startswith("Bearer backend-token-")
        assert not {"cookie", "x-forwarded-for", "x-user"}.intersection(headers)


def test_a_session_is_never_another_bearers(door: Gate, backend: Backend) -> None:
    """Attack: one person reads what another left in a session. Each token has its own session, even of one person."""
    if backend.era == "2026":
        return  # it keeps none
    first, second = door.token(), door.token(sub="user-2")
    same = door.token()
    assert door.result("crm_count", first)["structuredContent"] == {"result": 1}
    assert door.result("crm_count", first)["structuredContent"] == {"result": 2}
    assert door.result("crm_count", second)["structuredContent"] == {"result": 1}
    assert door.result("crm_count", same)["structuredContent"] == {"result": 1}
    assert door.result("crm_count", first)["structuredContent"] == {"result": 3}


@pytest.mark.parametrize("era", ERAS)
def test_a_backend_that_asks_the_person_something_is_refused(door: Gate, era: str) -> None:
    """Attack: a form that seems to come from this server. The tool is refused at once."""
    told = door.running.call("crm_ask", door.token(), era).text
    assert "elicitation/create is not offered here" in told or "no back-channel" in told


def test_several_first_calls_open_one_session(shared_issuer: Issuer, tmp_path: Path) -> None:
    """Concurrent calls with one bearer share one session, and every answer goes to its own call."""
    with backing("2025") as backend, gate(shared_issuer, tmp_path, listing(("crm", backend.url))) as door:
        token = door.token()
        with ThreadPoolExecutor(8) as pool:
            names = [f"n{number}" for number in range(16)]
            found = list(pool.map(lambda name: door.result("crm_find_person", token, name=name, limit=1), names))
        assert [result["structuredContent"]["found"] for result in found] == [[name] for name in names]
        opened = {headers.get("mcp-session-id") for headers in backend.seen} - {None}
        assert len(opened) == 2  # one for the list, one for the calls


def test_a_session_that_the_backend_lost_is_opened_anew(shared_issuer: Issuer, tmp_path: Path) -> None:
    """After a restart the backend did not carry out the call, so it is made once more."""
    with backing("2025") as backend, gate(shared_issuer, tmp_path, listing(("crm", backend.url))) as door:
        token = door.token()
        assert not door.result("crm_count", token)["isError"]
        backend.stop()
        backend.renew()
        assert not door.result("crm_count", token)["isError"]


def test_a_session_opened_anew_is_every_later_calls(shared_issuer: Issuer, tmp_path: Path) -> None:
    """If two calls lose one session, the one that learns of it last uses the other's new session and keeps it."""
    lost, late = ["early", "late"], threading.Event()

    def losing(backend: Scripted, message: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        which = message["params"]["arguments"]["which"]
        if which not in lost:
            return text(message)
        lost.remove(which)
        if which == "late":
            late.wait(5)
        return 404, {}, b""

    with (
        scripted(losing, era="2025") as crm,
        gate(shared_issuer, tmp_path, listing(("crm", crm.url), rules={"*": "demo:read"})) as door,
        ThreadPoolExecutor(1) as pool,
    ):
        token = door.token()
        assert not door.result("crm_act", token, which="first")["isError"]
        opened = sum(one["method"] == "initialize" for one in crm.asked)
        waiting = pool.submit(door.result, "crm_act", token, which="late")
        wait_for(lambda: "late" not in lost)
        assert not door.result("crm_act", token, which="early")["isError"]
        late.set()
        assert not waiting.result()["isError"]
        assert sum(one["method"] == "initialize" for one in crm.asked) == opened + 1


def test_a_backend_that_hangs_is_left_after_its_time_out(shared_issuer: Issuer, tmp_path: Path) -> None:
    """The caller is told in plain words; only the log has the address and the reason."""
    with (
        backing("2026") as backend,
        gate(shared_issuer, tmp_path, listing(("crm", backend.url), more="timeout = 0.3")) as door,
    ):
        said = door.words("crm_hang", door.token())
        assert said.startswith("crm, the server behind this tool, did not answer in time.")
        assert "127.0.0.1" not in said
        wait_for(lambda: backend.cancelled == 1)


def test_one_that_fails_again_and_again_rests_and_comes_back(shared_issuer: Issuer, tmp_path: Path) -> None:
    """After five failures it is not called; after a pause one call is let through, and its success ends that."""
    with (
        scripted(lambda backend, message: (503, {}, b"")) as crm,
        gate(shared_issuer, tmp_path, listing(("crm", crm.url), rules={"*": "demo:read"})) as door,
    ):
        token = door.token()
        for of in (token, token, token, token, door.token(sub="another")):
            assert "gave an answer that cannot be used" in door.words("crm_act", of)
        crm.lists = False
        asked = len([one for one in crm.asked if one["method"] == "tools/call"])
        assert "tried again in a few seconds" in door.words("crm_act", token)
        assert len([one for one in crm.asked if one["method"] == "tools/call"]) == asked
        crm.script = lambda backend, message: text(message)
        door.running.monotonic.offset += 11
        assert not door.result("crm_act", token)["isError"]


def test_a_hanging_backend_holds_nothing_of_another(
    shared_issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a backend's calls are all taken, its next call is refused at once, and other backends are unaffected."""
    monkeypatch.setattr(wire, "MAX_CONNECTIONS", 10)
    monkeypatch.setattr(line, "CALLS_OF_ONE", 10)
    with backing("2026") as bad, backing("2026") as good:
        text = listing(("bad", bad.url), ("good", good.url), more="timeout = 4")
        with gate(shared_issuer, tmp_path, text) as door, ThreadPoolExecutor(10) as pool:
            token = door.token()
            hanging = [pool.submit(door.words, "bad_hang", token) for _ in range(10)]
            wait_for(lambda: bad.running == 10)
            assert "has too many calls under way" in door.words("bad_hang", token)
            assert door.result("good_find_person", token, name="x", limit=1)["structuredContent"] == {"found": ["x"]}
            assert {"did not answer in time" in call.result() for call in hanging} == {True}


def test_one_person_takes_a_backend_from_nobody(
    shared_issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One person gets a share of a backend's calls; beyond it only their own calls are refused."""
    monkeypatch.setattr(line, "CALLS_OF_ONE", 3)
    with (
        backing("2026") as backend,
        gate(shared_issuer, tmp_path, listing(("crm", backend.url), more="timeout = 4")) as door,
        ThreadPoolExecutor(3) as pool,
    ):
        one, other = door.token(sub="one"), door.token(sub="other")
        hanging = [pool.submit(door.words, "crm_hang", one) for _ in range(3)]
        wait_for(lambda: backend.running == 3)
        assert "has too many calls under way" in door.words("crm_find_person", one, name="x", limit=1)
        assert not door.result("crm_find_person", other, name="x", limit=1)["isError"]
        assert {"did not answer in time" in call.result() for call in hanging} == {True}
        assert not door.result("crm_find_person", one, name="x", limit=1)["isError"]


def test_a_2026_tool_gets_its_header_arguments(shared_issuer: Issuer, tmp_path: Path) -> None:
    """``x-mcp-header``: arguments that the caller's client sent as headers too are sent so to the backend."""
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    with (
        scripted(lambda backend, message: text(message), [{"name": "act", "inputSchema": schema}]) as crm,
        gate(shared_issuer, tmp_path, listing(("crm", crm.url), rules={"*": "demo:read"})) as door,
    ):
        message = modern(calling("crm_act", region="eu north"))
        headers = {"mcp_method": "tools/call", "mcp_name": "crm_act", "mcp_param_region": "eu north"}
        told = door.running.post(json.dumps(message).encode(), door.token(), MODERN, **headers)
        assert told.status_code == 200
        assert crm.headers[-1]["mcp-param-region"] == "eu north"
        assert crm.headers[-1]["mcp-name"] == "act"
