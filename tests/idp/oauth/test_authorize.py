"""A1, A6, A7, A13: once client and redirect URI are valid, each refusal goes to the client, with error, state, iss."""

import socket
import threading
from collections.abc import Callable
from urllib.parse import quote, urlencode

import pytest
from structlog.testing import capture_logs

from tests.idp.oauth.wire import (
    Server,
    asks_everything,
    authorize,
    error_of,
    opened,
    page_of,
    rows,
    scope_of,
    tokens_of,
    went_silently,
)
from tests.support.oauth import TestClient, answer_of, challenge_of, registered
from tests.support.person import Person

STATES = {
    "url": "vscode://dynamicauthprovider/gate.example/authorize?nonce=0123456789abcdef&a=b#c",
    "padded-base64": "k1+/Zm9vYmFyCg==",
    "unicode": "šťåtę 🔑 \u202ex",
    "reserved": "a&b=c;d+e%20f%2520 g?h#i/j\\k'l\"m<n>",
    "line-breaks": "a\r\nb\tc",
    "json": '{"a": ["b", 1]}',
    "space": " leading and trailing ",
    "long": "s" * 4096,
}


@pytest.mark.clause("A13.state", "A6.error")
@pytest.mark.parametrize("name", STATES)
def test_the_state_comes_back_with_an_error_as_it_was_sent(client: TestClient, name: str) -> None:
    """VS Code's is a whole URL, or padded base64."""
    found = error_of(authorize(client, state=STATES[name], response_type="token"), client)
    assert found["state"] == STATES[name]


@pytest.mark.clause("A13.state", "A6.code")
@pytest.mark.parametrize("name", STATES)
def test_the_state_comes_back_with_the_code_as_it_was_sent(alice: Person, client: TestClient, name: str) -> None:
    """Through the database and a page."""
    found = answer_of(alice.walk(client.authorize_url(state=STATES[name])))
    assert found["state"] == STATES[name]
    assert found["iss"] == client.idp.issuer
    assert set(found) == {"code", "state", "iss"}


@pytest.mark.clause("A13.state")
def test_without_a_state_none_comes_back(alice: Person, client: TestClient) -> None:
    """Nor for an empty one, which counts as absent (RFC 6749 section 3.1)."""
    for state in (None, ""):
        assert "state" not in answer_of(alice.walk(client.authorize_url(state=state)))
        assert "state" not in error_of(authorize(client, state=state, prompt="none"), client)


@pytest.mark.clause("A13.state")
def test_an_endless_state_is_refused(client: TestClient) -> None:
    """More than 4096 characters are refused; that is enough for a URL."""
    assert error_of(authorize(client, state="s" * 4097), client)["error"] == "invalid_request"


@pytest.mark.clause("A13.state")
def test_an_endless_nonce_is_refused(client: TestClient) -> None:
    """It is stored with each request, which anybody may begin: 60,000 characters each would fill the disk."""
    assert error_of(authorize(client, nonce="n" * 513), client)["error"] == "invalid_request"
    assert authorize(client, nonce="n" * 512).status_code == 303


