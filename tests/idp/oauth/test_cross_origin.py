"""A14: endpoints for programs are open to every origin, without credentials; pages for people to none."""

import pytest

from tests.idp.oauth.wire import Server, authorize
from tests.support.oauth import TestClient

WELL_KNOWN = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
OPEN = [("GET", path) for path in (*WELL_KNOWN, "/jwks.json")] + [
    ("POST", p) for p in ("/token", "/register", "/revoke")
]
ORIGIN = {"origin": "https://inspector.example"}


def origins(headers: object) -> list[str]:
    """Every Access-Control-Allow-Origin: a browser that gets two refuses the answer."""
    return list(headers.get_list("access-control-allow-origin"))  # type: ignore[attr-defined]  # httpx2's Headers


@pytest.mark.clause("A14.open")
@pytest.mark.parametrize(("method", "path"), OPEN)
def test_a_web_page_may_read_what_is_meant_for_programs(server: Server, method: str, path: str) -> None:
    """One `*`, errors included, never with credentials; a challenge can be read."""
    answer = server.request(method, path, headers=ORIGIN)
    assert answer.status_code in (200, 400, 401)
    assert origins(answer.headers) == ["*"]
    assert "access-control-allow-credentials" not in answer.headers
    assert "www-authenticate" in answer.headers["access-control-expose-headers"].lower()


@pytest.mark.clause("A14.preflight")
@pytest.mark.parametrize(("method", "path"), [*OPEN, ("POST", "/token/")])
def test_a_preflight_allows_the_headers_that_clients_send(server: Server, method: str, path: str) -> None:
    """Exactly one Access-Control-Allow-Origin: browsers refuse an answer that has it twice."""
    asked = {"access-control-request-method": method, "access-control-request-headers": "mcp-protocol-version"}
    answer = server.request("OPTIONS", path, headers={**ORIGIN, **asked})
    assert answer.status_code == 204
    assert origins(answer.headers) == ["*"]
    assert method in answer.headers["access-control-allow-methods"]
    allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert {"authorization", "content-type", "mcp-protocol-version"} <= allowed
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.clause("A14.pages")
@pytest.mark.parametrize(
    "path", ["/", "/authorize", "/sign-in/x", "/consent/x", "/sign-in/link", "/nothing", "/healthz"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_no_other_origin_may_read_a_page(server: Server, method: str, path: str) -> None:
    """A page contains one person's address and forms."""
    answer = server.request(method, path, headers={**ORIGIN, "access-control-request-method": "POST"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.clause("A14.pages")
def test_no_other_origin_may_read_where_authorize_leads(client: TestClient) -> None:
    """The 303 to the sign-in, and the 302 with an error."""
    for answer in (authorize(client), authorize(client, response_type="token", prompt="none")):
        assert answer.status_code in (302, 303)
        assert origins(answer.headers) == []
