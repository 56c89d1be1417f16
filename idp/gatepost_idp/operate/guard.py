"""Middleware for every request: the Host check, the issuer's path, CORS for programs, a trace id, one log line."""

import asyncio
from time import perf_counter
from urllib.parse import urlsplit

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatepost_idp import traces
from gatepost_idp.audit import Refusals
from gatepost_idp.counts import Counts
from gatepost_idp.limits import Callers
from gatepost_idp.operate.hosts import MISDIRECTED, is_one_of
from gatepost_idp.recorder import Recorder
from gatepost_idp.settings import LOOPBACK_NAMES, Settings
from gatepost_idp.traces import Trace

log = structlog.get_logger("gatepost.http")

HEALTH = ("/healthz", "/readyz")
MAX_BODY = 1024 * 1024
BODY_SECONDS = 20.0
_OPEN = frozenset(("/token", "/register", "/revoke", "/userinfo", "/jwks.json"))
_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"WWW-Authenticate, X-Trace-Id"),
]
_PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, OPTIONS",
    "access-control-allow-headers": "Authorization, Content-Type, MCP-Protocol-Version",
    "access-control-max-age": "86400",
}


class Guard:
    """Plain ASGI, since every request passes here. No response is ever built from the request's Host."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        callers: Callers,
        recorder: Recorder,
        refusals: Refusals,
        counts: Counts,
    ) -> None:
        self._app = app
        self._callers = callers
        self._recorder = recorder
        self._refusals = refusals
        self._counts = counts
        self._issuer = settings.oauth_issuer
        self._root = settings.root
        public = urlsplit(settings.oauth_issuer).hostname or ""
        self._names = frozenset(name.strip("[]").lower() for name in (public, *settings.idp_host, *LOOPBACK_NAMES))
        self._allowed = frozenset(host.lower() for host in settings.allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers foreign Hosts and preflights itself, and passes all else on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        self._enter_root(scope)
        path = scope["path"]
        trace = traces.begin(scope["method"], path)
        is_open = path in _OPEN or path.startswith("/.well-known/")
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = [(b"x-trace-id", trace.id.encode())] if trace.step and status >= 300 else []
                message["headers"] = [*message["headers"], *more, *(_CORS if is_open else ())]
            await send(message)

        try:
            await (self._at_once(scope, is_open) or self._app)(scope, _body(scope, receive), answer)
        finally:
            self._note(trace, scope, status, started)

    def _note(self, trace: Trace, scope: Scope, status: int, started: float) -> None:
        """Writes the request's log line, its metrics, its audit event if refused, and its step for the recorder."""
        seconds = perf_counter() - started
        self._counts.answered(trace, status, seconds)
        ms = round(seconds * 1000, 1)
        why = {}
        if trace.reason:
            why = {"refused": trace.reason, "received": trace.received, "expected": trace.expected}
            why = {name: traces.plain(value) for name, value in why.items() if value}
        place = _place(scope["path"])
        log.info("request", method=scope["method"], path=place, status=status, ms=ms, trace_id=trace.id, **why)
        request = Request(scope)
        if trace.event:
            self._refusals.note(trace.event, trace.client_id, self._callers.network(request), trace.reason, trace.id)
        if not trace.is_kept(status):
            return
        trace.tell(user_agent=next(iter(_headers(scope, b"user-agent")), "")[:100])
        if trace.step == "discovery" or status in (404, 405):
            trace.tell(asked_for=f"{request.method} {request.scope['path'][:100]}")
        self._recorder.note(trace, self._callers.network(request), status, ms)

    def _enter_root(self, scope: Scope) -> None:
        """Strips the issuer's path, unless a proxy has done so already, and trailing slashes."""
        path = scope["path"]
        if self._root and (path == self._root or path.startswith(self._root + "/")):
            path = path[len(self._root) :] or "/"
        if path != "/" and path.endswith("/"):
            path = path.rstrip("/") or "/"  # POST /token/ is answered, not redirected
        scope["path"] = path
        scope["raw_path"] = path.encode("utf-8", "surrogateescape")

    def _at_once(self, scope: Scope, is_open: bool) -> Response | None:
        """The response to a foreign Host (421) or a CORS preflight, else None."""
        hosts = _headers(scope, b"host")
        # With two Host headers, a proxy may have checked the other one (RFC 9112 section 3.2).
        if scope["path"] not in HEALTH and not (len(hosts) == 1 and is_one_of(hosts[0], self._names, self._allowed)):
            traces.current().refuse("foreign Host", f"Host: {', '.join(hosts)[:100]}", f"the host of {self._issuer}")
            log.warning(
                "foreign_host",
                host=", ".join(hosts)[:100],
                setting="OAUTH_ISSUER",
                otherwise="ALLOWED_HOSTS, where a proxy rewrites Host",
            )
            return MISDIRECTED
        if scope["method"] == "OPTIONS" and is_open:
            return Response(status_code=204, headers=_PREFLIGHT)
        return None


def _body(scope: Scope, receive: Receive) -> Receive:
    """The bounded body, but no multipart form, which no page here sends: reading one raises 415.

    Its parts may name other charsets and hold what is not text.
    """
    kinds = _headers(scope, b"content-type")
    return _unread if any(kind.lower().lstrip().startswith("multipart/") for kind in kinds) else bounded(receive)


async def _unread() -> Message:
    raise HTTPException(415)


def bounded(receive: Receive) -> Receive:
    """``receive`` with limits: HTTPException 413 beyond MAX_BODY bytes, 408 after BODY_SECONDS.

    Without the time limit, a slow drip would hold its memory for ever. Raised where the body is read, so that errors.py
    writes the response.
    """
    taken, is_whole = 0, False
    ends = asyncio.get_running_loop().time() + BODY_SECONDS

    async def body() -> Message:
        nonlocal taken, is_whole
        try:
            async with asyncio.timeout_at(None if is_whole else ends):  # afterwards only a disconnect can come
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, headers={"connection": "close"}) from None
        taken += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if taken > MAX_BODY:
            raise HTTPException(413)
        return message

    return body


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _place(path: str) -> str:
    """The path for the log, without the ids that follow /sign-in or /consent."""
    first = "/".join(path.split("/")[:2])
    return f"{first}/..." if first in ("/sign-in", "/consent") else path[:100]
