"""Checks what must hold for every answer to any request; a failure says how to send the request again."""

import json
import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import unquote

from tests.fuzz.doors import Door
from tests.support.line import Answer, Raw, Request

SECONDS = 2.0
SLASHES = re.compile(r"//+|/$")
# The default texts of Starlette, FastAPI and uvicorn.
FRAMEWORK = (b'{"detail"', b"Traceback (most recent call last)", b"Internal Server Error")
BARE = (b"Not Found", b"Method Not Allowed", b"Unauthorized", b"Forbidden", b"Bad Request", b"Not Acceptable")
LONGEST_TARGET = 65_000
"""The longest that uvicorn reads; the application never sees a longer one."""

OAUTH_ERRORS = frozenset((
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
    "invalid_scope", "invalid_target", "invalid_redirect_uri", "invalid_client_metadata", "invalid_token",
    "insufficient_scope", "unsupported_token_type", "temporarily_unavailable",
))  # fmt: skip  # RFC 6749, 6750, 7009, 7591, 8707
BEARER_ERRORS = frozenset(("invalid_request", "invalid_token", "insufficient_scope"))  # RFC 6750 section 3.1
OUR_COOKIES = re.compile(r"gp-(browser|session)-[0-9a-f]{8}=")
OUR_PAGES = re.compile(r"/(?:sign-in/|consent/|account(?:[/?]|$))[^\s\\]*", re.ASCII)


@dataclass
class Judge:
    """The judge of one server. ``callbacks``: patterns of the only foreign URLs that an answer may lead to.

    ``plain``: whether its refusals are plain text where JSON is not required; otherwise they are pages, and a trailing
    slash of a path is ignored.
    """

    doors: tuple[Door, ...]
    callbacks: tuple[str, ...] = ()
    plain: bool = False
    seen: dict[tuple[str, int], int] = field(default_factory=dict)

    def door(self, request: Request) -> Door | None:
        """The endpoint of the target; None if there is none."""
        path = unquote(request.target.partition(b"?")[0].decode("latin-1")).removesuffix(
            "\n"
        )  # Starlette's `$` takes it
        if not self.plain:
            path = path.rstrip("/") or "/"
        return next((door for door in self.doors if re.fullmatch(_pattern(door.path), path)), None)

    def check(self, request: Request, answer: Answer) -> None:
        """Raises AssertionError if the answer is not one of ours."""
        door = self.door(request)
        self.count(door.path if door else "(nothing)", answer.status)
        try:
            self._check(door, request, answer)
        except (AssertionError, ValueError) as wrong:
            raise AssertionError(
                f"{wrong}\n{answer.status} {answer.headers}\n{answer.body[:2000]!r}\n{request}"
            ) from None

    def check_noise(self, raw: Raw, answer: Answer) -> None:
        """Checks what holds even for bytes that are hardly HTTP; truncated ones may get no answer."""
        try:
            if answer.status and not answer.is_unread:
                _every(answer)
                self._leads_nowhere_else(answer)
        except (AssertionError, ValueError) as wrong:
            raise AssertionError(f"{wrong}\n{answer}\n{raw}") from None

    def count(self, place: str, status: int) -> None:
        """Counts answers, so that an endpoint never reached successfully is noticed."""
        self.seen[place, status] = self.seen.get((place, status), 0) + 1

    def _check(self, door: Door | None, request: Request, answer: Answer) -> None:
        if answer.is_unread:
            assert len(request.target) > LONGEST_TARGET, "called unreadable"
            return
        _every(answer)
        self._leads_nowhere_else(answer)
        if answer.status == 421:
            _host_was_foreign(request, answer)
        elif door is not None and door.kind == "mcp":
            _mcp(request, answer)
        elif answer.status >= 400 and self.plain:
            assert answer.get("content-type").startswith("text/plain"), "no plain words"
            assert answer.get("cache-control") == "no-store", "an error to be stored"
        elif answer.status >= 400:
            _refusal(door, request, answer)
        elif door is not None and door.kind in ("tokens", "script"):
            assert answer.get("cache-control") == "no-store" or request.method == "OPTIONS", "an answer to be stored"
        elif door is not None and door.kind == "page" and answer.status == 200 and request.method != "OPTIONS":
            _page(answer)

    def _leads_nowhere_else(self, answer: Answer) -> None:
        """302 to a client with ``iss``, or 303 to one of our pages; a page that redirects itself goes nowhere else."""
        location = answer.get("location")
        assert (300 <= answer.status < 400) == bool(location), "a redirect without a place, or a place without one"
        if location:
            assert answer.status in (302, 303), "a redirect that is not ours"
            assert location.isascii(), "not a URI"
            own = answer.status == 303 and OUR_PAGES.fullmatch(location)
            assert own or (answer.status == 302 and self._is_callback(location)), "a redirect to a stranger"
        for target in re.findall(rb'data-target="([^"]*)"', answer.body):
            assert self._is_callback(unescape(target.decode())), "a page that leads to a stranger"

    def _is_callback(self, location: str) -> bool:
        return any(re.match(rf"{uri}[?&]", location) for uri in self.callbacks) and "iss=" in location


