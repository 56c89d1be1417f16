"""P1: the same journey twice, once with every header that could alter a URL: all output is identical."""

import re
import socket
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from tests.idp.oauth.wire import Server, line, running
from tests.support.forwarded import FORWARDED, masked
from tests.support.oauth import TestClient, answer_of, registered
from tests.support.person import Person
from tests.support.smtp import text_of


def plainly(_request: httpx2.Request) -> None:
    """Sends what any browser sends."""


def with_headers(request: httpx2.Request) -> None:
    """Sends every such header."""
    request.headers.update(FORWARDED)


def in_absolute_form(request: httpx2.Request) -> None:
    """Sends another host in the request line (RFC 9112 section 3.2.2), as to a proxy."""
    with_headers(request)
    request.extensions = {**request.extensions, "target": b"http://evil.test" + request.url.raw_path}


def through_a_proxy_that_says_https(request: httpx2.Request) -> None:
    """Sends what our own proxy could have sent, under other names and twice."""
    request.headers.update({name: f"{value}, {value}" for name, value in FORWARDED.items()})
    request.headers["x-forwarded-proto"] = "http"


# How far the mail is when the page is rendered varies by milliseconds.
_MAIL_STATE = re.compile(r"Your mail (is about to be sent|has been sent\. It usually arrives within a minute)\.")
SPOOFS = (with_headers, in_absolute_form, through_a_proxy_that_says_https)


