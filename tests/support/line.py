"""Raw HTTP over one kept connection: a client library would correct, or refuse, half of what a test sends."""

import contextlib
import socket
import time
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

TIMEOUT = 10.0
_UNREAD = b"Invalid HTTP request received."
Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Raw:
    """Bytes that may be no HTTP at all."""

    content: bytes

    def __repr__(self) -> str:
        return replay(self.content)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(repr(self))


@dataclass(frozen=True, repr=False)
class Request:
    """A request as its bytes. ``chunks``: send the body in chunks of these sizes, instead of with a Content-Length."""

    method: str
    target: bytes
    headers: Headers = ()
    body: bytes | None = None
    chunks: tuple[int, ...] = ()

    def named(self, name: bytes) -> list[bytes]:
        """Every value of a header."""
        return [value for found, value in self.headers if found.lower() == name]

    def plus(self, *headers: tuple[bytes, bytes]) -> "Request":
        """The same request with more headers."""
        return replace(self, headers=(*self.headers, *headers))

    def encode(self) -> bytes:
        """The bytes to send."""
        lines = [b" ".join((self.method.encode(), self.target, b"HTTP/1.1"))]
        lines += [name + b": " + value for name, value in self.headers]
        if self.body is not None and not self.chunks:
            lines.append(b"content-length: %d" % len(self.body))
        if self.chunks:
            lines.append(b"transfer-encoding: chunked")
        return b"\r\n".join([*lines, b"", b""]) + self._content()

    def _content(self) -> bytes:
        body = self.body or b""
        if not self.chunks:
            return body
        pieces, at = [], 0
        for size in self.chunks:
            piece, at = body[at : at + size], at + size
            if piece:
                pieces.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        if rest := body[at:]:
            pieces.append(b"%x\r\n%b\r\n" % (len(rest), rest))
        return b"".join(pieces) + b"0\r\n\r\n"

    def __repr__(self) -> str:
        return replay(self.encode())

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:  # hypothesis's default would show every field
        printer.text(repr(self))


@dataclass(frozen=True)
class Answer:
    """A response; ``status``: 0 if the server hung up without one."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    seconds: float = 0.0

    @property
    def is_unread(self) -> bool:
        """Whether it is uvicorn's own answer to bytes that are not HTTP."""
        shown = (self.status, self.get("content-type"), self.get("content-length"), self.get("connection"))
        return shown == (400, "text/plain; charset=utf-8", "30", "close") and self.body in (b"", _UNREAD)

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for found, value in self.headers if found == name]

    def get(self, name: str) -> str:
        """The header's values, joined."""
        return ", ".join(self.all(name))


@dataclass
class Line:
    """One connection to a server, reopened if the server closed it; counts the requests sent."""

    host: str
    port: int
    sent: int = 0
    _socket: socket.socket | None = None
    _rest: bytes = b""
    _callers: "count[int]" = field(default_factory=count)

    @property
    def authority(self) -> bytes:
        """The value for a Host header."""
        return f"{self.host}:{self.port}".encode()

    def caller(self) -> tuple[bytes, bytes]:
        """A header that gives the next request another caller, as coarse rate limits would hide what is behind them."""
        number = next(self._callers)
        return b"x-forwarded-for", b"10.%d.%d.%d" % (number >> 16 & 255, number >> 8 & 255, number & 255)

    def send(self, request: Request) -> Answer:
        """The answer to a well-formed request, to which a Host and a fresh caller address are added if missing."""
        for name, value in ((b"host", self.authority), self.caller()):
            if not request.named(name):
                request = request.plus((name, value))
        raw = request.encode()
        kept = self._socket is not None
        answer = self._exchange(raw, request.method == "HEAD")
        if answer.status == 0 and kept:  # an idle connection may be closed at any time (RFC 9112 section 9.3.1)
            answer = self._exchange(raw, request.method == "HEAD")
        return answer

    def send_raw(self, raw: Raw) -> Answer:
        """The answer to these bytes on a fresh connection, whose sending side is closed at once."""
        self.close()
        return self._exchange(raw.content, raw.content.startswith(b"HEAD "), last=True)

    def close(self) -> None:
        """Hangs up."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""

    def _exchange(self, raw: bytes, is_head: bool, last: bool = False) -> Answer:
        started = time.monotonic()
        self.sent += 1
        if self._socket is None:
            self._socket = socket.create_connection((self.host, self.port), TIMEOUT)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # it may answer, and close, before it has read everything
            self._socket.sendall(raw)
            if last:
                self._socket.shutdown(socket.SHUT_WR)
        try:
            status, headers, body = self._read(is_head)
        except (ConnectionError, EOFError):
            self.close()
            return Answer(0, seconds=time.monotonic() - started)
        answer = Answer(status, headers, body, time.monotonic() - started)
        if last or answer.get("connection").lower() == "close":
            self.close()
        return answer

    def _read(self, is_head: bool) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
        status = 100
        lines: list[str] = []
        while status < 200:  # 100 Continue comes before the answer
            lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(lines[0].split(" ")[1])
        headers = tuple((n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines[1:]))
        found = dict(headers)
        if is_head or status in (204, 304):
            return status, headers, b""
        if found.get("transfer-encoding") == "chunked":
            return status, headers, self._chunked()
        return status, headers, self._exactly(int(found.get("content-length", 0)))

    def _chunked(self) -> bytes:
        pieces = []
        while size := int(self._until(b"\r\n"), 16):
            pieces.append(self._exactly(size))
            self._until(b"\r\n")
        self._until(b"\r\n")
        return b"".join(pieces)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            self._more()
        found, _, self._rest = self._rest.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._more()
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def _more(self) -> None:
        assert self._socket is not None
        received = self._socket.recv(65536)
        if not received:
            raise EOFError
        self._rest += received


def replay(raw: bytes) -> str:
    """A shell command that sends these bytes again."""
    shown = raw if len(raw) <= 4000 else raw[:4000]
    cut = f"  # cut: {len(raw)} bytes in all" if shown is not raw else ""
    escaped = "".join(chr(byte) if 32 <= byte < 127 and byte not in b"'\\%" else f"\\{byte:03o}" for byte in shown)
    return f"printf '{escaped}' | nc $HOST $PORT{cut}"