REFUSED: dict[str, tuple[dict[str, str | None], str]] = {
    "no-challenge": ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
    "no-challenge-but-a-method": ({"code_challenge": None}, "invalid_request"),
    "empty-challenge": ({"code_challenge": ""}, "invalid_request"),
    "plain": ({"code_challenge_method": "plain"}, "invalid_request"),
    "plain-by-default": ({"code_challenge_method": None}, "invalid_request"),
    "method-in-lower-case": ({"code_challenge_method": "s256"}, "invalid_request"),
    "method-S512": ({"code_challenge_method": "S512"}, "invalid_request"),
    "method-empty": ({"code_challenge_method": ""}, "invalid_request"),
    "challenge-short": ({"code_challenge": "a" * 42}, "invalid_request"),
    "challenge-long": ({"code_challenge": "a" * 44}, "invalid_request"),
    "challenge-padded": ({"code_challenge": "a" * 42 + "="}, "invalid_request"),
    "challenge-not-base64url": ({"code_challenge": "a" * 42 + "+"}, "invalid_request"),
    "challenge-with-a-line-break": ({"code_challenge": "a" * 43 + "\n"}, "invalid_request"),
    "challenge-unicode": ({"code_challenge": "é" * 43}, "invalid_request"),
    "response-type-token": ({"response_type": "token"}, "unsupported_response_type"),
    "response-type-id-token": ({"response_type": "id_token"}, "unsupported_response_type"),
    "response-type-hybrid": ({"response_type": "code id_token"}, "unsupported_response_type"),
    "response-type-none": ({"response_type": "none"}, "unsupported_response_type"),
    "response-type-upper": ({"response_type": "CODE"}, "unsupported_response_type"),
    "response-mode-fragment": ({"response_mode": "fragment"}, "invalid_request"),
    "response-mode-form-post": ({"response_mode": "form_post"}, "invalid_request"),
    "unknown-resource": ({"resource": "https://other.example/mcp"}, "invalid_target"),
    "resource-prefix": ({"resource": "http://localhost:9001/mcp/x"}, "invalid_target"),
    "resource-case": ({"resource": "http://localhost:9001/MCP"}, "invalid_target"),
    "resource-fragment": ({"resource": "http://localhost:9001/mcp#x"}, "invalid_target"),
    "resource-query": ({"resource": "http://localhost:9001/mcp?x"}, "invalid_target"),
    "resource-not-a-url": ({"resource": "mcp"}, "invalid_target"),
    "prompt-none-and-login": ({"prompt": "none login"}, "invalid_request"),
    "max-age-negative": ({"max_age": "-1"}, "invalid_request"),
    "max-age-text": ({"max_age": "soon"}, "invalid_request"),
    "max-age-digits-of-another-script": ({"max_age": "٣"}, "invalid_request"),
    "max-age-endless": ({"max_age": "9" * 400}, "invalid_request"),
    "request-object": ({"request": "eyJhbGciOiJub25lIn0.e30."}, "invalid_request"),
}


@pytest.mark.clause("A1.pkce-required", "A1.s256-only", "A1.response-type", "A6.error", "A7.unknown", "E7")
@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_cannot_be_is_sent_back(client: TestClient, name: str) -> None:
    """It goes back with its error, state and iss, in ASCII."""
    changes, error = REFUSED[name]
    found = error_of(authorize(client, **changes), client)
    assert found["error"] == error
    assert found["state"] == "state of the client"
    assert found.get("error_description", "").isascii()


@pytest.mark.clause("A1.response-type")
@pytest.mark.parametrize("value", [None, ""])
def test_a_request_without_a_response_type_is_sent_back(client: TestClient, value: str | None) -> None:
    """RFC 6749 allows either error code for it."""
    assert error_of(authorize(client, response_type=value), client)["error"] in (
        "invalid_request",
        "unsupported_response_type",
    )


@pytest.mark.clause("A1.pkce-required")
@pytest.mark.parametrize(
    "changes", [{"code_challenge": None}, {"code_challenge_method": "plain"}], ids=["none", "plain"]
)
def test_pkce_cannot_be_dropped_by_somebody_who_is_signed_in(
    alice: Person, client: TestClient, changes: dict[str, str | None]
) -> None:
    """The downgrade of workers-oauth-provider (CVE-2025-4144): a remembered consent changes nothing about it."""
    client.connect(alice)
    alice.open(client.authorize_url())
    assert "code" in went_silently(alice, client)
    alice.open(client.authorize_url(**changes))
    assert went_silently(alice, client)["error"] == "invalid_request"


@pytest.mark.clause("A1.pkce-required", "A1.client-authentication")
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_client_with_a_secret_needs_pkce_too(server: Server, method: str) -> None:
    """OAuth 2.1 requires it of every client."""
    client = registered(server, token_endpoint_auth_method=method)
    assert error_of(authorize(client, code_challenge=None), client)["error"] == "invalid_request"


REPEATABLE = {
    "response_type": "code",
    "state": "other",
    "scope": "demo:read",
    "code_challenge": challenge_of("x" * 43),
    "code_challenge_method": "S256",
    "prompt": "login",
    "nonce": "n",
    "x-unknown": "1",
    "": "1",
}


