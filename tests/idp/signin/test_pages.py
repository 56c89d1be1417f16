"""Every page of the sign-in: plain wording, accessibility, size, one request, and security headers."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.idp.signin.walk import asks, types, words_of
from tests.support.oauth import TestClient, registered
from tests.support.person import Person
from tests.support.serving import Idp, serving

HOSTED = {"client_name": "Claude", "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"]}
LOCAL = {"client_name": "Claude Code", "redirect_uris": ["http://localhost:33418/callback"]}
Pages = dict[str, httpx2.Response]


def _asking(idp: Idp, person: Person, client: TestClient) -> Pages:
    """The address page and the waiting page in all their states, to the end of the request."""
    pages = {"address": person.open(client.authorize_url())}
    pages["address, refused"] = person.submit(person.form("email"), email="alice, bob")
    types(idp, person)
    pages["waiting"] = person.open(_here(person))
    for tries in ("wrong code", "wrong code, 3 left", "wrong code, 2 left", "wrong code, 1 left", "locked"):
        pages[f"waiting, {tries}"] = person.submit(person.form("code"), code="1")
    pages["foreign form"] = person.browser.post(f"{_here(person)}/code", data={"code": "1"})
    idp.clock.forward(minutes=31)
    pages["request run out"] = person.open(_here(person))
    return pages


def _link(idp: Idp, person: Person, elsewhere: Person, client: TestClient) -> Pages:
    """The link's pages, from fresh to used, in this and another browser, up to the finish page."""
    pending = asks(idp, person, client)
    pages = {"elsewhere": elsewhere.open(pending.link), "link": person.open(pending.link)}
    pages["signed in, tab waits"] = person.submit(person.form("token"))
    pages |= {"used here": person.open(pending.link), "used elsewhere": elsewhere.open(pending.link)}
    pages["consent"] = person.open(pending.url.replace("/sign-in/", "/consent/").rpartition("/")[0])
    pages["finish"] = person.submit(person.form("decision"), decision="allow")
    pages["finished"] = person.open(pending.url.rpartition("/")[0])
    pages["one tap"] = person.open(client.authorize_url(prompt="select_account"))
    pages["denied"] = person.submit(person.form("decision"), decision="deny")
    return pages


def _ends(idp: Idp, person: Person, elsewhere: Person, client: TestClient) -> Pages:
    """Links for another address than the one signed in, cancelled, and expired."""
    pending = asks(idp, person, client, prompt="login")
    pages = {"link for another person": person.open(pending.link)}
    elsewhere.open(pending.link)
    pages["not me"] = elsewhere.submit(elsewhere.form_to("not-me"))
    pages["cancelled"] = person.open(pending.url)
    old = asks(idp, person, client, prompt="login")
    idp.clock.forward(minutes=11)
    pages |= {"expired": person.open(old.url), "expired elsewhere": elsewhere.open(old.link)}
    return pages


def _plain(idp: Idp, client: TestClient) -> Pages:
    """Pages that need no known browser."""
    return {
        "home": idp.get("/"),
        "connect": idp.get("/connect"),
        "unknown link": idp.get("/sign-in/link?t=nothing"),
        "no such request": idp.get("/sign-in/some-request"),
        "no cookies": idp.get(idp.get(f"/authorize?{urlsplit(client.authorize_url()).query}").headers["location"]),
        "nothing here": idp.get("/nothing/here"),
        "wrong method": idp.post("/authorize", {}),
        "unknown app": idp.get("/authorize?client_id=x&redirect_uri=https://claude.ai/"),
        "unknown return address": idp.get(f"/authorize?client_id={client.id}&redirect_uri=https://evil.example/"),
    }


def _here(person: Person) -> str:
    assert person.page is not None
    return str(person.page.url)


