"""The load: connections that each ask, wait for the answer, and ask again, as bare as Python allows."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil

_NETWORKS = 4_096


class Answer(NamedTuple):
    """What came back; ``head`` has the status line and the fields, as they came."""

    status: int
    head: bytes
    body: bytes

    def field(self, name: str) -> str:
        """The first field of that name (lower case), empty where there is none."""
        return next(iter(self.fields(name)), "")

    def fields(self, name: str) -> list[str]:
        """Every field of that name."""
        lines = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return [value.decode("latin-1").strip() for found, _, value in lines if found.decode("latin-1").lower() == name]


class Line(asyncio.Protocol):
    """One connection that is kept."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._received = b""
        self._answer: asyncio.Future[Answer]
        self._transport: asyncio.Transport
        self._asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (TCP)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers whoever asked, once the answer is whole."""
        self._received += data
        whole = _whole(self._received)
        if whole is not None and not self._answer.done():
            self._received = b""
            self._answer.set_result(whole)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells whoever still waits."""
        if hasattr(self, "_answer") and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"closed after {self._received[:80]!r}"))

    async def ask(self, method: str, target: str, body: str = "", **headers: str) -> Answer:
        """One request; the networks that it says it comes from differ, for one alone would be braked."""
        self._asked += 1
        number = (id(self) // 64 + self._asked) % _NETWORKS
        lines = [
            f"{method} {target} HTTP/1.1",
            f"host: {self._host}",
            f"x-forwarded-for: 10.9.{number // 256}.{number % 256}",
        ]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {len(body.encode())}"] if method == "POST" else []
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write("\r\n".join([*lines, "", body]).encode())
        return await self._answer

    def close(self) -> None:
        """Hangs up."""
        self._transport.close()


async def line_to(base: str) -> Line:
    """A connection to the server at ``base``, which is told that URL's own host."""
    host, port = urlsplit(base).netloc, urlsplit(base).port or 80
    _, line = await asyncio.get_running_loop().create_connection(lambda: Line(host), "127.0.0.1", port)
    return line


def _whole(received: bytes) -> Answer | None:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return Answer(int(head[9:12]), head, body) if body.endswith(b"0\r\n\r\n") else None
    _, has_length, rest = lower.partition(b"content-length:")
    length = int(rest.split(b"\r\n", 1)[0]) if has_length else 0
    return Answer(int(head[9:12]), head, body) if len(body) >= length else None


Operation = Callable[[Line], Awaitable[None]]
"""One operation on a connection; raises where the answer is not what it should be."""


@dataclass
class Measured:
    """What one round of one operation cost."""

    seconds: float = 0
    cpu_seconds: float = 0
    """Of the server's process: user and system."""
    took: list[float] = field(default_factory=list)
    """Seconds of each operation."""


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


async def measure(base: str, pid: int, slots: list[Operation], warm_up: float, seconds: float) -> Measured:
    """Runs one operation for each slot, again and again; what happens while it warms up does not count."""
    lines = [await line_to(base) for _ in slots]
    found = Measured()
    begin = time.perf_counter() + warm_up
    end = begin + seconds
    runs = [
        asyncio.create_task(_again(slot, line, begin, end, found.took)) for slot, line in zip(slots, lines, strict=True)
    ]
    await asyncio.sleep(warm_up)
    cpu, began = cpu_seconds(pid), time.perf_counter()
    await asyncio.gather(*runs)
    found.cpu_seconds, found.seconds = cpu_seconds(pid) - cpu, time.perf_counter() - began
    for line in lines:
        line.close()
    return found


async def _again(operation: Operation, line: Line, begin: float, end: float, took: list[float]) -> None:
    while (started := time.perf_counter()) < end:
        await operation(line)
        if started >= begin:
            took.append(time.perf_counter() - started)
