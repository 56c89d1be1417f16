"""No answer is Starlette's default: refusals and failures are explained in words that help."""

import pytest

from gatepost_resource.page import ConnectPage
from tests.resource.issuer import Issuer
from tests.resource.running import Running, serving


def test_where_nothing_is_the_mcp_url_is_named(resource: Running) -> None:
    """A 404 names the MCP URL and repeats nothing of the request."""
    answer = resource.request("GET", "/mpc?x=<script>")
    assert answer.status_code == 404
    assert answer.text == f"There is nothing here. The address of the MCP server is {resource.mcp}\n"
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/healthz", "/.well-known/oauth-protected-resource"])
def test_a_method_that_an_address_does_not_take(resource: Running, path: str) -> None:
    """405 lists the methods it takes (RFC 9110 section 15.5.6)."""
    answer = resource.request("PUT", path)
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    assert answer.text == "This address does not accept that method.\n"


def test_a_fault_says_nothing_of_itself(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 with a constant text; only the log says what failed."""

    async def fails(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(ConnectPage, "answer", fails)
    with serving(issuer) as resource:
        answer = resource.request("GET", "/")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.text.startswith("The server failed, through no fault of yours.")
