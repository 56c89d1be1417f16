"""A3: an answer goes to a registered redirect URI, or a page says why it goes nowhere."""

import pytest

from tests.idp.oauth.wire import Server, authorize, error_of, page_of, went_silently
from tests.support.oauth import TestClient, answer_of, registered
from tests.support.person import Person

GOOD = [
    "https://client.test/callback",
    "https://client.test",
    "https://client.test:8443/callback?tenant=a%20b&x=",
    "http://localhost:8787/callback",
    "http://localhost/callback",
    "http://127.0.0.1:33418/",
    "http://127.0.0.1",
    "http://[::1]:1455/auth/callback",
    "https://localhost:8443/callback",
    "cursor://anysphere.cursor-mcp/oauth/callback",
    "vscode://vscode.github-authentication/did-authenticate",
    "com.example:/cb",
    "com.example.app:/oauth/callback",
    "com.raycast:/oauth",
]

NEVER = [
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "javascript://client.test/%0aalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "data:text/html;base64,PHNjcmlwdD4=",
    "file:///etc/passwd",
    "FILE://client.test/x",
    "vbscript:msgbox(1)",
    "blob:https://client.test/x",
    "about:blank",
    "view-source:https://client.test/",
    "filesystem:https://client.test/x",
    "intent://client.test/#Intent;end",
    "ftp://client.test/",
    "ws://localhost/",
    "mailto:a@client.test",
    "http://client.test/callback",
    "http://127.0.0.2/callback",
    "http://127.1/callback",
    "http://0.0.0.0/callback",
    "http://2130706433/callback",
    "http://0x7f.1/callback",
    "http://[::ffff:127.0.0.1]/callback",
    "http://[::]/callback",
    "http://localhost.client.test/callback",
    "http://localhost./callback",
    "http://127.0.0.1.client.test/callback",
    "https://user@client.test/callback",
    "https://user:password@client.test/callback",
    "https://@client.test/callback",
    "http://localhost@client.test/callback",
    "http://client.test@localhost/callback",
    "https://client.test/callback#fragment",
    "https://client.test/callback#",
    "https://*.client.test/callback",
    "https://client.test/*",
    "http://localhost:*/callback",
    "https://client.test:port/callback",
    "https://client.test:99999/callback",
    "https://client.test:/callback",
    "https:client.test/callback",
    "https:/client.test/callback",
    "https:///client.test/callback",
    "https://",
    "//client.test/callback",
    "/callback",
    "callback",
    "",
    " https://client.test/callback",
    "https://client.test/call back",
    "https://client.test/callback\n",
    "https://client.test\\@evil.test/",
    "https://client.test/\\evil",
    "java\tscript:alert(1)",
    "https://client.test/\u0000",
    "https://cl\u0131ent.test/callback",
    "https://client.test/c\u202eallback",
    "https://[client.test/callback",
    "https://client.test/^",
    "https://client.test/<script>",
    'https://client.test/"onload="x',
    "cursor:",
    "cursor://",
    ":",
    "1http://localhost/",
]

REGISTERED = "https://client.test/callback"
TRICKS = [
    "https://client.test/callback/",
    "https://client.test/callback?",
    "https://client.test/callback?x=1",
    "https://client.test/callback#",
    "https://client.test/callback#x",
    "https://client.test/Callback",
    "https://client.test/callbac%6b",
    "https://client.test/callback%20",
    "https://client.test/./callback",
    "https://client.test/x/../callback",
    "https://client.test//callback",
    "https://client.test/callback/../evil",
    "https://client.test/callback;x",
    "https://client.test:443/callback",
    "https://client.test:8443/callback",
    "https://CLIENT.test/callback",
    "HTTPS://client.test/callback",
    "https://client.test./callback",
    "https://client.test.evil.test/callback",
    "https://evil.test/callback",
    "https://evil.test/https://client.test/callback",
    "https://evil.test?https://client.test/callback",
    "https://evil.test\\@client.test/callback",
    "https://client.test@evil.test/callback",
    "https://client.test:x@evil.test/callback",
    "https://user@client.test/callback",
    "https://sub.client.test/callback",
    "http://client.test/callback",
    "//client.test/callback",
    "/callback",
    "client.test/callback",
    "javascript:alert(1)//https://client.test/callback",
    "data:text/html,https://client.test/callback",
    " https://client.test/callback",
    "https://client.test/callback ",
    "https://client.test/callback\t",
    "https://client.test/callback\r\nlocation: https://evil.test",
    "https://client.test/callback,https://evil.test/",
    "https://client.test/callback https://evil.test/",
    "https://client.test/callb\u0430ck",
    "http://localhost/callback",
    "https://client.test/" + "a" * 4000,
    "*",
]


