"""Whatever names, schemes and paths a caller claims, documents, challenges, pages and tools' answers stay the same."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.resource.issuer import Issuer
from tests.resource.running import LIST, Running, calling, serving
from tests.support.forwarded import FORWARDED, masked

PUBLIC: dict[str, Any] = {"oauth_issuer": "https://auth.example.com", "mcp_resource_url": "https://mcp.example.com/mcp"}
METADATA = "/.well-known/oauth-protected-resource"
PAGES = {"accept": "text/html"}
JSON = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
BAD_TOKEN = {**JSON, "authorization": "Bearer nonsense"}
INSPECTOR = {"access-control-request-method": "POST", "origin": "https://claude.ai"}

ASKED: list[tuple[str, str, dict[str, str], Any]] = [
    ("GET", METADATA, {}, None),
    ("GET", f"{METADATA}/mcp", {}, None),
    ("GET", f"{METADATA}/mcp/", {}, None),
    ("GET", "/", PAGES, None),
    ("GET", "/mcp", PAGES, None),
    ("GET", "/mcp/", PAGES, None),
    ("GET", "/nothing", PAGES, None),
    ("OPTIONS", "/mcp", INSPECTOR, None),
    ("POST", "/mcp", JSON, LIST),
    ("POST", "/mcp", BAD_TOKEN, LIST),
    ("POST", "/mcp", {**JSON, "origin": "https://evil.example"}, LIST),
    ("DELETE", "/mcp", {}, None),
]


@pytest.fixture(scope="module", params=["", "127.0.0.0/8", "0.0.0.0/0"], ids=["outside", "inside", "anywhere"])
def trusting(request: pytest.FixtureRequest, shared_issuer: Issuer) -> Iterator[Running]:
    """A server that trusts no proxies, its neighbours, or everybody."""
    with serving(shared_issuer, trusted_proxies=tuple(filter(None, [request.param]))) as running:
        yield running


@pytest.fixture(scope="module")
def public(shared_issuer: Issuer) -> Iterator[Running]:
    """A server whose public name is not this machine's, behind a proxy that it trusts."""
    with serving(shared_issuer, ready=False, trusted_proxies=("127.0.0.1",), **PUBLIC) as running:
        yield running


def told(server: Running, asked: tuple[str, str, dict[str, str], Any], **extensions: Any) -> str:
    """The whole answer, without the date and its random parts."""
    method, path, headers, body = asked
    sent = headers | (FORWARDED if extensions else {})
    content = json.dumps(body).encode() if body else None
    answer = server.request(method, path, headers=sent, content=content, extensions=extensions)
    return shown(answer)


def shown(answer: httpx2.Response) -> str:
    """Status, headers except the date, and body."""
    kept = [f"{name}: {value}" for name, value in answer.headers.multi_items() if name != "date"]
    whole = "\n".join([str(answer.status_code), *kept, "", answer.text])
    assert "evil" not in whole
    assert "203.0.113.9" not in whole
    return masked(whole)


@pytest.mark.clause("R1", "R2", "R6")
@pytest.mark.parametrize("asked", ASKED, ids=[f"{number}-{asked[1]}" for number, asked in enumerate(ASKED)])
def test_no_header_and_no_request_line_changes_an_answer(
    trusting: Running, public: Running, asked: tuple[str, str, dict[str, str], Any]
) -> None:
    """Whether or not it comes from a trusted proxy; nor does another host in the request line (RFC 9112 3.2.2)."""
    for server in (trusting, public):
        plain = told(server, asked)
        assert told(server, asked, target=asked[1].encode()) == plain
        assert told(server, asked, target=b"http://evil.example" + asked[1].encode()) == plain


@pytest.mark.clause("R4", "R5")
@pytest.mark.parametrize("tool", ["demo_get_help", "whoami", "request_access", "demo_get_server_info"])
def test_no_header_changes_what_a_tool_says(trusting: Running, tool: str) -> None:
    """Account-page links and server names are the operator's; a step-up's challenge does not change either."""
    headers = {**JSON, "authorization": f"Bearer {trusting.token()}"}
    asked = ("POST", "/mcp", headers, calling(tool))
    assert told(trusting, asked, target=b"http://evil.example/mcp") == told(trusting, asked)
