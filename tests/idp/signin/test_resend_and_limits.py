"""Asking for mail again: the same link and code, rate limited, with the wait shown."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.idp.signin.walk import (
    Pending,
    asks,
    field_value,
    link_page,
    press,
    rows,
    signed_in,
    stand_still,
    types,
    words_of,
)
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.serving import Idp, serving
from tests.support.smtp import code_of, link_of

People = Callable[..., Person]


def _resend(pending: Pending) -> None:
    pending.person.open(pending.url)
    pending.person.submit(pending.person.form_to("/resend"))


def test_resend_same_link(idp: Idp, people: People) -> None:
    """A second mail has the same link and code and a new Message-ID, so that neither is ``the old one``."""
    pending = asks(idp, people())
    idp.clock.forward(seconds=31)
    _resend(pending)
    second = idp.postbox.wait(pending.person.email, 2)
    assert link_of(second) == pending.link
    assert code_of(second) == pending.code
    assert second["Message-ID"] != pending.mail["Message-ID"]
    link_page(pending, pending.person)
    pending.person.submit(pending.person.form("token"))
    assert signed_in(pending.person)


def test_resend_lengthens_nothing(idp: Idp, people: People) -> None:
    """The ten minutes run from the first mail: asking again does not extend them."""
    pending = asks(idp, people())
    for _ in range(3):
        idp.clock.forward(minutes=3)
        _resend(pending)
    assert 55 <= pending.state()["expires_in"] <= 60
    idp.clock.forward(minutes=1, seconds=1)
    assert pending.state()["state"] == "expired"


def test_resend_cooldown(idp: Idp, people: People) -> None:
    """Within thirty seconds no further mail is sent, however often the button is pressed; the wait is shown."""
    pending = asks(idp, people())
    assert re.search(r"You can ask again in (30|2\d) seconds", words_of(pending.look()))
    form = {"csrf": field_value(pending.person.text, "csrf")}
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: press(pending.person, f"{pending.url}/resend", form), range(5)))
    idp.clock.forward(seconds=31)
    assert not re.search(r"You can ask again in \d", words_of(pending.look()))
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: press(pending.person, f"{pending.url}/resend", form), range(5)))
    idp.postbox.wait(pending.person.email, 2)
    _settled(pending)
    assert len(idp.postbox.to(pending.person.email)) == 2


def test_the_mail_goes_again_in_the_thirtieth_second(idp: Idp, people: People) -> None:
    """Not a millisecond earlier; and then there are thirty more to wait."""
    stand_still(idp)
    pending = asks(idp, people())
    for mails in (1, 2):
        idp.clock.forward(seconds=29, milliseconds=999)
        _resend(pending)
        assert rows(idp, "SELECT count(*) FROM outbox") == [mails]
        idp.clock.forward(milliseconds=1)
        _resend(pending)
        assert rows(idp, "SELECT count(*) FROM outbox") == [mails + 1]


def test_a_press_that_comes_too_soon_costs_nothing(tmp_path: Path) -> None:
    """Pressing too early does not count against the mailbox's limit."""
    with serving(tmp_path, limit_address="2/15minutes") as idp, Person("alice@example.com", idp.postbox) as person:
        _after_a_quarter(idp)
        pending = asks(idp, person)
        for _ in range(3):
            _resend(pending)
        idp.clock.forward(seconds=31)
        _resend(pending)
        idp.postbox.wait(person.email, 2)


def test_resend_of_what_ended_sends_nothing(idp: Idp, people: People) -> None:
    """Used or cancelled attempts get no further mail."""
    pending = asks(idp, people())
    csrf = {"csrf": field_value(pending.look(), "csrf")}
    pending.person.submit(pending.person.form("code"), code=pending.code)
    idp.clock.forward(seconds=31)
    press(pending.person, f"{pending.url}/resend", csrf)
    second = asks(idp, people("bob@example.com"))
    assert second.state()["mail"] == "sent"
    assert len(idp.postbox.to(pending.person.email)) == 1


def test_another_browser_neither_resends_nor_cancels(idp: Idp, people: People) -> None:
    """With an attempt's URL and one's own form token, one can neither flood a mailbox nor end a sign-in."""
    pending, other = asks(idp, people()), asks(idp, people("eve@example.com"))
    idp.clock.forward(seconds=31)
    form = {"csrf": field_value(other.look(), "csrf")}
    for button in ("resend", "change"):
        assert press(other.person, f"{pending.url}/{button}", form).status_code == 303
    _settled(pending)
    assert len(idp.postbox.to(pending.person.email)) == 1
    assert pending.state()["state"] == "pending"


def _settled(pending: Pending) -> None:
    """Returns once a mail requested after all the others has arrived."""
    with Person("last@example.com", pending.idp.postbox) as last:
        asks(pending.idp, last)


def _after_a_quarter(idp: Idp) -> None:
    """Lets the current windows end, so that the next try begins new ones."""
    idp.clock.forward(minutes=15, seconds=1)


def _asks_again(idp: Idp, person: Person, email: str) -> int:
    """Asks from a new request; returns the status of the answer to the address page."""
    person.open(registered(idp).authorize_url())
    idp.clock.forward(seconds=1.1)
    answer = person.submit(person.form("email"), email=email)
    return answer.status_code


