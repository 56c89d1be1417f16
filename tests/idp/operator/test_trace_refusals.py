"""The flight recorder at each failing step: what was received, what was expected, under the id that the answer gave."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx2
import pytest

from tests.idp.oauth.wire import Server, authorize, basic, running
from tests.idp.operator.recorded import told
from tests.support.oauth import TestClient, registered
from tests.support.person import Person
from tests.support.serving import Idp

HEADER = "x-trace-id"


@dataclass(frozen=True)
class Case:
    """A request that is refused: how it is sent, and what the trace says of it."""

    name: str
    send: Callable[[TestClient, Person], httpx2.Response]
    step: str
    reason: str
    received: str
    expected: str


def _confidential(client: TestClient) -> TestClient:
    return registered(client.idp, token_endpoint_auth_method="client_secret_basic")


def _replay(client: TestClient, person: Person) -> httpx2.Response:
    code = client.code(person)
    client.redeem(code)
    return client.redeem(code)


def _as_another(client: TestClient, person: Person) -> httpx2.Response:
    return client.redeem(client.code(person), client_id=registered(client.idp).id)


def _refresh_as_another(client: TestClient, person: Person) -> httpx2.Response:
    return client.refresh(client.connect(person)["refresh_token"], client_id=registered(client.idp).id)


def _after_revocation(client: TestClient, person: Person) -> httpx2.Response:
    token = client.connect(person)["refresh_token"]
    client.idp.post("/revoke", {"client_id": client.id, "token": token})
    return client.refresh(token)


def _json_at_token(client: TestClient, _person: Person) -> httpx2.Response:
    return client.idp.request("POST", "/token", json={"grant_type": "authorization_code"})


def _basic(client: TestClient, secret: str) -> httpx2.Response:
    shown = _confidential(client)
    return client.idp.post("/token", {"grant_type": "authorization_code"}, headers=basic(shown.id, secret))


def _posted(client: TestClient, body: bytes) -> httpx2.Response:
    return client.idp.request("POST", "/register", content=body, headers={"content-type": "application/json"})


MCP = "http://localhost:9001/mcp"
CASES = [
    Case("an id of nobody's", lambda c, p: authorize(c, client_id="claude-web"), "authorize",
         "unknown client_id", "client_id claude-web", "register at /register"),
    Case("an id cut short", lambda c, p: authorize(c, client_id=c.id[:-2]), "authorize",
         "unknown client_id", "client_id gp_dc_", "changed on its way, or comes from another database"),
    Case("another return address", lambda c, p: authorize(c, redirect_uri="https://client.test/other?key=hidden"),
         "authorize", "redirect_uri not registered", "https://client.test/other?key=...",
         "one of: https://client.test/callback"),
    Case("a client named twice", lambda c, p: authorize(c, "client_id=again"), "authorize",
         "repeated", "client_id", "once each"),
    Case("the implicit flow", lambda c, p: authorize(c, response_type="token"), "authorize",
         "response_type is not code", "response_type=token", "code"),
    Case("a fragment asked for", lambda c, p: authorize(c, response_mode="fragment"), "authorize",
         "response_mode is not query", "response_mode=fragment", "query"),
    Case("PKCE in plain", lambda c, p: authorize(c, code_challenge_method="plain"), "authorize",
         "no S256 code_challenge", "code_challenge_method=plain", "code_challenge_method=S256"),
    Case("no PKCE", lambda c, p: authorize(c, code_challenge=None), "authorize",
         "no S256 code_challenge", "no code_challenge", "a code_challenge"),
    Case("a challenge in hex", lambda c, p: authorize(c, code_challenge="ab" * 32), "authorize",
         "malformed code_challenge", "64 characters", "43 characters of base64url"),
    Case("another resource", lambda c, p: authorize(c, resource="https://other.test/mcp"), "authorize",
         "unknown resource; see MCP_RESOURCE_URL", "https://other.test/mcp", MCP),
    Case("a state without end", lambda c, p: authorize(c, state="s" * 5000), "authorize",
         "state too long", "5000 characters", "at most 4096"),
    Case("a prompt of its own", lambda c, p: authorize(c, prompt="create"), "authorize",
         "bad prompt", "prompt=create", "login, consent, select_account"),
    Case("nobody signed in", lambda c, p: authorize(c, prompt="none"), "authorize", "login_required", "", ""),
    Case("a registration that is no JSON", lambda c, p: _posted(c, b"redirect_uris=x"), "register",
         "unreadable metadata", "body: json_invalid", "a JSON object"),
    Case("a registration without an address", lambda c, p: _posted(c, b'{"client_name": "x"}'), "register",
         "no acceptable redirect_uri", "see redirect_uris", "https, loopback or private"),
    Case("a form that is JSON", _json_at_token, "token",
         "content type", "application/json", "application/x-www-form-urlencoded"),
    Case("no grant_type", lambda c, p: c.token_request(), "token", "no grant_type", "none", "authorization_code"),
    Case("another grant_type", lambda c, p: c.token_request(grant_type="password"), "token",
         "unknown grant_type", "password", "authorization_code or refresh_token"),
    Case("a client of nobody's at /token", lambda c, p: c.redeem("gp_ac_x", client_id="gp_dc_x.y.z"), "token",
         "unknown client", "client_id gp_dc_x.y.z, no client_secret", "comes from another database"),
    Case("no client_id", lambda c, p: c.redeem("gp_ac_x", client_id=None), "token",
         "no client_id", "client_id missing", "a client_id in the form or in Basic"),
    Case("a wrong secret", lambda c, p: _basic(c, "wrong"), "token",
         "wrong client secret", "HTTP Basic", "the client_secret that this client was given"),
    Case("no secret", lambda c, p: _confidential(c).redeem("gp_ac_x", client_secret=None), "token",
         "no client secret", "no client_secret", "the client_secret that this client was given"),
    Case("a code of nobody's", lambda c, p: c.redeem("gp_ac_nobody"), "token",
         "unknown code", "a code nobody was given", "that of the redirect"),
    Case("another client's code", _as_another, "token",
         "code of another client", "client_id gp_dc_", "client_id gp_dc_"),
    Case("another return address at /token", lambda c, p: c.redeem(c.code(p), redirect_uri="https://client.test/b"),
         "token", "redirect_uri differs", "https://client.test/b", "https://client.test/callback"),
    Case("another resource at /token", lambda c, p: c.redeem(c.code(p), resource="https://other.test/mcp"), "token",
         "for another resource", "https://other.test/mcp", MCP),
    Case("a wrong verifier", lambda c, p: c.redeem(c.code(p), code_verifier="w" * 43), "token",
         "code_verifier does not match", "another S256", "one whose S256 is "),
    Case("no verifier", lambda c, p: c.redeem(c.code(p), code_verifier=None), "token",
         "no code_verifier", "none", "the code_verifier behind"),
    Case("a code used again", _replay, "token", "code replayed", "redeemed before", "each code once"),
    Case("a refresh token of nobody's", lambda c, p: c.refresh("gp_rt_nobody"), "token",
         "unknown refresh token", "nobody was given", "that of the last answer"),
    Case("another client's refresh token", _refresh_as_another, "token",
         "refresh token of another client", "client_id gp_dc_", "client_id gp_dc_"),
    Case("a refresh token of an ended grant", _after_revocation, "token",
         "ended grant", "revoked by the client", "a new authorization"),
    Case("a host of nobody's", lambda c, p: c.idp.get("/authorize", headers={"host": "evil.test"}), "authorize",
         "foreign Host", "Host: evil.test", "that of http://localhost"),
]  # fmt: skip  # a table


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Shared by every case."""
    with running(tmp_path_factory.mktemp("server")) as served:
        yield served


