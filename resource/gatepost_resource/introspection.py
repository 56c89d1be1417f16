"""Asks the issuer about bearers that are not JWTs (RFC 7662); caches answers briefly, to notice revocation soon."""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from gatepost_resource.access_token import BearerToken, Identifiers, read_told
from gatepost_resource.errors import InvalidToken, IssuerUnavailable
from gatepost_resource.issuer import ANSWER_SECONDS, Issuer

ACTIVE_SECONDS = 30.0
INACTIVE_SECONDS = 10.0
MAX_REMEMBERED = 10_000
MAX_ASKED_AT_ONCE = 20
MAX_UNKNOWN_AT_ONCE = 12
_PERSONAL_TOKEN = re.compile(r"gp_pt_[A-Za-z0-9_-]{43}")


class Answer(NamedTuple):
    """The issuer's answer. ``until``: when to ask again, in monotonic seconds. ``token``: None if not active."""

    until: float
    token: BearerToken | None


def may_know(bearer: str) -> bool:
    """Whether the bearer has the form of a personal token; for anything else the issuer is not asked."""
    return _PERSONAL_TOKEN.fullmatch(bearer) is not None


class Introspection:
    """Caches each answer briefly; concurrent calls with one token share one request."""

    def __init__(
        self,
        issuer: Issuer,
        expected: Identifiers,
        credentials: tuple[str, str],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """``credentials``: INTROSPECTION_CLIENT_ID and its secret. ``clock``: seconds since the epoch.

        ``monotonic``: seconds from any origin, since a clock that is set back would keep an answer for longer.
        """
        self._issuer = issuer
        self._expected = expected
        self._basic = (quote_plus(credentials[0]), quote_plus(credentials[1]))  # RFC 6749, section 2.3.1
        self._clock = clock
        self._monotonic = monotonic
        # Separate caches and limits: a flood of made-up tokens must neither flood the issuer nor get in the way of
        # tokens that were active when last asked about.
        self._active: OrderedDict[bytes, Answer] = OrderedDict()
        self._inactive: OrderedDict[bytes, Answer] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[Answer]] = {}
        self._room = asyncio.Semaphore(MAX_ASKED_AT_ONCE - MAX_UNKNOWN_AT_ONCE)
        self._room_for_unknown = asyncio.Semaphore(MAX_UNKNOWN_AT_ONCE)

    async def verify(self, bearer: str) -> BearerToken:
        """The token's content; raises InvalidToken, or IssuerUnavailable when the issuer gives no answer."""
        digest = hashlib.sha256(bearer.encode()).digest()
        answer = self._active.get(digest) or self._inactive.get(digest)
        if answer is None or answer.until <= self._monotonic():
            answer = await self._ask_once(digest, bearer)
        if answer.token is None:
            raise InvalidToken("the issuer says that the token is not active")
        return answer.token

    async def _ask_once(self, digest: bytes, bearer: str) -> Answer:
        if digest not in self._asked:
            room = self._room if digest in self._active else self._room_for_unknown
            task = asyncio.create_task(self._ask(bearer, room))
            task.add_done_callback(lambda _: self._asked.pop(digest, None))
            self._asked[digest] = task
        # Shielded: one caller's cancellation must not cancel the answer that others wait for.
        answer = await asyncio.shield(self._asked[digest])
        self._remember(digest, answer)
        return answer

    def _remember(self, digest: bytes, answer: Answer) -> None:
        self._active.pop(digest, None)
        answers = self._inactive if answer.token is None else self._active
        answers[digest] = answer
        if len(answers) > MAX_REMEMBERED:
            answers.popitem(last=False)

    async def _ask(self, bearer: str, room: asyncio.Semaphore) -> Answer:
        form = {"token": bearer, "token_type_hint": "access_token"}
        was_asked = False
        try:
            async with asyncio.timeout(ANSWER_SECONDS), room:
                was_asked = True
                told = await self._issuer.post(await self._issuer.endpoint("introspection_endpoint"), form, self._basic)
        except Exception as problem:  # noqa: BLE001 - the network's edge: whatever happens, nobody is let in
            if was_asked:  # otherwise it timed out in our queue, which says nothing about the endpoint
                self._issuer.forget()
            said = str(problem) or type(problem).__name__
            raise IssuerUnavailable(f"introspection with INTROSPECTION_CLIENT_ID: {said}") from None
        return self._read(told)

    def _read(self, told: Mapping[str, Any]) -> Answer:
        if told.get("active") is not True:
            return Answer(self._monotonic() + INACTIVE_SECONDS, None)
        now = self._clock()
        token = read_told(told, self._expected, now)
        return Answer(self._monotonic() + min(ACTIVE_SECONDS, token.expires_at - now), token)
