"""Runs the server from its settings: sockets, uvicorn, workers, graceful shutdown."""

import contextlib
import errno
import gc
import socket
from collections.abc import Iterator

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from gatepost_resource.settings import Settings, SettingsError, explain

log = structlog.get_logger("gatepost_resource.serving")

FACTORY = "gatepost_resource.app:from_environment"
GRACEFUL_SECONDS = 10
BACKLOG = 2048
# Most objects die young here; at the default of 700 the heap is walked every few requests (p99 61 ms, now 20).
GC_THRESHOLDS = (50_000, 20, 100)


class Server(uvicorn.Server):
    """uvicorn, which takes everything loaded at start-up out of garbage collection."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, then freezes the objects of start-up; collecting garbage first would delay the first request."""
        await super().startup(sockets=sockets)
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)


def bind(hosts: tuple[str, ...], port: int) -> list[socket.socket]:
    """A listening socket for each address; raises SettingsError naming the setting to change.

    On a machine without IPv6 an IPv6 address is skipped, as long as another address is bound.
    """
    bound: list[socket.socket] = []
    with contextlib.ExitStack() as unwind:
        for family, address in _addresses(hosts, port):
            try:
                bound.append(unwind.enter_context(_listen(family, address)))
            except OSError as problem:
                if family == socket.AF_INET6 and problem.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    log.warning("address_left_out", address=address[0], reason=problem.strerror)
                    continue
                setting = "RESOURCE_PORT" if problem.errno in (errno.EADDRINUSE, errno.EACCES) else "RESOURCE_HOST"
                raise SettingsError(explain(setting, f"cannot listen there ({problem.strerror})")) from None
        if not bound:
            raise SettingsError(explain("RESOURCE_HOST", "none of its addresses is on this machine"))
        unwind.pop_all()
    return bound


def _addresses(hosts: tuple[str, ...], port: int) -> Iterator[tuple[int, tuple[str, int]]]:
    for host in hosts:
        try:
            found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except OSError:
            raise SettingsError(explain("RESOURCE_HOST", "is not an address of this machine")) from None
        yield from dict.fromkeys((family, (str(address[0]), port)) for family, _, _, _, address in found)


def _listen(family: int, address: tuple[str, int]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # So that 0.0.0.0 and :: can both be bound.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def configuration(app: ASGIApp | str, workers: int) -> uvicorn.Config:
    """uvicorn's configuration without its access log, its proxy headers and its Server header."""
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,  # prints query strings; logs.RequestLog writes ours
        proxy_headers=False,  # believes X-Forwarded-* from loopback; addresses.Proxies decides
        server_header=False,
        workers=workers,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )


def serve(settings: Settings, app: ASGIApp) -> None:
    """Serves until a signal; requests under way then have GRACEFUL_SECONDS to finish. Raises SettingsError."""
    sockets = bind(settings.resource_host, settings.resource_port)
    log.info("serving", mcp_url=settings.mcp_resource_url, issuer=settings.oauth_issuer)
    try:
        if settings.workers == 1:
            Server(configuration(app, 1)).run(sockets)
        else:
            # Each worker is a new interpreter and builds its own app from the same environment.
            Multiprocess(configuration(FACTORY, settings.workers), sockets).run()
    finally:
        for listener in sockets:
            listener.close()
