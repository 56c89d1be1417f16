"""An HTTP/1.1 client for one URL (RFC 9112): each connection carries one request and its answer at a time.

It has no redirects, cookies, proxies or compression, and never sends a request twice: a call may have been carried
out even if its answer was lost. llhttp parses the answers, as strictly as it can.
"""

import asyncio
import re
import select
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlsplit

import httptools

MAX_HEAD_BYTES = 64 * 1024
MAX_WAITING_BYTES = 256 * 1024
"""How much of a body may be received and unread; beyond it, reading from the socket pauses."""

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")  # no CR, LF or NUL, which could inject another field
_PORTS = {"http": 80, "https": 443}


class Broken(Exception):
    """A connection that ended too soon, or an answer that is not HTTP/1.1. The text is for the log."""


class Connection(asyncio.Protocol):
    """One connection. ``status`` and ``fields`` (names in lower case) are those of its latest answer.

    The values of a repeated field are joined by commas (RFC 9110, section 5.3). The parser calls the ``on_…`` methods.
    """

    def __init__(self) -> None:
        self.status = 0
        self.fields: dict[bytes, bytes] = {}
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._arrival: asyncio.Future[None] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._problem = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the connection is open."""
        self._transport = cast(asyncio.Transport, transport)
        self._readable = select.poll()
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    async def ask(self, request: bytes) -> None:
        """Sends a request and waits for the head of its answer; raises Broken."""
        if self._transport.is_closing():
            raise Broken("the connection was closed before anything was asked")
        self.status, self.fields = 0, {}
        self._pieces: list[bytes] = []
        self._waiting = self._unread = 0
        self._ended = self._spoilt = self._paused = False
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)
        while not self.status:
            await self._more()

    async def body(self) -> AsyncIterator[bytes]:
        """The answer's body, in pieces; raises Broken if it is cut off."""
        while True:
            if self._pieces:
                pieces, self._pieces, self._waiting = self._pieces, [], 0
                yield b"".join(pieces)
            elif self._ended:
                return
            else:
                await self._more()

    @property
    def is_fit(self) -> bool:
        """Whether another request may follow: the answer is complete, and not a byte came after it."""
        return (
            self._ended
            and not (self._spoilt or self._paused or self._problem or self._transport.is_closing())
            and not self._transport.get_write_buffer_size()
            and not self._readable.poll(0)
        )

    def abort(self) -> None:
        """Closes the connection at once: the backend sees its stream closed, which is how MCP 2026-07-28 cancels."""
        self._parser = None
        self._transport.abort()

    async def _more(self) -> None:
        if self._problem:
            raise Broken(self._problem)
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._arrival = self._loop.create_future()
        try:
            await self._arrival
        finally:
            self._arrival = None

    def data_received(self, data: bytes) -> None:
        """Parses bytes of an answer; bytes that nobody asked for end the connection."""
        if self._parser is None or self._ended:
            self._fail("it sent something that nobody asked for")
            return
        self._unread += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as problem:
            self._spoilt = True
            if not self._ended:
                self._fail(f"its answer is no HTTP/1.1: {problem.__context__ or problem}"[:200])
        if self._unread > MAX_HEAD_BYTES:
            self._fail(f"a head, or a trailer, of more than {MAX_HEAD_BYTES} bytes")
        self._hold_back()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Completes an answer that is delimited by the close; any other is broken."""
        if self._parser is not None and self.status and self._lasts_until_close() and exc is None:
            self._ended = True
        self._problem = self._problem or f"the connection was closed ({exc or 'by the other side'})"
        self._parser = None
        self._wake()

    def on_message_begin(self) -> None:
        """Refuses a second answer to the one request."""
        if self._ended:
            raise ValueError("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Stores a field of the head; those of a trailer are ignored."""
        if self.status:
            return
        name = name.lower()
        before = self.fields.get(name)
        self.fields[name] = value if before is None else before + b", " + value

    def on_headers_complete(self) -> None:
        """Checks the complete head; after a 1xx another one follows (RFC 9110, section 15.2)."""
        parser = cast(httptools.HttpResponseParser, self._parser)
        status = parser.get_status_code()
        if sum(len(name) + len(value) for name, value in self.fields.items()) > MAX_HEAD_BYTES:
            raise ValueError("the head is too long")
        if parser.get_http_version() not in ("1.0", "1.1"):
            raise ValueError("another version")
        if status == 101 or self.fields.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            raise ValueError("another protocol or coding, which was not asked for")
        if status < 200:
            self.fields = {}
            return
        self.status, self._unread = status, 0

    def on_body(self, piece: bytes) -> None:
        """Stores a piece of the body, without chunk framing."""
        self._pieces.append(piece)
        self._waiting += len(piece)
        self._unread = 0

    def on_message_complete(self) -> None:
        """The answer is complete, unless it was a 1xx."""
        if self.status:
            self._ended = True
            self._spoilt = not cast(httptools.HttpResponseParser, self._parser).should_keep_alive()

    def _lasts_until_close(self) -> bool:
        return b"content-length" not in self.fields and b"transfer-encoding" not in self.fields

    def _hold_back(self) -> None:
        if self._waiting > MAX_WAITING_BYTES and not (self._ended or self._problem):
            self._paused = True
            self._transport.pause_reading()

    def _fail(self, problem: str) -> None:
        self._problem = problem
        self.abort()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


class Connections:
    """The connections to one URL. An idle one is reused for ``kept_seconds``; the caller limits their number."""

    def __init__(self, url: str, trust: ssl.SSLContext | None, kept_seconds: float) -> None:
        """``url``: absolute, in ASCII. ``trust``: for TLS, where the certificate must be for the URL's host."""
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._trust = trust
        self._kept_seconds = kept_seconds
        self._kept: list[Connection] = []
        self._is_closed = False
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        authority = parts.netloc.rpartition("@")[2]
        self._start = f" {target} HTTP/1.1\r\nhost: {authority}\r\n"

    @asynccontextmanager
    async def exchange(self, method: str, fields: Mapping[str, str], content: bytes = b"") -> AsyncIterator[Connection]:
        """Sends one request; yields the connection once the head of its answer is read. Raises Broken and OSError.

        Leaving before the end of the answer closes the connection.
        """
        request = self._head(method, fields, len(content)) + content
        connection = self._free() or await self._opened()
        try:
            await connection.ask(request)
            yield connection
        finally:
            self._release(connection)

    def close(self) -> None:
        """Closes the idle connections now, and the others once they are idle."""
        self._is_closed = True
        while self._kept:
            self._kept.pop().abort()

    def _head(self, method: str, fields: Mapping[str, str], length: int) -> bytes:
        for name, value in fields.items():
            if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
                raise Broken(f"the field {name!r} cannot be sent")
        told = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        return f"{method}{self._start}{told}content-length: {length}\r\n\r\n".encode("ascii")

    def _free(self) -> Connection | None:
        """The most recently used idle connection; if that one is too old, so are all the others."""
        oldest = asyncio.get_running_loop().time() - self._kept_seconds
        while self._kept:
            connection = self._kept.pop()
            if connection.idle_since > oldest and connection.is_fit:
                return connection
            connection.abort()
        return None

    async def _opened(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            return (await loop.create_connection(Connection, self._host, self._port, ssl=self._trust))[1]
        except UnicodeError:
            raise Broken("its host is no name") from None

    def _release(self, connection: Connection) -> None:
        if self._is_closed or not connection.is_fit:
            connection.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._kept.append(connection)
