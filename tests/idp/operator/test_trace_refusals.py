"""The flight recorder at each failing step: what was received, what was expected, under the id in the answer."""

import html
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from gatepost_idp.store import clients
from tests.idp.oauth.wire import Server, authorize, basic, beside, running
from tests.idp.operator.recorded import told
from tests.support.oauth import TestClient, registered
from tests.support.person import Person
from tests.support.serving import Idp

HEADER = "x-trace-id"


@dataclass(frozen=True)
class Case:
    """A refused request: how it is sent, what the trace says of it (``*``: anything), and what the answer says."""

    name: str
    send: Callable[[TestClient, Person], httpx2.Response]
    step: str
    reason: str
    received: str
    expected: str
    said: tuple[str, ...]


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


def _refresh_for_another_resource(client: TestClient, person: Person) -> httpx2.Response:
    return client.refresh(client.connect(person)["refresh_token"], resource="https://other.test/mcp")


def _of_six(client: TestClient) -> TestClient:
    return registered(client.idp, redirect_uris=[f"https://client.test/{number}" for number in range(6)])


def _switched_off(client: TestClient, _person: Person) -> httpx2.Response:
    other = registered(client.idp, client_name="Switched off")
    row = other.id.partition(".")[0]
    beside(client.idp, lambda tx: clients.set_disabled(tx, row, client.idp.clock()))
    return authorize(other)