@pytest.mark.clause("E4")
@pytest.mark.parametrize("name", REPEATABLE)
def test_a_repeated_parameter_is_refused(client: TestClient, name: str) -> None:
    """Two parsers may read different values (RFC 6749 section 3.1); so also if they are equal, or unknown."""
    pair = urlencode({name: REPEATABLE[name]})
    assert error_of(authorize(client, pair, pair), client)["error"] == "invalid_request"


@pytest.mark.clause("A7.repeats")
def test_equal_resources_count_once(alice: Person, client: TestClient) -> None:
    """Codex sends it twice."""
    resource = quote(client.idp.settings.mcp_resource_url)
    assert authorize(client, f"resource={resource}").status_code == 303
    answer = alice.walk(f"{client.authorize_url()}&resource={resource}&resource={resource}")
    assert "code" in answer_of(answer)


@pytest.mark.clause("A7.repeats")
@pytest.mark.parametrize("other", ["https://other.example/mcp", "http://localhost:9001/other"])
def test_different_resources_are_refused(client: TestClient, other: str) -> None:
    """A token is for one resource; the server does not guess which."""
    assert error_of(authorize(client, f"resource={quote(other)}"), client)["error"] == "invalid_target"


@pytest.mark.clause("A7.unknown")
def test_the_log_says_which_resource_was_asked_for_and_which_there_are(client: TestClient) -> None:
    """The operator sees both side by side, with the setting to change."""
    with capture_logs() as logged:
        error_of(authorize(client, resource="https://other.example/mcp"), client)
        client.idp.get("/healthz")  # the log line of a request is written after its answer
    assert logged
    text = str(logged)
    assert "https://other.example/mcp" in text
    assert client.idp.settings.mcp_resource_url in text
    assert "MCP_RESOURCE_URL" in text


@pytest.mark.clause("A7.bound", "A7.default")
def test_without_a_resource_the_token_is_for_the_default_one(alice: Person, client: TestClient) -> None:
    """The person is asked, and the audience is the catalogue's first resource."""
    server = client.idp
    assert isinstance(server, Server)
    for resource in (None, ""):
        tokens = client.connect(alice, resource=resource)
        assert opened(server, tokens["access_token"]).claims["aud"] == server.settings.mcp_resource_url


@pytest.mark.clause("A7.bound", "A7.token")
def test_a_slash_at_the_end_makes_no_other_resource(alice: Person, client: TestClient) -> None:
    """Clients' URL libraries add it; /authorize, /token and a refresh all accept it."""
    server = client.idp
    assert isinstance(server, Server)
    slashed = f"{server.settings.mcp_resource_url}/"
    code = client.code(alice, resource=slashed)
    tokens = tokens_of(client.redeem(code, resource=slashed))
    assert opened(server, tokens["access_token"]).claims["aud"] == server.settings.mcp_resource_url
    tokens_of(client.refresh(tokens["refresh_token"], resource=slashed))


@pytest.mark.clause("A7.case")
def test_scheme_and_host_of_the_resource_are_read_in_any_case(alice: Person, client: TestClient) -> None:
    """MCP requires it; the audience stays as the operator wrote it."""
    server = client.idp
    assert isinstance(server, Server)
    own = server.settings.mcp_resource_url
    shouted = own.replace("http://localhost", "HTTP://LocalHost")
    assert shouted != own
    tokens = tokens_of(client.redeem(client.code(alice, resource=shouted), resource=shouted))
    assert opened(server, tokens["access_token"]).claims["aud"] == own
    tokens_of(client.refresh(tokens["refresh_token"], resource=shouted))


@pytest.mark.clause("A13.request-object")
@pytest.mark.parametrize("name", ["request_uri", "request"])
def test_a_request_object_is_refused_and_nothing_is_fetched(client: TestClient, name: str) -> None:
    """A server that fetches a URL from a link can be sent anywhere (SSRF)."""
    came = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(1)

        def listen() -> None:
            try:
                listener.accept()[0].close()
            except TimeoutError:
                return
            came.set()

        thread = threading.Thread(target=listen)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/request.jwt"
        assert error_of(authorize(client, **{name: url}), client)["error"] == "invalid_request"
        thread.join()
    assert not came.is_set()


