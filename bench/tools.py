"""The measured resource servers, ours and the plain ones of both SDKs, and the requests for their tools."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.load import Line, Operation, expect
from bench.peers import PEER, node
from bench.running import Command, Subject, started
from tests.support.ports import free_port
from tests.support.processes import ROOT

OURS, PYTHON, TYPESCRIPT = "gatepost resource", "plain MCP, Python", "plain MCP, TypeScript"
ERAS = ("2025-11-25", "2026-07-28")
METHODS = ("tools/list", "tools/call")


@contextlib.contextmanager
def resource_servers(
    folder: Path, environment: dict[str, str], token: str, core: int | None, names: set[str], starts: int
) -> Iterator[list[Subject]]:
    """The servers in ``names``; all trust our authorization server, and ours shares its ``environment``."""
    operations = {f"{method}, {era[:4]} wire": asked_for(token, method, era) for era in ERAS for method in METHODS}
    with contextlib.ExitStack() as stack:
        found = []
        for name in (OURS, PYTHON, TYPESCRIPT):
            if name in names:
                command = _command(name, folder, environment, core)
                found.append(stack.enter_context(started(command, starts)))
                found[-1].operations = dict(operations)
        yield found


def _command(name: str, folder: Path, environment: dict[str, str], core: int | None) -> Command:
    log = folder / f"{name}.log"
    if name == OURS:
        arguments, port = [sys.executable, "-m", "gatepost_resource"], int(environment["RESOURCE_PORT"])
        return Command(name, port, "/healthz", arguments, environment, log, core)
    port = free_port()
    program = (
        [sys.executable, str(ROOT / "bench" / "plain_mcp.py")] if name == PYTHON else [node(), str(PEER / "mcp.mjs")]
    )
    trusted = [environment["OAUTH_ISSUER"], environment["MCP_RESOURCE_URL"]]
    return Command(name, port, "/", [*program, str(port), *trusted], environment, log, core)


def asked_for(token: str, method: str, era: str) -> Callable[[int], Operation]:
    """Makes the operation of one self-contained MCP request of protocol version ``era``."""
    parameters: dict[str, object] = (
        {"name": "demo_echo", "arguments": {"text": "Hello"}} if method == "tools/call" else {}
    )
    headers = {
        "authorization": f"Bearer {token}", "content_type": "application/json",
        "accept": "application/json, text/event-stream", "mcp_protocol_version": era,
    }  # fmt: skip  # header fields
    if era == ERAS[1]:
        headers |= {"mcp_method": method} | ({"mcp_name": "demo_echo"} if parameters else {})
        meta = {"protocolVersion": era, "clientInfo": {"name": "bench", "version": "1"}, "clientCapabilities": {}}
        parameters["_meta"] = {f"io.modelcontextprotocol/{name}": value for name, value in meta.items()}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})

    async def ask(line: Line) -> None:
        answer = expect(await line.ask("POST", "/mcp", body, **headers), 200)
        if b'"result"' not in answer.body or b'"isError":true' in answer.body.replace(b" ", b""):
            raise SystemExit(f"{method} failed: {answer.body[:500]!r}")

    return lambda _slot: ask