@pytest.fixture(scope="module")
def alice(server: Server) -> Iterator[Person]:
    """Who signs in once."""
    with Person("alice@example.com", server.postbox) as person:
        yield person


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_refusal_says_what_was_received_and_what_was_expected(server: Server, alice: Person, case: Case) -> None:
    """Under the id in the answer's X-Trace-Id, at the step that failed, and the last line says what to do."""
    answer = case.send(registered(server), alice)
    story = told(server, answer.headers[HEADER], case.step)
    step = story.step(case.step)
    assert step["outcome"] == "refused"
    assert case.reason in step["reason"]
    assert case.received in step.get("received", "")
    assert case.expected in step.get("expected", "")
    assert story.advice.startswith(f"What to do: {case.step} failed, ")


MISSING = [
    ({"grant_type": "authorization_code", "code_verifier": "v" * 43}, "code", "no code", "the code of the redirect"),
    (
        {"grant_type": "authorization_code", "code": "gp_ac_x"},
        "code_verifier",
        "none",
        "the code_verifier behind the code_challenge of /authorize",
    ),
    ({"grant_type": "refresh_token"}, "refresh_token", "none", "the refresh_token of the last answer"),
]


@pytest.mark.parametrize(("form", "name", "received", "expected"), MISSING, ids=[name for _, name, _, _ in MISSING])
def test_what_is_missing_is_named_to_client_and_operator(
    server: Server, form: dict[str, str | None], name: str, received: str, expected: str
) -> None:
    """To the letter: the client's developer reads the description, the operator the trace."""
    answer = registered(server).token_request(**form)
    assert answer.json() == {"error": "invalid_request", "error_description": f"The {name} is missing."}
    step = told(server, answer.headers[HEADER], "token").step("token")
    assert (step["reason"], step["received"], step["expected"]) == (f"invalid_request: no {name}", received, expected)


