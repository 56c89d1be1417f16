"""HTTP/1.1 from correct and malicious backends: the wire against bytes that a test writes itself."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
import trustme

from gatepost_resource.backends import wire
from gatepost_resource.backends.arguments import Arguments
from gatepost_resource.backends.wire import Answer, Busy, TimedOut, Unreachable, Wire

Say = Callable[["Talker", asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops a server may run on: they differ in how a connection ends."""
    return "asyncio", {"use_uvloop": request.param}


class Talker:
    """A backend that sends given bytes. ``asked``: each request's connection number, head and message."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.asked: list[tuple[int, bytes, dict[str, Any]]] = []
        self.connections = 0
        self.ended = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        self.tasks.append(cast(asyncio.Task[None], asyncio.current_task()))
        number = self.connections
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, RuntimeError):  # the last is uvloop's for closed
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.asked.append((number, head, json.loads(await reader.readexactly(length) or b"{}")))
                await self.say(self, writer)
        self.ended.set()
        writer.close()

    def body(self, **result: Any) -> bytes:
        """A correct answer to the latest request."""
        return json.dumps({"jsonrpc": "2.0", "id": self.asked[-1][2]["id"], "result": result}).encode()

    def answer(self, *fields: str, status: str = "200 OK", **result: Any) -> bytes:
        body = self.body(**result)
        told = "".join(f"{field}\r\n" for field in fields)
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{told}\r\n"
        return head.encode() + body


@contextlib.asynccontextmanager
async def talking(say: Say, **options: Any) -> AsyncIterator[tuple[Talker, Wire]]:
    talker = Talker(say)
    server = await asyncio.start_server(talker.talk, "127.0.0.1", 0, **options)
    port = server.sockets[0].getsockname()[1]
    opened = Wire(f"{'https' if options else 'http'}://localhost:{port}/mcp")
    try:
        yield talker, opened
    finally:
        opened.close()
        server.close()
        for writer in talker.writers:
            writer.transport.abort()
        if talker.tasks:
            await asyncio.wait(talker.tasks, timeout=5)
        await asyncio.sleep(0.01)  # an aborted connection is closed in the loop's next iteration


async def _asked(wire_: Wire, id_: int = 1, seconds: float = 5, headers: dict[str, str] | None = None) -> Answer:
    async def hear(_message: dict[str, Any]) -> None:
        """Ignores messages."""

    message = {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": {}}
    return await wire_.send(message, headers or {}, seconds, hear)


def _saying(data: bytes) -> Say:
    async def say(_talker: Talker, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    return say


async def _answering(talker: Talker, writer: asyncio.StreamWriter) -> None:
    writer.write(talker.answer(number=len(talker.asked)))


def _chunked(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    halves = body[:7], body[7:]
    chunks = b"".join(b"%x;name=value\r\n%s\r\n" % (len(half), half) for half in halves)
    return head + chunks + b"0\r\nContent-Type: text/html\r\nTrailer: x\r\n\r\n"


def _until_close(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + body


def _announced(body: bytes) -> bytes:
    first = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <x>\r\ncontent-type: text/html\r\n\r\n"
    return first + b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("framed", [_chunked, _until_close, _announced])
@pytest.mark.parametrize("size", [1, 100_000])
async def test_an_answer_in_pieces(framed: Callable[[bytes], bytes], size: int) -> None:
    """Chunks with extensions and a trailer, a body until close, a preceding 1xx: byte by byte or at once."""

    async def say(talker: Talker, writer: asyncio.StreamWriter) -> None:
        data = framed(talker.body(said="whole"))
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await asyncio.sleep(0)
        if framed is _until_close:
            writer.close()

    async with talking(say) as (talker, opened):
        for id_ in (1, 2):
            assert (await _asked(opened, id_)).message["result"] == {"said": "whole"}
        assert talker.connections == (2 if framed is _until_close else 1)


BODY = b'{"jsonrpc": "2.0", "id": 1, "result": {}}'
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
START = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(START + LENGTH + b"transfer-encoding: chunked\r\n\r\n" + CHUNK, id="a length and chunks"),
        pytest.param(START + b"transfer-encoding: chunked\r\n" + LENGTH + b"\r\n" + CHUNK, id="chunks and a length"),
        pytest.param(START + LENGTH + b"content-length: 5\r\n\r\n" + BODY, id="two lengths"),
        pytest.param(START + b"content-length: -5\r\n\r\n" + BODY, id="a length below nothing"),
        pytest.param(START + b"transfer-encoding: gzip, chunked\r\n\r\n" + CHUNK, id="a coding"),
        pytest.param(START + b"transfer-encoding: gzip\r\n\r\n" + BODY, id="a coding to the end"),
        pytest.param(START + b"transfer-encoding: chunked\r\n\r\nxyz\r\n" + BODY, id="a chunk without a size"),
        pytest.param(START.replace(b"200 OK", b"20 OK") + LENGTH + b"\r\n" + BODY, id="a status of two digits"),
        pytest.param(START.replace(b"200 OK", b"abc OK") + LENGTH + b"\r\n" + BODY, id="a status in letters"),
        pytest.param(START.replace(b"1.1", b"2.0") + LENGTH + b"\r\n" + BODY, id="another version"),
        pytest.param(START.replace(b"HTTP", b"ICY") + LENGTH + b"\r\n" + BODY, id="another protocol"),
        pytest.param(START + LENGTH + b"x: a\x00b\r\n\r\n" + BODY, id="a NUL in a field"),
        pytest.param(START + LENGTH + b"x y: a\r\n\r\n" + BODY, id="a space in a name"),
        pytest.param(
            b"HTTP/1.1 101 Go\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n" + START + LENGTH + b"\r\n" + BODY,
            id="another protocol from now on",
        ),
        pytest.param(b"HTTP/1.1 101 Go\r\n\r\n" + START + LENGTH + b"\r\n" + BODY, id="101 without a word"),
        pytest.param(BODY, id="no head at all"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_an_answer_that_is_no_http(said: bytes) -> None:
    """Attack: an answer whose end is ambiguous (response splitting), or that is not HTTP/1.1, is refused."""
    async with talking(_saying(said)) as (talker, opened):
        with pytest.raises(Unreachable):
            await _asked(opened)
        assert len(talker.asked) == 1


LONG = b"x" * 500_000


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(START + b"x: " + LONG + b"\r\n" + LENGTH + b"\r\n" + BODY, id="a field"),
        pytest.param(START + b"x: " + b"x" * 80_000 + b"\r\n" + LENGTH + b"\r\n" + BODY, id="a field in one piece"),
        pytest.param(START + b"x: yy\r\n" * 30_000 + LENGTH + b"\r\n" + BODY, id="fields"),
        pytest.param(START + b"x: " + LONG, id="a field without end"),
        pytest.param(b"HTTP/1.1 200 " + LONG, id="a reason without end"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000 + START + LENGTH + b"\r\n" + BODY, id="1xx"),
        pytest.param(START + b"transfer-encoding: chunked\r\n\r\n" + CHUNK[:-2] + b"x: " + LONG, id="a trailer"),
        pytest.param(START + b"transfer-encoding: chunked\r\n\r\n1;" + LONG, id="a chunk's extension"),
    ],
)
@pytest.mark.parametrize("size", [10_000, 1_000_000])
async def test_a_head_without_measure(said: bytes, size: int) -> None:
    """Attack: bytes outside the body, which the body limit does not count, fill memory."""

    async def say(_talker: Talker, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(said), size):
            writer.write(said[start : start + size])
            await asyncio.sleep(0.001)

    async with talking(say) as (_, opened):
        with pytest.raises(Unreachable):
            await _asked(opened, seconds=20)


@pytest.mark.parametrize("later", [False, True])
async def test_an_answer_after_the_answer(later: bool) -> None:
    """Attack: bytes after an answer are read as the answer to somebody else's next call (response smuggling)."""

    async def say(talker: Talker, writer: asyncio.StreamWriter) -> None:
        smuggled = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 63\r\n\r\n"
        smuggled += b'{"jsonrpc": "2.0", "id": 2, "result": {"said": "smuggled"}}    '
        writer.write(talker.answer(said="right"))
        if later:
            await asyncio.sleep(0.02)
        writer.write(smuggled)

    async with talking(say) as (talker, opened):
        for id_ in (1, 2, 3):
            assert (await _asked(opened, id_)).message["result"] == {"said": "right"}
            if later:
                await asyncio.sleep(0.05)
        assert talker.connections == 3


