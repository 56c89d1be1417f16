"""The load: connections that each ask, wait for the answer, and ask again, as bare as Python allows."""

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
        return Answer(int(head[9:12]), head, _joined(body)) if body.endswith(b"0\r\n\r\n") else None
    _, has_length, rest = lower.partition(b"content-length:")
    length = int(rest.split(b"\r\n", 1)[0]) if has_length else 0
    return Answer(int(head[9:12]), head, body) if len(body) >= length else None


def _joined(chunks: bytes) -> bytes:
    """What a chunked body says (RFC 9112 section 7.1), once all of it is there."""
    found = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        found, chunks = found + rest[:length], rest[length + 2 :] if length else b""
    return found


Operation = Callable[[Line], Awaitable[None]]
"""One operation on a connection; raises where the answer is not what it should be."""


def get(target: str) -> Callable[[int], Operation]:
    """The operation of one GET, for any slot."""

    async def ask(line: Line) -> None:
        expect(await line.ask("GET", target), 200)

    return lambda _slot: ask


def expect(answer: Answer, *statuses: int) -> Answer:
    """The same answer; ends the run where its status is another one."""
    if answer.status not in statuses:
        raise SystemExit(f"{answer.status} where {statuses} was expected: {answer.head[:300]!r} {answer.body[:500]!r}")
    return answer


@dataclass
class Measured:
    """What one round of one operation cost, in CPU seconds: user and system."""

    seconds: float = 0
    server: float = 0
    database: float = 0
    """Of PostgreSQL; SQLite's are the server's own."""
    load: float = 0
    took: list[float] = field(default_factory=list)
    """Seconds of each operation."""


def cpu_seconds(pid: int | None) -> float:
    """What a process and those that it started have used so far; 0 for no process."""
    if pid is None:
        return 0.0
    found = 0.0
    for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended: its parent tells of it
            times = one.cpu_times()
            found += (
                times.user + times.system + getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
            )
    return found


async def measure(
    base: str, pid: int, database_pid: int | None, slots: list[Operation], warm_up: float, seconds: float
) -> Measured:
    """Runs one operation for each slot, again and again; what happens while it warms up does not count."""
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
    """Runs operations ``count`` times in all, as many at once as there are slots."""
    lines = [await line_to(base) for _ in slots]
    left = iter(range(count))

    async def some(operation: Operation, line: Line) -> None:
        for _ in left:
            await operation(line)

    await asyncio.gather(*(some(slot, line) for slot, line in zip(slots, lines, strict=True)))
    for line in lines:
        line.close()


async def _again(operation: Operation, line: Line, begin: float, end: float, took: list[float]) -> None:
    while (started := time.perf_counter()) < end or not took:  # one at the least, however busy the machine
        await operation(line)
        if started >= begin:
            took.append(time.perf_counter() - started)