@pytest.mark.clause("A13.unknown")
def test_unknown_parameters_are_ignored(alice: Person, client: TestClient) -> None:
    """And so are known ones without a value."""
    more = {"claims": '{"id_token": {}}', "acr_values": "1", "utm_source": "é", "display": "popup", "audience": "x"}
    assert "code" in answer_of(alice.walk(client.authorize_url(**more, request="", request_uri="", prompt="")))


@pytest.mark.clause("A13.unknown", "A13.default-scope", "A9.scope")
@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (None, "demo:read demo:echo"),
        ("", "demo:read demo:echo"),
        ("   ", "demo:read demo:echo"),
        ("unknown other:scope", "demo:read demo:echo"),
        ("openid profile email offline_access", "demo:read demo:echo openid profile email offline_access"),
        ("demo:read", "demo:read"),
        ("demo:echo unknown demo:read demo:echo", "demo:read demo:echo"),
        ("DEMO:READ", "demo:read demo:echo"),
        ("demo:read,demo:echo", "demo:read demo:echo"),
        ("demo:read openid", "demo:read openid"),
        ("demo:read demo:ops", "demo:read"),
        ('demo:read "; DROP TABLE account', "demo:read"),
    ],
)
def test_the_scope_that_is_given(alice: Person, client: TestClient, asked: str | None, given: str) -> None:
    """Unknown names are dropped; with none of the resource's left, the default set applies; the response says which."""
    assert scope_of(client.connect(alice, scope=asked)) == set(given.split())


@pytest.mark.clause("A13.default-scope")
def test_a_registrations_scope_caps_nothing(server: Server, alice: Person) -> None:
    """The Python SDK registers a narrow scope, and asks for more when it needs it."""
    client = registered(server, scope="demo:read")
    assert scope_of(client.connect(alice)) == {"demo:read", "demo:echo"}


HOSTILE = {
    "nul": b"state=%00",
    "nul-in-a-name": b"a%00b=1",
    "raw-nul": b"state=\x00",
    "broken-utf-8": b"state=%ff%fe",
    "half-a-character": b"scope=%c3",
    "overlong-slash": b"state=%c0%af",
    "surrogate": b"state=%ed%a0%80",
    "raw-bytes": b"state=\xff\xfe",
    "raw-utf-8": "state=é".encode(),
    "hundreds-of-parameters": b"&".join(b"a%d=1" % number for number in range(300)),
    "seventy-kilobytes": b"state=" + b"a" * 70_000,
}


@pytest.mark.clause("E5")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_query_that_cannot_be_read_gets_a_page(client: TestClient, name: str) -> None:
    """4xx and no redirect: an unreadable query names no client."""
    path = client.authorize_url(state=None).removeprefix(client.idp.issuer)
    answer = raw_get(client.idp.base, path.encode() + b"&" + HOSTILE[name])
    assert answer.startswith(b"HTTP/1.1 4"), answer[:200]
    assert b"\r\nlocation:" not in answer.lower()


@pytest.mark.clause("E5")
def test_a_megabyte_of_query_is_refused(client: TestClient) -> None:
    """4xx, and the server goes on."""
    path = client.authorize_url().removeprefix(client.idp.issuer)
    answer = raw_get(client.idp.base, path.encode() + b"&a=" + b"b" * 1_000_000)
    assert answer.startswith(b"HTTP/1.1 4"), answer[:200]
    assert authorize(client).status_code == 303


def raw_get(base: str, path: bytes) -> bytes:
    """Sends a request that no client library would, and returns all that came back."""
    host = base.removeprefix("http://")
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), timeout=10) as connection:
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: " + host.encode() + b"\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.clause("A1")
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_authorize_takes_get_alone(client: TestClient, method: str) -> None:
    """405, as a page."""
    page_of(client.idp.request(method, "/authorize", data={"client_id": client.id}), 405)