def lands(server: Server, uris: list[str], asked: str) -> bool:
    """Whether /authorize would answer at ``asked`` if ``uris`` are registered."""
    client = registered(server, redirect_uris=uris)
    answer = authorize(client, redirect_uri=asked, response_type="token", prompt="none")
    if answer.status_code == 302:
        client.redirect_uri = asked if "?" not in asked else asked.partition("?")[0]
        error_of(answer, client)
        return True
    page_of(answer)
    return False


@pytest.mark.clause("A3", "A3.accepted")
@pytest.mark.parametrize("uri", GOOD)
def test_an_address_that_may_be_registered_is_answered(server: Server, uri: str) -> None:
    """https anywhere, http on loopback, private-use schemes (RFC 8252 section 7)."""
    assert lands(server, [uri], uri)


@pytest.mark.clause("A3.never", "A5.no-redirect")
@pytest.mark.parametrize("uri", NEVER, ids=ascii)
def test_an_address_that_may_never_be_registered_is_refused(server: Server, uri: str) -> None:
    """Alone, it makes the registration fail; beside a valid one it is left out."""
    answer = server.request("POST", "/register", json={"redirect_uris": [uri]})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == "invalid_redirect_uri"
    assert server.register(redirect_uris=[uri, REGISTERED])["redirect_uris"] == [REGISTERED]


@pytest.mark.clause("A3.exact", "A3.no-open-redirect")
@pytest.mark.parametrize("trick", TRICKS, ids=ascii)
def test_a_redirect_that_is_not_registered_gets_a_page(client: TestClient, trick: str) -> None:
    """URIs are compared as text, even where a URL library would see no difference."""
    page_of(authorize(client, redirect_uri=trick))


@pytest.mark.clause("A3.exact")
@pytest.mark.parametrize("suffix", ["&b=2", "&", "#x", "%20"])
def test_a_registered_query_is_part_of_the_address(server: Server, suffix: str) -> None:
    """The maker of a link cannot add anything to it."""
    uri = "https://client.test/callback?a=1"
    assert lands(server, [uri], uri)
    assert not lands(server, [uri], uri + suffix)
    assert not lands(server, [uri], "https://client.test/callback")


@pytest.mark.clause("A3.accepted", "A6.code")
def test_an_answer_keeps_the_query_of_the_redirect(server: Server, alice: Person) -> None:
    """The answer's parameters are appended to the registered ones (RFC 6749 section 3.1.2)."""
    uri = "https://client.test/callback?tenant=a%20b"
    client = registered(server, redirect_uris=[uri])
    assert alice.walk(client.authorize_url()).startswith(f"{uri}&code=gp_ac_")


@pytest.mark.clause("A3.loopback-port")
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
@pytest.mark.parametrize("port", ["", ":1", ":8787", ":65535"])
def test_a_loopback_address_matches_on_any_port(server: Server, host: str, port: str) -> None:
    """Registered with or without a port, requested with another, with one, or without (RFC 8252 section 7.3)."""
    for registered_port in ("", ":5000"):
        assert lands(server, [f"http://{host}{registered_port}/callback"], f"http://{host}{port}/callback")