def test_an_expired_code_says_by_how_much(idp: Idp, people: Callable[[str], Person]) -> None:
    """The client was too slow, or the clocks of its two halves differ."""
    client = registered(idp)
    code = client.code(people("alice@example.com"))
    idp.clock.forward(seconds=90)
    step = told(idp, client.redeem(code).headers[HEADER], "token").step("token")
    assert (step["reason"], step["expected"]) == ("invalid_grant: expired", "the code within a minute")
    assert step["received"] in ("the code 30 s after its end", "the code 31 s after its end")


def test_a_replayed_refresh_token_is_told_under_its_authorization(idp: Idp, people: Callable[[str], Person]) -> None:
    """Weeks may lie between; within the day the whole story stands together."""
    client = registered(idp)
    old = client.connect(people("alice@example.com"))["refresh_token"]
    assert client.refresh(old).status_code == 200
    idp.clock.forward(minutes=5)
    story = told(idp, client.refresh(old).headers[HEADER], "token")
    assert story.step("token")["reason"] == "invalid_grant: refresh token replayed; its family is ended"
    assert story.names[:2] == ["register", "authorize"]


def test_the_error_page_shows_the_id_and_the_json_error_stays_as_the_rfc_has_it(server: Server) -> None:
    """A person reads it at the page's foot; for a program it is a header, for RFC 6749 lists an error's members, and a
    description is constant."""
    client = registered(server)
    page = authorize(client, client_id="claude-web")
    assert f"trace <code>{page.headers[HEADER]}</code>" in page.text
    answer = client.redeem("gp_ac_nobody")
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers[HEADER] not in answer.text
    assert "X-Trace-Id" in answer.headers["access-control-expose-headers"]


def test_a_registration_shows_its_body_and_what_was_left_out(server: Server) -> None:
    """As sent: a member that is not known is named, its value is not kept."""
    body = {
        "client_name": "Recorded", "redirect_uris": ["https://client.test/cb?secret=s3cr3t", "javascript:alert(1)"],
        "scope": "demo:read", "token_endpoint_auth_method": "private_key_jwt", "software_statement": "s3cr3t",
    }  # fmt: skip
    information = server.request("POST", "/register", content=json.dumps(body)).json()
    step = told(server, information["client_id"], "register").step("register")
    assert (step["outcome"], step["client_id"]) == ("ok", information["client_id"])
    assert step["told"]["redirect_uris"].startswith("https://client.test/cb?secret=..., javascript:alert(1)")
    assert step["told"]["left_out"] == "1 redirect_uris that may not be registered"
    assert (step["told"]["scope"], step["told"]["software_statement"]) == ("demo:read", "present")
    assert "s3cr3t" not in json.dumps(step)
