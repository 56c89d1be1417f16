"""A4: a client whose id is the URL of its metadata document, through the server's endpoints."""

import html
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gatepost_idp.clients import documents as rules
from gatepost_idp.clients import pinned
from gatepost_idp.clients.fetcher import AT_ONCE_FROM_A_NETWORK
from gatepost_idp.store import documents as store
from gatepost_idp.store import grants
from gatepost_idp.transaction import Transaction
from tests.idp.oauth.wire import (
    Server,
    asks_everything,
    asks_one_tap,
    authorize,
    basic,
    beside,
    line,
    opened,
    page_of,
    refused,
    rows,
    running,
    scope_of,
    tokens_of,
    went_silently,
)
from tests.idp.operator.recorded import told
from tests.support.documents import DocumentHost, response, showing
from tests.support.oauth import TestClient, answer_of
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.serving import listening

CLAUDE = "https://claude.ai/oauth/mcp-oauth-client-metadata"
CLAUDE_CODE = "https://claude.ai/oauth/claude-code-client-metadata"
CHATGPT = "https://chatgpt.com/oauth/client.json"
CODEX = "https://chatgpt.com/oauth/codex/client.json"
VS_CODE = "https://vscode.dev/oauth/client-metadata.json"
PINNED = {
    CLAUDE: ("Claude", "https://claude.ai/api/mcp/auth_callback"),
    CLAUDE_CODE: ("Claude Code", "http://localhost:51234/callback"),
    CHATGPT: ("ChatGPT", "https://chatgpt.com/connector_platform_oauth_redirect"),
    CODEX: ("Codex", "http://127.0.0.1:51234/callback"),
    VS_CODE: ("Visual Studio Code", "http://127.0.0.1:33419/"),
}
CALLBACK = "https://client.test/callback"


@pytest.fixture
def host() -> Iterator[DocumentHost]:
    """The host of the test clients' documents."""
    with showing() as shown:
        yield shown


@pytest.fixture
def idp(tmp_path: Path, host: DocumentHost) -> Iterator[Server]:
    """A server that fetches documents from ``host``."""
    with running(tmp_path, fetcher=host.fetcher()) as served:
        yield served


@pytest.fixture
def alice(idp: Server) -> Iterator[Person]:
    with Person("alice@example.com", idp.postbox) as person:
        yield person


def client_of(idp: Server, url: str, redirect_uri: str = CALLBACK) -> TestClient:
    """A client whose id is ``url``."""
    return TestClient(idp, {"client_id": url}, redirect_uri)


def problem_of(idp: Server, url: str) -> str:
    """The text of the page that a person sent here by ``url`` gets."""
    return page_of(authorize(client_of(idp, url)))


def consent_page(person: Person, client: TestClient) -> str:
    """The consent page, after the sign-in if one is needed."""
    person.open(client.authorize_url())
    if any("email" in form.names() for form in person.forms()):
        mails = len(person.postbox.to(person.email))
        person.ask_for_mail()
        person.sign_in_by_code(mails + 1)
    return person.text


# --- The whole way --------------------------------------------------------------------------------------------------


@pytest.mark.clause("A4", "A4.public", "A8.rotation")
def test_a_url_connects_without_registering(idp: Server, host: DocumentHost, alice: Person) -> None:
    """Consent, code, tokens, refresh; the document is fetched once."""
    client = client_of(idp, host.show())
    tokens = client.connect(alice)
    assert scope_of(tokens) == {"demo:read", "demo:echo"}
    assert scope_of(tokens_of(client.refresh(tokens["refresh_token"]))) == {"demo:read", "demo:echo"}
    assert len(host.asked) == 1
    assert rows(idp, "SELECT client_id FROM authorization_grant") == [(client.id,)]


@pytest.mark.clause("A4.public")
def test_a_document_that_prefers_a_key_connects_by_pkce(idp: Server, host: DocumentHost, alice: Person) -> None:
    """As ChatGPT's does: private_key_jwt, with `none` beside it, which our metadata offers."""
    url = host.show(
        token_endpoint_auth_method="private_key_jwt",
        token_endpoint_auth_methods_supported=["none", "private_key_jwt"],
        jwks_uri=host.url("/jwks.json"),
    )
    client_of(idp, url).connect(alice)
    assert [asked.target for asked in host.asked] == ["/client.json"]


