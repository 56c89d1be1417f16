"""How a browser is described to a person, and what binds a request to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost_idp import crypto
from gatepost_idp.visitors import Visitor, browser_label

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "label"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/143.0 Safari/537.36", "Chrome on Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/143.0 Safari/537.36 Edg/143.0", "Edge on Windows"),
        (f"Mozilla/5.0 (Macintosh) {WEBKIT} Chrome/143.0 Safari/537.36 OPR/120.0", "Opera"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/26.0 Safari/605.1.15", "Safari on macOS"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) Version/26.0 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) CriOS/143.0 Safari/604.1", "Chrome on iPhone"),
        ("Mozilla/5.0 (iPad; CPU OS 26_0 like Mac OS X) FxiOS/145.0 Safari/604.1", "Firefox on iPad"),
        (f"Mozilla/5.0 (Linux; Android 16; Pixel 10) {WEBKIT} Chrome/143.0 Safari/537.36", "Chrome on Android"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 16000.0.0) {WEBKIT} Chrome/143.0 Safari/537.36", "Chrome on ChromeOS"),
        ("curl/8.0", "A browser"),
        ("", "A browser"),
    ],
)
def test_a_browser_is_called_by_its_name(user_agent: str, label: str) -> None:
    """Most of them claim to be several others."""
    assert browser_label(user_agent) == label


@given(st.text(max_size=80))
def test_a_browsers_name_holds_nothing_that_it_sent(user_agent: str) -> None:
    """It goes into a mail, so it contains only our own words."""
    words = browser_label(user_agent).split()
    known = "A browser Edge Opera Firefox Chrome Safari on iPhone iPad Android Windows ChromeOS macOS Linux"
    assert set(words) <= set(known.split())


def test_a_browser_without_a_cookie_matches_nothing() -> None:
    """Requests and attempts are bound to 32 bytes, which a browser without the cookie does not have."""
    assert Visitor(lambda: None, None, "", "").browser_hash == b""
    assert Visitor(lambda: "id", None, "", "").browser_hash == crypto.token_hash("id")
