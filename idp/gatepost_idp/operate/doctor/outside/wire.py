"""Plain HTTP for doctor: no redirects, cookies or environment proxies, and each request is sent only once."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Literal

import httpcore2

from gatepost_idp.operate.doctor.outside.network import Network

MAX_BODY_BYTES = 256 * 1024
Headers = tuple[tuple[str, str], ...]


class Unanswered(Exception):
    """There was no HTTP response. ``reason`` classifies the failure; the text is the system's message."""

    def __init__(self, reason: Literal["late", "refused", "tls", "broken"], text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response. ``seconds``: until its headers arrived."""

    status: int
    headers: Headers
    body: bytes
    seconds: float

    def all(self, name: str) -> tuple[str, ...]:
        """The values of all headers with that name (lower case)."""
        return tuple(value for key, value in self.headers if key == name)

    def header(self, name: str) -> str:
        """The first value of that header, or empty."""
        return next(iter(self.all(name)), "")

    @property
    def document(self) -> dict[str, object] | None:
        """The body as a JSON object, or None."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def __str__(self) -> str:
        kind = self.header("content-type").partition(";")[0]
        return f"{self.status}{f' {kind}' if kind else ''}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """The period in which a certificate is valid."""

    begins: datetime
    ends: datetime


class Wire:
    """Sends requests and caches the responses, so that several checks can use the same one."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._pool = httpcore2.AsyncConnectionPool(ssl_context=network.tls, network_backend=_Dialled(network))
        self._answers: dict[tuple[object, ...], Answer | Unanswered] = {}

    async def ask(self, method: str, url: str, headers: Headers = (), body: bytes = b"", whole: bool = True) -> Answer:
        """The response, with its body if ``whole``; raises Unanswered."""
        key = (method, url, headers, body, whole)
        if key not in self._answers:
            self._answers[key] = await self._tried(method, url, headers, body, whole)
        found = self._answers[key]
        if isinstance(found, Unanswered):
            raise found
        return found

    async def _tried(self, method: str, url: str, headers: Headers, body: bytes, whole: bool) -> Answer | Unanswered:
        """Retries once if the connection broke, since a kept-alive connection may be closed just when it is reused."""
        try:
            return await self._asked(method, url, headers, body, whole)
        except Unanswered as problem:
            if problem.reason != "broken":
                return problem
        try:
            return await self._asked(method, url, headers, body, whole)
        except Unanswered as problem:
            return problem

    def slowest(self) -> tuple[str, float]:
        """The URL with the slowest response, and its seconds."""
        timed = [(str(key[1]), found.seconds) for key, found in self._answers.items() if isinstance(found, Answer)]
        return max(timed, key=lambda one: one[1], default=("", 0.0))

    async def connect(self, host: str, port: int) -> None:
        """Opens a connection and closes it; raises Unanswered."""
        with _translated():
            async with asyncio.timeout(self._network.patience):
                stream = await _Dialled(self._network).connect_tcp(host, port)
                await stream.aclose()

    async def certificate(self, host: str, port: int) -> Certificate:
        """The certificate from a TLS handshake; raises Unanswered if it is not trusted."""
        with _translated():
            async with asyncio.timeout(self._network.patience):
                stream = await _Dialled(self._network).connect_tcp(host, port)
                stream = await stream.start_tls(self._network.tls, host)
                shown = stream.get_extra_info("ssl_object").getpeercert()
                await stream.aclose()
        return Certificate(_instant(shown["notBefore"]), _instant(shown["notAfter"]))

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._pool.aclose()

    async def _asked(self, method: str, url: str, headers: Headers, body: bytes, whole: bool) -> Answer:
        started = perf_counter()
        with _translated():
            async with (
                asyncio.timeout(self._network.patience),
                self._pool.stream(method, url, headers=list(headers), content=body) as response,
            ):
                seconds = perf_counter() - started
                kept = await _read(response.aiter_stream()) if whole else b""
                return Answer(response.status, _texts(response.headers), kept, seconds)


class _Dialled(httpcore2.AnyIOBackend):
    """Connects to the address that the network returns; TLS still verifies the URL's host name."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore2.AsyncNetworkStream:
        try:
            address, there = await self._network.dial(host, port)
        except OSError as problem:
            raise httpcore2.ConnectError(str(problem)) from problem
        return await super().connect_tcp(address, there, *args, **options)


@contextmanager
def _translated() -> Iterator[None]:
    """Turns connection errors into Unanswered."""
    try:
        yield
    except (TimeoutError, httpcore2.TimeoutException):
        raise Unanswered("late", "no answer in time") from None
    except (OSError, httpcore2.NetworkError, httpcore2.ProtocolError) as problem:
        raise _unanswered(problem) from None


def _unanswered(problem: BaseException) -> Unanswered:
    chain = [problem, *_causes(problem)]
    refused = next((p for p in chain if isinstance(p, ssl.SSLCertVerificationError)), None)
    if refused is not None:
        return Unanswered("tls", str(refused.verify_message))
    broken = next((p for p in chain if isinstance(p, ssl.SSLError)), None)
    if broken is not None:
        return Unanswered("tls", str(broken.reason or broken))
    if isinstance(problem, (httpcore2.ConnectError, OSError)):
        return Unanswered("refused", str(problem) or "the connection was refused")
    return Unanswered("broken", str(problem) or "the connection ended without an answer")


def _causes(problem: BaseException) -> Iterable[BaseException]:
    cause = problem.__cause__ or problem.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


async def _read(chunks: AsyncIterable[bytes]) -> bytes:
    body = b""
    async for chunk in chunks:
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            break
    return body


def _texts(headers: list[tuple[bytes, bytes]]) -> Headers:
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)


def _instant(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
