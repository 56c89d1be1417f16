"""MCP messages of both eras, with altered members and headers that may not agree."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fuzz.doors import RPC_METHODS
from tests.fuzz.grammar import JSON, Known, bearing, carried, objects
from tests.support.line import Headers, Request

ERAS = ("2025-06-18", "2025-11-25", "2026-07-28")

_META = {
    "io.modelcontextprotocol/protocolVersion": ERAS[2],
    "io.modelcontextprotocol/clientInfo": {"name": "fuzz", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
TOOLS = ["demo_echo", "demo_get_time", "demo_get_server_info", "whoami", "request_access", "demo_get_help", "nothing"]


def _message(method: str, tool: str, text: str, era: str, number: int | str) -> dict[str, Any]:
    given: dict[str, dict[str, Any]] = {
        "initialize": {"protocolVersion": era, "capabilities": {}, "clientInfo": {"name": "fuzz", "version": "1"}},
        "tools/call": {"name": tool, "arguments": {"text": text} if tool == "demo_echo" else {}},
        "completion/complete": {"ref": {"type": "ref/prompt", "name": tool}, "argument": {"name": "a", "value": text}},
        "resources/read": {"uri": text},
        "prompts/get": {"name": tool, "arguments": {}},
    }
    meta = {"_meta": dict(_META)} if era == ERAS[2] else {}
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": {**given.get(method, {}), **meta}}


METHODS = [
    *RPC_METHODS, "tools/call", "tools/call", "prompts/list", "prompts/get", "resources/list", "resources/read",
    "resources/templates/list", "completion/complete", "logging/setLevel", "notifications/initialized",
    "notifications/cancelled", "subscriptions/listen", "tasks/get", "rpc.discover", "", "tools/call\0",
]  # fmt: skip  # a list of names


def mcp_requests(known: Known) -> SearchStrategy[Request]:
    """A message of either era, with or without a token; its headers mostly agree with it."""
    return carried(_mcp_requests(known), known)


@st.composite
def _mcp_requests(draw: st.DrawFn, known: Known) -> Request:
    era, method, tool = draw(st.sampled_from(ERAS)), draw(st.sampled_from(METHODS)), draw(st.sampled_from(TOOLS))
    whole = _message(method, tool, draw(st.text(max_size=20)), era, draw(st.integers(0, 9) | st.text(max_size=5)))
    headers: Headers = (
        (b"content-type", JSON),
        (b"accept", b"application/json, text/event-stream"),
        (b"mcp-protocol-version", draw(st.sampled_from([*[era] * 12, "1999-01-01", ""])).encode()),
    )
    if era == ERAS[2]:
        headers += ((b"mcp-method", method.rstrip("\0").encode()),)
    if era == ERAS[2] and method in ("tools/call", "prompts/get"):
        headers += ((b"mcp-name", tool.encode()),)
    headers += bearing(draw(st.sampled_from(known.bearers)))
    return Request("POST", b"/mcp", headers, draw(objects(st.just(whole))))