def _pattern(path: str) -> str:
    return re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))


def _every(answer: Answer) -> None:
    assert answer.status, "hung up without an answer"
    assert answer.status < 500, "a fault"
    assert answer.seconds < SECONDS, f"took {answer.seconds:.1f} s"
    assert answer.status not in (307, 308, 422), "the framework's own"
    assert not any(mark in answer.body for mark in FRAMEWORK), "the framework's own words"
    assert answer.body.strip() not in BARE, "the framework's own words"
    assert all(OUR_COOKIES.match(cookie.removeprefix("__Host-")) for cookie in answer.all("set-cookie")), "a cookie"
    assert len(answer.all("content-type")) <= 1
    assert len(answer.all("content-length")) <= 1


def _host_was_foreign(request: Request, answer: Answer) -> None:
    assert request.named(b"host"), "refused its own Host"
    assert b"host name" in answer.body or request.method == "HEAD"
    assert answer.get("content-type").startswith("text/plain")


def _refusal(door: Door | None, request: Request, answer: Answer) -> None:
    """JSON of the RFC's shape for programs, a page with all its headers for people."""
    if answer.get("content-type").startswith("text/html"):
        assert door is None or door.kind not in ("tokens", "document"), "a page for a program"
        _page(answer)
        return
    assert door is None or door.kind not in ("page", "script"), "no page for a person"
    if request.method == "HEAD" or door is None:
        return
    body = _json(answer)
    assert set(body) <= {"error", "error_description"}, "more than RFC 6749 section 5.2 has"
    assert body["error"] in OAUTH_ERRORS, "no registered error"
    text = body.get("error_description", "")
    assert all(" " <= character <= "~" and character not in '"\\' for character in text), "RFC 6749 section 5.2"
    assert answer.get("cache-control") == "no-store", "an error to be stored"
    if answer.status == 401 and door.bearer:
        assert answer.get("www-authenticate").startswith("Bearer"), "no challenge"
    elif answer.status == 401 and any(value.lower().startswith(b"basic") for value in request.named(b"authorization")):
        assert answer.get("www-authenticate").startswith("Basic "), "no challenge"


def _page(answer: Answer) -> None:
    assert answer.get("content-type") == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.get("content-security-policy")
    assert "frame-ancestors 'none'" in answer.get("content-security-policy")
    assert answer.get("x-content-type-options") == "nosniff"
    assert answer.get("cache-control") in ("no-store", "no-cache")
    assert not answer.get("access-control-allow-origin"), "open to other origins"


def _json(answer: Answer) -> dict[str, Any]:
    assert answer.get("content-type") == "application/json", "no JSON"
    body = json.loads(answer.body)
    assert isinstance(body, dict), "no object"
    return body


def _mcp(request: Request, answer: Answer) -> None:
    """What /mcp answers besides: JSON-RPC, or a refusal of RFC 6750 whose challenge says where to get a token."""
    if request.method != "POST" or answer.status in (202, 204, 421):
        return
    if answer.status == 406 and not answer.body:
        return  # the SDK's answer to a subscription whose Accept has no event stream
    if answer.get("content-type").startswith("text/plain"):
        assert answer.status == 403, "plain words"
        assert request.named(b"origin"), "plain words"
        return
    body = json.loads(answer.body)
    if answer.status in (401, 403) or "jsonrpc" not in body:
        assert set(body) <= {"error", "error_description", "message"}
        assert body.get("error") in {*BEARER_ERRORS, None}
        assert answer.get("cache-control") == "no-store"
        challenge = answer.get("www-authenticate")
        assert challenge.startswith("Bearer ")
        assert 'resource_metadata="' in challenge
        assert ("error=" in challenge) == (body.get("error") is not None)
        return
    assert answer.get("content-type").startswith("application/json")
    assert ("result" in body) != ("error" in body), "JSON-RPC 2.0 section 5"
