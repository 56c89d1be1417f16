"""One whole run over plain HTTP, in a client's order, checking each answer; no client library hides an error."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from tests.journeys.transcript import render
from tests.journeys.wire import CALLBACK, SCOPES, Exchange, Wire, whole_run
from tests.support.person import Person
from tests.support.processes import Deployment
from tests.support.smtp import Postbox, code_of

EMAIL = "wire@example.com"


@pytest.fixture(scope="module")
def run(deployment: Deployment, postbox: Postbox) -> Iterator[Wire]:
    """The run, made once and checked by every test here."""
    with Person(EMAIL, postbox) as person:
        yield whole_run(deployment.mcp, person)


def _of(run: Wire, by: str) -> list[Exchange]:
    return [exchange for exchange in run.exchanges if exchange.by == by]


def _client(run: Wire, address: str, number: int = 0) -> httpx2.Response:
    return [exchange.response for exchange in _of(run, "client") if exchange.address == address][number]


def test_a_first_connection_takes_these_requests_and_no_more(run: Wire) -> None:
    """The client's requests and answers, in order; each one adds to its person's wait."""
    made = [(exchange.address, exchange.response.status_code) for exchange in _of(run, "client")]
    assert made == [
        ("POST /mcp", 401),
        ("GET /.well-known/oauth-protected-resource/mcp", 200),
        ("GET /.well-known/oauth-authorization-server", 200),
        ("POST /register", 201),
        ("POST /token", 200),
        ("POST /mcp", 200),
        ("POST /mcp", 200),
        ("POST /mcp", 200),
        ("POST /token", 200),
        ("POST /mcp", 200),
    ]


@pytest.mark.clause("A1.see-other")
def test_the_person_meets_three_forms(run: Wire) -> None:
    """Address, code, consent; each form is answered by a 303, and the last page is a 200 that goes on by itself."""
    steps = [(exchange.address, exchange.response.status_code) for exchange in _of(run, "browser")]
    shape = [(re.sub(r"/[\w-]{12,}", "/ID", address), status) for address, status in steps]
    assert shape == [
        ("GET /authorize", 303),
        ("GET /sign-in/ID", 200),
        ("POST /sign-in/ID", 303),
        ("GET /sign-in/ID/ID", 200),
        ("POST /sign-in/ID/ID/code", 303),
        ("GET /consent/ID", 200),
        ("POST /consent/ID", 200),
    ]


@pytest.mark.clause("R2", "R2.where", "R2.scope", "R2.no-error")
def test_the_challenge_names_the_metadata_and_the_scopes_to_ask_for(run: Wire, deployment: Deployment) -> None:
    """RFC 9728 section 5.1; no error, since no token came."""
    base = deployment.mcp.removesuffix("/mcp")
    found = _client(run, "POST /mcp").headers["www-authenticate"]
    assert found == f'Bearer resource_metadata="{base}/.well-known/oauth-protected-resource/mcp", scope="{SCOPES}"'


@pytest.mark.clause("R1")
def test_the_resource_says_who_it_is_and_whom_it_trusts(run: Wire, deployment: Deployment) -> None:
    """`resource` is the pasted URL, and the named issuer is the one that signs, byte for byte."""
    document = _client(run, "GET /.well-known/oauth-protected-resource/mcp").json()
    assert document["resource"] == deployment.mcp
    assert document["authorization_servers"] == [deployment.issuer]
    assert document["bearer_methods_supported"] == ["header"]


@pytest.mark.clause("A1", "A2", "A6")
def test_the_issuer_says_what_a_client_needs(run: Wire, deployment: Deployment) -> None:
    """Every endpoint is below the issuer; S256 only, `none` among the auth methods, and `iss` is announced."""
    answer = _client(run, "GET /.well-known/oauth-authorization-server")
    document = answer.json()
    assert document["issuer"] == deployment.issuer
    for name in ("authorization_endpoint", "token_endpoint", "registration_endpoint", "jwks_uri"):
        assert document[name].startswith(f"{deployment.issuer}/")
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert "none" in document["token_endpoint_auth_methods_supported"]
    assert document["authorization_response_iss_parameter_supported"] is True
    assert "offline_access" not in document["scopes_supported"]
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.clause("A5")
def test_the_registration_is_echoed_and_gives_no_secret(run: Wire) -> None:
    """201 with no-store, the redirect URI as sent, a public client."""
    answer = _client(run, "POST /register")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["redirect_uris"] == [CALLBACK]
    assert answer.json()["token_endpoint_auth_method"] == "none"
    assert "client_secret" not in answer.json()


@pytest.mark.clause("A6")
def test_the_answer_carries_code_state_and_issuer_each_once(run: Wire, deployment: Deployment) -> None:
    """It goes to exactly the requested redirect URI."""
    assert run.callback.startswith(f"{CALLBACK}?")
    answer = parse_qsl(urlsplit(run.callback).query)
    assert answer == [("code", run.code), ("state", run.state), ("iss", deployment.issuer)]


@pytest.mark.clause("A9")
@pytest.mark.parametrize("number", [0, 1])
def test_tokens_come_with_their_scope_and_life_and_are_stored_by_nobody(run: Wire, number: int) -> None:
    """For the code and for the refresh alike."""
    answer = _client(run, "POST /token", number)
    assert answer.headers["cache-control"] == "no-store"
    said = answer.json()
    assert said["token_type"] == "Bearer"
    assert said["scope"] == SCOPES
    assert said["expires_in"] == 900
    assert said["access_token"].count(".") == 2
    assert said["refresh_token"].startswith("gp_rt_")


@pytest.mark.clause("A8")
def test_the_refresh_gives_two_new_tokens(run: Wire) -> None:
    """Neither token of the first pair is returned again."""
    first, second = (_client(run, "POST /token", number).json() for number in (0, 1))
    assert first["access_token"] != second["access_token"]
    assert first["refresh_token"] != second["refresh_token"]


@pytest.mark.clause("R6")
def test_the_tools_are_those_of_the_scopes_and_not_for_shared_caches(run: Wire) -> None:
    """They are in the server's order, cache-private, each with a title and read-only."""
    result = _client(run, "POST /mcp", 2).json()["result"]
    names = [tool["name"] for tool in result["tools"]]
    assert names == ["whoami", "request_access", "demo_get_help", "demo_get_time", "demo_echo"]
    assert result["cacheScope"] == "private"
    for tool in result["tools"]:
        assert tool["title"]
        assert tool["annotations"]["readOnlyHint"] is True
        assert tool["outputSchema"]["type"] == "object"


