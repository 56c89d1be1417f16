"""The load generator: connections that each send a request, wait for the response, and repeat, with low overhead."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil

_NETWORKS = 4_096


class Answer(NamedTuple):
    """A response; ``head`` is the raw status line and header fields."""

    status: int
    head: bytes
    body: bytes

    def field(self, name: str) -> str:
        """The first header field of that name (lower case), empty if there is none."""
        return next(iter(self.fields(name)), "")

    def fields(self, name: str) -> list[str]:
        """All header fields of that name (lower case)."""
        lines = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return [value.decode("latin-1").strip() for found, _, value in lines if found.decode("latin-1").lower() == name]


class Line(asyncio.Protocol):
    """One keep-alive connection, for one request at a time."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._received = b""
        self._answer: asyncio.Future[Answer]
        self._transport: asyncio.Transport
        self._asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Stores the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (TCP)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Resolves the pending request once its response is complete."""
        self._received += data
        whole = _whole(self._received)
        if whole is not None and not self._answer.done():
            self._received = b""
            self._answer.set_result(whole)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails the pending request."""
        if hasattr(self, "_answer") and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"closed after {self._received[:80]!r}"))

    async def ask(self, method: str, target: str, body: str = "", **headers: str) -> Answer:
        """Sends one request; claims a different network each time, since the brakes would limit a single one."""
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
        """Closes the connection."""
        self._transport.close()


async def line_to(base: str) -> Line:
    """A connection to the server at ``base``, with that URL's host in Host."""
    host, port = urlsplit(base).netloc, urlsplit(base).port or 80
    _, line = await asyncio.get_running_loop().create_connection(lambda: Line(host), "127.0.0.1", port)
    return line


def _whole(received: bytes) -> Answer | None:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return Answer(int(head[9:12]), head, _joined(body)) if body.endswith(b"0\r\n\r\n") else None
    _, has_length, rest = lower.partition(b"content-length:")
    length = int(rest.split(b"\r\n", 1)[0]) if has_length else 0
    return Answer(int(head[9:12]), head, body) if len(body) >= length else None


def _joined(chunks: bytes) -> bytes:
    """The content of a complete chunked body (RFC 9112 section 7.1)."""
    found = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        found, chunks = found + rest[:length], rest[length + 2 :] if length else b""
    return found


Operation = Callable[[Line], Awaitable[None]]
"""One operation on a connection; exits if the response is not as expected."""


def get(target: str) -> Callable[[int], Operation]:
    """Makes the operation of a GET, for any slot."""

    async def ask(line: Line) -> None:
        expect(await line.ask("GET", target), 200)

    return lambda _slot: ask


def expect(answer: Answer, *statuses: int) -> Answer:
    """The same response; ends the run if its status is not among ``statuses``."""
    if answer.status not in statuses:
        raise SystemExit(f"{answer.status} where {statuses} was expected: {answer.head[:300]!r} {answer.body[:500]!r}")
    return answer


@dataclass
class Measured:
    """The cost of one round of one operation; ``server``, ``database`` and ``load`` are seconds of CPU time."""

    seconds: float = 0
    server: float = 0
    database: float = 0
    """PostgreSQL's; SQLite's are part of the server's."""
    load: float = 0
    took: list[float] = field(default_factory=list)
    """Seconds of each operation."""


def cpu_seconds(pid: int | None) -> float:
    """The CPU seconds that a process and its children have used so far; 0 for None."""
    if pid is None:
        return 0.0
    found = 0.0
    for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended, so its parent's children times include it
            times = one.cpu_times()
            found += (
                times.user + times.system + getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
            )
    return found


async def measure(
    base: str, pid: int, database_pid: int | None, slots: list[Operation], warm_up: float, seconds: float
) -> Measured:
    """Repeats the operation of each slot for ``warm_up`` and then ``seconds`` seconds; only the latter count."""
    lines = [await line_to(base) for _ in slots]
    found = Measured()
    begin = time.perf_counter() + warm_up
    end = begin + seconds
    runs = [
        asyncio.create_task(_again(slot, line, begin, end, found.took)) for slot, line in zip(slots, lines, strict=True)
    ]
    await asyncio.sleep(warm_up)
    before, began = _used(pid, database_pid), time.perf_counter()
    await asyncio.gather(*runs)
    found.seconds = time.perf_counter() - began
    after = _used(pid, database_pid)
    found.server, found.database, found.load = (then - now for then, now in zip(after, before, strict=True))
    for line in lines:
        line.close()
    return found


def _used(pid: int, database_pid: int | None) -> tuple[float, float, float]:
    return cpu_seconds(pid), cpu_seconds(database_pid), time.process_time()


async def repeat(base: str, slots: list[Operation], count: int) -> None:
    """Runs operations ``count`` times in total, one at a time per slot."""
    lines = [await line_to(base) for _ in slots]
    left = iter(range(count))

    async def some(operation: Operation, line: Line) -> None:
        for _ in left:
            await operation(line)

    await asyncio.gather(*(some(slot, line) for slot, line in zip(slots, lines, strict=True)))
    for line in lines:
        line.close()


async def _again(operation: Operation, line: Line, begin: float, end: float, took: list[float]) -> None:
    while (started := time.perf_counter()) < end or not took:  # at least one, however busy the machine
        await operation(line)
        if started >= begin:
            took.append(time.perf_counter() - started)