@pytest.mark.clause("A3.loopback-port", "A3.exact")
@pytest.mark.parametrize(
    "asked",
    [
        "http://127.0.0.1:99999/callback",
        "http://127.0.0.1:x/callback",
        "http://127.0.0.1:/callback",
        "http://127.0.0.1:80@evil.test/callback",
        "http://127.0.0.1:80/callback/",
        "http://127.0.0.1:80/callback?x=1",
        "http://127.0.0.1:80/",
        "http://127.0.0.1:80/Callback",
        "https://127.0.0.1:80/callback",
        "http://127.0.0.1.evil.test/callback",
        "http://127.0.0.1:80.evil.test/callback",
        "http://127.0.0.1:80\\.evil.test/callback",
        "http://evil.test:80/callback",
        "http://user@127.0.0.1:80/callback",
    ],
)
def test_of_a_loopback_address_only_the_port_is_left_aside(server: Server, asked: str) -> None:
    """Scheme, host, path and query are still compared."""
    assert not lands(server, ["http://127.0.0.1:5000/callback"], asked)


@pytest.mark.clause("A3.loopback-port", "A3.exact")
@pytest.mark.parametrize(
    "asked", ["http://LOCALHOST:1/callback", "HTTP://localhost:1/callback", "http://localhost:1/callback?"]
)
def test_a_loopback_address_is_compared_as_text_too(server: Server, asked: str) -> None:
    """Apart from the port, another spelling is another address."""
    assert not lands(server, ["http://localhost/callback"], asked)


@pytest.mark.clause("A3.loopback-port")
def test_an_https_address_on_this_computer_keeps_its_port(server: Server) -> None:
    """RFC 8252 ignores the port only for http."""
    assert not lands(server, ["https://localhost:8443/callback"], "https://localhost:8444/callback")


@pytest.mark.clause("A3.loopback-apart")
@pytest.mark.parametrize("have", ["127.0.0.1", "[::1]", "localhost"])
@pytest.mark.parametrize("asked", ["127.0.0.1", "[::1]", "localhost", "[0:0:0:0:0:0:0:1]", "127.0.0.01", "127.1"])
def test_one_loopback_host_does_not_stand_for_another(server: Server, have: str, asked: str) -> None:
    """A different program may listen on each."""
    assert lands(server, [f"http://{have}:5000/cb"], f"http://{asked}:5000/cb") is (have == asked)


@pytest.mark.clause("A3.exact")
@pytest.mark.parametrize(
    "asked", ["cursor://Anysphere.cursor-mcp/cb", "cursor://anysphere.cursor-mcp:1/cb", "cursor://x/cb"]
)
def test_a_private_scheme_is_compared_exactly(server: Server, asked: str) -> None:
    """No part of it is ignored."""
    assert not lands(server, ["cursor://anysphere.cursor-mcp/cb"], asked)


@pytest.mark.clause("A3.no-open-redirect", "A3.said")
def test_the_page_says_what_was_received_and_what_is_registered(server: Server) -> None:
    """So whoever configured the client sees both addresses."""
    client = registered(server, redirect_uris=["https://client.test/one", "https://client.test/two"])
    page = page_of(authorize(client, redirect_uri="https://client.test/three?<b>"))
    for shown in ("https://client.test/one", "https://client.test/two", "https://client.test/three?&lt;b&gt;"):
        assert shown in page


@pytest.mark.clause("A3.no-open-redirect", "A3.said")
def test_an_unknown_client_gets_a_page_that_shows_its_id(client: TestClient) -> None:
    """Never a redirect, since the address is not verified; markup in the id is escaped."""
    page = page_of(authorize(client, client_id="<script>alert(1)</script>"))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


@pytest.mark.clause("A3.no-open-redirect", "A3.said")
def test_a_long_address_is_cut_on_the_page(client: TestClient) -> None:
    """The page shows only its beginning."""
    page = page_of(authorize(client, redirect_uri="https://evil.test/" + "a" * 5000))
    assert "https://evil.test/aaa" in page
    assert "a" * 500 not in page


