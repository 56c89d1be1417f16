"""Stands in for DNS and the internet: an HTTP CONNECT proxy that connects every public name to one loopback port."""

import contextlib
import selectors
import socket
import socketserver
import threading
from collections.abc import Iterator

# The address that the reverse proxies see for every outside caller.
CLIENT = "127.0.0.9"
_ESTABLISHED = b"HTTP/1.1 200 OK\r\n\r\n"


class Tunnel:
    """Where ``https://NAME`` currently leads; ``url`` is the proxy for clients to use."""

    def __init__(self) -> None:
        self.target = 0
        self.url = ""
        self.asked: list[str] = []

    def connection(self, name: str) -> socket.socket:
        """A connection to ``name``, still without TLS."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        made = socket.create_connection((host, int(port)), 10)
        made.sendall(f"CONNECT {name}:443 HTTP/1.1\r\n\r\n".encode())
        assert made.recv(100) == _ESTABLISHED
        return made


class _Handler(socketserver.StreamRequestHandler):
    tunnel: Tunnel

    def handle(self) -> None:
        """Handles one CONNECT and joins the two ends."""
        name = self.rfile.readline().split(b" ")[1].decode()
        while self.rfile.readline().strip():
            pass
        self.tunnel.asked.append(name)
        with contextlib.suppress(OSError):
            place = ("127.0.0.1", self.tunnel.target)
            with socket.create_connection(place, 10, source_address=(CLIENT, 0)) as upstream:
                self.connection.sendall(_ESTABLISHED)
                _join(self.connection, upstream)


def _join(one: socket.socket, other: socket.socket) -> None:
    with selectors.DefaultSelector() as ready:
        ready.register(one, selectors.EVENT_READ, other)
        ready.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in ready.select():
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(65536)
                if not data:
                    return
                key.data.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextlib.contextmanager
def tunnelling() -> Iterator[Tunnel]:
    """A tunnel, for the duration of the block."""
    tunnel = Tunnel()
    handler = type("Handler", (_Handler,), {"tunnel": tunnel})
    with _Server(("127.0.0.1", 0), handler) as server:
        tunnel.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield tunnel
        finally:
            server.shutdown()
            thread.join(10)
