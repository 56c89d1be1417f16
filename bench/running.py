"""Starts servers as processes bound to a core, and measures the time to their first response."""

import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil

from bench.load import Operation, cpu_seconds

START_SECONDS = 120
REST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a server: seconds to its first response, CPU seconds until then, memory once idle."""

    server: str
    seconds: float
    cpu_seconds: float
    idle_mib: float


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a server's process after that many code flows, or operations of any kind."""

    server: str
    grants: int
    mib: float


@dataclass
class Subject:
    """A running server. ``operations``: by name, a function that makes the operation for a slot number."""

    name: str
    base: str
    pid: int
    start: Start
    database_pid: int | None = None
    """PostgreSQL's main process, if the server uses PostgreSQL."""
    operations: dict[str, Callable[[int], Operation]] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """How to start a server, and the path that responds once it serves."""

    name: str
    port: int
    probe: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    core: int | None = None

    @property
    def base(self) -> str:
        """The server's URL."""
        return f"http://localhost:{self.port}"


@contextlib.contextmanager
def started(command: Command, times: int = 1) -> Iterator[Subject]:
    """Starts the server ``times`` times and yields the last one; its ``start`` has the medians of all."""
    starts = []
    for _ in range(times - 1):
        with _once(command) as (_, start):
            starts.append(start)
    with _once(command) as (pid, start):
        starts.append(start)
        yield Subject(command.name, command.base, pid, _middle(starts))


@contextlib.contextmanager
def _once(command: Command) -> Iterator[tuple[int, Start]]:
    with command.log.open("wb") as output, _on_core(command.core):
        began = time.perf_counter()
        process = subprocess.Popen(list(command.arguments), env=dict(command.environment), stdout=output, stderr=output)
    try:
        while not _answers(command.base + command.probe):
            if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise SystemExit(f"{command.name} did not start:\n{command.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)
        took, cpu = time.perf_counter() - began, cpu_seconds(process.pid)
        time.sleep(REST_SECONDS)
        yield process.pid, Start(command.name, round(took, 3), round(cpu, 3), round(resident_mib(process.pid), 1))
    finally:
        process.terminate()
        process.wait(60)


def _middle(starts: list[Start]) -> Start:
    middle = (
        statistics.median(getattr(one, name) for one in starts) for name in ("seconds", "cpu_seconds", "idle_mib")
    )
    return Start(starts[0].server, *middle)


def resident_mib(pid: int) -> float:
    """A process's resident memory in MiB."""
    return float(psutil.Process(pid).memory_info().rss) / 2**20


@contextlib.contextmanager
def _on_core(number: int | None) -> Iterator[None]:
    """Binds processes started inside the block to a core; existing threads keep their affinity."""
    if number is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        # verify=False: it is plain http, and each call would otherwise load the system's certificates.
        return httpx2.get(url, trust_env=False, verify=False).status_code < 500
    return False
