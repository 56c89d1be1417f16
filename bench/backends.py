"""The cost of backends: CPU of a forwarded call, and of a list of 50 backends: ``python -m bench.backends [CALLS]``.

Also the effect of a hanging backend on calls to another one: their latency, in alternating rounds with and without
HANGING calls under way to the first, each on its own connection.

The resource server runs as a process, whose CPU time (user and system) is read before and after. For comparison, the
same run measures a call of the server's own tool through the whole SDK, which is forwarded to nobody. Only CPU time is
reported, not rates, because backends, issuer and client share the machine.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx2
import psutil

from gatepost_resource.backends.line import CALLS_OF_ONE
from tests.resource.backend import Scripted, text
from tests.resource.gate import listing
from tests.resource.issuer import Issuer, issuing
from tests.resource.running import LIST, calling, modern
from tests.support.ports import free_port
from tests.support.processes import environment_of

ERA = "2026-07-28"
HANGING = 50
ROUNDS = 10
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


@contextlib.contextmanager
def gated(
    issuer: Issuer, folder: Path, backends: list[Scripted], more: str = ""
) -> Iterator[tuple[str, psutil.Process]]:
    """The resource server as a process, with these backends; yields its URL and process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    named = [(f"b{number}", backend.url) for number, backend in enumerate(backends)]
    (folder / "catalogue.toml").write_text(listing(*named, rules={"*": "demo:read"}, more=more), encoding="utf-8")
    environment = environment_of(
        OAUTH_ISSUER=issuer.url, MCP_RESOURCE_URL=url, RESOURCE_PORT=str(port), METRICS_ADDRESS="", LOG_LEVEL="error",
        CATALOGUE=str(folder / "catalogue.toml"), TOOL_APPROVALS=str(folder / "approved.json"),
        INTROSPECTION_CLIENT_ID=issuer.credentials[0], INTROSPECTION_CLIENT_SECRET=issuer.credentials[1],
    )  # fmt: skip  # a table of settings
    with subprocess.Popen([sys.executable, "-m", "gatepost_resource"], env=environment) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/readyz")
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()


def _wait(url: str) -> None:
    for _ in range(600):
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(url, trust_env=False).status_code == 200:
                return
        time.sleep(0.05)
    raise SystemExit(f"{url} is not ready")


def _client(token: str, message: dict[str, Any]) -> httpx2.Client:
    name = message["params"].get("name")
    headers = {
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": ERA,
        "mcp-method": message["method"],
        **({"mcp-name": name} if name else {}),
    }
    return httpx2.Client(trust_env=False, timeout=120, headers=headers)


def per_call(url: str, process: psutil.Process, token: str, message: dict[str, Any], calls: int) -> float:
    """CPU milliseconds of the process per request, over ``calls`` requests after a warm-up."""
    body = json.dumps(modern(message))
    with _client(token, message) as client:
        for _ in range(20):
            answer = client.post(url, content=body)
            if '"isError":true' in answer.text:
                raise SystemExit(answer.text)
        before = process.cpu_times()
        for _ in range(calls):
            client.post(url, content=body).raise_for_status()
        after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / calls * 1000


class Hanging:
    """A backend that lists tools at once but holds calls until released. ``hung``: how many calls wait."""

    def __init__(self) -> None:
        self.hung = 0
        self._go = threading.Event()
        self.backend = Scripted(self._answer, _tools(1))

    def _answer(self, _backend: Scripted, message: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        self.hung += 1
        self._go.wait()
        return text(message)

    @contextlib.contextmanager
    def under_way(self, url: str, tokens: Sequence[str]) -> Iterator[None]:
        """Keeps HANGING calls waiting inside the block, with ``tokens`` in turn."""
        self.hung = 0
        self._go.clear()
        message = calling("b1_tool_0", text="x")
        body = json.dumps(modern(message))
        with ThreadPoolExecutor(HANGING) as pool, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(_client(token, message)) for token in tokens]
            asked = [pool.submit(clients[n % len(clients)].post, url, content=body) for n in range(HANGING)]
            try:
                while self.hung < HANGING:
                    time.sleep(0.01)
                yield
            finally:
                self._go.set()
            for answer in asked:
                answer.result().raise_for_status()


def _times(url: str, token: str, calls: int) -> list[float]:
    """Milliseconds of each of ``calls`` sequential calls, after a warm-up."""
    message = calling("b0_tool_0", text="x")
    body = json.dumps(modern(message))
    found = []
    with _client(token, message) as client:
        for _ in range(calls + 20):
            began = time.perf_counter()
            client.post(url, content=body).raise_for_status()
            found.append((time.perf_counter() - began) * 1000)
    return found[20:]


def beside_a_hanging_one(issuer: Issuer, folder: Path, calls: int) -> dict[str, list[float]]:
    """Milliseconds of each call to a good backend, alone and beside a hanging one."""
    good, hanging = Scripted(lambda _, message: text(message), _tools(1)), Hanging()
    found: dict[str, list[float]] = {"alone": [], "beside": []}
    with gated(issuer, folder, [good, hanging.backend], more="timeout = 100") as (url, _process):
        token = issuer.token(url)
        people = [issuer.token(url, sub=f"person {number}") for number in range(HANGING // CALLS_OF_ONE)]
        for turn in range(ROUNDS):
            for which in ("alone", "beside") if turn % 2 else ("beside", "alone"):
                with contextlib.nullcontext() if which == "alone" else hanging.under_way(url, people):
                    found[which] += _times(url, token, calls)
    for backend in (good, hanging.backend):
        backend.close()
    return found


def _tools(number: int) -> list[dict[str, Any]]:
    return [{"name": f"tool_{n}", "description": "Does it.", "inputSchema": SCHEMA} for n in range(number)]


def _run(calls: int) -> dict[str, float]:
    found: dict[str, float] = {}
    with issuing() as issuer, tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        for number, each in ((1, 20), (50, 40)):
            folder = Path(place) / str(number)
            folder.mkdir()
            backends = [Scripted(lambda _, message: text(message), _tools(each)) for _ in range(number)]
            for backend in backends:
                stack.callback(backend.close)
            with gated(issuer, folder, backends) as (url, process):
                token = issuer.token(url)
                if number == 1:
                    ours = {**calling("demo_echo", text="x"), "id": "a b"}  # an id that the fast path leaves to the SDK
                    found["ours, the SDK's way"] = per_call(url, process, token, ours, calls)
                    found["a backend's"] = per_call(url, process, token, calling("b0_tool_0", text="x"), calls)
                found[f"list of {number * each}"] = per_call(url, process, token, LIST, calls)
    return found


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    os.nice(5)
    for what, milliseconds in _run(wanted).items():
        sys.stdout.write(f"{what:<24} {milliseconds:.2f} ms CPU\n")
    with issuing() as its_issuer, tempfile.TemporaryDirectory() as kept:
        times = beside_a_hanging_one(its_issuer, Path(kept), wanted)
    for part in (50, 99):
        alone, beside = (quantiles(times[which], n=100)[part - 1] for which in ("alone", "beside"))
        sys.stdout.write(
            f"p{part} of a call {alone:.2f} ms, beside {HANGING} that hang {beside:.2f} ms: {beside / alone:.2f}x\n"
        )
