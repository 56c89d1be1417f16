"""Writes all error responses: RFC 6749 JSON for programs, a page with a way on for people."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from authlib.oauth2.rfc6749.errors import OAuth2Error
from fastapi.exceptions import RequestValidationError
from slowapi.errors import RateLimitExceeded
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gatepost_idp import traces
from gatepost_idp.pages import Pages
from gatepost_idp.protocol import ErrorCode, Refused
from gatepost_idp.transaction import DatabaseUnavailable, Unstorable

log = structlog.get_logger("gatepost.errors")

_STATUS: dict[ErrorCode, int] = {
    "invalid_client": 401,
    "invalid_token": 401,
    "insufficient_scope": 403,
    "temporarily_unavailable": 503,
    "server_error": 500,
}
PROGRAM_PATHS = ("/token", "/register", "/revoke", "/introspect", "/userinfo", "/jwks.json", "/.well-known/")

_ADDRESS = "The address may be mistyped or out of date."
_UNDONE = "Nothing was done with it."
_WORDS = {
    404: ("There is nothing here", _ADDRESS),
    405: ("This address does not accept that request", _ADDRESS),
    415: ("This form cannot be read", _UNDONE),
}
_BACK = "Go back to your app and connect again."


class OAuthRefusal(OAuth2Error):
    """A refusal to be sent to the client as JSON; its ``reason`` is only logged.

    ``challenge`` is the WWW-Authenticate value (RFC 6749 section 5.2, RFC 6750 section 3).
    """

    def __init__(self, refused: Refused, status: int | None = None, challenge: str = "") -> None:
        self.refused = refused
        self.challenge = challenge
        super().__init__(
            error=refused.error,
            description=refused.description,
            status_code=status or _STATUS.get(refused.error, 400),
        )


@dataclass(frozen=True, slots=True)
class Way:
    """The button of an error page: ``path`` is below the issuer's path; with ``csrf`` it sends a form."""

    label: str
    path: str
    csrf: str = ""


@dataclass
class PageProblem(Exception):
    """An error shown to a person as a page: what happened, what it means, what to do now."""

    title: str
    happened: str
    meaning: str = ""
    action: str = ""
    details: Sequence[tuple[str, str]] = field(default_factory=tuple)
    hint: str = ""
    status: int = 400
    reason: str = ""
    received: str = ""
    expected: str = ""
    event: str = ""
    way: Way | None = None


START_PAGE = Way("Open the start page", "/")