@pytest.mark.clause("A4.advertised")
def test_metadata_says_that_urls_are_taken(idp: Server) -> None:
    """And that clients need no authentication: Claude checks both."""
    for name in ("oauth-authorization-server", "openid-configuration"):
        found = idp.get(f"/.well-known/{name}").json()
        assert found["client_id_metadata_document_supported"] is True
        assert "none" in found["token_endpoint_auth_methods_supported"]


@pytest.mark.clause("A4", "A3.exact", "A3.no-open-redirect")
def test_only_the_documents_redirects_are_answered(idp: Server, host: DocumentHost) -> None:
    """By the rules for every client: exact match, and no unacceptable URI even if the document lists it."""
    url = host.show(redirect_uris=["http://evil.test/", "javascript:alert(1)", CALLBACK, "http://127.0.0.1/cb"])
    for uri in ("http://evil.test/", "javascript:alert(1)", f"{CALLBACK}/", "https://evil.test/callback"):
        assert "did not register" in page_of(authorize(client_of(idp, url, uri)))
    for uri in (CALLBACK, "http://127.0.0.1:5000/cb"):
        assert authorize(client_of(idp, url, uri)).status_code == 303


# --- What is asked --------------------------------------------------------------------------------------------------


@pytest.mark.clause("A10.vouched", "A10.host")
def test_the_page_names_the_domain_that_vouches(idp: Server, host: DocumentHost, alice: Person) -> None:
    """The name is that domain's claim: whoever calls itself Claude on another domain is shown with that domain."""
    url = host.show(name="other.test", client_name="Claude", redirect_uris=["https://OTHER.test/callback"])
    page = consent_page(alice, client_of(idp, url, "https://OTHER.test/callback"))
    assert f"Verified: it is “<bdi>Claude</bdi>” of <b><bdi>other.test:{host.port}</bdi></b>." in page
    assert "not verified" not in page
    mail = alice.postbox.to(alice.email)[0]
    assert f'"Claude" of other.test:{host.port}, verified' in str(mail.get_body(("plain",)))


@pytest.mark.clause("A10.vouched", "A10.unverified")
@pytest.mark.parametrize("redirect", ["https://evil.example/cb", "https://cdn.other.test/cb", "https://test/cb"])
def test_a_host_that_shows_what_strangers_write_verifies_no_name(
    idp: Server, host: DocumentHost, alice: Person, redirect: str
) -> None:
    """Such as a CDN: if the answer goes to any other host, even a sub- or parent domain, it vouches for nothing."""
    url = host.show(name="other.test", client_name="Claude by Anthropic", redirect_uris=[redirect])
    page = consent_page(alice, client_of(idp, url, redirect))
    assert f"calls itself “<bdi>Claude by Anthropic</bdi>” of <bdi>other.test:{host.port}</bdi>, not verified." in page
    assert "Verified" not in page
    mail = alice.postbox.to(alice.email)[0]
    for kind in ("plain", "html"):
        body = mail.get_body((kind,))
        assert body is not None
        assert "not verified" in body.get_content()
        assert ", verified" not in body.get_content()


@pytest.mark.clause("A10.vouched", "A10.loopback", "A10.unverified")
def test_no_domain_vouches_for_a_program_on_this_computer(idp: Server, host: DocumentHost, alice: Person) -> None:
    """Every program on this computer can use that URL as its id."""
    url = host.show(redirect_uris=["http://localhost/callback"])
    page = consent_page(alice, client_of(idp, url, "http://localhost:5000/callback"))
    assert "leads to a program on this computer" in page
    assert f"“<bdi>Test client</bdi>” of <bdi>client.test:{host.port}</bdi>, not verified." in page
    assert "Verified" not in page


@pytest.mark.clause("C1", "C2")
def test_a_url_is_one_tap_until_the_operator_says_that_it_checks_iss(
    idp: Server, host: DocumentHost, alice: Person
) -> None:
    """URLs are public, so silence could serve a mix-up attack; a client that checks iss detects one (RFC 9207)."""
    client = client_of(idp, host.show())
    client.connect(alice)
    alice.open(client.authorize_url())
    assert asks_one_tap(alice)
    beside(idp, lambda tx: store.mark(tx, client.id, True))
    alice.open(client.authorize_url())
    assert "code" in went_silently(alice, client)
    beside(idp, lambda tx: store.mark(tx, client.id, False))
    alice.open(client.authorize_url())
    assert asks_one_tap(alice)


