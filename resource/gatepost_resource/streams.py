"""Picks how the SDK answers a request: one JSON document, or an SSE stream that can carry more before the result."""

from mcp.server.streamable_http import check_accept_headers
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost_resource.exchange import owner
from gatepost_resource.latest import Latest
from gatepost_resource.tools import Toolbox
from gatepost_resource.under_way import UnderWay


class Streams:
    """Chooses for each message; expects it parsed in the scope, where ``stepup`` puts it.

    Only a backend's tool sends anything before its result, or is worth cancelling, so only its calls are streamed.
    Since 2026-07-28 a client cancels by closing the stream. An older client cancels with another request, which some
    send only once this one's answer has begun: a stream begins at once, a document only when it is too late.
    """

    def __init__(self, document: ASGIApp, stream: ASGIApp, tools: Latest[Toolbox], under_way: UnderWay) -> None:
        """``document``, ``stream``: the SDK's two session managers."""
        self._document = document
        self._stream = stream
        self._tools = tools
        self._under_way = under_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; first carries out an older client's cancellation."""
        request, message = Request(scope), scope["message"]
        modern = request.headers.get("mcp-protocol-version") in MODERN_PROTOCOL_VERSIONS
        if not isinstance(message, dict) or not isinstance(message.get("params"), dict):
            await self._document(scope, receive, send)
            return
        if message.get("method") == "notifications/cancelled" and not modern:
            self._cancel(message["params"].get("requestId"))
        streams = self._may_stream(message) and check_accept_headers(request)[1]
        await (self._stream if streams else self._document)(scope, receive, send)

    def _may_stream(self, message: dict[str, object]) -> bool:
        parameters = message["params"]
        if message.get("method") != "tools/call" or not isinstance(parameters, dict):
            return False
        entry = self._tools.current().find(str(parameters.get("name")))
        return entry is not None and entry.origin is not None

    def _cancel(self, id_: object) -> None:
        if isinstance(id_, int | str):
            self._under_way.cancel(owner(), id_)
