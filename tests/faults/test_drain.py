"""SIGTERM behind a balancer: readiness fails while everything else is still answered, then the listeners close."""

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gatepost_idp.settings import Settings
from tests.faults.asking import eventually
from tests.faults.load import replicated
from tests.resource.running import LIST
from tests.store.servers import running as postgresql
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.processes import START_SECONDS, Server, deployed, running
from tests.support.serving import Clock, Idp
from tests.support.smtp import receiving

ASKED_EACH = 0.02
MCP = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2025-11-25",
}
Started = Callable[[Path, int], AbstractContextManager[Server]]


def _asked(base: str, path: str) -> int:
    """The status, 0 if nobody listens any more. On a new connection, as health checks use."""
    with contextlib.suppress(httpx2.TransportError):
        return httpx2.get(f"{base}{path}", trust_env=False, verify=False, timeout=5).status_code
    return 0


def _drains(base: str, stop: Callable[[], None]) -> list[tuple[int, int]]:
    """The successive answers of /readyz and /healthz from the stop to the end, without repeats."""
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        assert _asked(base, "/readyz") == 200
    stop()
    seen: list[tuple[int, int]] = []
    deadline = time.monotonic() + 15
    while (not seen or seen[-1] != (0, 0)) and time.monotonic() < deadline:
        found = _asked(base, "/readyz"), _asked(base, "/healthz")
        if found not in seen[-1:]:
            seen.append(found)
        time.sleep(ASKED_EACH)
    return seen


def _once_all_said(server: Server, event: str, workers: int) -> Server:
    """The server, once each worker has logged ``event``: until then only one of them may be ready."""
    eventually(lambda: server.logged().count(event) >= workers, f"not every worker says {event}", START_SECONDS)
    return server


@contextlib.contextmanager
def idp_of(folder: Path, workers: int) -> Iterator[Server]:
    """The authorization server, on PostgreSQL if it has several workers."""
    with contextlib.ExitStack() as stack:
        settings: dict[str, Any] = {"secret_key": ("k" * 40,), "workers": workers}
        if workers > 1:
            settings["database_url"] = stack.enter_context(postgresql()).empty()
        idp = stack.enter_context(replicated(folder, stack.enter_context(receiving()), 1, **settings))
        yield _once_all_said(idp.servers[0], '"serving"', workers)


@contextlib.contextmanager
def resource_of(folder: Path, workers: int) -> Iterator[Server]:
    """The resource server, with the keys of an issuer."""
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(deployed(folder, stack.enter_context(receiving()).port))
        if workers > 1:
            port = str(free_port())
            base, environment = f"http://127.0.0.1:{port}", {**own.environment, "RESOURCE_PORT": port, "WORKERS": "2"}
            server = stack.enter_context(running(base, environment, folder / "workers.log", "gatepost_resource"))
            yield _once_all_said(server, '"keys_fetched"', workers)
        else:
            yield own.resource


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("started", [idp_of, resource_of])
def test_readiness_says_no_first(tmp_path: Path, workers: int, started: Started) -> None:
    """From the signal on /readyz is 503 and never 200 again, while other requests are still answered; no connection is
    refused before that. So too with several workers."""
    with started(tmp_path, workers) as server:
        eventually(lambda: all(_asked(server.base, "/readyz") == 200 for _ in range(10)), "it is not ready")
        seen = _drains(server.base, server.process.terminate)
        # The signal, or the end, may fall between the two probes of a pair.
        steps = [pair for pair in seen if pair not in ((200, 200), (503, 0))]
        assert steps == [(503, 200), (0, 0)], seen
        server.process.wait(10)
        assert "Traceback" not in server.logged()


@pytest.mark.parametrize("started", [idp_of, resource_of])
def test_a_stop_that_nobody_watches_is_at_once(tmp_path: Path, started: Started) -> None:
    """If nobody probes readiness, nobody would see it fail: a developer's Ctrl-C or a restart takes no longer."""
    with started(tmp_path, 1) as server:
        server.process.terminate()
        began = time.monotonic()
        while _asked(server.base, "/healthz") == 200:
            assert time.monotonic() - began < 2


@pytest.mark.parametrize("started", [idp_of, resource_of])
def test_several_workers_are_always_watched(tmp_path: Path, started: Started) -> None:
    """A balancer's probe reaches only one of them, so the others drain for as long."""
    with started(tmp_path, 2) as server:
        server.process.terminate()
        until = time.monotonic() + 2
        while time.monotonic() < until:
            assert _asked(server.base, "/healthz") == 200


def test_a_call_in_flight_is_answered(tmp_path: Path) -> None:
    """On SIGTERM while a call's body is still arriving at the resource server, no new connection is accepted, the call
    is answered, and its connection is closed."""
    with receiving() as mails, deployed(tmp_path, mails.port) as both:
        idp = Idp(
            both.idp.base, both.issuer, Settings(oauth_issuer=both.issuer, mcp_resource_url=both.mcp), Clock(), mails
        )
        with Person("alice@example.com", mails) as alice:
            token = registered(idp).connect(alice)["access_token"]
        line = http.client.HTTPConnection(both.resource.base.removeprefix("http://"), timeout=20)
        body = json.dumps(LIST).encode()
        line.putrequest("POST", "/mcp")
        for name, value in {**MCP, "authorization": f"Bearer {token}", "content-length": str(len(body))}.items():
            line.putheader(name, value)
        line.endheaders(body[:5])
        time.sleep(0.3)
        both.resource.process.terminate()
        eventually(lambda: _asked(both.resource.base, "/healthz") == 0, "it goes on listening")
        time.sleep(1)
        line.send(body[5:])
        answer = line.getresponse()
        found = json.loads(answer.read())
        line.close()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert found["result"]["tools"]
        both.resource.process.wait(10)
