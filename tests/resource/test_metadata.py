"""R1: RFC 9728 metadata, at both of its addresses, byte for byte."""

from pathlib import Path

import pytest

from tests.resource.issuer import Issuer, issuing
from tests.resource.running import LIST, Running, challenge, serving

WELL_KNOWN = "/.well-known/oauth-protected-resource"


@pytest.mark.clause("R1")
@pytest.mark.parametrize("path", [WELL_KNOWN, f"{WELL_KNOWN}/mcp", f"{WELL_KNOWN}/mcp/"])
def test_the_metadata_stands_at_the_root_and_under_the_path(resource: Running, path: str) -> None:
    """Each address has the same document, with the URLs as the operator wrote them."""
    response = resource.request("GET", path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "resource": resource.mcp,
        "authorization_servers": [resource.issuer.url],
        "scopes_supported": ["demo:read", "demo:echo", "demo:ops"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Example tools",
    }


@pytest.mark.clause("R1")
@pytest.mark.parametrize("path", [WELL_KNOWN, f"{WELL_KNOWN}/mcp"])
def test_any_web_page_may_read_the_metadata(resource: Running, path: str) -> None:
    """CORS with `*`, without credentials; the preflight allows the header that Inspector adds."""
    origin = {"origin": "https://anywhere.example"}
    read = resource.request("GET", path, headers=origin)
    assert read.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in read.headers
    asked = {"access-control-request-method": "GET", "access-control-request-headers": "mcp-protocol-version"}
    flight = resource.request("OPTIONS", path, headers=origin | asked)
    assert flight.status_code == 204
    assert flight.headers["access-control-allow-origin"] == "*"
    assert "mcp-protocol-version" in flight.headers["access-control-allow-headers"].lower()


def test_head_answers_like_get(resource: Running) -> None:
    """Gemini probes discovery with HEAD."""
    response = resource.request("HEAD", WELL_KNOWN)
    assert response.status_code == 200
    assert response.content == b""


@pytest.mark.clause("R1")
@pytest.mark.parametrize(
    ("path", "inserted"),
    [
        ("/tools/v1/mcp", f"{WELL_KNOWN}/tools/v1/mcp"),
        ("/mcp/", f"{WELL_KNOWN}/mcp"),
        ("/", WELL_KNOWN),
        ("", WELL_KNOWN),
    ],
)
def test_the_resource_may_have_any_path(path: str, inserted: str) -> None:
    """Metadata, challenge, audience and endpoint follow MCP_RESOURCE_URL, including a trailing slash."""
    with issuing("/auth") as issuer, serving(issuer, path=path) as resource:
        document = resource.request("GET", inserted).json()
        assert document["resource"] == resource.mcp
        assert document["authorization_servers"] == [issuer.url]
        assert challenge(resource.request("POST", path or "/", json=LIST))["resource_metadata"] == (
            resource.base + inserted
        )
        assert resource.post(LIST, resource.token()).status_code == 200, "a proxy that strips the path"
        headers = {"authorization": f"Bearer {resource.token()}", "accept": "application/json"}
        if path not in ("", "/"):
            assert resource.request("POST", path, json=LIST, headers=headers).status_code == 200


@pytest.mark.clause("R1.no-empty", "R2.form")
def test_a_resource_without_scopes_names_none(tmp_path: Path, issuer: Issuer) -> None:
    """RFC 9728 section 3.2 and RFC 6749 section 3.3: neither an empty array nor an empty scope."""
    path = tmp_path / "catalogue.toml"
    path.write_text('[[resource]]\nname = "Nothing to ask for"\n')
    with serving(issuer, catalogue=path) as resource:
        assert "scopes_supported" not in resource.request("GET", WELL_KNOWN).json()
        assert challenge(resource.post(LIST)).keys() == {"resource_metadata"}


@pytest.mark.clause("R1.nowhere-else")
def test_an_unknown_path_is_not_found(resource: Running) -> None:
    """A path that is not this resource has no metadata, or a client could take it for another resource's."""
    for path in (f"{WELL_KNOWN}/other", "/nothing", "/.well-known/oauth-authorization-server"):
        assert resource.request("GET", path).status_code == 404, path
