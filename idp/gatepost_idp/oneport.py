"""A proxy for ``demo --public``: routes a tunnel's single host name to both servers by path."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from gatepost_idp.operate.guard import bounded

_TO_RESOURCE = ("/mcp", "/.well-known/oauth-protected-resource")
# Hop-by-hop headers (RFC 9110 section 7.6.1); all others pass unchanged, including Host.
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection")
)


class OnePort:
    """Passes each request to the server that its path belongs to."""

    def __init__(self, idp: str, resource: str) -> None:
        self._idp = idp
        self._resource = resource
        self._client: httpx2.AsyncClient

    def application(self) -> Starlette:
        """The application, whose lifespan opens and closes its connections."""

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            async with httpx2.AsyncClient(trust_env=False, timeout=60) as self._client:
                yield

        methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        app = Starlette(lifespan=lifespan, routes=[Route("/{path:path}", self._pass_on, methods=methods)])
        app.router.redirect_slashes = False
        return app

    async def _pass_on(self, request: Request) -> Response:
        # Bounded here too: the servers behind it only see what this one has already read into memory.
        body = await Request(request.scope, bounded(request.receive)).body()
        target = self._resource if request.scope["path"].startswith(_TO_RESOURCE) else self._idp
        path = request.scope["raw_path"].decode("latin-1")
        query = request.scope["query_string"].decode("latin-1")
        upstream = self._client.build_request(
            request.method,
            f"{target}{path}" + (f"?{query}" if query else ""),
            headers=[(name, value) for name, value in request.headers.raw if name.decode() not in _HOP_BY_HOP],
            content=body,
        )
        try:
            answer = await self._client.send(upstream, stream=True)
        except httpx2.TransportError:
            return PlainTextResponse("The server behind this address is starting or not running. Try again.\n", 502)
        response = StreamingResponse(answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose))
        response.raw_headers = [(n.lower(), v) for n, v in answer.headers.raw if n.lower().decode() not in _HOP_BY_HOP]
        return response
