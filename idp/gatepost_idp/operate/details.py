"""The operator's private listener on METRICS_ADDRESS: readiness, mail problems, doctor's findings, and metrics.

Each worker counts for itself and so has its own listener: the second ten ports above the first, and so on.
"""

import asyncio
import socket
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gatepost_idp.counts import Counts
from gatepost_idp.database import Database
from gatepost_idp.keys import Keys
from gatepost_idp.operate.doctor.readiness import Readiness
from gatepost_idp.operate.drain import Drain
from gatepost_idp.operate.hosts import OwnNames
from gatepost_idp.protocol import Clock
from gatepost_idp.settings import Settings
from gatepost_idp.transaction import DatabaseUnavailable

if TYPE_CHECKING:
    from gatepost_idp.operate.metrics import Observed

log = structlog.get_logger("gatepost.details")

BETWEEN_WORKERS = 10


class _Inner(uvicorn.Server):
    """A uvicorn server inside another one, which handles the signals."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Captures none."""
        yield


@dataclass(frozen=True, slots=True)
class Details:
    """The operator's pages. ``problems``: by part, a function that says what is wrong, empty if nothing is."""

    settings: Settings
    database: Database
    keys: Keys
    counts: Counts
    drain: Drain
    problems: Mapping[str, Callable[[], str]]
    readiness: Readiness
    clock: Clock

    async def serve(self) -> None:
        """Serves until cancelled; returns at once if no port is free."""
        listener = self._listener()
        if listener is None:
            return
        pages = Starlette(routes=[Route("/readyz", self._readyz), Route("/metrics", self._metrics)])
        app = OwnNames(pages, self.settings.metrics_address.rpartition(":")[0], self.settings.allowed_hosts)
        server = _Inner(
            uvicorn.Config(
                app, log_config=None, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1
            )
        )
        try:
            await server.serve(sockets=[listener])
        finally:
            if server.started:  # when cancelled, uvicorn does not close by itself
                await server.shutdown([listener])
            listener.close()

    def _listener(self) -> socket.socket | None:
        """A socket on the first address that no other worker has; None, with a warning, if there is none."""
        address = self.settings.metrics_address
        host, _, port = address.rpartition(":")
        reason = None
        for worker in range(self.settings.workers):
            try:
                at = (host.strip("[]"), int(port) + worker * BETWEEN_WORKERS)
                return socket.create_server(at, family=_family(host))
            except (OSError, OverflowError) as problem:
                reason = getattr(problem, "strerror", None) or str(problem)
        log.warning("details_not_served", setting="METRICS_ADDRESS", address=address, reason=reason)
        return None

    async def _readyz(self, _request: Request) -> Response:
        found = {"database": await _database_problem(self.database)}
        ready = not found["database"] and not self.drain.is_told()
        found |= {name: problem() for name, problem in self.problems.items()}
        shown = {name: {"ok": not problem, "problem": problem} for name, problem in found.items()}
        findings = [asdict(finding) for finding in await self.readiness.findings()]
        return JSONResponse({"ready": ready, **shown, "doctor": findings}, 200 if ready else 503)

    async def _metrics(self, request: Request) -> Response:
        observed = (await asyncio.to_thread(_observed))(self.counts, self.database, self.keys, self.clock)
        text, media_type = await observed.exposition(request.headers.get("accept", ""), self.problems["mail"]())
        return Response(text, headers={"content-type": media_type})


def _observed() -> "type[Observed]":
    """Imported at the first scrape, in a thread, so that no start and no request pays its 10 to 30 ms."""
    from gatepost_idp.operate.metrics import Observed  # noqa: PLC0415 (why: the line above)

    return Observed


async def _database_problem(database: Database) -> str:
    try:
        await database.ping()
    except DatabaseUnavailable as problem:
        return str(problem)
    return ""


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
