"""The mailed code: typed in the browser that asked, five tries, valid for its own attempt only."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.idp.signin.walk import asks, field_value, link_page, press, rows, sessions_made, signed_in, words_of
from tests.support.oauth import answer_of
from tests.support.person import Person
from tests.support.serving import Idp, serving

People = Callable[..., Person]
FULLWIDTH_DIGITS = "".join(chr(ord(digit) + 0xFEE0) for digit in "12345678")


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    """One server for the file: nothing here counts mails or moves the clock."""
    with serving(tmp_path_factory.mktemp("idp")) as served:
        yield served


def _another(code: str, step: int = 1) -> str:
    """A code other than ``code``."""
    return f"{(int(code.replace(' ', '')) + step) % 10**8:08d}"


def test_other_device_code_entry(idp: Idp, people: People) -> None:
    """If the mail is read on a phone, its code typed on the laptop signs in the laptop only."""
    pending = asks(idp, people())
    phone = people()
    page = link_page(pending, phone)
    assert pending.code in page
    pending.person.open(pending.url)
    pending.person.submit(pending.person.form("code"), code=pending.code)
    assert signed_in(pending.person)
    assert not signed_in(phone)
    pending.person.allow()
    assert "code" in answer_of(pending.person.answer())


@pytest.mark.parametrize(
    "typed", ["{0} {1}", "{0}{1}", "  {0}-{1} ", "X {0} X {1}", "{0}\N{NO-BREAK SPACE}{1}", "\t{0} {1}\t"]
)
def test_autofill_and_paste_forms_of_the_code_are_taken(idp: Idp, people: People, typed: str) -> None:
    """With the space, without it, with a dash, and with pasted extras, the code is accepted."""
    pending = asks(idp, people())
    pending.person.submit(pending.person.form("code"), code=typed.format(pending.code[:4], pending.code[5:]))
    assert signed_in(pending.person)


def test_the_code_field_asks_for_what_phones_fill_in(idp: Idp, people: People) -> None:
    """One field, ``one-time-code``, digits on the keyboard, long enough for the pasted space."""
    pending = asks(idp, people())
    page = pending.look()
    assert page.count('name="code"') == 1
    for attribute in ('autocomplete="one-time-code"', 'inputmode="numeric"', 'maxlength="12"'):
        assert attribute in page


@pytest.mark.clause("A1.guessing")
def test_wrong_code_5(idp: Idp, people: People) -> None:
    """After each wrong code the page says how many tries are left; the fifth locks the attempt, with its link."""
    pending = asks(idp, people())
    for left in (4, 3, 2, 1):
        answer = pending.person.submit(pending.person.form("code"), code=_another(pending.code, left))
        assert answer.status_code == 400
        assert f"That code is not right. {left} {'try' if left == 1 else 'tries'} left." in words_of(answer.text)
    csrf = field_value(pending.person.text, "csrf")
    pending.person.submit(pending.person.form("code"), code=_another(pending.code))
    assert "This sign-in is closed" in words_of(pending.person.text)
    assert pending.state()["state"] == "locked"
    right = press(pending.person, f"{pending.url}/code", {"code": pending.code, "csrf": csrf})
    assert not sessions_made([right])
    press(pending.person, f"{pending.url}/code", {"code": _another(pending.code), "csrf": csrf})
    counted = rows(idp, "SELECT detail FROM audit_event WHERE event = 'refused.wrong_code'")
    assert counted.count(f"attempt {pending.url.rpartition('/')[2]}") == 5, "what comes after counts against nobody"
    page = link_page(pending, pending.person)
    assert "This sign-in is closed" in words_of(page)
    link = press(pending.person, f"{idp.issuer}/sign-in/link", {"token": pending.token, "csrf": csrf})
    assert not sessions_made([link])
    assert f'href="{pending.url.rpartition("/")[0].removeprefix(idp.issuer)}"' in page, "and a way to a new one"


def test_four_wrong_codes_leave_the_right_one_good(idp: Idp, people: People) -> None:
    """People mistype: after four wrong tries the right code signs in."""
    pending = asks(idp, people())
    for step in range(1, 5):
        pending.person.submit(pending.person.form("code"), code=_another(pending.code, step))
    pending.person.submit(pending.person.form("code"), code=pending.code)
    assert signed_in(pending.person)


def test_what_is_no_code_is_a_wrong_code(idp: Idp, people: People) -> None:
    """Nothing, too little, too much, or anything but digits: the page again, with the tries left."""
    for kinds in (("", "1234", "12345678901"), ("abcdefgh", FULLWIDTH_DIGITS, "\0" * 8)):
        pending = asks(idp, people())
        for typed in kinds:
            answer = pending.person.submit(pending.person.form("code"), code=typed)
            assert answer.status_code == 400
            assert "That code is not right" in words_of(answer.text)
        assert not signed_in(pending.person)


def test_code_bound_to_its_attempt(idp: Idp, people: People) -> None:
    """One attempt's code works for no other: not another person's, and not the same person's other request."""
    alice, again, bob = (asks(idp, people(who)) for who in ("alice@example.com", "alice@example.com", "bob@x.example"))
    for other in (again, bob):
        alice.person.open(alice.url)
        alice.person.submit(alice.person.form("code"), code=other.code)
        assert not signed_in(alice.person)
    for pending in (alice, again, bob):
        pending.person.open(pending.url)
        pending.person.submit(pending.person.form("code"), code=pending.code)
        assert signed_in(pending.person)


