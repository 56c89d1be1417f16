"""What the operator may see and the public may not, on METRICS_ADDRESS: whether it is ready, why mail waits, doctor."""

import asyncio
import socket
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gatepost_idp.database import Database, DatabaseUnavailable
from gatepost_idp.operate.doctor.readiness import Readiness
from gatepost_idp.operate.drain import Drain

log = structlog.get_logger("gatepost.details")


class _Inner(uvicorn.Server):
    """A server inside another one: signals are the outer one's."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Captures none."""
        yield


async def serve_details(
    address: str, database: Database, drain: Drain, problems: Mapping[str, Callable[[], str]], readiness: Readiness
) -> None:
    """Listens until cancelled. ``problems``, by name: what is wrong with a part that others do without, or empty."""

    async def readyz(_request: Request) -> Response:
        found = {"database": await _database_problem(database)}
        ready = not found["database"] and not drain.is_told()
        found |= {name: problem() for name, problem in problems.items()}
        shown = {name: {"ok": not problem, "problem": problem} for name, problem in found.items()}
        findings = [asdict(finding) for finding in await readiness.findings()]
        return JSONResponse({"ready": ready, **shown, "doctor": findings}, 200 if ready else 503)

    host, _, port = address.rpartition(":")
    try:
        listener = socket.create_server((host.strip("[]"), int(port)), family=_family(host))
    except OSError as problem:
        log.warning("details_not_served", setting="METRICS_ADDRESS", address=address, reason=problem.strerror)
        return
    app = Starlette(routes=[Route("/readyz", readyz)])
    server = _Inner(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none"))
    try:
        await server.serve(sockets=[listener])
    except asyncio.CancelledError:
        server.should_exit = True
        listener.close()
        raise


async def _database_problem(database: Database) -> str:
    try:
        await database.ping()
    except DatabaseUnavailable as problem:
        return str(problem)
    return ""


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