def _nobody_agreed(client: TestClient, person: Person) -> httpx2.Response:
    client.connect(person)
    return person.open(registered(client.idp, client_name="Never agreed to").authorize_url(prompt="none"))


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
LONG = "x" * 201
AN_ID_OF_OURS = "an id from this server: register at /register, or run gatepost clients add"
AN_ID = "an id that this database gave out: this one was changed on its way, or comes from another database"
A_SECRET = "the client_secret that this client was given, by HTTP Basic or in the form"
A_CODE = "The authorization code is not valid. Start the authorization again."
A_REFRESH = "The refresh token is no longer valid. Start the authorization again."
ANOTHER_RESOURCE = "The resource is not the one that was authorized."
UNKNOWN = "The app that sent you here is not known to this server."
ANEW = "Remove the connection in your app and add it again, so that it registers anew."
TWICE = "The app sent its id, or its return address, more than once."
REPORT = "Report this to the makers of the app."
FOREIGN = "The app wants you to return to an address that it did not register."
ADD_AGAIN = "Remove the connection in your app and add it again. If that does not help, report this to its makers."
CASES = [
    Case("an id of nobody's", lambda c, p: authorize(c, client_id="claude-web"),
         "authorize", "unknown client_id", "client_id claude-web", AN_ID_OF_OURS,
         (UNKNOWN, ANEW, "App id received: claude-web")),
    Case("an id cut short", lambda c, p: authorize(c, client_id=c.id[:-2]),
         "authorize", "unknown client_id", "client_id gp_dc_*", AN_ID,
         (UNKNOWN, ANEW, "App id received: gp_dc_*")),
    Case("no client_id at /authorize", lambda c, p: authorize(c, client_id=None),
         "authorize", "unknown client_id", "client_id nothing", "a client_id",
         (UNKNOWN, ANEW, "App id received: nothing")),
    Case("a client that is switched off", _switched_off,
         "authorize", "client disabled", "client_id gp_dc_*", "a client that is enabled: gatepost clients enable",
         (UNKNOWN, ANEW, "App id received: gp_dc_*")),
    Case("another return address", lambda c, p: authorize(c, redirect_uri="https://client.test/other?key=hidden"),
         "authorize", "redirect_uri not registered", "https://client.test/other?key=...",
         "one of: https://client.test/callback",
         (FOREIGN, ADD_AGAIN, "Return address received: https://client.test/other?key=hidden",
          "Return address registered: https://client.test/callback")),
    Case("no return address, of six", lambda c, p: authorize(_of_six(c), redirect_uri=None),
         "authorize", "redirect_uri not registered", "none",
         f"one of: {', '.join(f'https://client.test/{number}' for number in range(5))}",
         (FOREIGN, ADD_AGAIN, "Return address received: nothing",
          *(f"Return address registered: https://client.test/{number}" for number in range(5)))),
    Case("an id without end", lambda c, p: authorize(c, client_id=LONG),
         "authorize", "unknown client_id", f"client_id {LONG[:200]}", AN_ID_OF_OURS,
         (UNKNOWN, ANEW, f"App id received: {LONG[:200]}")),
    Case("a client named twice", lambda c, p: authorize(c, "client_id=again"),
         "authorize", "client_id or redirect_uri repeated", "more than once: client_id",
         "client_id and redirect_uri once each",
         (TWICE, REPORT, "Repeated: client_id")),
    Case("six parameters twice", lambda c, p: authorize(c, "client_id=again&a&a&b&b&d&d&e&e&f&f"),
         "authorize", "client_id or redirect_uri repeated", "more than once: client_id, a, b, d, e",
         "client_id and redirect_uri once each",
         (TWICE, REPORT, "Repeated: client_id", "Repeated: a", "Repeated: b", "Repeated: d", "Repeated: e")),
    Case("the implicit flow", lambda c, p: authorize(c, response_type="token"),
         "authorize", "unsupported_response_type: response_type is not code", "response_type=token", "code",
         ("For the makers of the app: Use response_type=code.",)),
    Case("a fragment asked for", lambda c, p: authorize(c, response_mode="fragment"),
         "authorize", "invalid_request: response_mode is not query", "response_mode=fragment", "query, or none",
         ("For the makers of the app: Use response_mode=query.",)),
    Case("PKCE in plain", lambda c, p: authorize(c, code_challenge_method="plain"),
         "authorize", "invalid_request: no S256 code_challenge",
         "code_challenge_method=plain, code_challenge: 43 characters",
         "code_challenge_method=S256 and a code_challenge",
         ("For the makers of the app: PKCE is required: code_challenge_method=S256.",)),
    Case("no PKCE", lambda c, p: authorize(c, code_challenge=None),
         "authorize", "invalid_request: no S256 code_challenge", "code_challenge_method=S256, no code_challenge",
         "code_challenge_method=S256 and a code_challenge",
         ("For the makers of the app: PKCE is required: code_challenge_method=S256.",)),
    Case("a challenge in hex", lambda c, p: authorize(c, code_challenge="ab" * 32),
         "authorize", "invalid_request: malformed code_challenge", "code_challenge: 64 characters",
         "43 characters of base64url without padding",
         ("For the makers of the app: The code_challenge is not a SHA-256 hash in base64url.",)),
    Case("another resource", lambda c, p: authorize(c, resource="https://other.test/mcp"),
         "authorize", "invalid_target: unknown resource; see MCP_RESOURCE_URL", "https://other.test/mcp",
         "one of: http://localhost:9001/mcp",
         ("For the makers of the app: This server does not know that resource.",)),
    Case("a state without end", lambda c, p: authorize(c, state="s" * 5000),
         "authorize", "invalid_request: state too long", "state: 5000 characters", "at most 4096",
         ("For the makers of the app: The state is longer than 4096 characters.",)),
    Case("a nonce without end", lambda c, p: authorize(c, nonce="n" * 600),
         "authorize", "invalid_request: nonce too long", "nonce: 600 characters", "at most 512",
         ("For the makers of the app: The nonce is longer than 512 characters.",)),
    Case("a request object", lambda c, p: authorize(c, request="e30.e30."),
         "authorize", "invalid_request: request object", "request or request_uri", "plain parameters",
         ("For the makers of the app: Request objects are not supported; send plain parameters.",)),
    Case("a state sent twice", lambda c, p: authorize(c, "state=again"),
         "authorize", "invalid_request: repeated parameter", "state", "each once",
         ("For the makers of the app: A parameter is repeated.",)),
    Case("a prompt of its own", lambda c, p: authorize(c, prompt="create"),
         "authorize", "invalid_request: bad prompt", "prompt=create",
         "none alone, or any of: login, consent, select_account",
         ("For the makers of the app: This server does not support that prompt.",)),
    Case("an age that is no number", lambda c, p: authorize(c, max_age="soon"),
         "authorize", "invalid_request: bad max_age", "max_age=soon", "digits",
         ("For the makers of the app: max_age is not a number of seconds.",)),
    Case("nobody signed in", lambda c, p: authorize(c, prompt="none"),
         "authorize", "login_required: prompt=none", "", "",
         ("Nobody is signed in.",)),
    Case("nobody agreed yet", _nobody_agreed,
         "authorize", "consent_required: prompt=none", "", "",
         ("The person has to be asked first.",)),
    Case("a registration that is no JSON", lambda c, p: _posted(c, b"redirect_uris=x"),
         "register", "invalid_client_metadata: unreadable metadata", "body: json_invalid",
         "a JSON object with the members of RFC 7591 section 2",
         ("The metadata is not a JSON object with the members of RFC 7591.",)),
    Case("a registration without an address", lambda c, p: _posted(c, b'{"client_name": "x"}'),
         "register", "invalid_redirect_uri: no acceptable redirect_uri", "see redirect_uris",
         "a list of https, loopback or private addresses",
         ("Register at least one redirect_uri: https, http on loopback, or a private scheme, without a fragment.",)),
    Case("a form that is JSON", _json_at_token,
         "token", "invalid_request: content type", "application/json", "application/x-www-form-urlencoded",
         ("Send application/x-www-form-urlencoded.",)),
    Case("no grant_type", lambda c, p: c.token_request(),
         "token", "invalid_request: no grant_type", "none", "authorization_code or refresh_token",
         ("The grant_type is missing.",)),
    Case("another grant_type", lambda c, p: c.token_request(grant_type="password"),
         "token", "unsupported_grant_type: unknown grant_type", "password", "authorization_code or refresh_token",
         ("Use authorization_code or refresh_token.",)),
    Case("a client of nobody's at /token", lambda c, p: c.redeem("gp_ac_x", client_id="gp_dc_x.y.z"),
         "token", "invalid_client: unknown client", "client_id gp_dc_x.y.z, no client_secret", AN_ID,
         ("This client is not registered here. Register again.",)),
    Case("no client_id", lambda c, p: c.redeem("gp_ac_x", client_id=None),
         "token", "invalid_client: no client_id", "client_id missing, no client_secret",
         "a client_id in the form or in Basic",
         ("The client_id is missing.",)),
    Case("a wrong secret", lambda c, p: _basic(c, "wrong"),
         "token", "invalid_client: wrong client secret", "client_id gp_cc_*, HTTP Basic", A_SECRET,
         ("The client secret is missing or wrong.",)),
    Case("no secret", lambda c, p: _confidential(c).redeem("gp_ac_x", client_secret=None),
         "token", "invalid_client: no client secret", "client_id gp_cc_*, no client_secret", A_SECRET,
         ("The client secret is missing or wrong.",)),
    Case("a code of nobody's", lambda c, p: c.redeem("gp_ac_nobody"),
         "token", "invalid_grant: unknown code", "a code that nobody was given", "the code from the redirect",
         (A_CODE,)),
    Case("another client's code", _as_another,
         "token", "invalid_grant: code of another client", "client_id gp_dc_*", "client_id gp_dc_*",
         (A_CODE,)),
    Case("another return address at /token", lambda c, p: c.redeem(c.code(p), redirect_uri="https://client.test/b"),
         "token", "invalid_grant: redirect_uri differs from the one at /authorize", "https://client.test/b",
         "https://client.test/callback",
         (A_CODE,)),
    Case("another resource at /token", lambda c, p: c.redeem(c.code(p), resource="https://other.test/mcp"),
         "token", "invalid_target: the code is for another resource", "https://other.test/mcp",
         "http://localhost:9001/mcp",
         (ANOTHER_RESOURCE,)),
    Case("a wrong verifier", lambda c, p: c.redeem(c.code(p), code_verifier="w" * 43),
         "token", "invalid_grant: code_verifier does not match the code_challenge", "a verifier of another S256",
         "one whose S256 is ????????...",
         (A_CODE,)),
    Case("no verifier", lambda c, p: c.redeem(c.code(p), code_verifier=None),
         "token", "invalid_request: no code_verifier", "none",
         "the code_verifier behind the code_challenge of /authorize",
         ("The code_verifier is missing.",)),
    Case("a code used again", _replay,
         "token", "invalid_grant: code replayed; its grant is ended", "a code that was redeemed before",
         "each code once",
         (A_CODE,)),
    Case("a refresh token of nobody's", lambda c, p: c.refresh("gp_rt_nobody"),
         "token", "invalid_grant: unknown refresh token", "a refresh token that nobody was given",
         "the one in the last answer, unchanged",
         (A_REFRESH,)),
    Case("another client's refresh token", _refresh_as_another,
         "token", "invalid_grant: refresh token of another client", "client_id gp_dc_*", "client_id gp_dc_*",
         (A_REFRESH,)),
    Case("another resource at a refresh", _refresh_for_another_resource,
         "token", "invalid_target: the grant is for another resource", "https://other.test/mcp",
         "http://localhost:9001/mcp",
         (ANOTHER_RESOURCE,)),
    Case("a refresh token of an ended grant", _after_revocation,
         "token", "invalid_grant: ended grant", "revoked by the client", "a new authorization",
         (A_REFRESH,)),
    Case("a host of nobody's", lambda c, p: c.idp.get("/authorize", headers={"host": "evil.test"}),
         "authorize", "foreign Host", "Host: evil.test", "the host of http://localhost:*", ()),
]  # fmt: skip  # a table


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Shared by every case."""
    with running(tmp_path_factory.mktemp("server")) as served:
        yield served


@pytest.fixture(scope="module")
def alice(server: Server) -> Iterator[Person]:
    """A person who signs in once."""
    with Person("alice@example.com", server.postbox) as person:
        yield person


ON_EVERY_PAGE = (
    "To keep you safe, we do not send you back there.",
    "Any site can send people here. Go back only if you know this one.",
)


def _said(answer: httpx2.Response) -> list[str]:
    """The error_description for a program, or the paragraphs and facts of a page."""
    if answer.is_redirect:
        return parse_qs(urlsplit(answer.headers["location"]).query)["error_description"]
    if answer.headers["content-type"] == "application/json":
        return [str(answer.json()["error_description"])]
    facts = [f"{label}: {value}" for label, value in re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", answer.text)]
    texts = [html.unescape(text) for text in [*re.findall(r"<p>([^<]+)</p>", answer.text), *facts]]
    return [text for text in texts if text not in ON_EVERY_PAGE]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_refusal_says_what_was_received_and_what_was_expected(server: Server, alice: Person, case: Case) -> None:
    """The exact texts: the caller reads the answer; the operator reads, under its X-Trace-Id, the step that failed,
    and in the last line what to do."""
    answer = case.send(registered(server), alice)
    assert fnmatchcase("\n".join(_said(answer)), "\n".join(case.said))
    story = told(server, answer.headers[HEADER], case.step)
    step = story.step(case.step)
    assert step["outcome"] == "refused"
    assert fnmatchcase(step["reason"], case.reason)
    assert fnmatchcase(step.get("received", ""), case.received)
    assert fnmatchcase(step.get("expected", ""), case.expected)
    assert story.advice.startswith(f"What to do: {case.step} failed, ")


MISSING = [
    ({"grant_type": "authorization_code", "code_verifier": "v" * 43}, "code", "no code", "the code from the redirect"),
    (
        {"grant_type": "authorization_code", "code": "gp_ac_x"},
        "code_verifier",
        "none",
        "the code_verifier behind the code_challenge of /authorize",
    ),
    ({"grant_type": "refresh_token"}, "refresh_token", "none", "the refresh_token in the last answer"),
]


@pytest.mark.parametrize(("form", "name", "received", "expected"), MISSING, ids=[name for _, name, _, _ in MISSING])
def test_what_is_missing_is_named_to_client_and_operator(
    server: Server, form: dict[str, str | None], name: str, received: str, expected: str
) -> None:
    """The exact texts: the client's developer reads the description, the operator the trace."""
    answer = registered(server).token_request(**form)
    assert answer.json() == {"error": "invalid_request", "error_description": f"The {name} is missing."}
    step = told(server, answer.headers[HEADER], "token").step("token")
    assert (step["reason"], step["received"], step["expected"]) == (f"invalid_request: no {name}", received, expected)