def _local(person: Person, client: TestClient) -> Pages:
    """The pages that warn of a program on this computer."""
    pages = {"local: consent": person.open(client.authorize_url())}
    pages["local: finish"] = person.submit(person.form("decision"), decision="allow")
    pages["local: one tap"] = person.open(client.authorize_url())
    pages["local: address"] = person.open(client.authorize_url(prompt="login"))
    return pages


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """Every page, by name."""
    with serving(tmp_path_factory.mktemp("idp")) as idp:
        hosted, local = registered(idp, **HOSTED), registered(idp, **LOCAL)
        with (
            Person("alice@example.com", idp.postbox) as alice,
            Person("alice@example.com", idp.postbox) as phone,
            Person("bob@example.com", idp.postbox) as bob,
        ):
            found = _plain(idp, hosted) | _asking(idp, bob, hosted) | _link(idp, alice, phone, hosted)
            found |= _local(alice, local)
            alice.email = "carol@example.com"
            return found | _ends(idp, alice, phone, hosted)


class _Outline(HTMLParser):
    """The tags and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def all(self, *tags: str) -> list[dict[str, str]]:
        """The attributes of each tag of that name."""
        return [attributes for tag, attributes in self.tags if tag in tags]


def test_every_page_was_seen(pages: Pages) -> None:
    """Each page is the intended one, so that the tests below do not test one page many times."""
    headings = {
        "home": "Connect your AI app to",
        "connect": "Pick your app",
        "unknown link": "This link does not work",
        "no such request": "This took too long",
        "no cookies": "is not keeping cookies",
        "nothing here": "There is nothing here",
        "wrong method": "does not accept that request",
        "unknown app": "This connection cannot be started",
        "unknown return address": "This connection cannot be started",
        "address": "Sign in to Gatepost demo",
        "address, refused": "Enter one email address",
        "waiting": "Check your mail",
        "waiting, wrong code": "4 tries left",
        "waiting, locked": "This sign-in is closed",
        "foreign form": "This form has expired",
        "link": "You are nearly in",
        "elsewhere": "Are you trying to sign in",
        "signed in, tab waits": "You are signed in",
        "used here": "You are already signed in",
        "used elsewhere": "This link has been used",
        "consent": "Let claude.ai use Example tools?",
        "finish": "All set",
        "finished": "This is finished",
        "one tap": "Continue to claude.ai",
        "denied": "Cancelled",
        "link for another person": "Switch to carol@example.com?",
        "not me": "This sign-in is cancelled",
        "cancelled": "This sign-in is cancelled",
        "expired": "This link has expired",
        "expired elsewhere": "This link has expired",
        "local: consent": "Let localhost on this computer use",
        "local: finish": "Is nothing happening?",
        "local: one tap": "Nobody can prove which one",
        "local: address": "It is a program on this computer",
    }
    for name, expected in headings.items():
        assert expected in words_of(pages[name].text), name


def test_each_page_has_one_heading_a_title_and_a_language(pages: Pages) -> None:
    """One h1, ``lang``, a proper title, one main landmark, a viewport for phones."""
    for name, page in pages.items():
        outline = _Outline(page.text)
        assert len(outline.all("h1")) == 1, name
        assert outline.all("html") == [{"lang": "en"}], name
        assert len(outline.all("main")) == len(outline.all("header")) == len(outline.all("footer")) == 1, name
        title = re.search(r"<title>(.+?)</title>", page.text)
        assert title, name
        assert title.group(1).endswith(" – Gatepost demo"), name
        assert len(title.group(1)) > len(" – Gatepost demo"), name
        assert any(meta.get("name") == "viewport" for meta in outline.all("meta")), name
        levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1, name
        assert all(after - before <= 1 for before, after in pairwise(levels)), name


def test_each_page_is_whole_in_one_answer(pages: Pages) -> None:
    """Under 20 KiB, without further requests: no external image, frame, font, style or script."""
    for name, page in pages.items():
        assert page.headers["content-type"] == "text/html; charset=utf-8", name
        assert len(page.content) < 20 * 1024, (name, len(page.content))
        outline = _Outline(page.text)
        assert not outline.all("img", "iframe", "link", "object", "embed", "base", "audio", "video"), name
        fetched = [(tag, key) for tag, attributes in outline.tags for key in attributes if key in ("src", "srcset")]
        assert not fetched, name
        assert not re.search(r"@import|url\(", page.text), name


def test_each_page_is_held_in_by_its_headers(pages: Pages) -> None:
    """No caching, no framing, no indexing; only our own styles and scripts run."""
    for name, page in pages.items():
        headers = page.headers
        assert headers["cache-control"] == "no-store", name
        assert headers["referrer-policy"] == "same-origin", name
        assert headers["x-content-type-options"] == "nosniff", name
        assert headers["x-frame-options"] == "DENY", name
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'", name
        assert policy["form-action"] == "'self'", name
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'", name
        assert policy["connect-src"] == "'self'", name
        assert not re.search(r"unsafe|https?:|\*|strict-dynamic", headers["content-security-policy"]), name
        for tag, rule in (("style", "style-src"), ("script", "script-src")):
            for body in re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL):
                digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
                assert f"'sha256-{digest}'" in policy[rule], (name, tag)
        assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", page.text), f"{name}: an attribute that the policy blocks"


def test_no_page_speaks_jargon(pages: Pages) -> None:
    """No page says token, OAuth, scope, client or the like, or has an exclamation mark."""
    jargon = r"\b(tokens?|oauth|oidc|openid|scopes?|clients?|redirect\w*|csrf|pkce|parameters?|uri|http|authoriz\w+)\b"
    for name, page in pages.items():
        if name in ("home", "connect"):  # show the URL to paste, and the terms of other programs' files
            continue
        found = re.search(jargon, words_of(page.text), re.IGNORECASE)
        assert not found, (name, found)
        assert "!" not in words_of(page.text), name
        assert "invalid" not in words_of(page.text).lower(), name


def test_each_field_has_a_label_and_each_page_a_way_on(pages: Pages) -> None:
    """Every field has an accessible name; every page has a link, a button or a sentence on what to do."""
    for name, page in pages.items():
        outline = _Outline(page.text)
        labelled = {label["for"] for label in outline.all("label") if "for" in label}
        for field in outline.all("input"):
            kind = field.get("type")
            named = kind in ("hidden", "checkbox", "radio") or field.get("id") in labelled or "aria-label" in field
            assert named, (name, field)
        acts = outline.all("button") or [link for link in outline.all("a") if "button" in link.get("class", "")]
        told = re.search(r"[Gg]o back to|connect again|[Rr]eturn to|add it again", words_of(page.text))
        assert acts or told, name


def test_whoever_came_by_a_wrong_address_finds_the_start_page(pages: Pages) -> None:
    """The page says what is here and how to connect, for people with an old bookmark."""
    for name in ("nothing here", "unknown link"):
        assert ("/", "button full") in [
            (link["href"], link.get("class")) for link in _Outline(pages[name].text).all("a")
        ]


def test_pages_of_a_request_carry_its_trace_for_the_operator(pages: Pages) -> None:
    """From address to consent each page shows the same trace id at its foot, even when it refuses a form."""
    traces = {}
    for name in ("address", "waiting", "waiting, wrong code", "unknown app", "foreign form", "nothing here"):
        found = re.search(r"trace <code>([\w-]+)</code>", pages[name].text)
        assert found, name
        traces[name] = found.group(1)
    assert traces["address"] == traces["waiting"] == traces["waiting, wrong code"]
    assert traces["foreign form"] == traces["address"]
    assert len(set(traces.values())) == 3


def test_statuses(pages: Pages) -> None:
    """Errors have an error status for programs too, other pages have 200."""
    expected = {
        "address": 200,
        "address, refused": 400,
        "waiting": 200,
        "waiting, wrong code": 400,
        "waiting, locked": 410,
        "foreign form": 403,
        "unknown link": 410,
        "no such request": 410,
        "no cookies": 400,
        "used here": 200,
        "used elsewhere": 200,
        "not me": 410,
        "expired": 410,
        "unknown app": 400,
        "nothing here": 404,
        "wrong method": 405,
        "finish": 200,
        "denied": 200,
    }
    assert {name: pages[name].status_code for name in expected} == expected
