"""Expiry: ten minutes from when the mail server accepted the mail, within the thirty of the request."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.idp.oauth.wire import beside
from tests.idp.signin.walk import (
    Pending,
    asks,
    field_value,
    link_page,
    press,
    sessions_made,
    signed_in,
    types,
    words_of,
)
from tests.support.person import Person
from tests.support.serving import Idp, serving

People = Callable[..., Person]


def _by_link(pending: Pending) -> None:
    pending.person.sign_in_by_link(len(pending.idp.postbox.to(pending.person.email)))


def _by_code(pending: Pending) -> None:
    pending.person.open(pending.url)
    pending.person.submit(pending.person.form("code"), code=pending.code)


@pytest.mark.parametrize("use", [_by_link, _by_code])
def test_expiry_at_9_59(idp: Idp, people: People, use: Callable[[Pending], None]) -> None:
    """At 9 minutes and 58 seconds after the mail was accepted, link and code still sign in."""
    pending = asks(idp, people())
    idp.clock.forward(minutes=9, seconds=58)
    use(pending)
    assert signed_in(pending.person)


def test_expiry_at_10_01(idp: Idp, people: People) -> None:
    """At 10:01 neither works, and each page says so and offers a new mail for the same request."""
    pending = asks(idp, people())
    csrf = field_value(pending.look(), "csrf")
    page = link_page(pending, pending.person)
    form = {"token": field_value(page, "token"), "csrf": csrf}
    idp.clock.forward(minutes=10, seconds=1)
    assert pending.state() | {"mail": ""} == {"state": "expired", "mail": "", "next": None, "expires_in": 0}
    link = press(pending.person, f"{idp.issuer}/sign-in/link", form)
    code = press(pending.person, f"{pending.url}/code", {"code": pending.code, "csrf": csrf})
    assert not sessions_made([link, code])
    for url in (pending.link, pending.url):
        page = pending.person.open(url).text
        assert "This link has expired" in words_of(page)
        assert "Send a new link" in words_of(page)
    pending.person.open(pending.url.rpartition("/")[0])
    types(idp, pending.person)
    pending.person.sign_in_by_code(2)
    assert signed_in(pending.person)


def test_expired_elsewhere_tells_nothing(idp: Idp, people: People) -> None:
    """An old link on another device: expired, a way on, and not a word about who asked."""
    pending = asks(idp, people())
    idp.clock.forward(minutes=10, seconds=1)
    words = words_of(link_page(pending, people()))
    assert "This link has expired" in words
    assert "connect again" in words
    for told in ("alice", "client.test", pending.code):
        assert told not in words


def test_the_waiting_page_counts_down(idp: Idp, people: People) -> None:
    """The remaining time, from the mail's acceptance, is shown, and is what the script gets."""
    pending = asks(idp, people())
    idp.clock.forward(minutes=4)
    assert "The link and code work for another 6 minutes" in words_of(pending.look())
    assert 355 <= pending.state()["expires_in"] <= 360


def test_request_run_out(idp: Idp, people: People) -> None:
    """After thirty minutes the request is gone: the pages send people back to their app, and do not blame cookies."""
    pending = asks(idp, people())
    idp.clock.forward(minutes=31)
    request = pending.url.rpartition("/")[0]
    for url in (pending.url, request, request.replace("/sign-in/", "/consent/")):
        words = words_of(pending.person.open(url).text)
        assert "cookies" not in words, url
        assert "connect again" in words, url


def test_sign_in_minutes(tmp_path: Path) -> None:
    """SIGN_IN_MINUTES sets the lifetime of link and code, and the mail says the same number."""
    with serving(tmp_path, sign_in_minutes=3) as idp, Person("alice@example.com", idp.postbox) as person:
        pending = asks(idp, person)
        assert "Both work for 3 minutes" in " ".join(str(pending.mail.get_body(("plain",))).split())
        idp.clock.forward(minutes=3, seconds=1)
        assert pending.state()["state"] == "expired"


def test_a_key_that_is_gone_ends_what_was_mailed_under_it(idp: Idp, people: People) -> None:
    """If SECRET_KEY changes while a mail is on its way, link and code are refused, without a 500."""
    pending = asks(idp, people())
    csrf = field_value(pending.look(), "csrf")
    beside(idp, lambda tx: tx._cursor.execute("UPDATE sign_in_attempt SET key_id = '00000000'") and None)
    code = press(pending.person, f"{pending.url}/code", {"code": pending.code, "csrf": csrf})
    assert (code.status_code, sessions_made([code])) == (303, [])
    assert pending.person.open(pending.link).status_code == 410
