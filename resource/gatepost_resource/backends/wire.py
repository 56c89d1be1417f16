"""JSON-RPC to one URL over HTTP: one request and its answer, bounded in time and size.

It uses ``http1`` and not a general HTTP client: that follows no redirect, keeps no cookie, reads no proxy from the
environment and unpacks no compressed body, so none of these has to be switched off.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import pydantic_core

from gatepost_resource.backends.http1 import Broken, Connection, Connections
from gatepost_resource.counts import PassedOn

MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_CONNECTIONS = 100
KEPT_SECONDS = 4.0  # uvicorn closes an idle connection after 5: none is reused while it closes

_FIELDS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "accept-encoding": "identity",
    "user-agent": "gatepost",
}

Message = dict[str, Any]
Hear = Callable[[Message], Awaitable[None]]


class BackendFailure(Exception):
    """The backend gave no usable answer. The text is for the log; ``words`` are for the caller."""

    outcome: ClassVar[PassedOn] = "unfit"
    words: ClassVar[str] = "cannot be used at the moment"


class Unreachable(BackendFailure):
    """No connection, or one that broke."""

    outcome = "unreachable"
    words = "cannot be reached at the moment"


class TimedOut(BackendFailure):
    """No answer within its time-out."""

    outcome = "timeout"
    words = "did not answer in time"


class Busy(BackendFailure):
    """Too many calls to the backend are under way."""

    outcome = "busy"
    words = "has too many calls under way"


class NotAccepted(BackendFailure):
    """The backend refused the token: 401 or 403."""

    outcome = "refused"
    words = "refused this call"


class Unfit(BackendFailure):
    """The answer cannot be used: a redirect, a 5xx, too large, not JSON-RPC."""

    outcome = "unfit"
    words = "gave an answer that cannot be used"


class Asks(Unfit):
    """The backend wants something from the person or their model before it goes on."""

    words = "asks for more input during the call, which is not passed on here"


class Gone(BackendFailure):
    """The backend does not know the session (any more): 404."""

    words = "lost its session"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request. ``session``: the session id it names, or None.

    ``message``: a JSON-RPC response or error; empty for a notification.
    """

    status: int
    session: str | None
    message: Message


class Wire:
    """The connections to one backend, shared with no other, so that one that hangs takes none of another's."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connections = Connections(url, _trust() if url.startswith("https:") else None, KEPT_SECONDS)
        self._under_way = 0

    async def send(self, message: Message, headers: Mapping[str, str], seconds: float, hear: Hear) -> Answer:
        """The answer to one message; ``hear`` gets whatever the backend sends before it.

        ``seconds``: the limit of the whole exchange, whatever arrives meanwhile. Raises BackendFailure. Cancelling
        this closes the stream, which tells a backend of 2026-07-28 to stop.
        """
        with self._counted(), self._translated():
            async with asyncio.timeout(seconds):
                return await self._sent(message, headers, hear)

    async def end(self, headers: Mapping[str, str], seconds: float) -> None:
        """Asks the backend to end the session that the headers name; its answer is ignored. Raises BackendFailure."""
        with self._counted(), self._translated():
            async with asyncio.timeout(seconds), self._connections.exchange("DELETE", headers):
                pass

    def close(self) -> None:
        """Closes the connections."""
        self._connections.close()

    async def _sent(self, message: Message, headers: Mapping[str, str], hear: Hear) -> Answer:
        body = pydantic_core.to_json(message, inf_nan_mode="constants")
        async with self._connections.exchange("POST", {**_FIELDS, **headers}, body) as answer:
            self._check(answer.status, answer.fields, "mcp-session-id" in headers)
            found = await self._read(answer, message, hear)
            return Answer(answer.status, _text(answer.fields.get(b"mcp-session-id")), found)

    def _check(self, status: int, named: Mapping[bytes, bytes], in_session: bool) -> None:
        if 300 <= status < 400:
            # Wherever it points, the token was issued for this URL and goes to no other.
            raise Unfit(f"{self.url} answered {status}; a redirect is not followed: `url` must be the last address")
        if status in (401, 403):
            raise NotAccepted(f"{self.url} answered {status} to the token that was made for it")
        if status == 404 and in_session:
            raise Gone(f"{self.url} does not know the session")
        if status >= 500:
            raise Unfit(f"{self.url} answered {status}")
        if named.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Unfit(f"{self.url} sent a compressed answer, which was not asked for")

    async def _read(self, answer: Connection, sent: Message, hear: Hear) -> Message:
        if "method" not in sent or "id" not in sent:
            return {}  # a notification, or an answer of ours: 202, with any body ignored
        id_ = sent["id"]
        kind = answer.fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
        chunks = self._bounded(answer.body())
        if kind == b"text/event-stream":
            return await self._answer_of_stream(chunks, id_, hear)
        whole = b"".join([chunk async for chunk in chunks])
        found = _message(whole) if kind == b"application/json" else None
        if found is None or not _is_answer(found, id_):
            raise Unfit(f"{self.url} answered {answer.status} without a JSON-RPC answer to the request")
        return found

    async def _answer_of_stream(self, chunks: AsyncIterator[bytes], id_: object, hear: Hear) -> Message:
        async for data in _events(chunks):
            message = _message(data)
            if message is None:
                raise Unfit(f"{self.url} sent an event that is no JSON-RPC message")
            if _is_answer(message, id_):
                return message
            await hear(message)
        raise Unfit(f"{self.url} ended its stream without an answer")

    async def _bounded(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Limits the whole body, comments and progress included: an endless stream ends here."""
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise Unfit(f"{self.url} answered with more than {MAX_ANSWER_BYTES} bytes")
            yield chunk

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._under_way >= MAX_CONNECTIONS:
            raise Busy(f"{self.url}: {MAX_CONNECTIONS} calls are under way")
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise TimedOut(f"{self.url} did not answer in time") from None
        except (OSError, Broken) as problem:
            raise Unreachable(f"{self.url}: {str(problem) or type(problem).__name__}") from None


@cache
def _trust() -> ssl.SSLContext:
    """The authorities that this machine trusts, including the operator's own (``SSL_CERT_FILE``)."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _message(data: bytes) -> Message | None:
    try:
        found = pydantic_core.from_json(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _is_answer(message: Message, id_: object) -> bool:
    """Whether it answers this request; an error without an id does too, for nothing else was sent."""
    if isinstance(message.get("result"), dict):
        return message.get("id") == id_ and type(message.get("id")) is type(id_)
    return isinstance(message.get("error"), dict) and message.get("id") in (id_, None)


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of each event of a stream (WHATWG HTML, section 9.2); only ``data`` matters to MCP."""
    data: list[bytes] = []
    async for line in _lines(chunks):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            if whole := b"\n".join(data):  # an event without data only marks where to resume
                yield whole
            data = []


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of a stream; each byte is looked at once, however small the pieces."""
    rest = bytearray()
    async for chunk in chunks:
        seen = len(rest)
        rest += chunk
        while (end := rest.find(b"\n", seen)) >= 0:
            yield bytes(rest[:end]).removesuffix(b"\r")
            del rest[: end + 1]
            seen = 0