@pytest.mark.clause("A3.no-open-redirect")
@pytest.mark.parametrize("left_out", ["client_id", "redirect_uri"])
@pytest.mark.parametrize(
    "error", [{"response_type": "token"}, {"code_challenge": None}, {"resource": "https://x.test"}]
)
def test_no_other_error_is_sent_to_an_address_in_doubt(
    client: TestClient, left_out: str, error: dict[str, str | None]
) -> None:
    """Client and address are checked first: if either is wrong, no error is sent by redirect."""
    page_of(authorize(client, **{left_out: "https://evil.test/"}, **error))


@pytest.mark.clause("A3.no-open-redirect", "E4")
@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
@pytest.mark.parametrize("value", ["same", "https://evil.test/", ""])
def test_a_repeated_client_or_redirect_gets_a_page(client: TestClient, name: str, value: str) -> None:
    """Parsers differ in which one counts, so neither does, even if they are equal or one is empty."""
    again = {"client_id": client.id, "redirect_uri": client.redirect_uri}[name] if value == "same" else value
    page_of(authorize(client, f"{name}={again}"))


@pytest.mark.clause("A3")
def test_the_only_https_redirect_may_be_left_out(client: TestClient, server: Server) -> None:
    """RFC 6749 section 3.1.2.3; with two it is unclear which, on loopback which port."""
    error_of(authorize(client, redirect_uri=None, response_type="token"), client)
    two = registered(server, redirect_uris=[REGISTERED, "https://client.test/other"])
    page_of(authorize(two, redirect_uri=None))
    page_of(authorize(registered(server, redirect_uris=["http://localhost/cb"]), redirect_uri=None))


@pytest.mark.clause("A3.no-open-redirect")
def test_a_request_of_nothing_gets_a_page(server: Server) -> None:
    """A person who typed the address reads what to do."""
    page_of(server.get("/authorize"))


@pytest.mark.clause("A3.unseen", "P4")
@pytest.mark.parametrize("changes", [{"response_type": "token"}, {"resource": "https://no.test/"}, {"max_age": "x"}])
def test_a_link_to_us_leads_nobody_unseen_to_a_stranger(client: TestClient, changes: dict[str, str | None]) -> None:
    """Anybody may register an address: without a sign-in the error page shows where it leads, and waits for a click."""
    answer = authorize(client, **changes)
    page = page_of(answer)
    assert '<bdi class="host">client.test</bdi>' in page
    assert "<script" not in page
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "set-cookie" not in answer.headers
    assert error_of(answer, client)["state"] == "state of the client"


@pytest.mark.clause("A3.unseen")
def test_an_error_takes_somebody_who_is_signed_in_back(alice: Person, client: TestClient) -> None:
    """Until they sign out; then they get the page like anybody."""
    client.connect(alice)
    alice.open(client.authorize_url(response_type="token"))
    assert went_silently(alice, client)["error"] == "unsupported_response_type"
    page_of(authorize(client, response_type="token"))
    alice.browser.cookies.clear()
    page_of(alice.open(client.authorize_url(response_type="token")))


@pytest.mark.clause("A3.unseen")
@pytest.mark.parametrize("uri", ["http://localhost:8787/callback", "http://[::1]:1455/x", "com.example.app:/callback"])
def test_an_error_goes_to_a_program_on_this_computer_at_once(server: Server, uri: str) -> None:
    """The program is waiting for an answer, and no other site is involved."""
    client = registered(server, redirect_uris=[uri])
    answer = authorize(client, response_type="token")
    assert answer.status_code == 302
    assert answer_of(answer.headers["location"])["error"] == "unsupported_response_type"


@pytest.mark.clause("A3.unseen", "A12.prompt")
def test_an_error_of_a_request_that_nobody_watches_goes_back_at_once(client: TestClient) -> None:
    """A page would be seen by nobody (OpenID Connect Core section 3.1.2.6)."""
    answer = authorize(client, response_type="token", prompt="none")
    assert answer.status_code == 302
    assert error_of(answer, client)["error"] == "unsupported_response_type"
