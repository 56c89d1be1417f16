"""R2, R3: the answers to requests without a valid token."""

import re

import httpx2
import pytest

from tests.resource.running import ERAS, LEGACY, LIST, MODERN, Running, calling, challenge


@pytest.mark.clause("R2", "R2.where", "R2.scope", "R2.no-error")
@pytest.mark.parametrize("era", ERAS)
def test_a_first_request_learns_where_to_get_a_token_and_what_to_ask_for(resource: Running, era: str) -> None:
    """Without a token: 401 with resource_metadata and the scopes of a new account, and no error."""
    response = resource.post(LIST, era=era)
    assert response.status_code == 401
    assert challenge(response) == {
        "resource_metadata": f"{resource.base}/.well-known/oauth-protected-resource/mcp",
        "scope": "demo:read demo:echo",
    }
    assert "error" not in response.json()
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.clause("R2", "R2.where")
def test_the_metadata_is_where_the_challenge_says(resource: Running) -> None:
    """resource_metadata can be fetched as given, and names this resource."""
    address = challenge(resource.post(LIST))["resource_metadata"]
    assert httpx2.get(address, trust_env=False).json()["resource"] == resource.mcp


@pytest.mark.clause("R2", "R2.invalid-token", "R2.scope")
@pytest.mark.parametrize("era", ERAS)
def test_a_bad_token_is_called_bad(resource: Running, era: str) -> None:
    """With an invalid token: the same challenge, with error=invalid_token."""
    response = resource.post(LIST, "rubbish", era)
    assert response.status_code == 401
    parameters = challenge(response)
    assert parameters["error"] == "invalid_token"
    assert parameters["error_description"]
    assert parameters["scope"] == "demo:read demo:echo"
    assert response.json()["error"] == "invalid_token"


@pytest.mark.clause("R2", "R2.invalid-token", "R3.time")
def test_an_expired_token_is_called_expired(resource: Running) -> None:
    """So that a client developer sees at once that a refresh is needed."""
    response = resource.post(LIST, resource.token(now=1_700_000_000))
    assert response.status_code == 401
    assert challenge(response)["error_description"] == "The access token expired"


@pytest.mark.clause("R3", "R3.header-alone", "R2.no-error")
@pytest.mark.parametrize("era", [LEGACY[0], MODERN])
def test_a_token_in_the_query_or_the_body_is_no_token(resource: Running, era: str) -> None:
    """Only the Authorization header is read: elsewhere tokens end up in logs and histories."""
    token = resource.token()
    headers = {"content-type": "application/json", "mcp-protocol-version": era}
    query = resource.request("POST", f"/mcp?access_token={token}", json=LIST, headers=headers)
    form = resource.request("POST", data={"access_token": token})
    cookie = resource.request("POST", json=LIST, headers={**headers, "cookie": f"access_token={token}"})
    for response in (query, form, cookie):
        assert response.status_code == 401
        assert "error" not in challenge(response)


@pytest.mark.clause("R3", "R2.no-error")
@pytest.mark.parametrize("value", ["Bearer", "Basic YTpi", "Token abc", "bearer"])
def test_an_authorization_that_is_no_bearer_counts_as_none(resource: Running, value: str) -> None:
    """Another scheme, or a bearer without a token, gets the plain challenge."""
    response = resource.request("POST", json=LIST, headers={"authorization": value})
    assert response.status_code == 401
    assert "error" not in challenge(response)


@pytest.mark.clause("R3", "R3.one-way")
def test_two_authorization_headers_are_refused(resource: Running) -> None:
    """A proxy and this server might read different ones, so neither is read."""
    pair = [("authorization", f"Bearer {resource.token()}"), ("authorization", "Bearer other")]
    response = resource.request("POST", json=LIST, headers=pair)
    assert response.status_code == 400
    assert challenge(response)["error"] == "invalid_request"


@pytest.mark.clause("R2.form")
def test_every_challenge_is_one_that_any_client_can_read(resource: Running) -> None:
    """RFC 6750 section 3: one Bearer challenge, each parameter once, quoted, in the characters it allows."""
    narrow = resource.token(scope="demo:read", entitlements=["demo:read", "demo:echo"])
    pair = [("authorization", f"Bearer {narrow}"), ("authorization", "Bearer other")]
    for response, status in (
        (resource.post(LIST), 401),
        (resource.post(LIST, "rubbish"), 401),
        (resource.post(LIST, resource.token(now=1_700_000_000)), 401),
        (resource.request("POST", json=LIST, headers=pair), 400),
        (resource.post(calling("demo_echo", text="x"), narrow), 403),
    ):
        assert response.status_code == status
        (value,) = response.headers.get_list("www-authenticate")
        assert re.fullmatch(r'Bearer [a-z_]+="[^"\\]*"(, [a-z_]+="[^"\\]*")*', value), value
        names = re.findall(r'([a-z_]+)="', value)
        assert len(names) == len(set(names)), value
        found = challenge(response)
        assert re.fullmatch(r"[\x21\x23-\x5B\x5D-\x7E]+( [\x21\x23-\x5B\x5D-\x7E]+)*", found["scope"])
        for name in ("error", "error_description"):
            assert re.fullmatch(r"[\x20-\x21\x23-\x5B\x5D-\x7E]*", found.get(name, "")), name


@pytest.mark.clause("R3.header-alone")
def test_a_token_elsewhere_changes_nothing_about_the_one_in_the_header(resource: Running) -> None:
    """OAuth 2.1 section 5.1: a token in the query is ignored, be it worse or better than the header's."""
    headers = {"accept": "application/json"}
    for inside, outside, status in ((resource.token(), "rubbish", 200), ("rubbish", resource.token(), 401)):
        sent = headers | {"authorization": f"Bearer {inside}"}
        assert resource.request("POST", f"/mcp?access_token={outside}", json=LIST, headers=sent).status_code == status


@pytest.mark.clause("R3", "R3.header")
def test_the_scheme_is_read_in_any_case(resource: Running) -> None:
    """RFC 9110, section 11.1: the scheme is case-insensitive."""
    token = resource.token()
    assert resource.post(LIST, authorization=f"bearer {token}").status_code == 200
    assert resource.post(LIST, authorization=f"BEARER {token}").status_code == 200


@pytest.mark.clause("R2")
def test_without_a_token_get_and_delete_are_challenged_too(resource: Running) -> None:
    """mcp-remote probes with GET to find the challenge."""
    for method in ("GET", "DELETE", "PUT", "PATCH"):
        response = resource.request(method, headers={"accept": "text/event-stream"})
        assert response.status_code == 401, method
        assert challenge(response)["scope"] == "demo:read demo:echo"


@pytest.mark.parametrize("era", [*ERAS, ""])
def test_with_a_token_get_and_delete_are_not_offered(resource: Running, era: str) -> None:
    """There is no stream to open and no session to end: 405 in either era."""
    headers = {"authorization": f"Bearer {resource.token()}", "accept": "text/event-stream"}
    if era:
        headers["mcp-protocol-version"] = era
    for method in ("GET", "DELETE", "PUT"):
        response = resource.request(method, headers=headers)
        assert response.status_code == 405, method
        assert response.headers["allow"] == "POST"


def test_a_slash_at_the_end_makes_no_difference_and_no_redirect(resource: Running) -> None:
    """POST /mcp/ is answered like POST /mcp: clients would lose their POST in following a redirect."""
    headers = {"authorization": f"Bearer {resource.token()}", "accept": "application/json"}
    assert resource.request("POST", "/mcp/", json=LIST).status_code == 401
    assert resource.request("POST", "/mcp/", json=LIST, headers=headers).status_code == 200
