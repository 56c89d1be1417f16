"""Cookies and CSRF tokens: how long they are valid, what they are called, and which requests they let through."""

from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie

import pytest
from freezegun import freeze_time

from gatepost_idp import crypto, sessions
from gatepost_idp.sessions import Cookies
from gatepost_idp.settings import Settings


def public(*keys: str) -> Settings:
    return Settings(
        oauth_issuer="https://auth.example.com", mcp_resource_url="https://mcp.example.com/mcp", secret_key=keys
    )


PUBLIC = public("k" * 32)
LOCAL = Settings(oauth_issuer="http://localhost:9000", secret_key=("k" * 32,))
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ORIGIN = "https://auth.example.com"


def jar(header: str) -> dict[str, str]:
    """The cookies that a browser sends back."""
    return {name: morsel.value for name, morsel in SimpleCookie(header).items()}


def test_a_browser_is_known_for_thirty_minutes() -> None:
    """To the second, from when the cookie was last set."""
    cookies = Cookies(PUBLIC)
    with freeze_time(NOON, real_asyncio=True) as present:
        sent = jar(cookies.browser_header("browser id"))
        present.tick(timedelta(minutes=30))
        assert cookies.browser(sent) == "browser id"
        present.tick(timedelta(seconds=1))
        assert cookies.browser(sent) is None
        assert cookies.browser(jar(cookies.browser_header("browser id"))) == "browser id"


def test_a_form_is_good_for_twelve_hours() -> None:
    """For people who leave it open over lunch; after that a page says so."""
    cookies = Cookies(PUBLIC)
    with freeze_time(NOON, real_asyncio=True) as present:
        token = cookies.csrf("browser id")
        present.tick(timedelta(hours=12))
        assert cookies.is_own_form(token, "browser id", ORIGIN, "same-origin")
        present.tick(timedelta(seconds=1))
        assert not cookies.is_own_form(token, "browser id", ORIGIN, "same-origin")


def test_a_forged_browser_cookie_is_no_browser() -> None:
    """Nor is an altered one, another purpose's or server's, or none."""
    cookies = Cookies(PUBLIC)
    [(name, value)] = jar(cookies.browser_header("browser id")).items()
    [foreign] = jar(Cookies(public("o" * 32)).browser_header("browser id")).values()
    for wrong in ("", "browser id", value[:-2], "A" + value, cookies.csrf("browser id"), foreign):
        assert cookies.browser({name: wrong}) is None
    assert cookies.browser({}) is None
    assert cookies.browser({"gp-browser": value}) is None


def test_a_cookie_under_a_dropped_key_is_no_browser() -> None:
    """One under a key that is still on the list is accepted."""
    sent = jar(Cookies(PUBLIC).browser_header("browser id"))
    assert Cookies(public("k" * 32, "n" * 32)).browser(sent) == "browser id"
    assert Cookies(public("n" * 32)).browser(sent) is None


def test_public_cookies_are_bound_to_the_host() -> None:
    """``__Host-``, Secure, HttpOnly, Lax, the whole host, and no Domain."""
    cookies = Cookies(PUBLIC)
    for header, life in [(cookies.browser_header("b"), 1800), (cookies.session_header("gp_se_x"), 30 * 86400)]:
        assert header.startswith("__Host-gp-")
        assert header.partition("; ")[2] == f"Path=/; Max-Age={life}; HttpOnly; SameSite=Lax; Secure"
    assert "Max-Age=0" in cookies.ended_session_header()


def test_cookies_on_plain_http_do_without_what_needs_https() -> None:
    """A browser would drop them otherwise."""
    header = Cookies(LOCAL).session_header("gp_se_x")
    assert header.startswith("gp-session-")
    assert header.endswith("HttpOnly; SameSite=Lax")


def test_two_servers_on_one_host_do_not_share_cookies() -> None:
    """Cookies are not separated by port, so their names differ."""
    names = {
        name
        for issuer in ("http://localhost:9000", "http://localhost:9100", "http://localhost:9000/auth")
        for name in jar(Cookies(LOCAL.model_copy(update={"oauth_issuer": issuer})).browser_header("b"))
    }
    assert len(names) == 3


def test_a_session_is_stored_by_its_hash() -> None:
    """A value that does not look like a session token causes no query."""
    cookies = Cookies(PUBLIC)
    session = sessions.new_session()
    [(name, value)] = jar(cookies.session_header(session)).items()
    assert value == session
    assert cookies.session_hash({name: value}) == crypto.token_hash(session)
    assert cookies.session_hash({name: "gp_rt_something"}) is None
    assert cookies.session_hash(jar(cookies.ended_session_header())) is None
    assert cookies.session_hash({}) is None
    assert sessions.session_expiry(NOON) == NOON + timedelta(days=30)


FORMS = [
    # Origin, Sec-Fetch-Site, whether the form is accepted.
    (ORIGIN, "same-origin", True),
    ("https://AUTH.example.com", "same-origin", True),
    (ORIGIN, None, True),
    (None, "same-origin", True),
    (None, None, True),
    ("null", "same-origin", False),
    ("null", None, False),
    ("", None, False),
    ("https://evil.example", "cross-site", False),
    ("https://evil.example", "same-origin", False),
    ("https://auth.example.com.evil.example", None, False),
    ("https://auth.example.com:8443", None, False),
    ("http://auth.example.com", None, False),
    (ORIGIN, "cross-site", False),
    (ORIGIN, "same-site", False),
]


@pytest.mark.parametrize(("origin", "fetch_site", "verdict"), FORMS)
def test_a_form_is_ours_when_token_origin_and_site_agree(
    origin: str | None, fetch_site: str | None, verdict: bool
) -> None:
    """Each of them can refuse it."""
    cookies = Cookies(PUBLIC)
    assert cookies.is_own_form(cookies.csrf("browser id"), "browser id", origin, fetch_site) is verdict


def test_a_forms_token_belongs_to_one_browser() -> None:
    """Another browser's, a forged one, the browser's own cookie and none at all are foreign."""
    cookies = Cookies(PUBLIC)
    token = cookies.csrf("browser id")
    [cookie] = jar(cookies.browser_header("browser id")).values()
    assert not cookies.is_own_form(token, "another browser", ORIGIN, "same-origin")
    assert not cookies.is_own_form(token, None, ORIGIN, "same-origin")
    for wrong in ("", "x", token + "x", cookie, "\N{SNOWMAN}"):
        assert not cookies.is_own_form(wrong, "browser id", ORIGIN, "same-origin")