async def test_an_empty_line_after_the_answer() -> None:
    """Even after an empty line: a connection that carried unrequested bytes is not reused."""
    async with talking(_answering) as (talker, opened):
        await _asked(opened)
        talker.writers[0].write(b"\r\n")
        await asyncio.sleep(0.05)
        await _asked(opened, 2)
        assert talker.connections == 2


async def test_bytes_that_nobody_has_read_yet() -> None:
    """Attack: the same, timed so that the bytes are still in the socket buffer when the next call begins."""

    async with talking(_answering) as (talker, opened):
        await _asked(opened)
        (kept,) = opened._connections._kept
        kept._transport.pause_reading()  # as if the loop had not read it yet
        talker.writers[0].write(b"HTTP/1.1 200 OK\r\n")
        await asyncio.sleep(0.05)
        assert (await _asked(opened, 2)).message["result"] == {"number": 2}
        assert talker.connections == 2


@pytest.mark.parametrize(
    "said",
    [
        START + b"content-length: 1000\r\n\r\n" + BODY,
        START + b"transfer-encoding: chunked\r\n\r\n" + CHUNK[:-5],
        START + LENGTH,
    ],
)
async def test_a_connection_that_breaks_off(said: bytes) -> None:
    """A partial answer does not count, and the call is not repeated: it may have been carried out."""
    async with talking(_saying(said)) as (talker, opened):
        with pytest.raises(Unreachable):
            await _asked(opened)
        assert len(talker.asked) == 1


