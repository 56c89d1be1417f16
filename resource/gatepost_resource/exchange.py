"""Tokens for backends: the caller's own token is exchanged for one (RFC 8693), and never passed on.

``challenge`` sets the bearer for the duration of a request, in a context variable that only this module reads. Code
that calls a backend says for whom and for what, and gets a token that is valid at that backend only::

    token = await tokens.for_caller(current_caller(), backend_url, scopes)

Raises NoToken, whose text is for the log only.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from gatepost_resource.access_token import BearerToken
from gatepost_resource.issuer import ANSWER_SECONDS, Issuer

MARGIN_SECONDS = 30.0
"""A token is not used this close to its expiry: the call takes time to arrive, and clocks differ."""
REFUSED_SECONDS = 5.0
UNAVAILABLE_SECONDS = 1.0
MAX_REMEMBERED = 10_000
MAX_ASKED_AT_ONCE = 20

_TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
_bearer: ContextVar[str | None] = ContextVar("bearer", default=None)


class NoToken(Exception):
    """No token for this backend can be had. ``error``: the issuer's code (RFC 6749, section 5.2), or one set here.

    Set here: ``temporarily_unavailable`` if the issuer gave no usable answer, ``invalid_token`` if the caller's own
    token has expired, ``insufficient_scope`` if it has no scope of the backend, ``invalid_client`` without credentials.
    """

    def __init__(self, reason: str, error: str) -> None:
        super().__init__(reason)
        self.error = error


@dataclass(frozen=True, slots=True)
class _Answer:
    """A token, or why there is none; ``until``: when to ask again, in monotonic seconds."""

    until: float
    token: str = ""
    reason: str = ""
    error: str = ""


@contextmanager
def called_with(bearer: str) -> Iterator[None]:
    """Within it, ``for_caller`` exchanges ``bearer``; only ``challenge`` uses it."""
    before = _bearer.set(bearer)
    try:
        yield
    finally:
        _bearer.reset(before)


def owner() -> bytes:
    """The SHA-256 of the current request's bearer, as a key for its state; raises LookupError outside a request."""
    bearer = _bearer.get()
    if bearer is None:
        raise LookupError("nobody's request is being answered")
    return hashlib.sha256(bearer.encode()).digest()


class BackendTokens:
    """Caches each token until shortly before its expiry; concurrent requests for the same one share one answer."""

    def __init__(
        self,
        issuer: Issuer,
        credentials: tuple[str, str] | None,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """``credentials``: INTROSPECTION_CLIENT_ID and its secret, or None. ``clock``: seconds since the epoch.

        ``monotonic``: seconds from any origin, since a clock that is set back would keep a token beyond its expiry.
        """
        self._issuer = issuer
        # RFC 6749, section 2.3.1
        self._basic = (quote_plus(credentials[0]), quote_plus(credentials[1])) if credentials else None
        self._clock = clock
        self._monotonic = monotonic
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[_Answer]] = {}
        self._room = asyncio.Semaphore(MAX_ASKED_AT_ONCE)

    async def for_caller(self, token: BearerToken, backend_url: str, scopes: frozenset[str]) -> str:
        """As ``for_person``, with the bearer of the request being answered."""
        bearer = _bearer.get()
        if bearer is None:
            raise NoToken("nobody's request is being answered", "invalid_token")
        return await self.for_person(bearer, token, backend_url, scopes)

    async def for_person(self, bearer: str, token: BearerToken, backend_url: str, scopes: frozenset[str]) -> str:
        """A token for the backend on the caller's behalf, with the ``scopes`` that ``token`` has; raises NoToken."""
        wanted = scopes.intersection(token.scopes)
        if not wanted:
            raise NoToken("the caller's token has no scope that the backend needs", "insufficient_scope")
        if token.expires_at <= self._clock():
            # It passed within our leeway for clock skew; the issuer, with one clock, grants none.
            raise NoToken("the caller's token has expired", "invalid_token")
        return await self._token(
            {
                "grant_type": _TOKEN_EXCHANGE,
                "subject_token": bearer,
                "subject_token_type": _ACCESS_TOKEN,
                "resource": backend_url,
                "scope": " ".join(sorted(wanted)),
            }
        )

    async def for_lists(self, backend_url: str) -> str:
        """A token for the backend on nobody's behalf, which can list tools and call none; raises NoToken."""
        return await self._token({"grant_type": "client_credentials", "resource": backend_url})

    async def _token(self, form: dict[str, str]) -> str:
        digest = hashlib.sha256("\0".join(form.values()).encode()).digest()
        answer = self._answers.get(digest)
        if answer is None or answer.until <= self._monotonic():
            answer = await self._ask_once(digest, form)
        else:
            self._answers.move_to_end(digest)
        if not answer.token:
            raise NoToken(answer.reason, answer.error)
        return answer.token

    async def _ask_once(self, digest: bytes, form: dict[str, str]) -> _Answer:
        if digest not in self._asked:
            task = asyncio.create_task(self._ask(form))
            task.add_done_callback(lambda _: self._asked.pop(digest, None))
            self._asked[digest] = task
        # Shielded: one caller's cancellation must not cancel the answer that others wait for.
        answer = await asyncio.shield(self._asked[digest])
        self._answers[digest] = answer
        self._answers.move_to_end(digest)
        if len(self._answers) > MAX_REMEMBERED:
            self._answers.popitem(last=False)
        return answer

    async def _ask(self, form: dict[str, str]) -> _Answer:
        if self._basic is None:
            reason = "INTROSPECTION_CLIENT_ID and INTROSPECTION_CLIENT_SECRET are not set"
            return self._none(reason, "invalid_client", REFUSED_SECONDS)
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._room:
                endpoint = await self._issuer.endpoint("token_endpoint")
                status, told = await self._issuer.answer(endpoint, form, self._basic)
        except Exception as problem:  # noqa: BLE001 - the network's edge: whatever happens, there is no token
            self._issuer.forget()
            said = str(problem) or type(problem).__name__
            return self._none(f"the issuer cannot be asked: {said}", "temporarily_unavailable", UNAVAILABLE_SECONDS)
        return self._read(status, told)

    def _read(self, status: int, told: Mapping[str, Any]) -> _Answer:
        if status != 200:
            error, more = _text(told, "error") or f"HTTP {status}", _text(told, "error_description")
            waits = UNAVAILABLE_SECONDS if status >= 500 or status == 429 else REFUSED_SECONDS
            return self._none(f"the issuer gives no token: {error}: {more}", error, waits)
        token, life = _text(told, "access_token"), told.get("expires_in")
        if not token or not isinstance(life, int) or _text(told, "token_type").lower() != "bearer":
            return self._none("the issuer's answer holds no token", "temporarily_unavailable", UNAVAILABLE_SECONDS)
        # A short-lived one is kept for half its life, so that it serves at least the call that asked for it.
        return _Answer(self._monotonic() + max(life - MARGIN_SECONDS, life / 2), token)

    def _none(self, reason: str, error: str, seconds: float) -> _Answer:
        return _Answer(self._monotonic() + seconds, reason=reason, error=error)


def _text(told: Mapping[str, Any], name: str) -> str:
    """A member that should be a short text; a longer one becomes empty, as the issuer's words go into the log."""
    value = told.get(name)
    return value if isinstance(value, str) and (name == "access_token" or len(value) <= 200) else ""
