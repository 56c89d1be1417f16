"""Logging: one format for the whole process and one line per request; never a query, a cookie or a token."""

import contextlib
import logging
import secrets
import sys
import time
from contextvars import ContextVar
from typing import Any, Literal

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.tracebacks import ExceptionDictTransformer

from gatepost_resource.addresses import Proxies
from gatepost_resource.counts import Counts
from gatepost_resource.mcp_server import Caller

log = structlog.get_logger("gatepost_resource.requests")

MAX_LOGGED_CHARACTERS = 200
# At INFO and below these log arguments, URLs with their queries, and a line per message.
NOISY = ("mcp", "httpx2", "httpcore2", "uvicorn", "asyncio")
# By default structlog's tracebacks show each frame's variables: a caller's token, a tool's arguments.
_TRACEBACKS = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
QUIET_PATHS = ("/healthz", "/readyz")
_request_id: ContextVar[str] = ContextVar("request_id", default="")


def configure(style: Literal["text", "json"], level: str) -> None:
    """Sends structlog and the standard library's logging to standard error in one format.

    Call it before the MCP server is built: the SDK adds its own handler to a root logger that has none.
    """
    shared: list[structlog.typing.Processor] = [
        _add_request_id,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if style == "text":
        plain = structlog.dev.plain_traceback
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    else:
        shared.append(_TRACEBACKS)
    formatter = structlog.stdlib.ProcessorFormatter
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=Lines,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    written = [formatter.remove_processors_meta, last]
    handler.setFormatter(formatter(foreign_pre_chain=shared, processors=written))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


class Lines:
    """Writes our own rendered lines directly: a standard library log record costs more than the line itself."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def write(self, line: str) -> None:
        """Writes to standard error; if that is full or closed, the request is still answered."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")

    debug = info = warning = error = critical = write


class RequestLog:
    """Logs one line per completed answer, with the id that the answer carries as ``X-Request-Id``."""

    def __init__(self, app: ASGIApp, proxies: Proxies, counts: Counts) -> None:
        """``proxies``: works out the caller's address."""
        self._app = app
        self._counts = counts
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the request and logs it, even if it failed."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, request_id, status = time.perf_counter(), secrets.token_hex(8), 500
        _request_id.set(request_id)

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                named = (b"x-request-id", request_id.encode())
                message = {**message, "headers": [*message["headers"], named]}
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            seconds = time.perf_counter() - started
            self._counts.answered(_place(scope, status), status, seconds)
            self._write(scope, status, seconds * 1000)

    def _write(self, scope: Scope, status: int, milliseconds: float) -> None:
        if scope["path"] in QUIET_PATHS:
            return
        user = scope.get("user")
        log.info(
            "request",
            method=scope["method"][:16],
            path=scope["path"][:MAX_LOGGED_CHARACTERS],
            status=status,
            ms=round(milliseconds, 1),
            address=self._proxies.caller(scope),
            client_id=user.token.client_id if isinstance(user, Caller) else None,
        )


def _place(scope: Scope, status: int) -> str:
    """The kind of address, as a metric label: a path that a client made up must not become one."""
    path = scope["path"]
    if path in QUIET_PATHS:
        return "health"
    if path.startswith("/.well-known/"):
        return "metadata"
    return "other" if path == "/" or status in (404, 421) else "mcp"


def _add_request_id(_logger: Any, _name: str, event: Any) -> Any:
    """Adds the id of the current request, its X-Request-Id, to every line logged while it runs."""
    if request_id := _request_id.get():
        event.setdefault("request_id", request_id)
    return event
