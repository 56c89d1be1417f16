"""mcp-remote as its author publishes it: it puts a remote server behind standard input and output."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.by_url import ByUrl
from tests.interop.node import start
from tests.interop.terminal import NO_BROWSER, Terminal, watched
from tests.interop.traffic import Traffic
from tests.journeys.connecting import Tracked
from tests.support.oauth import answer_of
from tests.support.ports import free_port
from tests.support.processes import Deployment
from tests.support.smtp import Postbox

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "desk", "version": "1"}}


@pytest.fixture
def person(postbox: Postbox) -> Iterator[Tracked]:
    """The person at the terminal, who at first allows it only to read."""
    with Tracked("mcp-remote@example.com", postbox) as someone:
        someone.ticks = ["demo:read"]
        yield someone


@pytest.fixture
def proxy(deployment: Deployment, person: Tracked, tmp_path: Path) -> Iterator[Terminal]:
    """The program, started with the MCP URL and a port as in a configuration file."""
    environment = {"MCP_REMOTE_CONFIG_DIR": str(tmp_path), **NO_BROWSER}
    process = start("mcp-remote/dist/proxy.js", deployment.mcp, str(free_port()), cwd=tmp_path, **environment)
    with watched(process, person) as terminal:
        yield terminal


@pytest.mark.program("mcp-remote")
@pytest.mark.clause("A1", "A5.echo", "A8.rotation", "A13.unknown", "R2", "R4", "R5")
def test_it_connects_refreshes_and_steps_up(
    deployment: Deployment, person: Tracked, proxy: Terminal, tmp_path: Path
) -> None:
    """Its GET probes get the usual challenge; each later step asks the person at most once."""
    traffic = Traffic(deployment)
    proxy.request(1, "initialize", **HELLO)
    proxy.write(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
    listed = proxy.request(2, "tools/list")["result"]["tools"]
    assert [tool["name"] for tool in listed] == ["whoami", "request_access", "demo_get_help", "demo_get_time"]
    assert traffic.statuses("GET", "/mcp")[0] == 401
    assert traffic.statuses("POST", "/register") == [201]

    before = outlived(tmp_path)
    assert not call(proxy, 3, "demo_get_time")["isError"]
    assert kept(tmp_path)["refresh_token"] != before["refresh_token"]
    assert len(person.asked) == 1

    person.ticks, person.reviews = ["demo:read", "demo:echo"], True
    traffic.forget()
    assert call(proxy, 4, "demo_echo", text="now I may")["structuredContent"] == {"text": "now I may"}
    assert traffic.statuses("POST", "/mcp").count(403) == 1
    assert answer_of(person.asked[-1])["scope"] == "demo:read demo:echo"

    refused = call(proxy, 5, "demo_get_server_info")
    assert refused["isError"]
    assert "request_access" in refused["content"][0]["text"]
    assert traffic.statuses("POST", "/mcp").count(403) == 1
    assert len(person.asked) == 2


def call(proxy: Terminal, number: int, tool: str, **arguments: str) -> dict[str, Any]:
    """A tool's answer."""
    return dict(proxy.request(number, "tools/call", name=tool, arguments=arguments)["result"])


def kept(folder: Path) -> dict[str, Any]:
    """The file in which the program keeps its tokens."""
    return dict(json.loads(next(folder.rglob("*_tokens.json")).read_text(encoding="utf-8")))


def outlived(folder: Path) -> dict[str, Any]:
    """Makes it believe that its access token has expired; returns the tokens that it had."""
    tokens = kept(folder)
    next(folder.rglob("*_tokens.json")).write_text(json.dumps({**tokens, "expires_at": 1}), encoding="utf-8")
    return tokens


@pytest.mark.program("mcp-remote")
@pytest.mark.clause("A4", "A4.public", "A8.rotation")
def test_it_connects_as_the_url_of_its_metadata_document(by_url: ByUrl, person: Tracked, tmp_path: Path) -> None:
    """It does not register, and refreshes under that id."""
    url = by_url.show_script("/mcp-remote.json", "http://localhost/oauth/callback")
    environment = {"MCP_REMOTE_CONFIG_DIR": str(tmp_path), **NO_BROWSER}
    arguments = (by_url.mcp, str(free_port()), "--client-metadata-url", url)
    with watched(start("mcp-remote/dist/proxy.js", *arguments, cwd=tmp_path, **environment), person) as proxy:
        proxy.request(1, "initialize", **HELLO)
        proxy.write(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        before = outlived(tmp_path)
        assert call(proxy, 2, "whoami")["structuredContent"]["client_id"] == url
        assert kept(tmp_path)["refresh_token"] != before["refresh_token"]
    assert len(person.asked) == 1
