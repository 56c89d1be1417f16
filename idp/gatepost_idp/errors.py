"""The only writer of errors: RFC 6749 JSON for programs, a page with a way on for people."""

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
    405: ("This address takes other requests", _ADDRESS),
    415: ("This form cannot be read", _UNDONE),
}
_BACK = "Go back to your app and connect again."


class OAuthRefusal(OAuth2Error):
    """A refusal on its way to the client; its ``reason`` goes into the log alone.

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
    """The one button of a problem's page: ``path`` is below the issuer's; with ``csrf`` it is a form's."""

    label: str
    path: str
    csrf: str = ""


@dataclass
class PageProblem(Exception):
    """Something that a person must read: what happened, what it means, what to do now."""

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
    """Exception handlers, to be hung into the application."""

    def __init__(self, pages: Pages, is_local: bool) -> None:
        self._pages = pages
        self._is_local = is_local

    async def answer(self, request: Request, problem: Exception) -> tuple[Response, bool]:
        """What answers whatever was raised, and whether that is a fault of ours."""
        kind = next(kind for kind in type(problem).__mro__ if kind in HANDLED)
        response: Response = await getattr(self, HANDLED[kind])(request, problem)
        return response, kind is Exception

    async def oauth(self, request: Request, refusal: Exception) -> Response:
        """RFC 6749 section 5.2."""
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
        """A page for a person; the operator's hint shows only where the viewer is the operator's own machine."""
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
        """The database did not keep it: 503, and nothing of it holds."""
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
        """The coarse brake of one network."""
        traces.current().step = ""  # a flood must not wash away the steps of others
        return await self._either(
            request,
            Refused("temporarily_unavailable", "Too many requests. Try again in a minute.", "brake"),
            PageProblem(
                "Please wait a minute",
                "Very many requests came from your network.",
                action="Wait a minute and load the page again.",
                status=429,
            ),
            429,
            {"retry-after": "60"},
        )

    async def http(self, request: Request, problem: Exception) -> Response:
        """Wrong address, method or body size."""
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
        """A form whose fields are of another kind than the page's, a file for instance: no browser sends it."""
        unreadable = PageProblem(*_WORDS[415], action=_BACK)
        return await self.page(request, unreadable)

    async def unstorable(self, request: Request, problem: Exception) -> Response:
        """A value that the database cannot hold, NUL in an address for instance: no page of ours leads there."""
        log.info("unstorable", reason=str(problem), trace_id=traces.current().id)
        return await self._either(
            request,
            Refused("invalid_request", "A parameter holds a character that cannot be.", "no column takes it"),
            PageProblem("There is nothing here", "The address holds a character that cannot be.", action=_BACK),
            400,
            {},
        )

    async def gone(self, _request: Request, _problem: Exception) -> Response:
        """Whoever asked hung up in the middle of it: nobody reads the answer, and it is no fault."""
        return Response(status_code=400)

    async def crash(self, request: Request, problem: Exception) -> Response:
        """A fault of ours; its text stays in the log."""
        log.error("fault", exc_info=problem, trace_id=traces.current().id)
        return await self._either(
            request,
            Refused("server_error", "The server failed. Its log has the reason.", "fault"),
            PageProblem(
                "Something went wrong on our side",
                "This step failed, and it is not your doing.",
                action=_BACK,
                status=500,
            ),
            500,
            {},
        )

    async def _either(
        self, request: Request, refused: Refused, problem: PageProblem, status: int, headers: dict[str, str]
    ) -> Response:
        """JSON for the addresses of programs, a page for the others."""
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