def test_the_right_code_in_another_browser_signs_nobody_in(idp: Idp, people: People) -> None:
    """The URL and code of an attempt are useless in a browser that did not ask."""
    pending = asks(idp, people())
    thief = asks(idp, people("mallory@example.com"))
    answer = press(
        thief.person, f"{pending.url}/code", {"code": pending.code, "csrf": field_value(thief.look(), "csrf")}
    )
    assert not sessions_made([answer])
    assert pending.state()["state"] == "pending"


def test_a_used_code_is_used(idp: Idp, people: People) -> None:
    """The same code a second time makes no second session; the browser goes on to where it was."""
    pending = asks(idp, people())
    csrf = field_value(pending.person.text, "csrf")
    form = {"code": pending.code, "csrf": csrf}
    first, second = (press(pending.person, f"{pending.url}/code", form) for _ in range(2))
    assert len(sessions_made([first])) == 1
    assert not sessions_made([second])
    pending.person.open(pending.url)
    assert ("decision", "allow") in pending.person.form("decision").buttons


@pytest.mark.clause("A1.guessing")
def test_wrong_code_daily(tmp_path: Path) -> None:
    """Twenty wrong codes in a day, over several attempts, disable codes for that mailbox until the next day: the right
    one is refused too, with an explanation, while the link in the browser that asked still works."""
    with (
        serving(tmp_path) as idp,
        Person("alice@example.com", idp.postbox) as alice,
        Person("alice@example.com", idp.postbox) as robot,
        Person("bob@example.com", idp.postbox) as bob,
    ):
        idp.clock.forward(seconds=86_400 - idp.clock().timestamp() % 86_400 + 1)
        for _ in range(5):
            pending = asks(idp, robot)
            for step in range(1, 5):
                robot.submit(robot.form("code"), code=_another(pending.code, step))
        pending = asks(idp, alice)
        alice.submit(alice.form("code"), code=pending.code)
        assert "Too many wrong codes were typed for this address today" in words_of(alice.text)
        assert not signed_in(alice)
        assert rows(idp, "SELECT count(*) FROM audit_event WHERE event = 'refused.codes_off'") == [1]
        alice.sign_in_by_link(6)
        assert signed_in(alice)
        other = asks(idp, bob)
        bob.submit(bob.form("code"), code=other.code)
        assert signed_in(bob), "another mailbox is not held up"
        idp.clock.forward(days=1)
        again = asks(idp, robot)
        robot.submit(robot.form("code"), code=again.code)
        assert signed_in(robot)
