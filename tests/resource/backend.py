"""Backends for the resource server to pass calls to: real MCP servers of either protocol era, each on its own port."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, ImageContent, TextContent, ToolAnnotations
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost_resource.serving import bind, configuration
from tests.support.ports import free_port

Era = Literal["2025", "2026"]
ERAS: list[Era] = ["2025", "2026"]


class Backend:
    """An MCP server. ``seen``: the headers of every request. ``cancelled``: the calls that were cancelled.

    One of the 2025 era keeps sessions and knows no later version; one of the 2026 era keeps none.
    """

    def __init__(self, era: Era = "2026", port: int = 0) -> None:
        self.era = era
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.seen: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.cancelled = 0
        self.running = 0
        self.hangs = False
        self.counters: dict[str, int] = {}
        self.server = MCPServer("crm", log_level="CRITICAL")
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._add_tools()

    def _add_tools(self) -> None:
        add = self.server.add_tool
        add(
            self.find_person,
            name="find_person",
            title="Find a person",
            annotations=ToolAnnotations(read_only_hint=True),
        )
        add(self.delete_person, name="delete_person")
        add(self.slow, name="slow")
        add(self.hang, name="hang")
        add(self.fail, name="fail")
        add(self.refuse, name="refuse")
        add(self.everything, name="everything")
        add(self.count, name="count")
        add(self.unruled, name="unruled")
        add(self.ask, name="ask")

    async def find_person(self, name: str, limit: int = 3) -> dict[str, Any]:
        """Finds people by name."""
        return {"found": [name] * limit}

    async def delete_person(self, name: str) -> str:
        """Deletes one."""
        return f"deleted {name}"

    async def slow(self, context: Context[Any, Any], steps: int = 3) -> str:
        """Reports progress."""
        for step in range(steps):
            await context.report_progress(step + 1, steps, f"step {step + 1}")
            await asyncio.sleep(0.02)
        return "done"

    async def hang(self) -> str:
        """Never answers."""
        self.running += 1
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return "never"

    async def fail(self) -> str:
        """Fails with a tool error."""
        raise ToolError("the database is full")

    async def refuse(self) -> str:
        """Fails with a protocol error."""
        raise MCPError(-32050, "no such thing", {"why": ["because"]})

    async def everything(self) -> CallToolResult:
        """Returns every kind of content, with metadata."""
        return CallToolResult(
            content=[
                TextContent(type="text", text="héllo\u0000\n", meta={"note": None}),
                ImageContent(type="image", data="aGk=", mime_type="image/png"),
            ],
            structured_content={"a": None, "b": [1, None, {"c": 2.5}]},
            meta={"backend": {"deep": [None, True]}},
        )

    async def count(self, context: Context[Any, Any]) -> int:
        """Counts the calls of this session."""
        session = (context.headers or {}).get("mcp-session-id", "none")
        self.counters[session] = self.counters.get(session, 0) + 1
        return self.counters[session]

    async def unruled(self) -> str:
        """A tool that no rule names."""
        return "unruled"

    async def ask(self, context: Context[Any, Any]) -> str:
        """Asks the person something in between."""
        schema = {"type": "object", "properties": {}}
        return str(await context.session.elicit_form("Your password?", schema, context.request_id))

    @property
    def lists(self) -> int:
        return sum(1 for body in self.bodies if body.get("method") == "tools/list")

    def start(self) -> None:
        """Starts answering, on the port it had before."""
        stateful = self.era == "2025"
        app = self.server.streamable_http_app(stateless_http=not stateful, host="127.0.0.1")
        self._server = uvicorn.Server(configuration(self._watched(app), 1))
        sockets = bind(("127.0.0.1",), self.port)
        self._thread = threading.Thread(target=self._server.run, args=(sockets,), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def renew(self) -> None:
        """Restarts as a new process would: without its earlier sessions."""
        self.server = MCPServer("crm", log_level="CRITICAL")
        self._add_tools()
        self.start()

    def stop(self) -> None:
        """Stops: connections are refused."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join(10)
            self._server = None

    def _watched(self, app: ASGIApp) -> ASGIApp:
        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            self.seen.append(headers)
            if self.hangs:
                await asyncio.sleep(600)
            if self.era == "2025" and headers.get("mcp-protocol-version", "").startswith("2026"):
                await Response("Bad Request: Unsupported protocol version", 400)(scope, receive, send)
                return

            async def noted() -> Any:
                message = await receive()
                if message.get("body"):
                    self.bodies.append(json.loads(message["body"]))
                return message

            await app(scope, noted, send)

        return watched


