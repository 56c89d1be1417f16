"""A real HTTPS server on loopback that serves client metadata documents, correct or wrong in any way."""

import contextlib
import json
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import trustme

from gatepost_idp.clients.fetcher import Fetcher

NAMES = ("client.test", "other.test", "*.client.test")
Talk = Callable[[ssl.SSLSocket], None]
"""The bytes sent to a client once its request was read."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as received: the TLS server name, the request target, the headers in lower case."""

    name: str
    target: str
    headers: dict[str, str]


def response(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """An HTTP response; a header of "" is left out."""
    given = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + body


def document(url: str, **changes: Any) -> dict[str, Any]:
    """A correct document for ``url``, except for ``changes``; None leaves a member out."""
    right = {"client_id": url, "client_name": "Test client", "redirect_uris": ["https://client.test/callback"]}
    return {name: value for name, value in (right | changes).items() if value is not None}


@dataclass
class DocumentHost:
    """The server. ``answers`` maps a target to its answer; ``asked`` and ``most_at_once`` record the requests."""

    port: int = 0
    answers: dict[str, bytes | Talk] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    slow: float = 0.0
    is_down: bool = False
    ca: trustme.CA = field(default_factory=trustme.CA)
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, path: str = "/client.json", name: str = "client.test") -> str:
        """The URL of a document on this server."""
        return f"https://{name}:{self.port}{path}"

    def show(self, path: str = "/client.json", name: str = "client.test", headers: Any = None, **changes: Any) -> str:
        """Serves a correct document, except for ``changes``; returns its URL."""
        url = self.url(path, name)
        self.answers[path] = response(json.dumps(document(url, **changes)).encode(), **(headers or {}))
        return url

    def fetcher(self, **arguments: Any) -> Fetcher:
        """A fetcher that resolves every name to this server and may connect to it, unless ``arguments`` differ."""
        tls = ssl.create_default_context()
        self.ca.configure_trust(tls)
        given: dict[str, Any] = {"resolve": self.resolve, "is_allowed": lambda each: each == "127.0.0.1", "tls": tls}
        return Fetcher(**(given | arguments))

    async def resolve(self, _host: str, _port: int) -> list[str]:
        """Resolves every name to this server, unless the network is down."""
        if self.is_down:
            raise OSError("the network is down")
        return ["127.0.0.1"]

    def serve(self, connection: socket.socket, tls: ssl.SSLContext) -> None:
        """Serves one connection."""
        names: list[str] = []
        tls.sni_callback = lambda _socket, name, _context: names.append(name or "")
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            with contextlib.suppress(OSError), tls.wrap_socket(connection, server_side=True) as line:
                self._answer(line, names[-1] if names else "")
        finally:
            with self._lock:
                self._now -= 1

    def _answer(self, line: ssl.SSLSocket, name: str) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            read = line.recv(4096)
            if not read:
                return
            head += read
        first, *rest = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
        headers = {key.lower(): value for key, _, value in (each.partition(": ") for each in rest)}
        target = first.split(" ")[1]
        self.asked.append(Asked(name, target, headers))
        time.sleep(self.slow)
        answer = self.answers.get(target, response(b"{}", "404 Not Found"))
        if callable(answer):
            answer(line)
            return
        line.sendall(answer)


@contextlib.contextmanager
def showing(*names: str) -> Iterator[DocumentHost]:
    """A document server on a free port, under NAMES and ``names``."""
    host = DocumentHost()
    certificate = host.ca.issue_cert(*NAMES, *names)

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            certificate.configure_cert(tls)
            host.serve(self.request, tls)

    class Listener(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128

    with Listener(("127.0.0.1", 0), Connection) as listener:
        host.port = listener.server_address[1]
        thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield host
        finally:
            listener.shutdown()
            thread.join()