def test_calls_are_answered_before_and_after_the_refresh(run: Wire) -> None:
    """The echo works before the refresh, whoami after it."""
    assert _client(run, "POST /mcp", 3).json()["result"]["structuredContent"] == {"text": "Hello"}
    who = _client(run, "POST /mcp", 4).json()["result"]["structuredContent"]
    assert who["email"] == EMAIL
    assert who["scopes"] == SCOPES.split()


@pytest.mark.clause("A9.no-cookie")
def test_no_answer_sets_a_cookie_but_those_of_the_pages(run: Wire) -> None:
    """Only the browser gets cookies; the client and the resource server never see one."""
    assert [e.address for e in _of(run, "client") if "set-cookie" in e.response.headers] == []
    assert any("set-cookie" in exchange.response.headers for exchange in _of(run, "browser"))


def test_the_transcript_shows_every_step_and_no_secret(run: Wire, postbox: Postbox) -> None:
    """The README prints it, so it holds no secret."""
    text = render(run.exchanges)
    assert text.count("POST ") >= 8
    for status in ("401", "201", "303", "200"):
        assert re.search(rf"^ +{status}\b", text, re.MULTILINE)
    tokens = [_client(run, "POST /token", number).json() for number in (0, 1)]
    secret = [run.code, run.verifier, run.state, code_of(postbox.to(EMAIL)[0]), run.client_id]
    secret += [token[name] for token in tokens for name in ("access_token", "refresh_token")]
    assert [value for value in secret if value in text] == []
    assert max(map(len, text.splitlines())) <= 120
