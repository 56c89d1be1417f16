"""Step-up: a call whose token lacks a scope that its person holds gets 403, with every scope to ask for."""

from typing import Any

import pydantic_core
from mcp.server.streamable_http import check_accept_headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatepost_resource.access_token import BearerToken
from gatepost_resource.catalogue import Catalogue
from gatepost_resource.errors import InsufficientScope
from gatepost_resource.latest import Latest
from gatepost_resource.mcp_server import current_caller
from gatepost_resource.tools import Toolbox

PARSE_ERROR, INVALID_REQUEST = -32700, -32600  # JSON-RPC 2.0, section 5.1


class StepUp:
    """Inspects each message before MCP handles it.

    The refusal has to be an HTTP answer (RFC 6750, section 3.1), for only then does a client ask for more; a
    handler inside MCP can only answer with a result. Invalid JSON is refused here too, so that both protocol
    eras refuse it alike. Expects the body in one piece, as the SDK's RequestBodyLimitMiddleware delivers it,
    and the caller in the SDK's auth context.
    """

    def __init__(self, app: ASGIApp, tools: Latest[Toolbox], catalogue: Latest[Catalogue]) -> None:
        """``catalogue``: decides the order of the challenge's scopes."""
        self._app = app
        self._tools = tools
        self._catalogue = catalogue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a message on; raises InsufficientScope for the challenge to write."""
        if scope["method"] != "POST":
            # There is no session or stream to open or close: both eras then require 405, even for GET.
            await Response(status_code=405, headers={"Allow": "POST"})(scope, receive, send)
            return
        unfit = _unfit(Request(scope))
        if unfit is not None:
            await unfit(scope, receive, send)
            return
        first = await receive()
        try:
            message = pydantic_core.from_json(first.get("body", b""), allow_inf_nan=False)
        except ValueError:
            await _error(400, PARSE_ERROR, "Parse error")(scope, receive, send)
            return
        self._check(message, current_caller())
        # Parsed once, for the layers further in; None if the body broke off.
        scope["message"] = None if first.get("more_body") else message
        await self._app(scope, _replay(first, receive), send)

    def _check(self, message: Any, caller: BearerToken) -> None:
        if not isinstance(message, dict) or message.get("method") != "tools/call":
            return
        parameters = message.get("params")
        name = parameters.get("name") if isinstance(parameters, dict) else None
        missing = self._tools.current().missing(name, caller.scopes) if isinstance(name, str) else None
        # Step-up is offered only if it can succeed: without the entitlement the client would ask in circles.
        # MCP then answers with a result that names request_access.
        if missing is not None and missing in caller.entitlements:
            # With the scopes it has: some clients replace theirs by those of the challenge.
            wanted = self._catalogue.current().in_order({*caller.scopes, missing})
            raise InsufficientScope(f"{name} needs {missing}", wanted)


def _unfit(request: Request) -> Response | None:
    """Refuses a wrong Content-Type or Accept in JSON; the SDK does so without a body, or without naming its type."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return _error(415, INVALID_REQUEST, "Send the message with Content-Type: application/json")
    if not check_accept_headers(request)[0]:
        return _error(406, INVALID_REQUEST, "Send Accept: application/json, text/event-stream")
    return None


def _error(status: int, code: int, message: str) -> Response:
    """A JSON-RPC error for a message that was not read."""
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}, status)


def _replay(first: Message, receive: Receive) -> Receive:
    pending = [first]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again
