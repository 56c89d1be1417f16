"""Asks the issuer about bearers that are no JWT (RFC 7662), seldom enough for it, often enough to notice their end."""

import asyncio
import hashlib
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


class Answer(NamedTuple):
    """What the issuer said, and until when that counts, in monotonic seconds. ``token``: None where not active."""

    until: float
    token: BearerToken | None


class Introspection:
    """Remembers each answer for a short while; many calls with one token at a time are one question."""

    def __init__(
        self,
        issuer: Issuer,
        expected: Identifiers,
        credentials: tuple[str, str],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """``credentials``: INTROSPECTION_CLIENT_ID and its secret. ``clock``: seconds since the epoch.

        ``monotonic``: seconds from any origin; by the clock an answer would count for longer once that is set back.
        """
        self._issuer = issuer
        self._expected = expected
        self._basic = (quote_plus(credentials[0]), quote_plus(credentials[1]))  # RFC 6749, section 2.3.1
        self._clock = clock
        self._monotonic = monotonic
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[Answer]] = {}
        self._room = asyncio.Semaphore(MAX_ASKED_AT_ONCE)  # a flood of made-up tokens must not become the issuer's

    async def verify(self, bearer: str) -> BearerToken:
        """The token's content; raises InvalidToken, or IssuerUnavailable when that cannot be said."""
        digest = hashlib.sha256(bearer.encode()).digest()
        answer = self._answers.get(digest)
        if answer is None or answer.until <= self._monotonic():
            answer = await self._ask_once(digest, bearer)
        if answer.token is None:
            raise InvalidToken("the issuer says that the token is not active")
        return answer.token

    async def _ask_once(self, digest: bytes, bearer: str) -> Answer:
        if digest not in self._asked:
            task = asyncio.create_task(self._ask(bearer))
            task.add_done_callback(lambda _: self._asked.pop(digest, None))
            self._asked[digest] = task
        # Shielded: the caller that goes away must not take the answer of all the others with it.
        answer = await asyncio.shield(self._asked[digest])
        self._answers[digest] = answer
        if len(self._answers) > MAX_REMEMBERED:
            self._answers.popitem(last=False)
        return answer

    async def _ask(self, bearer: str) -> Answer:
        form = {"token": bearer, "token_type_hint": "access_token"}
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._room:
                told = await self._issuer.post(await self._issuer.endpoint("introspection_endpoint"), form, self._basic)
        except Exception as problem:  # noqa: BLE001 - the network's edge: whatever happens, nobody is let in
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