@pytest.fixture(scope="module", params=["", "127.0.0.0/8", "0.0.0.0/0"], ids=["outside", "inside", "anywhere"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that trusts no proxies, its neighbours, or everybody."""
    trusted = tuple(filter(None, [request.param]))
    with running(tmp_path_factory.mktemp("spoofed"), trusted_proxies=trusted) as served:
        served.clock.stop()
        yield served


@pytest.mark.clause("P1", "P2")
@pytest.mark.parametrize("spoof", SPOOFS)
def test_nothing_that_leaves_is_made_from_a_request(server: Server, spoof: Callable[[httpx2.Request], None]) -> None:
    """Every page, redirect, cookie, document, token answer and mail of a journey is the same, except for random parts.

    One thing does pass, and only from a trusted proxy: the caller's address, which the mail shows.
    """
    believed = "203.0.113.9" if server.settings.trusted_proxies else "127.0.0.1"
    spoofed = journey(server, f"bent{SPOOFS.index(spoof)}@example.com", spoof, believed)
    plain = journey(server, f"fair{SPOOFS.index(spoof)}@example.com", plainly, "127.0.0.1")
    assert len(spoofed) == len(plain) > 15
    for bent, fair in zip(spoofed, plain, strict=True):
        assert "evil" not in bent
        assert "203.0.113.9" not in bent
        assert masked(bent) == masked(fair)


def journey(server: Server, email: str, change: Callable[[httpx2.Request], None], address: str) -> list[str]:
    """All that a person and their client get, without their name, their two words and their ``address``."""
    told: list[str] = []
    with Person(email, server.postbox) as person, line() as program:
        person.browser.event_hooks = program.event_hooks = {"request": [change]}
        client = registered(Server(**{**vars(server), "line": program}))
        person.browser.event_hooks["response"] = [lambda answer: told.append(shown(answer))]
        walk(person, client)
    mail = letter(server.postbox.to(email)[0])
    assert mail.count(f"network {address}") == 2
    told.append(mail.replace(f"network {address}", "network"))
    words = re.search(r"words <b>([a-z]+ [a-z]+)</b>", "".join(told))
    assert words
    told = [_MAIL_STATE.sub("MAIL", text) for text in told]
    return [text.replace(email.partition("@")[0], "NAME").replace(words.group(1), "WORDS") for text in told]


def walk(person: Person, client: TestClient) -> None:
    """Documents, sign-in, consent, tokens, a silent repeat, a redirected error, an error page."""
    issuer = client.idp.issuer
    for place in ("/", "/jwks.json", "/.well-known/openid-configuration", "/nothing", "/sign-in/x", "/account/access"):
        person.browser.get(f"{issuer}{place}")
    code = client.code(person)
    form = {"grant_type": "authorization_code", "client_id": client.id, "code": code}
    form |= {"redirect_uri": client.redirect_uri, "code_verifier": client.verifier}
    answer = person.browser.post(f"{issuer}/token", data=form)
    assert answer.status_code == 200, answer.text
    assert "code" in answer_of(person.walk(client.authorize_url()))
    assert answer_of(person.walk(client.authorize_url(response_type="token")))["error"] == "unsupported_response_type"
    person.browser.get(f"{issuer}/authorize?client_id=unknown")
    person.browser.post(f"{issuer}/token/", data={})


def shown(answer: httpx2.Response) -> str:
    """Status, headers except the date, and body."""
    answer.read()
    headers = [
        f"{name}: {value}" for name, value in answer.headers.multi_items() if name not in ("date", "content-length")
    ]
    return "\n".join([str(answer.status_code), *headers, "", answer.text])


def letter(mail: EmailMessage) -> str:
    """A mail as read: its headers except the date, and each of its parts, without differences in wrapping."""
    headers = [f"{name}: {value}" for name, value in mail.items() if name != "Date"]
    html = mail.get_body(("html",))
    assert html is not None
    return "\n".join([*headers, text_of(mail), str(html.get_content()).replace("<span>.</span>", ".")])


@pytest.mark.clause("P1")
@pytest.mark.parametrize(
    "headers",
    [[b"Host: %s", b"Host: evil.test"], [b"Host: evil.test", b"Host: %s"], [b"Host: %s", b"Host: %s"], []],
    ids=["ours-first", "ours-last", "ours-twice", "none"],
)
def test_a_host_is_said_once(server: Server, headers: list[bytes]) -> None:
    """Two Hosts, of which a proxy may have read the other one, or none, are refused (RFC 9112 section 3.2)."""
    own = server.base.removeprefix("http://")
    sent = b"\r\n".join([b"GET / HTTP/1.1", *(part.replace(b"%s", own.encode()) for part in headers), b"", b""])
    assert raw(own, sent).split(b" ")[1] in (b"400", b"421")


@pytest.mark.clause("P1")
def test_a_refused_host_is_logged_with_the_setting_to_look_at(server: Server) -> None:
    """OAUTH_ISSUER first: ALLOWED_HOSTS is for a rewritten Host, and would only hide a wrong issuer."""
    with capture_logs() as logged:
        assert server.get("/", headers={"host": "evil.test"}).status_code == 421
    (line,) = [entry for entry in logged if entry["event"] == "foreign_host"]
    assert (line["host"], line["setting"]) == ("evil.test", "OAUTH_ISSUER")
    assert line["otherwise"].startswith("ALLOWED_HOSTS")


def raw(place: str, sent: bytes) -> bytes:
    """The beginning of the answer to exactly these bytes."""
    host, _, port = place.partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(sent)
        return connection.recv(4096)


@pytest.mark.clause("P1")
@pytest.mark.parametrize(
    "host", ["auth.example.com", "auth.example.com:8443", "AUTH.example.com:443", "[fd00::5]:9000"]
)
def test_the_public_host_is_known_with_and_without_its_port(tmp_path: Path, host: str) -> None:
    """nginx's $host has none; and an address that the server is bound to comes in brackets."""
    changes: dict[str, Any] = {
        "oauth_issuer": "https://auth.example.com:8443",
        "mcp_resource_url": "https://mcp.example.com/mcp",
        "idp_host": ("127.0.0.1", "fd00::5"),
    }
    with running(tmp_path, **changes) as served:
        answer = served.line.get(f"{served.base}/.well-known/openid-configuration", headers={"host": host})
        assert answer.json()["issuer"] == "https://auth.example.com:8443"
