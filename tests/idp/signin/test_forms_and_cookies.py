"""CSRF and cookies: only our own forms act, cookies have the right attributes, and without them a page says so."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx2
import pytest

from tests.idp.signin.walk import Pending, asks, database_dump, field_value, link_page, press, words_of
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.serving import Clock, Idp, listening, settings_of, upgrade
from tests.support.smtp import code_of, receiving

People = Callable[..., Person]

FOREIGN: dict[str, dict[str, str | None]] = {
    "foreign origin": {"origin": "https://evil.example"},
    "null origin": {"origin": "null"},
    "our host on another port": {"origin": "http://localhost:1"},
    "our host with another scheme": {"origin": "https://localhost"},
    "cross-site": {"sec_fetch_site": "cross-site"},
    "same-site, other origin": {"sec_fetch_site": "same-site"},
    "cross-site without an origin": {"origin": None, "sec_fetch_site": "cross-site"},
}


def _doors(pending: Pending) -> dict[str, tuple[str, dict[str, str]]]:
    """Every form of the sign-in, filled in and ready to send."""
    request = pending.url.rpartition("/")[0]
    return {
        "email": (request, {"email": "mallory@example.com"}),
        "deny": (f"{request}/deny", {}),
        "code": (f"{pending.url}/code", {"code": pending.code}),
        "wrong code": (f"{pending.url}/code", {"code": "0000 0000"}),
        "resend": (f"{pending.url}/resend", {}),
        "change": (f"{pending.url}/change", {}),
        "link": (f"{pending.idp.issuer}/sign-in/link", {"token": pending.token}),
        "consent": (request.replace("/sign-in/", "/consent/"), {"decision": "allow", "scope": "demo:read"}),
        "again": (request.replace("/sign-in/", "/consent/") + "/again", {"decision": "allow"}),
        "switch": (request.replace("/sign-in/", "/consent/") + "/switch", {}),
    }


def _refused_and_nothing_done(pending: Pending, case: str, csrf: str | None, headers: Mapping[str, str | None]) -> None:
    """Asserts that each form, sent by the browser that asked, is refused and does nothing."""
    before, mails = database_dump(pending.idp), len(pending.idp.postbox.mails)
    for name, (url, form) in _doors(pending).items():
        given = form if csrf is None else {**form, "csrf": csrf}
        answer = press(pending.person, url, given, **headers)
        assert answer.status_code == 403, (case, name)
        assert "Nothing was done" in words_of(answer.text)
        assert not answer.headers.get_list("set-cookie"), (case, name)
    assert database_dump(pending.idp) == before, case
    assert len(pending.idp.postbox.mails) == mails
    assert pending.state()["state"] == "pending"


@pytest.mark.clause("C5")
def test_login_csrf_from_another_site(idp: Idp, people: People) -> None:
    """A form sent from another site gets 403 everywhere, even with the right CSRF token, and does nothing."""
    pending = asks(idp, people())
    idp.clock.forward(seconds=31)  # past the pause of a resend, so that only the rule about forms can refuse it
    csrf = field_value(pending.look(), "csrf")
    for case, headers in FOREIGN.items():
        _refused_and_nothing_done(pending, case, csrf, headers)


@pytest.mark.clause("C5")
def test_login_csrf_without_the_token_of_this_browser(idp: Idp, people: People) -> None:
    """Without this browser's own token a form of the right origin, or of none, is refused too."""
    pending = asks(idp, people())
    other = asks(idp, people("mallory@example.com"))
    idp.clock.forward(seconds=31)
    tokens = {
        "missing": None,
        "empty": "",
        "made up": "ImFiYyI.aaaaaa.bbbb",
        "of another browser": field_value(other.look(), "csrf"),
        "of no browser": field_value(link_page(pending, people()), "csrf"),
    }
    for case, csrf in tokens.items():
        _refused_and_nothing_done(pending, case, csrf, {})
        _refused_and_nothing_done(pending, case, csrf, {"origin": None, "sec_fetch_site": None})


