"""The operator's listener on METRICS_ADDRESS, not for the public: why the server is not ready, and its metrics.

Each worker counts for itself and so listens for itself: the first on the port given, the next ten above it, and so on.
"""

import asyncio
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gatepost_resource.backends.roster import Roster
from gatepost_resource.counts import Counts
from gatepost_resource.drain import Drain
from gatepost_resource.hosts import OwnNames
from gatepost_resource.jwks import IssuerKeys

log = structlog.get_logger("gatepost_resource.details")

BETWEEN_WORKERS = 10
Exposition = Callable[[str, Counts, IssuerKeys, Roster], tuple[bytes, str]]


class _Inner(uvicorn.Server):
    """A uvicorn server inside another one, to which it leaves the signals."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Captures none."""
        yield


@dataclass(frozen=True, slots=True)
class Details:
    """The pages of the operator's listener. ``address``: METRICS_ADDRESS; empty for no listener."""

    address: str
    allowed_hosts: tuple[str, ...]
    workers: int
    keys: IssuerKeys
    counts: Counts
    drain: Drain
    roster: Roster

    async def serve(self) -> None:
        """Serves until cancelled; returns at once if there is no address to listen on."""
        listener = self._listener() if self.address else None
        if listener is None:
            return
        pages = Starlette(routes=[Route("/readyz", self._readyz), Route("/metrics", self._metrics)])
        app = OwnNames(pages, self.address.rpartition(":")[0], self.allowed_hosts)
        server = _Inner(
            uvicorn.Config(
                app, log_config=None, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1
            )
        )
        try:
            await server.serve(sockets=[listener])
        finally:
            if server.started:  # cancelled: uvicorn closes by itself only when told to stop
                await server.shutdown([listener])
            listener.close()

    def _listener(self) -> socket.socket | None:
        """A socket on the first port no other worker has; None, with a warning, if there is none."""
        host, _, port = self.address.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        reason = ""
        for worker in range(self.workers):
            try:
                return socket.create_server((host.strip("[]"), int(port) + worker * BETWEEN_WORKERS), family=family)
            except (OSError, OverflowError) as problem:
                reason = getattr(problem, "strerror", None) or str(problem)
        log.warning("details_not_served", setting="METRICS_ADDRESS", address=self.address, reason=reason)
        return None

    async def _readyz(self, _request: Request) -> Response:
        problem = self.keys.problem
        ready = self.keys.ready and not self.drain.is_told()
        shown = {
            "ready": ready,
            "keys": {"ok": not problem, "problem": problem},
            # None of these makes the server unready: each affects its own tools only.
            "catalogue": {"ok": not self.roster.problem, "problem": self.roster.problem},
            "approvals": {"ok": not self.roster.approvals_problem, "problem": self.roster.approvals_problem},
            "backends": [asdict(standing) for standing in self.roster.standings],
        }
        return JSONResponse(shown, 200 if ready else 503)

    async def _metrics(self, request: Request) -> Response:
        exposition = await asyncio.to_thread(_exposition)
        text, media_type = exposition(request.headers.get("accept", ""), self.counts, self.keys, self.roster)
        return Response(text, headers={"content-type": media_type})


def _exposition() -> Exposition:
    """Imported on the first scrape, in a thread: neither the start nor a request pays its 10 to 30 ms."""
    from gatepost_resource.metrics import exposition  # noqa: PLC0415 (why: the line above)

    return exposition
