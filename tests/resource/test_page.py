"""The page for a person who opens the MCP URL, and what keeps it harmless."""

import base64
import hashlib
import re

import pytest

from tests.resource.issuer import Issuer
from tests.resource.running import Running, serving

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PUBLIC_ISSUER, PUBLIC_MCP = "https://auth.example.com", "https://mcp.example.com/mcp"


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/"])
def test_a_browser_gets_a_page_that_says_what_to_do(resource: Running, path: str) -> None:
    """It has the URL to paste, the command for Claude Code and the link to the issuer."""
    response = resource.request("GET", path, headers=BROWSER)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert resource.mcp in response.text
    assert f"claude mcp add --transport http gatepost {resource.mcp}" in response.text
    assert f'href="{resource.issuer.url}/"' in response.text
    assert response.text.count("<h1") == 1


def test_it_promises_no_client_what_it_cannot_do(resource: Running, issuer: Issuer) -> None:
    """Claude connects from its own servers, so it cannot take a loopback URL; /connect has every client."""
    page = resource.request("GET", "/", headers=BROWSER).text
    assert "Add custom connector" not in page
    assert f'href="{resource.issuer.url}/connect"' in page
    with serving(issuer, ready=False, oauth_issuer=PUBLIC_ISSUER, mcp_resource_url=PUBLIC_MCP) as public:
        page = public.request("GET", "/", headers=BROWSER).text
    assert "Add custom connector" in page
    assert f'href="{PUBLIC_ISSUER}/connect"' in page


def test_the_page_brings_everything_along_and_runs_nothing(resource: Running) -> None:
    """No script, no external asset, a policy that allows its one stylesheet by digest, and no framing."""
    response = resource.request("GET", "/", headers=BROWSER)
    policy = response.headers["content-security-policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script" not in response.text
    assert not re.findall(r'(?:src|url)\s*[=(]\s*["\']?http', response.text)
    assert len(response.content) < 20_000
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "headers",
    [
        {"accept": "text/event-stream"},
        {"accept": "application/json, text/event-stream"},
        {"accept": "*/*"},
        {"accept": "text/html, text/event-stream"},
        {},
        {**BROWSER, "authorization": "Bearer x"},
    ],
)
def test_a_client_never_gets_the_page(resource: Running, headers: dict[str, str]) -> None:
    """mcp-remote and the SDKs probe with GET and must find the challenge."""
    assert resource.request("GET", headers=headers).status_code == 401


def test_a_post_never_gets_the_page(resource: Running) -> None:
    """Whatever its Accept header says."""
    assert resource.request("POST", headers=BROWSER).status_code == 401


def test_what_the_operator_wrote_is_text(issuer: Issuer) -> None:
    """A service name that contains markup is escaped."""
    with serving(issuer, service_name="<img src=x> & $url", support_email="help@example.com") as resource:
        page = resource.request("GET", "/", headers=BROWSER).text
    assert "<img" not in page
    assert "&lt;img src=x&gt; &amp; $url" in page
    assert "mailto:help@example.com" in page


def test_health_and_readiness_say_no_more_than_that(resource: Running) -> None:
    """Only ready or not; no host, no version."""
    assert resource.request("GET", "/healthz").text == "ok\n"
    assert resource.request("GET", "/readyz").text == "ready\n"
    assert "server" not in resource.request("GET", "/healthz").headers