def test_login_csrf_plants_nobody(idp: Idp, people: People) -> None:
    """An attacker's own link and token, posted by a script in the victim's browser, do not sign the victim in."""
    attacker = asks(idp, people("mallory@example.com"))
    victim = asks(idp, people("alice@example.com"))
    theirs = {"token": attacker.token, "csrf": field_value(attacker.look(), "csrf")}
    for headers in ({"origin": "https://evil.example", "sec_fetch_site": "cross-site"}, {}):
        answer = press(victim.person, f"{idp.issuer}/sign-in/link", theirs, **headers)
        assert answer.status_code == 403
        assert not answer.headers.get_list("set-cookie")


def test_a_browser_too_old_to_send_an_origin_is_held_by_its_token(idp: Idp, people: People) -> None:
    """Without Origin and Sec-Fetch-Site, but with this browser's own token, the form is accepted."""
    pending = asks(idp, people())
    form = {"code": pending.code, "csrf": field_value(pending.look(), "csrf")}
    answer = press(pending.person, f"{pending.url}/code", form, origin=None, sec_fetch_site=None)
    assert answer.status_code == 303
    assert pending.state()["state"] == "signed_in"


@pytest.mark.clause("A14")
def test_no_other_site_may_read_or_frame_a_page(idp: Idp, people: People) -> None:
    """Pages have no CORS header for any origin, and cannot be framed."""
    pending = asks(idp, people())
    for url in (pending.url, pending.url.rpartition("/")[0], pending.link, f"{pending.url}/state"):
        answer = pending.person.browser.get(url, headers={"origin": "https://evil.example"})
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        if "html" in answer.headers["content-type"]:
            assert answer.headers["x-frame-options"] == "DENY"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_cookies_off(idp: Idp) -> None:
    """A browser without cookies is told so, with a way on, after one redirect: never a loop."""
    client = registered(idp)
    with httpx2.Client(trust_env=False) as browser:
        answer = browser.get(client.authorize_url())
        hops = 0
        while answer.status_code in (302, 303) and hops < 5:
            hops += 1
            browser.cookies.clear()
            answer = browser.get(f"{idp.issuer}{answer.headers['location']}")
    assert hops == 1
    assert answer.status_code == 400
    words = words_of(answer.text)
    assert "Your browser is not keeping cookies for this page" in words
    assert "Try again" in words
    assert "email" not in words.lower()
    assert not answer.headers.get_list("set-cookie")


def test_cookies_off_at_every_page(idp: Idp, people: People) -> None:
    """If cookies are disabled midway, each page leads to the explanation within two redirects, and no form acts."""
    pending = asks(idp, people())
    request = pending.url.rpartition("/")[0]
    for url in (request, pending.url, request.replace("/sign-in/", "/consent/")):
        with httpx2.Client(trust_env=False) as browser:
            answer = browser.get(url)
            for _ in range(2):
                if answer.status_code == 303:
                    answer = browser.get(f"{idp.issuer}{answer.headers['location']}")
        assert "is not keeping cookies" in words_of(answer.text), url


def test_someone_elses_request_is_not_shown(idp: Idp, people: People) -> None:
    """The URL of another browser's page shows nothing of it: no address, no words, no state."""
    pending = asks(idp, people())
    reference = pending.reference
    other = asks(idp, people("mallory@example.com")).person
    for url in (pending.url, pending.url.rpartition("/")[0], pending.url.replace("/sign-in/", "/consent/")):
        text = other.open(url).text
        for told in ("alice", reference, "client.test"):
            assert told not in text, (url, told)
    assert other.browser.get(f"{pending.url}/state").json()["state"] == "expired"


def _cookies_set(person: Person, idp: Idp) -> list[str]:
    """The Set-Cookie headers of a whole journey."""
    answers: list[httpx2.Response] = []
    person.browser.event_hooks["response"].append(answers.append)
    pending = asks(idp, person)
    person.submit(person.form("code"), code=pending.code)
    person.allow()
    return [value for answer in answers for value in answer.headers.get_list("set-cookie")]


def test_cookie_attributes_on_loopback(idp: Idp, people: People) -> None:
    """On plain http loopback: HttpOnly, SameSite=Lax, Path=/, a name specific to this issuer, no Secure."""
    cookies = _cookies_set(people(), idp)
    kinds = set()
    for cookie in cookies:
        found = re.fullmatch(
            r"gp-(browser|session)-([0-9a-f]{8})=([^;]+); Path=/; Max-Age=(\d+); HttpOnly; SameSite=Lax", cookie
        )
        assert found, cookie
        kinds.add((found.group(1), found.group(4)))
    assert kinds == {("browser", "1800"), ("session", str(30 * 86400))}