async def test_a_connection_closed_between_two_calls() -> None:
    """The next call opens a new connection."""

    async def say(talker: Talker, writer: asyncio.StreamWriter) -> None:
        writer.write(talker.answer())
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.close()

    async with talking(say) as (talker, opened):
        await _asked(opened)
        await asyncio.sleep(0.1)
        await _asked(opened, 2)
        assert [number for number, _, _ in talker.asked] == [1, 2]


async def test_a_connection_closed_in_the_face_of_a_call() -> None:
    """Such a call fails and is never sent again: nobody knows whether it was carried out."""

    async def say(talker: Talker, writer: asyncio.StreamWriter) -> None:
        if len(talker.asked) == 2:
            writer.close()
            return
        writer.write(talker.answer())

    async with talking(say) as (talker, opened):
        await _asked(opened)
        with pytest.raises(Unreachable):
            await _asked(opened, 2)
        assert [(number, message["id"]) for number, _, message in talker.asked] == [(1, 1), (1, 2)]


@pytest.mark.parametrize(("kept_seconds", "connections"), [(60.0, 1), (0.02, 2)])
async def test_a_connection_that_is_too_old(
    kept_seconds: float, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection is reused only for a while: the backend may be closing an old one."""
    monkeypatch.setattr(wire, "KEPT_SECONDS", kept_seconds)
    async with talking(_answering) as (talker, opened):
        await _asked(opened)
        await asyncio.sleep(0.05)
        await _asked(opened, 2)
        assert talker.connections == connections


@pytest.mark.parametrize("start", ["HTTP/1.0 200 OK", "HTTP/1.1 200 OK\r\nconnection: close"])
async def test_a_backend_that_keeps_no_connection(start: str) -> None:
    """After HTTP/1.0 or `Connection: close` the next call opens a new connection, although this one is still open."""

    async def say(talker: Talker, writer: asyncio.StreamWriter) -> None:
        writer.write(talker.answer().replace(b"HTTP/1.1 200 OK", start.encode()))

    async with talking(say) as (talker, opened):
        for id_ in (1, 2):
            await _asked(opened, id_)
        assert talker.connections == 2


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
async def test_who_leaves_closes_the_connection(how: str) -> None:
    """That tells a 2026-07-28 backend to stop; no later call gets an answer it sends after all."""

    async def say(_talker: Talker, writer: asyncio.StreamWriter) -> None:
        writer.write(START + b"transfer-encoding: chunked\r\n\r\n")

    async with talking(say) as (talker, opened):
        if how == "timed out":
            with pytest.raises(TimedOut):
                await _asked(opened, seconds=0.05)
        else:
            task = asyncio.create_task(_asked(opened))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.wait_for(talker.ended.wait(), 2)


@pytest.mark.parametrize("value", ["a\r\nx-admin: yes", "a\nb", "a\x00b", "ä"])
async def test_a_field_that_would_begin_another(value: str) -> None:
    """Attack: a line break in a value would inject a field or a request. Nothing is sent at all."""
    async with talking(_answering) as (talker, opened):
        with pytest.raises(Unreachable):
            await _asked(opened, headers={"mcp-name": value})
        with pytest.raises(Unreachable):
            await _asked(opened, headers={value: "x"})
        assert talker.asked == []


async def test_what_is_sent() -> None:
    """One head with each field once, to the path of the URL, for the host of the URL."""
    async with talking(_answering) as (talker, opened):
        await _asked(opened, headers={"authorization": "Bearer x"})
        lines = talker.asked[0][1].decode().split("\r\n")
        assert lines[0] == "POST /mcp HTTP/1.1"
        assert lines[1] == f"host: {opened.url.split('/')[2]}"
        assert lines[2:-3] == [
            "content-type: application/json",
            "accept: application/json, text/event-stream",
            "accept-encoding: identity",
            "user-agent: gatepost",
            "authorization: Bearer x",
        ]


async def test_as_many_calls_as_there_are_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more call is refused at once as busy; requests that end a session count too."""
    monkeypatch.setattr(wire, "MAX_CONNECTIONS", 2)

    async def silent(_talker: Talker, _writer: asyncio.StreamWriter) -> None:
        """No answer."""

    async with talking(silent) as (_, opened):
        tasks = [asyncio.create_task(_asked(opened)), asyncio.create_task(opened.end({}, 5))]
        await asyncio.sleep(0.05)
        with pytest.raises(Busy):
            await _asked(opened)
        with pytest.raises(Busy):
            await opened.end({}, 5)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_a_stream_that_nobody_reads() -> None:
    """While a caller reads slowly, the backend has to wait: the amount buffered is bounded."""
    sent = 0

    async def say(_talker: Talker, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {}\n\n")
        for _ in range(1000):
            writer.write(b":" * 100_000)
            await writer.drain()
            sent += 100_000

    async def hear(_message: dict[str, Any]) -> None:
        await asyncio.sleep(60)

    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}
    async with talking(say) as (_, opened):
        with pytest.raises(TimedOut):
            await opened.send(message, {}, 1, hear)
        assert sent < 50_000_000


def _tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize(
    ("name", "known", "problem"),
    [
        ("localhost", True, ""),
        ("other.example", True, "Hostname mismatch"),
        ("localhost", False, "unable to get local issuer"),
    ],
)
async def test_a_certificate(
    name: str, known: bool, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """It must be for the URL's host and from an authority that this machine trusts, or no request is sent."""
    authority, other = trustme.CA(), trustme.CA()
    (authority if known else other).cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    wire._trust.cache_clear()
    try:
        async with talking(_answering, ssl=_tls(authority, name)) as (talker, opened):
            if problem:
                with pytest.raises(Unreachable, match=problem):
                    await _asked(opened)
                assert talker.asked == []
                return
            for id_ in (1, 2):
                assert (await _asked(opened, id_)).message["result"]["number"] == id_
            assert talker.connections == 1
    finally:
        wire._trust.cache_clear()


def test_a_schema_that_refers_to_itself_at_any_depth_of_the_stack() -> None:
    """Attack: endless references are stopped by a count, well before a recursion error would panic in the library."""
    endless = Arguments({"type": "object", "$ref": "#"})

    def at(depth: int) -> str | None:
        return at(depth - 1) if depth else endless.problem({"a": 1})

    assert {at(depth) for depth in range(40)} == {
        "they are too many or too deep to be checked against the tool's schema"
    }