class Errors:
    """Exception handlers for the application; HANDLED says which exception each handles."""

    def __init__(self, pages: Pages, is_local: bool) -> None:
        self._pages = pages
        self._is_local = is_local

    async def answer(self, request: Request, problem: Exception) -> tuple[Response, bool]:
        """The response to any exception, and whether the exception is a fault of this server."""
        kind = next(kind for kind in type(problem).__mro__ if kind in HANDLED)
        response: Response = await getattr(self, HANDLED[kind])(request, problem)
        return response, kind is Exception

    async def oauth(self, request: Request, refusal: Exception) -> Response:
        """A refusal as JSON (RFC 6749 section 5.2)."""
        if not isinstance(refusal, OAuthRefusal):
            raise refusal
        refused, trace = refusal.refused, traces.current()
        trace.belongs_to(refused.trace_id)
        trace.refuse(f"{refused.error}: {refused.reason}", refused.received, refused.expected, refused.event)
        log.info("refused", error=refused.error, reason=refused.reason, trace_id=trace.id)
        headers = {"cache-control": "no-store", "pragma": "no-cache"}
        if refusal.challenge:
            headers["www-authenticate"] = refusal.challenge
        body = json.dumps(dict(refusal.get_body()))
        return Response(body, refusal.status_code, headers, media_type="application/json")

    async def page(self, request: Request, problem: Exception) -> Response:
        """An error page; the hint for the operator is shown only if the issuer is on this machine."""
        if not isinstance(problem, PageProblem):
            raise problem
        trace = traces.current()
        trace.refuse(problem.reason or problem.title, problem.received, problem.expected, problem.event)
        log.info("page_refused", title=problem.title, reason=problem.reason, hint=problem.hint, trace_id=trace.id)
        return self._pages.response(
            "authorize/error.html",
            status=problem.status,
            trace_id=trace.id,
            title=problem.title,
            happened=problem.happened,
            meaning=problem.meaning,
            action=problem.action,
            details=list(problem.details),
            hint=problem.hint if self._is_local else "",
            way=problem.way,
        )

    async def unavailable(self, request: Request, problem: Exception) -> Response:
        """503: the database did not commit, so nothing was changed."""
        log.error("database_unavailable", reason=str(problem), trace_id=traces.current().id)
        return await self._either(
            request,
            Refused("temporarily_unavailable", "Try again in a few seconds.", "database unavailable"),
            PageProblem(
                "Please try again in a moment",
                "We could not save this step, so nothing has changed.",
                action="Wait a few seconds and load the page again.",
                status=503,
            ),
            503,
            {"retry-after": "2"},
        )

    async def too_many(self, request: Request, _problem: Exception) -> Response:
        """429: the caller's network exceeded a brake."""
        traces.current().step = ""  # not recorded, or a flood would displace other steps
        return await self._either(
            request,
            Refused("temporarily_unavailable", "Too many requests. Try again in a minute.", "brake"),
            PageProblem(
                "Please wait a minute",
                "Too many requests came from your network.",
                action="Wait a minute and load the page again.",
                status=429,
            ),
            429,
            {"retry-after": "60"},
        )

    async def http(self, request: Request, problem: Exception) -> Response:
        """A wrong path, method or body."""
        status = problem.status_code if isinstance(problem, HTTPException) else 500
        headers = dict((problem.headers if isinstance(problem, HTTPException) else None) or {})
        title, happened = _WORDS.get(status, ("This request cannot be answered", _UNDONE))
        return await self._either(
            request,
            Refused("invalid_request", f"{title}.", f"HTTP {status}"),
            PageProblem(
                title,
                happened,
                action="Go back to your app.",
                status=status,
                way=START_PAGE,
            ),
            status,
            headers,
        )

    async def unreadable(self, request: Request, problem: Exception) -> Response:
        """A form field of the wrong type, such as a file; no browser sends one from our pages."""
        unreadable = PageProblem(*_WORDS[415], action=_BACK)
        return await self.page(request, unreadable)

    async def unstorable(self, request: Request, problem: Exception) -> Response:
        """400: a value that the database cannot store, such as NUL in a path; no page here links to one."""
        log.info("unstorable", reason=str(problem), trace_id=traces.current().id)
        return await self._either(
            request,
            Refused("invalid_request", "A parameter contains a character that is not allowed.", "no column takes it"),
            PageProblem("There is nothing here", "The address contains a character that is not allowed.", action=_BACK),
            400,
            {},
        )

    async def gone(self, _request: Request, _problem: Exception) -> Response:
        """The client disconnected during the request; nobody reads this response."""
        return Response(status_code=400)

    async def crash(self, request: Request, problem: Exception) -> Response:
        """500: a fault of this server; its details are only logged."""
        log.error("fault", exc_info=problem, trace_id=traces.current().id)
        return await self._either(
            request,
            Refused("server_error", "The server failed. Its log has the reason.", "fault"),
            PageProblem(
                "Something went wrong on our side",
                "This step failed, through no fault of yours.",
                action=_BACK,
                status=500,
            ),
            500,
            {},
        )

    async def _either(
        self, request: Request, refused: Refused, problem: PageProblem, status: int, headers: dict[str, str]
    ) -> Response:
        """JSON for PROGRAM_PATHS, a page for all others."""
        path = request.scope["path"]
        if path.startswith(PROGRAM_PATHS):
            response = await self.oauth(request, OAuthRefusal(refused, status))
        else:
            response = await self.page(request, problem)
        response.headers.update(headers)
        return response


HANDLED: dict[type, str] = {
    OAuthRefusal: "oauth",
    PageProblem: "page",
    DatabaseUnavailable: "unavailable",
    Unstorable: "unstorable",
    RequestValidationError: "unreadable",
    RateLimitExceeded: "too_many",
    HTTPException: "http",
    ClientDisconnect: "gone",
    Exception: "crash",
}