@pytest.mark.clause("C2", "A10.loopback")
def test_loopback_is_one_tap_although_the_client_checks_iss(idp: Server, host: DocumentHost, alice: Person) -> None:
    """Nobody can prove who listens there."""
    client = client_of(idp, host.show(redirect_uris=["http://127.0.0.1/cb"]), "http://127.0.0.1:5000/cb")
    beside(idp, lambda tx: store.mark(tx, client.id, True))
    client.connect(alice)
    alice.open(client.authorize_url())
    assert asks_one_tap(alice)


@pytest.mark.clause("A4.changed", "C3", "A4.cache")
@pytest.mark.parametrize(
    "change",
    [
        {"client_name": "Another name"},
        {"redirect_uris": [CALLBACK, "https://client.test/other"]},
        {"client_uri": "https://client.test"},
        {"grant_types": ["authorization_code"]},
    ],
    ids=str,
)
def test_changed_metadata_is_agreed_to_anew(
    idp: Server, host: DocumentHost, alice: Person, change: dict[str, Any]
) -> None:
    """Once the copy is no longer fresh; existing connections stay."""
    client = client_of(idp, host.show())
    tokens = client.connect(alice)
    host.show(**change)
    alice.open(client.authorize_url())
    assert asks_one_tap(alice)
    idp.clock.forward(hours=1, seconds=5)
    consent_page(alice, client)
    assert asks_everything(alice)
    tokens_of(client.refresh(tokens["refresh_token"]))


# --- What is kept ---------------------------------------------------------------------------------------------------


@pytest.mark.clause("A4.cache")
def test_a_document_is_asked_for_again_by_its_tag(idp: Server, host: DocumentHost) -> None:
    """Not within its max-age; then with If-None-Match, and a 304 renews it by its own headers."""
    url = host.show(headers={"cache_control": "max-age=7200", "etag": '"one"'})
    client = client_of(idp, url)
    for _ in range(3):
        assert authorize(client).status_code == 303
    idp.clock.forward(minutes=115)
    assert authorize(client).status_code == 303
    assert len(host.asked) == 1
    host.answers["/client.json"] = response(b"", "304 Not Modified", content_length="", cache_control="max-age=3600")
    idp.clock.forward(minutes=6)
    assert authorize(client).status_code == 303
    assert [asked.headers.get("if-none-match") for asked in host.asked] == [None, '"one"']
    idp.clock.forward(minutes=58)
    assert authorize(client).status_code == 303
    assert len(host.asked) == 2


@pytest.mark.clause("A4.cache")
@pytest.mark.parametrize(
    "broken",
    [
        response(b"{}", "503 Away"),
        response(b"{}", "403 Forbidden"),
        response(b"<html>", content_type="text/html"),
        response(b'{"client_id": "https://client.test/another"}'),
        None,
    ],
    ids=["503", "403", "page", "mismatch", "network"],
)
def test_a_stale_copy_serves_where_a_fetch_fails(
    idp: Server, host: DocumentHost, alice: Person, broken: bytes | None
) -> None:
    """For a week, while the host is asked again every five minutes; after that it is not used."""
    client = client_of(idp, host.show())
    tokens = client.connect(alice)
    host.is_down = broken is None
    host.answers["/client.json"] = broken or b""
    idp.clock.forward(hours=2)
    for _ in range(3):
        assert authorize(client).status_code == 303
    tokens = tokens_of(client.refresh(tokens["refresh_token"]))
    assert len(host.asked) == (1 if broken is None else 2)
    idp.clock.forward(minutes=6)
    assert authorize(client).status_code == 303
    assert len(host.asked) == (1 if broken is None else 3)
    idp.clock.forward(days=6)
    assert authorize(client).status_code == 303
    tokens = tokens_of(client.refresh(tokens["refresh_token"]))
    idp.clock.forward(days=1)
    assert page_of(authorize(client))
    refused(client.refresh(tokens["refresh_token"]), "invalid_client", 401)


@pytest.mark.clause("A4.cache")
def test_copies_outlive_a_restart_and_are_shared(idp: Server, host: DocumentHost) -> None:
    """Another process on the same database fetches nothing, and works while the network is down."""
    client = client_of(idp, host.show())
    assert authorize(client).status_code == 303
    host.is_down = True
    other = free_port()
    settings = idp.settings.model_copy(update={"idp_port": other, "oauth_issuer": f"http://localhost:{other}"})
    with listening(settings, idp.clock, other, host.fetcher()):
        replica = Server(f"http://127.0.0.1:{other}", settings.oauth_issuer, settings, idp.clock, idp.postbox, idp.line)
        twin = client_of(replica, client.id)
        assert authorize(twin).status_code == 303
        assert len(host.asked) == 1
        idp.clock.forward(hours=2)
        assert authorize(twin).status_code == 303