def test_an_expired_code_says_by_how_much(idp: Idp, people: Callable[[str], Person]) -> None:
    """The client was too slow, or the clocks of its parts differ."""
    client = registered(idp)
    code = client.code(people("alice@example.com"))
    idp.clock.forward(seconds=90)
    step = told(idp, client.redeem(code).headers[HEADER], "token").step("token")
    assert (step["reason"], step["expected"]) == ("invalid_grant: expired", "the code within a minute")
    assert step["received"] in ("the code 30 s after its end", "the code 31 s after its end")


def test_a_replayed_refresh_token_is_told_under_its_authorization(idp: Idp, people: Callable[[str], Person]) -> None:
    """Weeks may lie in between; within a day the whole story is together."""
    client = registered(idp)
    old = client.connect(people("alice@example.com"))["refresh_token"]
    assert client.refresh(old).status_code == 200
    idp.clock.forward(minutes=5)
    story = told(idp, client.refresh(old).headers[HEADER], "token")
    assert story.step("token")["reason"] == "invalid_grant: refresh token replayed; its family is ended"
    assert story.names[:2] == ["register", "authorize"]


def test_the_error_page_shows_the_id_and_the_json_error_stays_as_the_rfc_has_it(server: Server) -> None:
    """A person reads it at the foot of the page; a program gets a header, since RFC 6749 defines an error's members,
    and descriptions are constant."""
    client = registered(server)
    page = authorize(client, client_id="claude-web")
    assert f"trace <code>{page.headers[HEADER]}</code>" in page.text
    answer = client.redeem("gp_ac_nobody")
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers[HEADER] not in answer.text
    assert "X-Trace-Id" in answer.headers["access-control-expose-headers"]


def test_a_registration_shows_its_body_and_what_was_left_out(server: Server) -> None:
    """The body as sent, except that unknown members are only named, without their values."""
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