@pytest.mark.clause("A12.prompt")
@pytest.mark.parametrize("prompt", ["none", "none "])
def test_nobody_is_asked_with_prompt_none_and_nobody_signed_in(client: TestClient, prompt: str) -> None:
    """login_required; no page, no cookie, and nothing is stored."""
    server = client.idp
    assert isinstance(server, Server)
    before = rows(server, "SELECT count(*) FROM authorization_request")
    answer = authorize(client, prompt=prompt)
    found = error_of(answer, client)
    assert (found["error"], found["state"]) == ("login_required", "state of the client")
    assert "set-cookie" not in answer.headers
    assert rows(server, "SELECT count(*) FROM authorization_request") == before


@pytest.mark.clause("A12.prompt", "C1")
def test_nobody_is_asked_with_prompt_none_before_they_agreed(newcomer: Callable[[], Person], server: Server) -> None:
    """consent_required; after the consent a code, without a page."""
    person = newcomer()
    registered(server, client_name="Another").connect(person)
    client = registered(server)
    person.open(client.authorize_url(prompt="none"))
    assert went_silently(person, client)["error"] == "consent_required"
    client.connect(person)
    person.open(client.authorize_url(prompt="none"))
    assert "code" in went_silently(person, client)


@pytest.mark.clause("A12.prompt")
def test_prompt_login_signs_in_again(newcomer: Callable[[], Person], client: TestClient) -> None:
    """A new mail, despite the session; signing in once is enough."""
    person = newcomer()
    client.connect(person)
    first = opened(server_of(client), client.connect(person)["access_token"]).claims["auth_time"]
    person.open(client.authorize_url(prompt="login"))
    assert "email" in person.form("email").names()
    person.ask_for_mail()
    person.sign_in_by_code(2)
    code = answer_of(person.answer())["code"]
    assert opened(server_of(client), tokens_of(client.redeem(code))["access_token"]).claims["auth_time"] >= first


@pytest.mark.clause("A12.prompt", "C3")
@pytest.mark.parametrize("prompt", ["consent", "login consent", "consent select_account"])
def test_prompt_consent_asks_with_the_whole_page(
    newcomer: Callable[[], Person], client: TestClient, prompt: str
) -> None:
    """mcp-remote sends it; a remembered consent does not satisfy it."""
    person = newcomer()
    client.connect(person)
    person.open(client.authorize_url(prompt=prompt))
    if "login" in prompt:
        person.ask_for_mail()
        person.sign_in_by_code(2)
    assert asks_everything(person)


@pytest.mark.clause("A12.prompt")
def test_an_unknown_prompt_is_refused(client: TestClient) -> None:
    """It is refused rather than ignored."""
    assert error_of(authorize(client, prompt="whatever"), client)["error"] == "invalid_request"


@pytest.mark.clause("A12.max-age")
def test_a_sign_in_older_than_max_age_is_done_again(idp: Server, people: Callable[[str], Person]) -> None:
    """Within max_age nothing is asked; after it a mail is; with prompt=none login_required."""
    alice, client = people("alice@example.com"), registered(idp)
    client.connect(alice)
    idp.clock.forward(seconds=100)
    alice.open(client.authorize_url(max_age="1000"))
    assert "code" in went_silently(alice, client)
    alice.open(client.authorize_url(max_age="99", prompt="none"))
    assert went_silently(alice, client)["error"] == "login_required"
    alice.open(client.authorize_url(max_age="99"))
    alice.ask_for_mail()
    alice.sign_in_by_code(2)
    assert "code" in answer_of(alice.answer())


@pytest.mark.clause("A12.max-age")
def test_max_age_zero_always_signs_in_again(newcomer: Callable[[], Person], client: TestClient) -> None:
    """And it does not loop."""
    person = newcomer()
    client.connect(person)
    person.open(client.authorize_url(max_age="0"))
    person.ask_for_mail()
    person.sign_in_by_code(2)
    assert "code" in answer_of(person.answer())


def server_of(client: TestClient) -> Server:
    """The client's server."""
    assert isinstance(client.idp, Server)
    return client.idp
