"""E5: slow, compressed or endless requests meant to exhaust the server are cut off, and others are served."""

import gzip
import socket
import time
from collections.abc import Iterator

import httpx2
import pytest

from gatepost_idp.oneport import OnePort
from gatepost_idp.operate import guard
from tests.idp.oauth.wire import Server, page_of, refused
from tests.support.ports import free_port
from tests.support.serving import answering


def dripping(base: str, path: str, kind: str) -> bytes:
    """The answer to a body sent one byte every 50 ms, for three seconds at most."""
    port = int(base.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        head = f"POST {path} HTTP/1.1\r\nhost: localhost:{port}\r\ncontent-type: {kind}\r\ncontent-length: 500\r\n\r\n"
        line.sendall(head.encode())
        line.settimeout(0.05)
        answer, until = b"", time.monotonic() + 3
        while time.monotonic() < until:
            try:
                line.sendall(b"a")
                received = line.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            if not received:
                break
            answer += received
        return answer


@pytest.mark.clause("E5")
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/token", "application/x-www-form-urlencoded"),
        ("/register", "application/json"),
        ("/sign-in/x", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_drips_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch, path: str, kind: str) -> None:
    """The limit is for the whole body, so that a byte now and then gains no time; then the connection is closed."""
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.5)
    answer = dripping(server.base, path, kind)
    assert answer.startswith(b"HTTP/1.1 408 "), answer[:200]
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert server.get("/healthz").status_code == 200


@pytest.fixture
def one_port(server: Server) -> Iterator[str]:
    """Runs the one port of ``demo --public`` for both servers; returns its URL."""
    port = free_port()
    with answering(OnePort(server.base, server.base).application(), port):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.clause("E5")
def test_a_body_that_drips_is_cut_off_before_it_is_passed_on(one_port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The front port has the same limit: the server behind it gets a body only once it is complete."""
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.5)
    assert dripping(one_port, "/token", "application/json").startswith(b"HTTP/1.1 408 ")
    assert httpx2.get(f"{one_port}/healthz", trust_env=False).status_code == 200


@pytest.mark.clause("E5")
@pytest.mark.parametrize("path", ["/token", "/mcp"])
def test_a_huge_body_is_refused_before_it_is_passed_on(one_port: str, path: str) -> None:
    """After the first mebibyte, whatever is still to come: nothing accumulates here."""
    port = int(one_port.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        line.sendall(f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 400000000\r\n\r\n".encode())
        line.sendall(b"a" * (2**20 + 1))
        assert line.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.clause("E5")
@pytest.mark.parametrize(("path", "error"), [("/token", "invalid_request"), ("/register", "invalid_client_metadata")])
def test_a_packed_body_is_never_opened(server: Server, path: str, error: str) -> None:
    """A decompression bomb of some kilobytes stays what it is: bytes that are neither a form nor JSON."""
    bomb = gzip.compress(b" " * 100_000_000, 9)[:200_000]
    kind = "application/json" if path == "/register" else "application/x-www-form-urlencoded"
    before = time.monotonic()
    refused(server.raw(path, bomb, content_type=kind, content_encoding="gzip"), error)
    assert time.monotonic() - before < 1


@pytest.mark.clause("E5")
def test_ten_thousand_fields_in_a_form_are_refused(server: Server) -> None:
    """They are refused before any of them is read."""
    body = b"&".join(b"a%d=1" % number for number in range(10_000))
    page_of(server.raw("/sign-in/x", body))
    refused(server.raw("/token", body), "invalid_request")


@pytest.mark.clause("E5")
@pytest.mark.parametrize("size", [900, 100_000])
def test_deep_json_is_refused(server: Server, size: int) -> None:
    """Whether deeper than a parser's stack or just below it; no metadata is that deep."""
    refused(server.raw("/register", b"[" * size + b"]" * size, content_type="application/json"),
            "invalid_client_metadata")  # fmt: skip
