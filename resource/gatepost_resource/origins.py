"""The Origin rule: which web pages may call the MCP endpoint from a browser, and their CORS headers."""

import re
from collections.abc import Iterable, Sequence

import structlog
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatepost_resource.counts import Counts
from gatepost_resource.urls import hostname, is_loopback, origin

log = structlog.get_logger("gatepost_resource.origins")

REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Accept",
    "MCP-Protocol-Version",
    "Mcp-Session-Id",
    "Last-Event-ID",
    "Mcp-Method",
    "Mcp-Name",
)
EXPOSED = b"WWW-Authenticate, Mcp-Session-Id, Retry-After, X-Request-Id"
PREFLIGHT_SECONDS = "600"
PLAIN_WORDS = "Web pages of this origin may not call this server.\n"

# Arguments that a tool declares as headers (MCP 2026-07-28): the tool names them, so they cannot be listed.
_PARAMETER_HEADER = re.compile(r"mcp-param-[a-z0-9_-]{1,64}")
_LOOPBACK_ORIGIN = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")


class OriginRule:
    """Allows ALLOWED_ORIGINS, the resource's own origin and, on loopback, every loopback origin.

    A request without Origin does not come from a web page and passes. Nothing is allowed with credentials: the
    endpoint uses no cookies.
    """

    def __init__(self, app: ASGIApp, resource_url: str, allowed: Iterable[str], counts: Counts) -> None:
        """``allowed``: origins as browsers write them."""
        self._app = app
        self._allowed = frozenset([*allowed, origin(resource_url)])
        self._loopback = is_loopback(hostname(resource_url))
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers preflights, refuses foreign origins with 403, passes the rest on."""
        headers = Headers(scope=scope)
        origins = headers.getlist("origin")
        if not origins:
            await self._app(scope, receive, send)
            return
        if len(origins) > 1 or not self.allows(origins[0]):
            self._counts.refused("origin")
            log.warning("origin_refused", origin=", ".join(origins)[:200], setting="ALLOWED_ORIGINS")
            await PlainTextResponse(PLAIN_WORDS, status_code=403)(scope, receive, send)
            return
        answer = _sharing(send, origins[0])
        if scope["method"] == "OPTIONS":
            await preflight(headers)(scope, receive, answer)
            return
        await self._app(scope, receive, answer)

    def allows(self, value: str) -> bool:
        """Whether pages of this origin may call; ``null`` (a sandbox, a file) never may."""
        return value in self._allowed or (self._loopback and _LOOPBACK_ORIGIN.fullmatch(value) is not None)


def preflight(headers: Headers, methods: Sequence[str] = ("GET", "POST", "DELETE", "OPTIONS")) -> Response:
    """The answer to a CORS preflight, to which the caller adds ``Access-Control-Allow-Origin``."""
    asked = headers.get("access-control-request-headers", "").lower().split(",")
    parameters = [name.strip() for name in asked if _PARAMETER_HEADER.fullmatch(name.strip())]
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": ", ".join([*REQUEST_HEADERS, *parameters]),
            "Access-Control-Max-Age": PREFLIGHT_SECONDS,
        },
    )


def _sharing(send: Send, value: str) -> Send:
    shared = [
        (b"access-control-allow-origin", value.encode("latin-1")),
        (b"access-control-expose-headers", EXPOSED),
        (b"vary", b"Origin"),
    ]

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *shared]}
        await send(message)

    return answer
