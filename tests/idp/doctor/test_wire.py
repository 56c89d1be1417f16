"""HTTP servers that drip, hang up, flood and never end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import trustme

from gatepost_idp.operate.doctor.outside.wire import MAX_BODY_BYTES, Answer, Unanswered, Wire
from tests.faults.mailservers import Talk, listening_to
from tests.idp.doctor.deployment import Names

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


def asked(talk: Talk, questions: int = 1, patience: float = 5.0) -> Answer:
    """The last answer of a server that behaves so, after that many requests to as many addresses."""

    async def run(url: str) -> Answer:
        network = Names(trustme.CA(), patience=patience)
        wire = Wire(network)
        try:
            return [await wire.ask("GET", f"{url}/{number}") for number in range(questions)][-1]
        finally:
            await wire.aclose()

    with listening_to(talk) as port:
        return asyncio.run(run(f"http://localhost:{port}"))


def test_a_connection_that_ends_at_its_next_use() -> None:
    """A server may close a kept connection just when it is reused: the request is repeated, and it is no fault."""
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"content-length: 2\r\n\r\nok")
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")  # and not a word more on this one

    assert asked(talk, questions=2).body == b"ok"
    assert connections == 2


def test_a_server_that_always_hangs_up() -> None:
    """Two tries are enough."""
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")

    with pytest.raises(Unanswered) as caught:
        asked(talk)
    assert (caught.value.reason, connections) == ("broken", 2)


def _endlessly(write: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"\r\n")
        while True:
            await write(writer)

    return talk


def test_a_server_that_drips() -> None:
    """The time limit is for the whole answer, not for each byte."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.05)

    with pytest.raises(Unanswered) as caught:
        asked(_endlessly(drip), patience=0.5)
    assert caught.value.reason == "late"


def test_a_server_that_floods() -> None:
    """An answer that is too long is not read to its end."""

    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 65536)
        await writer.drain()

    assert len(asked(_endlessly(flood)).body) < 2 * MAX_BODY_BYTES


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100])
def test_a_server_that_speaks_something_else(said: bytes) -> None:
    """It is reported, not raised."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.readuntil(b"\r\n\r\n")

    with pytest.raises(Unanswered) as caught:
        asked(talk)
    assert caught.value.reason == "broken"