@pytest.mark.clause("A4.cache")
def test_what_nobody_uses_is_forgotten(idp: Server, host: DocumentHost, alice: Person) -> None:
    """After ninety days, except documents with a consent or an operator's decision."""
    used, unused = client_of(idp, host.show("/used.json")), client_of(idp, host.show("/unused.json"))
    used.connect(alice)
    assert authorize(unused).status_code == 303
    marked = host.url("/marked.json")
    beside(idp, lambda tx: store.mark(tx, marked, True))
    idp.clock.forward(days=91)
    beside(idp, lambda tx: store.forget(tx, idp.clock() - rules.KEPT_UNUSED))
    assert rows(idp, "SELECT url FROM client_document") == [(marked,)]
    assert rows(idp, "SELECT count(*) FROM client JOIN consent ON client.id = consent.client_row") == [(1,)]


# --- Pinned copies --------------------------------------------------------------------------------------------------


@pytest.mark.clause("A4.pinned")
@pytest.mark.parametrize("url", PINNED, ids=[name for name, _ in PINNED.values()])
def test_well_known_clients_connect_while_their_documents_cannot_be_had(
    idp: Server, host: DocumentHost, alice: Person, url: str
) -> None:
    """With no network at all, from the consent page to a refresh."""
    host.is_down = True
    name, redirect_uri = PINNED[url]
    client = client_of(idp, url, redirect_uri)
    assert f"<bdi>{name}</bdi>" in consent_page(alice, client)
    alice.allow()
    tokens = tokens_of(client.redeem(answer_of(alice.answer())["code"]))
    tokens_of(client.refresh(tokens["refresh_token"]))


@pytest.mark.clause("A4.pinned")
def test_a_fetched_document_comes_before_its_pinned_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: DocumentHost
) -> None:
    """While it is fresh, and when a later fetch fails; the pinned copy serves only if nothing was ever fetched."""
    url = host.show(redirect_uris=["https://client.test/new"])
    known = pinned.documents()[CLAUDE]
    monkeypatch.setattr(pinned, "documents", lambda: {url: known})
    new, old = "https://client.test/new", PINNED[CLAUDE][1]
    with running(tmp_path, fetcher=host.fetcher()) as idp:
        host.is_down = True
        assert authorize(client_of(idp, url, old)).status_code == 303
        assert authorize(client_of(idp, url, new)).status_code == 400
        host.is_down = False
        idp.clock.forward(minutes=6)
        assert authorize(client_of(idp, url, new)).status_code == 303
        host.is_down = True
        idp.clock.forward(days=60)
        assert authorize(client_of(idp, url, new)).status_code == 303
        assert authorize(client_of(idp, url, old)).status_code == 400


# --- What goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.clause("A4.said", "A3.no-open-redirect")
@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (response(b"{}", "404 Not Found"), "It answered 404, not 200."),
        (response(b"", "302 Found", location="https://127.0.0.1/"), "redirects are not followed"),
        (response(b"<html>", content_type="text/html"), "Its content type is not application/json."),
        (response(b"[]"), "It is not a JSON object."),
        (response(b" " * 6000), "It is longer than 5120 bytes."),
        (response(b'{"client_id": "https://claude.ai/x"}'), "The client_id in the document is not this address."),
        (response(b'{"redirect_uris": []}'), "client_id is missing"),
    ],
    ids=["404", "redirect", "type", "json", "size", "mismatch", "missing"],
)
def test_a_person_reads_what_is_wrong_with_which_url(idp: Server, host: DocumentHost, shown: bytes, said: str) -> None:
    """In plain words, on a page that leads nowhere; a program reads invalid_client."""
    host.answers["/client.json"] = shown
    url = host.url()
    page = problem_of(idp, url)
    assert said in page
    assert url in page
    refused(client_of(idp, url).redeem("gp_ac_x"), "invalid_client", 401)


@pytest.mark.clause("A4.said")
def test_a_document_without_a_redirect_that_may_be_used_is_refused(idp: Server, host: DocumentHost) -> None:
    """The page shows the redirect URIs it found."""
    page = problem_of(idp, host.show(redirect_uris=["http://client.test/callback"]))
    assert "redirect_uris can be used" in page
    assert "http://client.test/callback" in page


