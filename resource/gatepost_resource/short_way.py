"""The short way: a request whose frame the SDK has answered once is answered without the SDK's transport.

A frame is everything in a request but its id and a call's arguments, with the caller's scopes. The SDK validates each
new frame, in both protocol eras, and writes its first answer. From then on a list is that answer under the new id,
since a list depends on its frame alone; and a call goes straight to its tool, with scopes and arguments checked as
ever. Everything else goes to the SDK each time: streams, progress, unknown members, unusual ids, frames it refused.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple

import structlog
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS
from mcp_types import (
    INTERNAL_ERROR,
    SERVER_INFO_META_KEY,
    CallToolResult,
    JSONRPCError,
    JSONRPCResponse,
    TextContent,
)
from mcp_types.methods import serialize_server_result
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatepost_resource.latest import Kept, Latest
from gatepost_resource.mcp_server import ScopedServer, current_caller
from gatepost_resource.tools import Toolbox

log = structlog.get_logger("gatepost_resource.short_way")

MAX_FRAMES = 256
MAX_FRAME_CHARACTERS = 4096

_TEXT_ID = re.compile(r"[A-Za-z0-9_.:+-]{1,128}")  # serialized alike everywhere
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MEMBERS = frozenset({"jsonrpc", "id", "method", "params"})
_PARAMETERS = {"tools/list": frozenset({"_meta"}), "tools/call": frozenset({"name", "arguments", "_meta"})}
# What MCP 2026-07-28 requires in every request, and nothing that asks for more: no progress, log or trace.
_META = frozenset(f"io.modelcontextprotocol/{name}" for name in ("protocolVersion", "clientInfo", "clientCapabilities"))
_READ = frozenset({b"accept", b"content-type"})
_COMPACT = json.JSONEncoder(separators=(",", ":"))
_VERSIONS = frozenset([*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS])

Frame = tuple[object, ...]


class Request(NamedTuple):
    """A plain request, which can be answered here; ``tool``: None for a list."""

    frame: Frame
    id: int | str
    version: str
    tool: str | None
    arguments: dict[str, Any]


class ShortWay:
    """Middleware in front of the SDK. Expects the parsed message in the scope, where ``stepup`` puts it."""

    def __init__(self, app: ASGIApp, server: ScopedServer, tools: Latest[Toolbox]) -> None:
        """``app``: the SDK's transport. ``tools``: a new table empties the cache."""
        self._app = app
        self._server = server
        self._answers: Kept[Toolbox, OrderedDict[Frame, bytes]] = Kept(tools, lambda _: OrderedDict())
        self._nobodys: Context[Any, Any] = Context(mcp_server=server)  # a plain tool does not use it
        # The server info of a result (MCP 2026-07-28, basic/index); a tool's own wins.
        self._stamp = {SERVER_INFO_META_KEY: server.session_manager.app.server_info_stamp}
        # With tracing configured the SDK handles every request, so that none of its spans is missing.
        self._open = isinstance(get_tracer_provider(), ProxyTracerProvider)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a plain request whose frame is known; keeps the SDK's answer to a plain one that is new."""
        request = read(scope["message"], scope["headers"]) if self._open else None
        if request is None:
            await self._app(scope, receive, send)
            return
        answers = self._answers.current()
        kept = answers.get(request.frame)
        if kept is None:
            await self._learn(request, scope, receive, send)
            return
        answers.move_to_end(request.frame)
        answer = await self._call(request) if request.tool is not None else _again(request, kept)
        await answer(scope, receive, send)

    async def _learn(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        answers, heard = self._answers.current(), list[Message]()

        async def hearing(message: Message) -> None:
            heard.append(message)
            await send(message)

        await self._app(scope, receive, hearing)
        # Stored under the table that was asked: if that was replaced meanwhile, nobody reads this any more.
        if request.tool is None or self._server.is_plain(request.tool):
            _keep(answers, request, heard)

    async def _call(self, request: Request) -> Response:
        try:
            result = await self._result(request)
        except MCPError as refused:
            return _written(request, JSONRPCError(jsonrpc="2.0", id=request.id, error=refused.error))
        written = result.model_dump(by_alias=True, mode="json", exclude_none=True)
        shaped = serialize_server_result("tools/call", request.version, written)
        if request.version in MODERN_PROTOCOL_VERSIONS:
            shaped["_meta"] = self._stamp | (shaped.get("_meta") or {})
        return _written(request, JSONRPCResponse(jsonrpc="2.0", id=request.id, result=shaped))

    async def _result(self, request: Request) -> CallToolResult:
        """The tool's result, or an error result saying why there is none; raises MCPError."""
        try:
            result = await self._server.call_tool(request.tool or "", request.arguments, self._nobodys)
        except ToolError as failure:
            if isinstance(failure, UnexpectedToolError):
                log.exception("tool_crashed", tool=request.tool)
            return CallToolResult(content=[TextContent(type="text", text=str(failure))], is_error=True)
        if not isinstance(result, CallToolResult):
            raise MCPError(INTERNAL_ERROR, "Internal error")  # asks for input, which no plain tool does
        return result


def _keep(answers: OrderedDict[Frame, bytes], request: Request, heard: list[Message]) -> None:
    """Keeps the bytes after the id if the answer is a result; for a call, only the fact that it was one."""
    head = _head(request)
    if len(heard) != 2 or not heard[1]["body"].startswith(head):
        return
    tail = b"" if request.tool is not None else heard[1]["body"][len(head) :]
    # Many clients get the same list, whose bytes are stored once.
    answers[request.frame] = next((one for one in answers.values() if one == tail), tail)
    if len(answers) > MAX_FRAMES:
        answers.popitem(last=False)


def read(message: object, headers: Iterable[tuple[bytes, bytes]]) -> Request | None:
    """The current caller's message as a plain request; None if it holds anything that is not allowed for here."""
    if not isinstance(message, dict) or not message.keys() <= _MEMBERS or message.get("jsonrpc") != "2.0":
        return None
    method, params = message.get("method"), message.get("params", {})
    allowed = _PARAMETERS.get(method) if isinstance(method, str) else None
    if allowed is None or not isinstance(params, dict) or not params.keys() <= allowed:
        return None
    tool, arguments, meta = params.get("name"), params.get("arguments", {}), params.get("_meta", {})
    if not isinstance(meta, dict) or not meta.keys() <= _META or not isinstance(arguments, dict):
        return None
    if not _is_plain_id(message.get("id")) or (method == "tools/call" and not _is_plain_name(tool)):
        return None
    fields = tuple(field for field in headers if field[0] in _READ or field[0].startswith(b"mcp-"))
    version = _version(fields)
    # repr tells 1 from 1.0, True and "1", and keeps member order; the caller's scopes decide what a list shows.
    told = repr((fields, meta, "params" in message, "arguments" in params))
    if version is None or len(told) > MAX_FRAME_CHARACTERS:
        return None
    return Request((told, tool, current_caller().scopes), message["id"], version, tool, arguments)


def _is_plain_id(value: object) -> bool:
    if isinstance(value, str):
        return _TEXT_ID.fullmatch(value) is not None
    return type(value) is int  # isinstance would accept True


def _is_plain_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _version(fields: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The protocol version in the first such header, the one the SDK reads; None if missing or not supported."""
    found = next((value.decode("latin-1") for name, value in fields if name == b"mcp-protocol-version"), "")
    return found if found in _VERSIONS else None


def _head(request: Request) -> bytes:
    return f'{{"jsonrpc":"2.0","id":{json.dumps(request.id)},"result":'.encode()


def _again(request: Request, tail: bytes) -> Response:
    return Response(_head(request) + tail, media_type="application/json")


def _written(request: Request, message: JSONRPCResponse | JSONRPCError) -> Response:
    """The answer, with the bytes and the status that the SDK would give it in that era."""
    if request.version not in MODERN_PROTOCOL_VERSIONS:
        return Response(message.model_dump_json(by_alias=True, exclude_unset=True), media_type="application/json")
    status = ERROR_CODE_HTTP_STATUS.get(message.error.code, 200) if isinstance(message, JSONRPCError) else 200
    body = message.model_dump(mode="json", by_alias=True, exclude_none=True)
    return Response(_COMPACT.encode(body), status, media_type="application/json")
