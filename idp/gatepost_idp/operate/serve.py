"""Runs uvicorn on our own sockets, so that several addresses can be bound; its logs and proxy trust are off."""

import errno
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Literal

import uvicorn
from uvicorn.supervisors import Multiprocess

from gatepost_idp.operate import garbage
from gatepost_idp.operate.one_write import OneWrite
from gatepost_idp.settings import SettingsError

APPLICATION = "gatepost_idp.app:from_environment"


def serve(hosts: Sequence[str], port: int, workers: int) -> None:
    """Serves until SIGINT or SIGTERM; requests in flight are answered first. Raises SettingsError."""
    sockets = listeners(hosts, port)
    config = uvicorn.Config(
        APPLICATION,
        factory=True,
        workers=workers,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=10,
        http=OneWrite,
        loop="uvloop" if sys.platform != "win32" else "auto",
        ws="none",
    )
    server = uvicorn.Server(config)
    if workers > 1:
        garbage.settle()
        Multiprocess(config, sockets).run()
        return
    server.run(sockets=sockets)


def listeners(hosts: Sequence[str], port: int, server: Literal["IDP", "RESOURCE"] = "IDP") -> list[socket.socket]:
    """A listening socket for each address; raises SettingsError that names the setting of ``server``."""
    with ExitStack() as unwind:
        bound = [unwind.enter_context(_bound(host, port, server)) for host in hosts]
        unwind.pop_all()
    return bound


def _bound(host: str, port: int, server: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        listener.bind((host, port))
    except OSError as problem:
        listener.close()
        raise SettingsError(_why(host, port, server, problem)) from None
    listener.listen(2048)
    listener.set_inheritable(True)
    return listener


def _why(host: str, port: int, server: str, problem: OSError) -> str:
    if problem.errno in (errno.EADDRINUSE, errno.EACCES):
        return f"{server}_PORT: {host}:{port} cannot be bound ({problem.strerror}); set another port."
    return f"{server}_HOST: {host} is not an address of this machine. Example: {server}_HOST=127.0.0.1"