@pytest.mark.clause("A4.said")
@pytest.mark.parametrize("instead", ["http://client.test/callback", ""], ids=["unusable", "absent"])
def test_page_and_trace_tell_what_is_wrong_and_what_is_there_instead(
    idp: Server, host: DocumentHost, instead: str
) -> None:
    """The exact texts, for the person and for the operator; without a value there is nothing to show."""
    url = host.show(redirect_uris=[instead])
    wrong = "None of the document's redirect_uris can be used."
    if not instead:
        host.answers["/client.json"], wrong = response(b"", "404 Not Found"), "It answered 404, not 200."
    answer = authorize(client_of(idp, url))
    page = html.unescape(page_of(answer))
    facts = [("Address received", url), ("What is wrong with it", wrong), ("What is there instead", instead)]
    assert re.findall("<dt>([^<]+)</dt><dd>([^<]*)</dd>", page) == [fact for fact in facts if fact[1]]
    paragraphs = re.findall("<p>([^<]+)</p>", page)
    assert (
        "The app that sent you here goes by a web address, and its description at that address cannot be used."
        in paragraphs
    )
    assert "Try again in a minute. If that does not help, report this to the makers of the app." in paragraphs
    step = told(idp, answer.headers["x-trace-id"], "authorize").step("authorize")
    received = f"client_id={url}; {instead}" if instead else f"client_id={url}"
    assert (step["reason"], step["received"], step["expected"]) == (
        f"client metadata document: {wrong}",
        received,
        wrong,
    )


@pytest.mark.clause("A4.said", "E7")
@pytest.mark.parametrize(
    "url",
    ["http://client.test/client.json", "https://client.test", "https://client.test/a/../b", "https://u@client.test/a",
     "https://client.test/a#b", "https://client.test/<b>", "https://client.test/ ", "://"],
)  # fmt: skip
def test_a_url_that_names_no_client_is_not_asked(idp: Server, host: DocumentHost, url: str) -> None:
    """No request is made for it."""
    page = problem_of(idp, url)
    assert '<b>"' not in page
    assert "What is wrong with it" in page
    refused(client_of(idp, url).redeem("gp_ac_x"), "invalid_client", 401)
    assert host.asked == []


@pytest.mark.clause("A4.said", "E6")
def test_basic_credentials_with_a_url_are_told_so(idp: Server, host: DocumentHost) -> None:
    """401 with the challenge; a document's client has no secret."""
    answer = idp.post("/token", {"grant_type": "refresh_token"}, headers=basic("https%3A%2F%2Fclient.test%2F", "x"))
    refused(answer, "invalid_client", 401)
    assert answer.headers["www-authenticate"].startswith("Basic")


@pytest.mark.clause("A4.addresses", "A4.said")
def test_a_server_as_it_is_shipped_fetches_from_no_private_address(tmp_path: Path, host: DocumentHost) -> None:
    """No setting allows it: a document on this machine is refused, without a connection."""
    with running(tmp_path) as idp:
        page = problem_of(idp, host.show(name="localhost"))
        assert "leads to an address that is not public" in page
    assert host.asked == []


@pytest.mark.clause("A4.disabled")
def test_a_disabled_url_is_refused_in_every_version(idp: Server, host: DocumentHost, alice: Person) -> None:
    """At once, at each endpoint, whatever its document says by then, without a fetch; enabling it undoes that."""
    client = client_of(idp, host.show())
    tokens = client.connect(alice)
    now, grant = idp.clock(), opened(idp, tokens["access_token"]).claims["jti"].partition(".")[0]
    assert beside(idp, lambda tx: grants.standing(tx, grant, now)) is not None
    beside(idp, lambda tx: store.set_disabled(tx, client.id, now))
    host.show(client_name="Another name")
    for _ in range(2):
        page_of(authorize(client))
        refused(client.refresh(tokens["refresh_token"]), "invalid_client", 401)
        assert beside(idp, lambda tx: grants.standing(tx, grant, now)) is None
        idp.clock.forward(hours=2)
    assert len(host.asked) == 1
    beside(idp, lambda tx: store.set_disabled(tx, client.id, None))
    tokens_of(client.refresh(tokens["refresh_token"]))


@pytest.mark.clause("A4.disabled", "A4.pinned")
def test_a_url_can_be_disabled_before_anybody_used_it(idp: Server, host: DocumentHost) -> None:
    """So can a well-known one: its pinned copy is not used."""
    host.is_down = True
    now = idp.clock()
    urls = (CLAUDE, host.show())

    def disable(tx: Transaction) -> None:
        for url in urls:
            store.set_disabled(tx, url, now)

    beside(idp, disable)
    for url in urls:
        assert "switched it off" in problem_of(idp, url)
        refused(client_of(idp, url).redeem("gp_ac_x"), "invalid_client", 401)
    assert host.asked == []


