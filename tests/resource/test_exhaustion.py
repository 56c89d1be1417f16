"""Slow or compressed requests meant to exhaust the resource server are cut off, and others are served."""

import asyncio
import gzip
import json
import socket
import time

import pytest
from starlette.types import Message, Receive, Scope, Send

from gatepost_resource import slow_bodies
from gatepost_resource.slow_bodies import SlowBodies
from tests.resource.running import LIST, Running


def dripping(resource: Running, token: str) -> bytes:
    """The answer to a body sent one byte every 50 ms, for three seconds at most."""
    port = int(resource.base.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        head = f"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {token}\r\n"
        line.sendall(f"{head}content-type: application/json\r\ncontent-length: 500\r\n\r\n".encode())
        line.settimeout(0.05)
        answer, until = b"", time.monotonic() + 3
        while time.monotonic() < until:
            try:
                line.sendall(b" ")
                received = line.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            if not received:
                break
            answer += received
        return answer


def test_a_body_that_drips_is_cut_off(resource: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is for the whole body, so that sending a byte now and then gains no time, even with a valid token."""
    monkeypatch.setattr(slow_bodies, "BODY_SECONDS", 0.5)
    answer = dripping(resource, resource.token())
    assert answer.startswith(b"HTTP/1.1 408 "), answer[:200]
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert resource.post(LIST, resource.token()).status_code == 200


async def test_a_slow_answer_is_no_slow_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the body is complete the limit is off: the application may wait for a disconnect for any time."""
    monkeypatch.setattr(slow_bodies, "BODY_SECONDS", 0.1)
    sent: list[Message] = []

    async def receive() -> Message:
        if not watching.is_set():
            watching.set()
            return {"type": "http.request", "body": b"{}"}
        await asyncio.sleep(0.3)
        return {"type": "http.disconnect"}

    async def slowly(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200})

    async def send(message: Message) -> None:
        sent.append(message)

    watching = asyncio.Event()
    await SlowBodies(slowly)({"type": "http"}, receive, send)
    assert [message["status"] for message in sent] == [200]


def test_a_packed_body_is_never_opened(resource: Running) -> None:
    """A decompression bomb of some kilobytes stays what it is: bytes that are not JSON."""
    bomb = gzip.compress(json.dumps(LIST).encode() + b" " * 100_000_000, 9)
    assert len(bomb) < 200_000
    before = time.monotonic()
    answer = resource.post(bomb, resource.token(), content_encoding="gzip")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32700)
    assert time.monotonic() - before < 1


def test_ten_thousand_arguments_are_refused_or_answered_at_once(resource: Running) -> None:
    """Ten thousand arguments to a tool that takes one."""
    before = time.monotonic()
    answer = resource.call("demo_get_time", resource.token(), **{f"a{number}": "x" for number in range(10_000)})
    assert answer.status_code == 200
    assert time.monotonic() - before < 1
