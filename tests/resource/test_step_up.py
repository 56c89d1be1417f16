"""R4: a call that the person could make with more scopes is answered so that the client can ask for them."""

import pytest

from tests.resource.running import ERAS, LIST, Running, calling, challenge

ALL = ["demo:read", "demo:echo", "demo:ops"]


@pytest.mark.clause("R4")
@pytest.mark.parametrize("era", ERAS)
def test_a_scope_that_is_held_but_not_granted_is_challenged(resource: Running, era: str) -> None:
    """403 insufficient_scope as an HTTP answer, with the needed scope and those the token already has."""
    token = resource.token(scope="demo:read", entitlements=["demo:read", "demo:echo"])
    response = resource.call("demo_echo", token, era, text="x")
    assert response.status_code == 403
    assert response.json()["error"] == "insufficient_scope"
    parameters = challenge(response)
    assert parameters["error"] == "insufficient_scope"
    assert parameters["scope"] == "demo:read demo:echo"
    assert parameters["resource_metadata"].endswith("/.well-known/oauth-protected-resource/mcp")


@pytest.mark.clause("R4")
def test_the_challenge_keeps_what_the_token_has(resource: Running) -> None:
    """A client that replaces its scopes with the challenge's loses none, not even one outside the catalogue."""
    token = resource.token(scope="openid demo:echo email", entitlements=ALL)
    asked = challenge(resource.call("demo_get_server_info", token))["scope"]
    assert asked == "demo:echo demo:ops email openid"


@pytest.mark.clause("R4")
@pytest.mark.parametrize("era", ERAS)
def test_with_the_scope_the_same_call_goes_through(resource: Running, era: str) -> None:
    """The scopes that the challenge asks for are enough."""
    refused = resource.call("demo_get_server_info", resource.token(scope="demo:read", entitlements=ALL), era)
    granted = resource.token(scope=challenge(refused)["scope"], entitlements=ALL)
    answer = resource.call("demo_get_server_info", granted, era)
    assert answer.status_code == 200
    assert "isError" not in answer.json()["result"] or answer.json()["result"]["isError"] is False


@pytest.mark.clause("R4")
@pytest.mark.parametrize("era", ERAS)
def test_listing_never_challenges(resource: Running, era: str) -> None:
    """Only a call is challenged: a list shows what the scopes allow."""
    assert resource.post(LIST, resource.token(scope="", entitlements=ALL), era).status_code == 200


@pytest.mark.clause("R4", "R5")
def test_a_call_that_hides_from_the_challenge_is_refused_by_mcp_itself(resource: Running) -> None:
    """The 403 is an offer, the check inside MCP decides: a second `name` or a batch reaches no hidden tool."""
    token = resource.token(scope="demo:read", entitlements=ALL)
    twice = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call",'
        b'"params":{"name":"demo_get_server_info","arguments":{},"name":"demo_get_time"}}'
    )
    other = twice.replace(b'"demo_get_time"', b'"x"').replace(b'"demo_get_server_info"', b'"demo_get_time"')
    other = other.replace(b'"x"', b'"demo_get_server_info"')
    batch = resource.post([calling("demo_get_server_info")], token)
    for response in (resource.post(twice, token), resource.post(other, token), batch):
        assert response.status_code < 500
        assert "uptime_seconds" not in response.text


def test_a_browser_client_can_read_the_challenge(resource: Running) -> None:
    """CORS exposes WWW-Authenticate on 401 and 403; without it Inspector could not step up."""
    token = resource.token(scope="demo:read", entitlements=ALL)
    for bearer in (None, token):
        response = resource.post(calling("demo_echo", text="x"), bearer, origin="http://localhost:6274")
        assert response.status_code in (401, 403)
        assert response.headers["access-control-allow-origin"] == "http://localhost:6274"
        assert "www-authenticate" in response.headers["access-control-expose-headers"].lower()