def test_limit_address(tmp_path: Path) -> None:
    """One mail in thirty seconds for a mailbox, from any browser and with any tag: then a page that says how long,
    keeps the input, and lets a mail through when the time is over."""
    with (
        serving(tmp_path, limit_address="1/30seconds") as idp,
        Person("alice@example.com", idp.postbox) as person,
        Person("alice@example.com", idp.postbox) as elsewhere,
    ):
        _after_a_quarter(idp)
        asks(idp, person)
        for typed in ("alice@example.com", "ALICE@example.com", "alice+news@example.com"):
            assert _asks_again(idp, elsewhere, typed) == 429
            words = words_of(elsewhere.text)
            shown = re.search(r"You can ask again in (\d+) seconds", words)
            assert shown, words
            assert 15 <= int(shown.group(1)) <= 30
            assert "A link we mailed before still works" in words
            assert field_value(elsewhere.text, "email") == typed
            assert re.search(r'data-countdown="\d+"', elsewhere.text)
        assert _asks_again(idp, elsewhere, "bob@example.com") == 200, "another mailbox is not held up"
        idp.clock.forward(seconds=30)
        elsewhere.open(registered(idp).authorize_url())
        types(idp, elsewhere)
        idp.postbox.wait("alice@example.com", 2)
        assert [str(mail["To"]) for mail in idp.postbox.mails].count("alice@example.com") == 2


def test_a_refused_try_does_not_lengthen_the_wait(tmp_path: Path) -> None:
    """Twenty tries during the wait change nothing about its end."""
    with serving(tmp_path, limit_address="5/15minutes") as idp, Person("alice@example.com", idp.postbox) as person:
        _after_a_quarter(idp)
        assert [_asks_again(idp, person, person.email) for _ in range(5)] == [200] * 5
        idp.clock.forward(minutes=14)
        assert [_asks_again(idp, person, person.email) for _ in range(20)] == [429] * 20
        assert re.search(r"You can ask again in [23]\d seconds", words_of(person.text))
        idp.clock.forward(minutes=1)
        assert _asks_again(idp, person, person.email) == 200


def test_limit_of_the_network(tmp_path: Path) -> None:
    """One network gets a limited number of mails, to any recipients."""
    with serving(tmp_path, limit_network="3/15minutes") as idp, Person("x@example.com", idp.postbox) as person:
        _after_a_quarter(idp)
        found = [_asks_again(idp, person, f"person{n}@example.com") for n in range(5)]
        assert found == [200, 200, 200, 429, 429]
        assert "You can ask again in 15 minutes" in words_of(person.text)


def test_limit_global(tmp_path: Path) -> None:
    """The whole server sends a limited number; a quarter is reserved for people who have an account."""
    with (
        serving(tmp_path, limit_total="8/15minutes") as idp,
        Person("alice@example.com", idp.postbox) as alice,
        Person("x@example.com", idp.postbox) as stranger,
    ):
        asks(idp, alice)
        alice.sign_in_by_link()
        _after_a_quarter(idp)
        found = [_asks_again(idp, stranger, f"stranger{n}@example.com") for n in range(8)]
        assert found == [200] * 6 + [429] * 2
        assert "You can ask again in 15 minutes" in words_of(stranger.text)
        with Person(alice.email, idp.postbox) as elsewhere:
            assert _asks_again(idp, elsewhere, alice.email) == 200
            idp.clock.forward(seconds=31)
            elsewhere.submit(elsewhere.form_to("/resend"))
            idp.postbox.wait(alice.email, 3)
            assert _asks_again(idp, elsewhere, alice.email) == 429


def test_limit_address_holds_under_parallel_requests(tmp_path: Path) -> None:
    """Twenty concurrent forms for one mailbox send exactly as many mails as the limit allows."""
    with serving(tmp_path, limit_address="2/15minutes") as idp, Person("alice@example.com", idp.postbox) as person:
        _after_a_quarter(idp)
        person.open(registered(idp).authorize_url())
        assert person.page is not None
        url = str(person.page.url)
        form = {"csrf": field_value(person.text, "csrf"), "email": person.email}
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: press(person, url, form), range(20)))
        assert sorted(answer.status_code for answer in answers) == [303] * 2 + [429] * 18
        idp.postbox.wait(person.email, 2)
        assert len(idp.postbox.to(person.email)) == 2


def test_resend_counts_against_the_limit(tmp_path: Path) -> None:
    """The button ``Send it again`` counts against the mailbox's limit."""
    with serving(tmp_path, limit_address="2/15minutes") as idp, Person("alice@example.com", idp.postbox) as person:
        _after_a_quarter(idp)
        pending = asks(idp, person)
        for _ in range(3):
            idp.clock.forward(seconds=31)
            _resend(pending)
        idp.postbox.wait(person.email, 2)
        _settled(pending)
        assert len(idp.postbox.to(person.email)) == 2


def test_a_form_that_comes_back_at_once_is_slowed_down_not_dropped(idp: Idp, people: People) -> None:
    """Whether by a robot or by autofill, a form sent within a second is delayed a little, and the mail still comes."""
    durations = []
    for pause in (0.0, 1.1):
        person = people()
        person.open(registered(idp).authorize_url())
        idp.clock.forward(seconds=pause)
        started = time.monotonic()
        person.ask_for_mail()
        durations.append(time.monotonic() - started)
        assert "Check your mail" in person.text
    assert idp.postbox.wait("alice@example.com", 2)
    assert durations[0] >= 0.3
    assert durations[1] < durations[0]


def test_a_field_that_nobody_sees_catches_robots(idp: Idp, people: People) -> None:
    """A form with it filled in gets a message that a person whose browser did it can act on; no mail is sent."""
    person = people()
    person.open(registered(idp).authorize_url())
    answer = person.submit(person.form("website"), email=person.email, website="https://robot.example")
    assert answer.status_code == 400
    assert idp.postbox.mails == []
    types(idp, person)
    assert "Check your mail" in person.text