@contextlib.contextmanager
def backing(era: Era = "2026") -> Iterator[Backend]:
    backend = Backend(era)
    backend.start()
    try:
        yield backend
    finally:
        backend.stop()


Script = Callable[["Scripted", dict[str, Any]], tuple[int, dict[str, str], bytes | Iterator[bytes]]]


class Scripted:
    """A backend that answers calls with whatever a test wants; it lists one tool, ``act``."""

    def __init__(self, script: Script, tools: list[dict[str, Any]] | None = None, *, era: Era = "2026") -> None:
        self.era = era
        self.script = script
        self.tools = tools if tools is not None else [{"name": "act", "inputSchema": {"type": "object"}}]
        self.asked: list[dict[str, Any]] = []
        self.lists = True
        self.headers: list[dict[str, str]] = []
        handler = type("Handler", (_Scripted,), {"backend": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/mcp"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def end(self) -> None:
        """Accepts the end of a session, and does nothing."""

    def answer(self, message: dict[str, Any]) -> tuple[int, dict[str, str], bytes | Iterator[bytes]]:
        if not self.lists and message.get("method") in ("server/discover", "tools/list", "initialize"):
            return 503, {}, b""
        if "id" not in message or "method" not in message:
            return 202, {}, b""
        if self.era == "2025" and message["method"] == "server/discover":
            return 400, {}, b"unsupported"
        if message["method"] == "initialize":
            told = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
            return said(message, {**told, "serverInfo": {"name": "x", "version": "1"}}, **{"mcp-session-id": "s"})
        if message.get("method") == "server/discover":
            told = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete"}
            return said(message, {**told, "ttlMs": 0, "cacheScope": "public"})
        if message.get("method") == "tools/list":
            return said(message, {"tools": self.tools, "ttlMs": 0, "cacheScope": "public", "resultType": "complete"})
        return self.script(self, message)


def said(message: dict[str, Any], result: dict[str, Any], **headers: str) -> tuple[int, dict[str, str], bytes]:
    body = {"jsonrpc": "2.0", "id": message["id"], "result": result}
    return 200, {"content-type": "application/json", **headers}, json.dumps(body).encode()


def text(message: dict[str, Any], words: str = "done", **headers: str) -> tuple[int, dict[str, str], bytes]:
    return said(message, {"content": [{"type": "text", "text": words}], "resultType": "complete"}, **headers)


def event(message: dict[str, Any]) -> bytes:
    return b"event: message\r\ndata: " + json.dumps(message).encode() + b"\r\n\r\n"


class _Scripted(BaseHTTPRequestHandler):
    backend: Scripted
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes, and the second would be delayed by 40 ms

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        message = json.loads(body)
        self.backend.asked.append(message)
        self.backend.headers.append({name.lower(): value for name, value in self.headers.items()})
        status, headers, answer = self.backend.answer(message)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if isinstance(answer, bytes):
            self.send_header("content-length", str(len(answer)))
        else:
            self.send_header("connection", "close")
        self.end_headers()
        with contextlib.suppress(OSError):
            for piece in [answer] if isinstance(answer, bytes) else answer:
                self.wfile.write(piece)
        if not isinstance(answer, bytes):
            self.close_connection = True

    def do_GET(self) -> None:
        self.send_error(405)

    def do_DELETE(self) -> None:
        self.backend.end()
        self.send_error(405)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@contextlib.contextmanager
def scripted(script: Script, tools: list[dict[str, Any]] | None = None, *, era: Era = "2026") -> Iterator[Scripted]:
    backend = Scripted(script, tools, era=era)
    try:
        yield backend
    finally:
        backend.close()