def test_cookie_names_differ_between_issuers_on_one_host(idp: Idp, people: People, tmp_path: Path) -> None:
    """Two servers on two ports of one host do not overwrite each other's cookies, which ports do not separate."""
    person = people()
    first = {cookie.partition("=")[0] for cookie in _cookies_set(person, idp)}
    with (
        _served_as(tmp_path / "second", f"http://localhost:{free_port()}", "http://localhost:9001/mcp") as second,
        Person("bob@example.com", second.postbox) as bob,
    ):
        names = {cookie.partition("=")[0] for cookie in _cookies_set(bob, second)}
    assert len(first) == len(names) == 2
    assert not first & names


@dataclass
class ByHand:
    """A browser with its own cookie handling, at a public host name that resolves to 127.0.0.1."""

    base: str
    host: str
    set: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def send(self, method: str, url: str, form: dict[str, str] | None = None) -> httpx2.Response:
        """One request, and the redirects after it."""
        for _ in range(5):
            parts = urlsplit(url)
            headers = {"host": self.host, "cookie": "; ".join(f"{name}={value}" for name, value in self.kept.items())}
            if method == "POST":
                headers |= {"origin": f"https://{self.host}", "sec-fetch-site": "same-origin"}
            path = f"{self.base}{parts.path}" + (f"?{parts.query}" if parts.query else "")
            answer = httpx2.request(method, path, data=form, headers=headers, trust_env=False)
            self.url = parts.path
            for cookie in answer.headers.get_list("set-cookie"):
                self.set.append(cookie)
                name, _, value = cookie.partition(";")[0].partition("=")
                self.kept[name] = value
            if "location" not in answer.headers or answer.headers["location"].startswith("http"):
                return answer
            method, url, form = "GET", answer.headers["location"], None
        raise AssertionError("a loop of redirects")


@contextlib.contextmanager
def _served_as(folder: Path, issuer: str, mcp_url: str) -> Iterator[Idp]:
    folder.mkdir(exist_ok=True)
    with receiving() as postbox:
        port = urlsplit(issuer).port or free_port()
        settings = settings_of(folder, postbox, port, oauth_issuer=issuer, mcp_resource_url=mcp_url)
        upgrade(settings)
        clock = Clock()
        with listening(settings, clock, port):
            yield Idp(f"http://127.0.0.1:{port}", issuer, settings, clock, postbox)


def test_cookie_attributes_for_an_https_issuer(tmp_path: Path) -> None:
    """Public: the ``__Host-`` prefix and Secure, so that no sibling domain and no plain http can set them."""
    with _served_as(tmp_path, "https://auth.example.test", "https://mcp.example.test/mcp") as idp:
        browser = ByHand(idp.base, "auth.example.test")
        metadata = {"client_name": "App", "redirect_uris": ["https://app.example/cb"]}
        made = httpx2.post(
            f"{idp.base}/register", json=metadata, headers={"host": "auth.example.test"}, trust_env=False
        ).json()
        asked = {
            "response_type": "code",
            "client_id": made["client_id"],
            "redirect_uri": "https://app.example/cb",
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "code_challenge_method": "S256",
            "resource": "https://mcp.example.test/mcp",
        }
        page = browser.send("GET", f"/authorize?{urlencode(asked)}")
        browser.send("POST", browser.url, {"csrf": field_value(page.text, "csrf"), "email": "alice@example.com"})
        mail = idp.postbox.wait("alice@example.com")
        waiting = browser.send("GET", browser.url)
        consent = browser.send(
            "POST", f"{browser.url}/code", {"csrf": field_value(waiting.text, "csrf"), "code": code_of(mail)}
        )
        assert "alice@example.com" in consent.text
        assert consent.status_code == 200
    kinds = set()
    for cookie in browser.set:
        found = re.fullmatch(
            r"__Host-gp-(browser|session)-[0-9a-f]{8}=[^;]+; Path=/; Max-Age=\d+; HttpOnly; SameSite=Lax; Secure",
            cookie,
        )
        assert found, cookie
        kinds.add(found.group(1))
    assert kinds == {"browser", "session"}
