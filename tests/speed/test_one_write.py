"""Each of the server's answers is sent in one write, and nothing in it is lost or late."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from gatepost_idp.operate.one_write import Gathering, OneWrite

BIG = b"x" * 3_000_000


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    body = BIG if scope["path"] == "/big" else b"small"
    length = [] if scope["path"] == "/chunked" else [(b"content-length", str(len(body)).encode())]
    if scope["path"] == "/fault":
        raise RuntimeError
    await send({"type": "http.response.start", "status": 200, "headers": length})
    if scope["path"] == "/chunked":
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await asyncio.sleep(0.2)
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def _served() -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(_app, http=OneWrite, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await running


async def _asked(port: int, *paths: str, close: bool = True) -> bytes:
    """The answers to requests sent together on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    last = "connection: close\r\n" if close else ""
    heads = [f"GET {path} HTTP/1.1\r\nhost: x\r\n{last if path == paths[-1] else ''}\r\n" for path in paths]
    writer.write("".join(heads).encode())
    try:
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()


async def test_an_answer_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body together: half the system calls, and one segment if it fits."""
    written: list[bytes] = []
    flush = Gathering._flush

    def counting(transport: Gathering) -> None:
        written.append(b"".join(transport._held))
        flush(transport)

    monkeypatch.setattr(Gathering, "_flush", counting)
    async with _served() as port:
        await _asked(port, "/small")
    assert [one.endswith(b"\r\n\r\nsmall") for one in written if one] == [True]


async def test_what_is_held_goes_out_before_a_connection_closes() -> None:
    """A large body, several answers in order, a fault: all of it arrives, then the end."""
    async with _served() as port:
        assert (await _asked(port, "/big")).endswith(b"\r\n\r\n" + BIG)
        assert (await _asked(port, "/small", "/big", "/end")).count(b"HTTP/1.1 200") == 3
        assert (await _asked(port, "/fault", close=False)).startswith(b"HTTP/1.1 500")


async def test_nothing_waits_for_more_to_come() -> None:
    """The first part of a streamed answer is sent while the rest is made."""
    async with _served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /chunked HTTP/1.1\r\nhost: x\r\n\r\n")
        first: Any = await asyncio.wait_for(reader.readuntil(b"first\r\n"), 20)
        assert b"small" not in first
        assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 20) == b"5\r\nsmall\r\n0\r\n\r\n"
        writer.close()
