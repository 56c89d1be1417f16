"""R6: which Host is answered, which Origin may call, and which CORS headers a browser gets."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.resource.issuer import Issuer
from tests.resource.running import LIST, Running, serving

PUBLIC: dict[str, Any] = {
    "oauth_issuer": "https://auth.example.com",
    "mcp_resource_url": "https://mcp.example.com/mcp",
    "allowed_hosts": ("inside.example", "10.0.0.5:8080"),
    "resource_host": ("192.0.2.7",),
}


@pytest.fixture(scope="module")
def public(shared_issuer: Issuer) -> Iterator[Running]:
    """A server whose public name is not this machine's."""
    with serving(shared_issuer, ready=False, **PUBLIC) as running:
        yield running


@pytest.mark.clause("R6")
@pytest.mark.parametrize(
    "host",
    [
        "mcp.example.com",
        "MCP.example.COM",
        "mcp.example.com:443",
        "localhost",
        "localhost:9001",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:9001",
        "192.0.2.7:9001",
        "inside.example",
        "inside.example:80",
        "10.0.0.5:8080",
    ],
)
def test_our_names_are_answered(public: Running, host: str) -> None:
    """The public host, loopback, the bind address and ALLOWED_HOSTS, in any case and on any port."""
    assert public.post(LIST, host=host).status_code == 401


@pytest.mark.clause("R6")
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "mcp.example.com.evil.example",
        "evil.mcp.example.com",
        "mcp.example.com@evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.5:9999",
        "10.0.0.5",
        "auth.example.com",
        "::1.evil",
        "[::2]",
        "localhost:80:80",
        "mcp.example.com:evil",
        "-",
    ],
)
def test_other_names_are_misdirected(public: Running, host: str) -> None:
    """421 in plain words, before anything else: a rebound name gets nothing, not even a challenge."""
    for path in ("/mcp", "/", "/.well-known/oauth-protected-resource"):
        response = public.request("GET", path, headers={"host": host})
        assert response.status_code == 421, path
        assert response.headers["content-type"].startswith("text/plain")
        assert "www-authenticate" not in response.headers


def test_two_hosts_are_none(public: Running) -> None:
    """Two Host headers are refused, whichever is ours."""
    host, port = public.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: mcp.example.com\r\nHost: evil.example\r\n\r\n")
        assert connection.recv(200).split(b" ")[1] in (b"400", b"421")


def test_no_host_is_none(public: Running) -> None:
    """HTTP/1.0 allows a request without Host; it is refused all the same."""
    host, port = public.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(200).split(b" ")[1] in (b"400", b"421")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_may_come_to_any_name(public: Running, path: str) -> None:
    """An orchestrator asks whatever address the container has."""
    assert public.request("GET", path, headers={"host": "10.9.8.7:1234"}).status_code in (200, 503)


@pytest.mark.clause("R6")
@pytest.mark.parametrize("origin", ["https://claude.ai", "https://claude.com", "https://mcp.example.com"])
def test_allowed_origins_may_call(public: Running, origin: str) -> None:
    """ALLOWED_ORIGINS and the resource's own may call; each is named in the answer, without credentials."""
    response = public.post(LIST, origin=origin, host="mcp.example.com")
    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == origin
    assert "origin" in response.headers["vary"].lower()
    assert "access-control-allow-credentials" not in response.headers
    exposed = response.headers["access-control-expose-headers"].lower()
    assert "www-authenticate" in exposed
    assert "mcp-session-id" in exposed


@pytest.mark.clause("R6")
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://claude.ai",
        "https://claude.ai.evil.example",
        "https://claude.ai:8443",
        "https://xclaude.ai",
        "http://localhost:6274",
        "https://auth.example.com",
        "https://CLAUDE.ai",
        "file://",
    ],
)
def test_foreign_origins_are_refused(public: Running, origin: str) -> None:
    """403 for the call and for its preflight, without CORS headers."""
    response = public.post(LIST, origin=origin, host="mcp.example.com")
    asked = {"origin": origin, "access-control-request-method": "POST", "host": "mcp.example.com"}
    flight = public.request("OPTIONS", headers=asked)
    for answer in (response, flight):
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.clause("R6")
@pytest.mark.parametrize(
    "origin", ["http://localhost:6274", "http://127.0.0.1:5173", "http://[::1]:80", "https://localhost"]
)
def test_on_loopback_every_loopback_origin_may_call(resource: Running, origin: str) -> None:
    """MCP Inspector, for one, runs on another port."""
    assert resource.post(LIST, origin=origin).headers["access-control-allow-origin"] == origin


@pytest.mark.clause("R6")
@pytest.mark.parametrize("origin", ["http://localhost.evil.example", "http://127.0.0.1.evil.example", "null"])
def test_on_loopback_no_other_origin_may_call(resource: Running, origin: str) -> None:
    """A web page on the Internet must not reach a server on the visitor's own machine."""
    assert resource.post(LIST, resource.token(), origin=origin).status_code == 403


def test_the_preflight_allows_what_clients_send(resource: Running) -> None:
    """Every header of both eras, including those that a tool declares for its arguments."""
    wanted = (
        "authorization, content-type, accept, mcp-protocol-version, mcp-session-id, last-event-id, mcp-method,"
        " mcp-name, mcp-param-region"
    )
    headers = {
        "origin": "http://localhost:6274",
        "access-control-request-method": "POST",
        "access-control-request-headers": f"{wanted}, cookie, x-evil",
    }
    response = resource.request("OPTIONS", headers=headers)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "http://localhost:6274"
    allowed = {name.strip() for name in response.headers["access-control-allow-headers"].lower().split(",")}
    assert allowed == {name.strip() for name in wanted.split(",")}
    assert {"GET", "POST", "DELETE"} <= set(response.headers["access-control-allow-methods"].split(", "))


def test_a_call_from_a_web_page_goes_through(resource: Running) -> None:
    """With an allowed origin and a valid token it gets the answer, with its CORS headers."""
    response = resource.post(LIST, resource.token(), origin="http://localhost:6274")
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "http://localhost:6274"
