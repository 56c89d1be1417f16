"""Runs the resource server in a thread, on its own port, and talks to it over real HTTP."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
import uvicorn
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from gatepost_resource.app import build_app
from gatepost_resource.serving import bind, configuration
from gatepost_resource.settings import Settings
from tests.resource.issuer import Issuer
from tests.support.ports import free_port

MODERN = "2026-07-28"
LEGACY = ("2025-06-18", "2025-11-25")
ERAS = (*LEGACY, MODERN)

Mode = Literal["legacy", "auto"]


class Clock:
    """A clock in seconds since the epoch, which the test moves."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


@dataclass
class Running:
    """A resource server that answers at ``mcp``."""

    base: str
    mcp: str
    issuer: Issuer
    clock: Clock
    monotonic: Clock

    def later(self, seconds: float) -> None:
        """Moves both clocks ahead by that many seconds."""
        self.clock.offset += seconds
        self.monotonic.offset += seconds

    def token(self, **changes: Any) -> str:
        return self.issuer.token(self.mcp, **changes)

    def request(self, method: str, path: str = "/mcp", **options: Any) -> httpx2.Response:
        with httpx2.Client(base_url=self.base, trust_env=False, timeout=10) as client:
            return client.request(method, path, **options)

    def post(self, body: Any, token: str | None = None, era: str = LEGACY[1], **headers: str) -> httpx2.Response:
        """One JSON-RPC message as a client of that era sends it; a body of bytes is sent unchanged."""
        sent = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        sent |= {"mcp-protocol-version": era}
        if isinstance(body, dict) and era == MODERN:
            body = modern(body)
            sent |= {"mcp-method": body["method"]}
            if "name" in body["params"]:
                sent |= {"mcp-name": body["params"]["name"]}
        if token is not None:
            sent |= {"authorization": f"Bearer {token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body)
        return self.request("POST", content=content, headers=sent)

    def call(self, tool: str, token: str, era: str = LEGACY[1], **arguments: Any) -> httpx2.Response:
        return self.post(calling(tool, **arguments), token, era)

    @contextlib.asynccontextmanager
    async def client(self, token: str, mode: Mode) -> AsyncIterator[Client]:
        """The MCP Python client, connected."""
        headers = {"authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, trust_env=False, timeout=10) as http,
            Client(streamable_http_client(self.mcp, http_client=http), mode=mode) as client,
        ):
            yield client


def calling(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


def modern(body: dict[str, Any]) -> dict[str, Any]:
    """The message with the envelope that 2026-07-28 requires of every request."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return {**body, "params": {**body.get("params", {}), "_meta": meta}}


def challenge(response: httpx2.Response) -> dict[str, str]:
    """The parameters of WWW-Authenticate."""
    scheme, _, rest = response.headers["www-authenticate"].partition(" ")
    assert scheme == "Bearer"
    return dict(pair.removesuffix('"').split('="', 1) for pair in rest.split(", "))


@contextlib.contextmanager
def serving(
    issuer: Issuer,
    *,
    path: str = "/mcp",
    ready: bool = True,
    refresh_seconds: float = 300.0,
    **settings: Any,
) -> Iterator[Running]:
    """A resource server that trusts that issuer; ``ready``: wait for its keys."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    settings = {"oauth_issuer": issuer.url, "mcp_resource_url": base + path, "metrics_address": ""} | settings
    running = Running(base, settings["mcp_resource_url"], issuer, Clock(), Clock())
    app = build_app(
        Settings(**settings),
        clock=running.clock,
        monotonic=running.monotonic,
        refresh_seconds=refresh_seconds,
    )
    server = uvicorn.Server(configuration(app, 1))
    sockets = bind(("127.0.0.1",), port)
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started)
        if ready:
            wait_for(lambda: running.request("GET", "/readyz").status_code == 200)
        yield running
    finally:
        server.should_exit = True
        thread.join(timeout=15)
        for listener in sockets:
            listener.close()


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Returns once the condition holds; fails the test if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


def at_once(count: int, work: Callable[[int], httpx2.Response]) -> list[httpx2.Response]:
    """The answers to that many concurrent requests."""

    async def gather() -> list[httpx2.Response]:
        return list(await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(count))))

    return asyncio.run(gather())
