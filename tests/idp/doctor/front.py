"""The tests' reverse proxy: it routes hosts and paths to the servers, and alters what passes."""

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import trustme
import uvicorn

from tests.support.ports import free_port

Headers = tuple[tuple[str, str], ...]
_HOP_BY_HOP = ("connection", "transfer-encoding", "keep-alive", "content-length")


@dataclass(frozen=True)
class Asked:
    """A request as received by the front."""

    method: str
    host: str
    path: str
    headers: Headers
    body: bytes

    def header(self, name: str) -> str:
        return dict(self.headers).get(name, "")


@dataclass(frozen=True)
class Reply:
    """An answer on its way out."""

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]

    async def body(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks])

    def without(self, *names: str) -> "Reply":
        return replace(self, headers=tuple((key, value) for key, value in self.headers if key not in names))

    def having(self, *headers: tuple[str, str]) -> "Reply":
        return replace(self, headers=(*self.headers, *headers))


Go = Callable[[Asked], Awaitable[Reply]]
Bend = Callable[[Asked, Go], Awaitable[Reply]]


async def straight(asked: Asked, go: Go) -> Reply:
    """Alters nothing."""
    return await go(asked)


def said(status: int, body: bytes = b"", kind: str = "text/html", *headers: tuple[str, str]) -> Reply:
    """An answer from the front itself."""

    async def chunks() -> AsyncIterator[bytes]:
        yield body

    return Reply(status, (("content-type", kind), *headers), chunks())


@dataclass(frozen=True)
class Route:
    """Paths that begin with ``path`` go to ``port``, with the prefix ``strips`` removed."""

    host: str
    path: str
    port: int
    strips: str = ""


@dataclass
class Front:
    """The front, which uses the first matching route."""

    routes: Sequence[Route]
    bend: Bend = straight

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            async with httpx2.AsyncClient(trust_env=False, timeout=30) as self._client:
                for moment in ("startup", "shutdown"):
                    await receive()
                    await send({"type": f"lifespan.{moment}.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        asked = Asked(scope["method"], dict(headers)["host"].partition(":")[0], scope["path"], headers, body)
        reply = await self.bend(asked, self._pass)
        raw = [
            (key.encode("latin-1"), value.encode("latin-1")) for key, value in reply.headers if key not in _HOP_BY_HOP
        ]
        await send({"type": "http.response.start", "status": reply.status, "headers": raw})
        async for chunk in reply.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _pass(self, asked: Asked) -> Reply:
        fits = (r for r in self.routes if asked.host == r.host and asked.path.startswith(r.path))
        route = next(fits, None)
        if route is None:
            return said(404, b"<h1>Not Found</h1>")
        path = asked.path.removeprefix(route.strips) or "/"
        headers = [(name, value) for name, value in asked.headers if name not in _HOP_BY_HOP]
        request = self._client.build_request(
            asked.method, f"http://127.0.0.1:{route.port}{path}", headers=headers, content=asked.body
        )
        try:
            answer = await self._client.send(request, stream=True)
        except httpx2.TransportError:
            return said(502, b"<h1>Bad Gateway</h1>")
        return Reply(answer.status_code, tuple(answer.headers.multi_items()), answer.aiter_raw())


@contextlib.contextmanager
def listening(app: Any, certificate: trustme.LeafCert | None = None, folder: Path | None = None) -> Iterator[int]:
    """Serves ``app`` in a thread, over TLS if there is a certificate; returns the port."""
    port = free_port()
    options: dict[str, Any] = {}
    if certificate is not None and folder is not None:
        pem = folder / f"front-{port}.pem"
        certificate.private_key_and_cert_chain_pem.write_to_path(pem)
        options = {"ssl_certfile": str(pem), "ssl_keyfile": str(pem)}
    config = uvicorn.Config(
        app,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        ws="none",
        timeout_graceful_shutdown=1,
        **options,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive(), "the front did not start"
        assert time.monotonic() < deadline, "the front did not start in time"
        time.sleep(0.005)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(20)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Trusts that authority and no other."""
    return ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