# --- Floods ---------------------------------------------------------------------------------------------------------


def at_once(count: int, ask: Callable[[int], int]) -> list[int]:
    """Sends that many requests at the same moment."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(ask, range(count)))


@pytest.mark.clause("A4.bounded")
def test_a_hundred_urls_at_once_stay_bounded(idp: Server, host: DocumentHost) -> None:
    """At most a few connections to one host; other requests are told to come again, and the server goes on."""
    host.slow = 0.5
    urls = [host.show(f"/{number}.json") for number in range(100)]
    pages = at_once(100, lambda number: _status(idp, urls[number]))
    assert host.most_at_once <= rules.AT_ONCE_FROM_A_HOST
    assert pages.count(303) == len(host.asked)
    assert 1 <= pages.count(303) < 100
    assert set(pages) == {303, 400}
    assert idp.get("/healthz").status_code == 200


def _status_for(idp: Server, url: str, network: str) -> int:
    """The status of /authorize for a caller in that network."""
    with line() as own:
        return own.get(client_of(idp, url).authorize_url(), headers={"x-forwarded-for": network}).status_code


@pytest.mark.clause("A4.bounded")
def test_one_network_cannot_take_every_turn(tmp_path: Path, host: DocumentHost) -> None:
    """A network has a share of the concurrent fetches and of those per minute; when it is refused, another network is
    still served, for the same document."""
    a_minute, at_once_of_a_network = rules.A_MINUTE_FROM_A_NETWORK, AT_ONCE_FROM_A_NETWORK
    with running(tmp_path, fetcher=host.fetcher(), trusted_proxies=("127.0.0.1/32",)) as idp:
        idp.clock.forward(seconds=60 - idp.clock().second)
        host.slow = 2
        urls = [host.show(f"/{number}.json", f"n{number}.client.test") for number in range(20)]
        pages = at_once(20, lambda number: _status_for(idp, urls[number], "192.0.2.1"))
        assert (pages.count(303), host.most_at_once) == (at_once_of_a_network, at_once_of_a_network)
        host.slow = 0
        assert _status_for(idp, urls[pages.index(400)], "192.0.2.2") == 303
        for number in range(a_minute - at_once_of_a_network + 5):
            _status_for(idp, host.url(f"/{number}.json", f"m{number}.client.test"), "192.0.2.1")
        assert len(host.asked) == a_minute + 1
        assert _status_for(idp, host.show("/another.json"), "192.0.2.1") == 400
        assert _status_for(idp, host.show("/another.json"), "192.0.2.2") == 303


@pytest.mark.clause("A4.bounded")
def test_many_who_ask_for_one_url_wait_for_one_fetch(idp: Server, host: DocumentHost) -> None:
    """Many concurrent requests for one URL share one fetch, and all get the document."""
    host.slow = 0.5
    url = host.show()
    assert at_once(30, lambda _number: _status(idp, url)) == [303] * 30
    assert len(host.asked) == 1


@pytest.mark.clause("A4.bounded")
def test_a_refused_url_is_not_asked_for_again_at_once(idp: Server, host: DocumentHost) -> None:
    """It is again ten seconds later: a fixed document works soon, and no error is cached longer."""
    client = client_of(idp, host.url())
    for _ in range(5):
        assert "It answered 404" in page_of(authorize(client))
    assert len(host.asked) == 1
    host.show()
    idp.clock.forward(seconds=11)
    assert authorize(client).status_code == 303


@pytest.mark.clause("A4.bounded")
def test_a_host_is_asked_so_often_a_minute(idp: Server, host: DocumentHost) -> None:
    """However many paths it has, a host is asked only so often a minute."""
    idp.clock.forward(seconds=60 - idp.clock().second)  # so that a new minute does not begin meanwhile
    for number in range(rules.A_MINUTE_FROM_A_HOST + 20):
        _status(idp, host.url(f"/{number}.json"))
    assert len(host.asked) == rules.A_MINUTE_FROM_A_HOST
    idp.clock.forward(seconds=60)
    _status(idp, host.url("/again.json"))
    assert len(host.asked) == rules.A_MINUTE_FROM_A_HOST + 1


def _status(idp: Server, url: str) -> int:
    """The status of /authorize for ``url``, over a new connection."""
    with line() as own:
        return own.get(client_of(idp, url).authorize_url()).status_code
