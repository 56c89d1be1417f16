"""The mailed link: it signs in the browser that asked, and nothing else."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.idp.signin.walk import (
    Pending,
    asks,
    database_dump,
    field_value,
    link_page,
    press,
    rows,
    sessions_made,
    signed_in,
    stand_still,
    words_of,
)
from tests.support.oauth import answer_of, registered
from tests.support.person import Person
from tests.support.serving import Idp

People = Callable[..., Person]


def _still_pending_and_good(pending: Pending) -> None:
    """Asserts that the attempt is unchanged: its own browser still signs in with the same link."""
    assert pending.state()["state"] == "pending"
    pending.person.sign_in_by_link()
    assert signed_in(pending.person)


def test_same_browser_link(idp: Idp, people: People) -> None:
    """The browser that asked opens the link, presses one button, and goes on to consent, signed in."""
    pending = asks(idp, people())
    page = link_page(pending, pending.person)
    assert "Sign in as alice@example.com" in words_of(page)
    assert 'data-auto="yes"' in page, "with script the button presses itself"
    assert not signed_in(pending.person), "opening alone signs nobody in"
    pending.person.submit(pending.person.form("token"))
    assert signed_in(pending.person)
    pending.person.open(f"{idp.issuer}{pending.state()['next']}")
    pending.person.allow()
    assert "code" in answer_of(pending.person.answer())


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_scanner_head_and_get(idp: Idp, people: People, method: str) -> None:
    """A scanner's HEADs and GETs of the link do not change one byte of the database."""
    pending = asks(idp, people())
    before = database_dump(idp)
    for agent in ("Microsoft-Defender/1.0", "Mozilla/5.0 (Windows NT 10.0) Chrome/150", ""):
        for _ in range(3):
            answer = httpx2.request(method, pending.link, headers={"user-agent": agent}, trust_env=False)
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-robots-tag"] == "noindex"
            assert not sessions_made([answer])
    assert database_dump(idp) == before
    _still_pending_and_good(pending)


def test_scanner_get_in_the_name_of_the_browser_that_asked_changes_nothing_either(idp: Idp, people: People) -> None:
    """Even a browser's prefetch, with the right cookie, is a GET, and a GET is read-only."""
    pending = asks(idp, people())
    before = database_dump(idp)
    for _ in range(3):
        assert pending.person.browser.get(pending.link, headers={"sec-purpose": "prefetch"}).status_code == 200
    assert database_dump(idp) == before
    _still_pending_and_good(pending)


@pytest.mark.parametrize("door", ["", "/not-me"])
def test_scanner_post(idp: Idp, people: People, door: str) -> None:
    """A scanner that submits every form of the page, without the cookie, signs nobody in and cancels nothing."""
    pending = asks(idp, people())
    page = httpx2.get(pending.link, trust_env=False).text
    forms = [{"token": pending.token}, {"token": pending.token, "csrf": field_value(page, "csrf")}]
    before = database_dump(idp)
    for form in forms:
        answer = httpx2.post(f"{idp.issuer}/sign-in/link{door}", data=form, trust_env=False)
        assert answer.status_code == 403
        assert not sessions_made([answer])
    assert database_dump(idp) == before
    _still_pending_and_good(pending)


def test_other_device_shows_code(idp: Idp, people: People) -> None:
    """On another device the link shows who asked, from where, and the code on request; and it stays valid."""
    pending = asks(idp, people())
    phone = people()
    words = words_of(link_page(pending, phone))
    assert "Are you trying to sign in" in words
    for fact in ("client.test", "alice@example.com", "Firefox on Linux", "127.0.0.1", pending.reference, "UTC"):
        assert fact in words, fact
    assert pending.code in words
    assert "Show my code" in words
    assert "It wasn’t me" in words
    assert not any("sign-in/link" in form.action and not form.action.endswith("not-me") for form in phone.forms())
    assert not signed_in(phone)
    _still_pending_and_good(pending)


def test_relay_phish(idp: Idp, people: People) -> None:
    """If an attacker asks with the victim's address, the victim's click in another browser signs in neither."""
    pending = asks(idp, people("victim@example.com"))
    attacker, victim = pending.person, people("victim@example.com")
    link_page(pending, victim)
    elsewhere = field_value(victim.text, "csrf")
    for form in ({"token": pending.token}, {"token": pending.token, "csrf": elsewhere}):
        assert not sessions_made([press(victim, f"{idp.issuer}/sign-in/link", form)])
    # The same with a victim who has their own request under way, and so a valid cookie and CSRF token.
    own = asks(idp, people("other@example.com"))
    link_page(pending, own.person)
    form = {"token": pending.token, "csrf": field_value(own.look(), "csrf")}
    pressed = press(own.person, f"{idp.issuer}/sign-in/link", form)
    assert not sessions_made([pressed])
    assert not signed_in(victim)
    assert not signed_in(own.person)
    assert pending.state()["state"] == "pending"
    attacker.open(pending.url)
    assert "Check your mail" in attacker.text, "the attacker's tab goes nowhere"
    assert not signed_in(attacker)


def test_not_me(idp: Idp, people: People) -> None:
    """``It wasn't me`` ends the attempt at once: link and code stop working, and the asking tab says so."""
    pending = asks(idp, people())
    victim = people()
    link_page(pending, victim)
    victim.submit(victim.form_to("not-me"))
    assert "cancelled" in words_of(victim.text)
    assert pending.state()["state"] == "cancelled"
    assert "This sign-in is cancelled" in pending.look()
    page = link_page(pending, pending.person)
    assert "cancelled" in words_of(page)
    assert "data-auto" not in page
    code = press(
        pending.person, f"{pending.url}/code", {"code": pending.code, "csrf": _csrf_of_fresh_page(idp, pending)}
    )
    assert not sessions_made([code])
    assert not signed_in(pending.person)


def test_not_me_that_comes_too_late_does_not_say_that_nobody_got_in(idp: Idp, people: People) -> None:
    """If the link was used before, ``It wasn't me`` must not claim that nobody was signed in."""
    pending = asks(idp, people())
    victim = people()
    link_page(pending, victim)
    pending.person.sign_in_by_link()
    victim.submit(victim.form_to("not-me"))
    assert pending.state()["state"] == "signed_in"
    assert "Nobody was signed in" not in words_of(victim.text)
    assert "used" in words_of(victim.text)


def test_not_me_needs_the_mailed_link(idp: Idp, people: People) -> None:
    """An attempt's id, or an altered link, cancels nothing."""
    pending = asks(idp, people())
    victim = people()
    link_page(pending, victim)
    form = victim.form_to("not-me")
    bent = pending.token[:-2] + ("yy" if pending.token.endswith("xx") else "xx")
    for token in ("", pending.token.partition(".")[0], bent, pending.token + "x"):
        assert victim.submit(form, token=token).status_code == 410
    assert pending.state()["state"] == "pending"


@pytest.mark.parametrize("bend", ["cut", "other seed", "other attempt", "nothing", "nul", "not ascii"])
def test_a_bent_link_leads_nowhere(idp: Idp, people: People, bend: str) -> None:
    """A truncated or made-up link gives a plain page with a way on, and reveals nothing of the attempt."""
    pending = asks(idp, people())
    second = asks(idp, people("bob@example.com"))
    bent = {
        "cut": pending.token[:-3],
        "other seed": pending.token.partition(".")[0] + "." + second.token.partition(".")[2],
        "other attempt": ("y" if pending.token[0] == "x" else "x") + pending.token[1:],
        "nothing": "",
        "nul": pending.token + "%00",
        "not ascii": pending.token + "%C3%A9%FF",
    }[bend]
    answer = pending.person.browser.get(f"{idp.issuer}/sign-in/link?t={bent}")
    assert answer.status_code == 410
    words = words_of(answer.text)
    assert "does not work" in words
    assert "connect again" in words
    assert "alice" not in words
    assert pending.state()["state"] == "pending"


def test_a_token_that_is_no_text_is_no_fault(idp: Idp, people: People) -> None:
    """A multipart form may declare a charset in which its bytes are not valid text: an address in it used to give a
    500. No page of ours sends such a form."""
    pending = asks(idp, people())
    fields = {"csrf": field_value(pending.look(), "csrf"), "token": f"{pending.token.partition('.')[0]}.+2AA-"}
    parts = [f'--x\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{fields[name]}\r\n' for name in fields]
    headers = {"content-type": "multipart/form-data; boundary=x; charset=utf-7", "origin": idp.issuer}
    body = "".join([*parts, "--x--\r\n"])
    for path in ("/sign-in/link", "/sign-in/link/not-me"):
        answer = pending.person.browser.post(f"{idp.issuer}{path}", content=body, headers=headers)
        assert (answer.status_code, "This form cannot be read" in words_of(answer.text)) == (415, True)
    assert pending.state()["state"] == "pending"


def test_reuse(idp: Idp, people: People) -> None:
    """A used link says ``already signed in`` in its own browser, and ``used``, without a name, elsewhere."""
    pending = asks(idp, people())
    pending.person.sign_in_by_link()
    again = pending.person.browser.get(pending.link)
    assert again.status_code == 200
    assert "You are already signed in" in words_of(again.text)
    assert "alice@example.com" in words_of(again.text)
    assert f'href="{pending.state()["next"]}"' in again.text, "and a way on"
    elsewhere = words_of(link_page(pending, people()))
    assert "This link has been used" in elsewhere
    for told in ("alice", pending.code, "client.test"):
        assert told not in elsewhere, told


def test_used_twice_makes_one_session(idp: Idp, people: People) -> None:
    """The button pressed a second time (double click, reload) makes no second session."""
    pending = asks(idp, people())
    link_page(pending, pending.person)
    form = {"token": pending.token, "csrf": field_value(pending.person.text, "csrf")}
    answers = [press(pending.person, f"{idp.issuer}/sign-in/link", form) for _ in range(3)]
    assert [bool(sessions_made([answer])) for answer in answers] == [True, False, False]
    assert rows(idp, "SELECT count(*) FROM browser_session") == [1]


def test_race_20_posts(idp: Idp, people: People) -> None:
    """Of twenty concurrent presses of the link's button one makes a session; the others show the current state."""
    pending = asks(idp, people())
    link_page(pending, pending.person)
    form = {"token": pending.token, "csrf": field_value(pending.person.text, "csrf")}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: press(pending.person, f"{idp.issuer}/sign-in/link", form), range(20)))
    assert len(sessions_made(answers)) == 1
    assert rows(idp, "SELECT count(*) FROM browser_session") == [1]
    assert {answer.status_code for answer in answers} <= {200, 303}
    assert "already signed in" in words_of(link_page(pending, pending.person))


def test_race_link_against_code(idp: Idp, people: People) -> None:
    """Link and code of one mail, used at the same moment, make only one session, however often it is tried."""
    for count in range(1, 6):
        pending = asks(idp, people())
        csrf = field_value(link_page(pending, pending.person), "csrf")
        by_link = (f"{idp.issuer}/sign-in/link", {"token": pending.token, "csrf": csrf})
        by_code = (f"{pending.url}/code", {"code": pending.code, "csrf": csrf})
        with ThreadPoolExecutor(8) as pool:
            pressed = [pool.submit(press, pending.person, *door) for door in (by_link, by_code) * 4]
        assert len(sessions_made([answer.result() for answer in pressed])) == 1
        assert rows(idp, "SELECT count(*) FROM browser_session") == [count]


def test_tab_closed(idp: Idp, people: People) -> None:
    """If no tab is waiting any more, the link's page goes on to consent by itself."""
    pending = asks(idp, people())
    idp.clock.forward(seconds=6)  # nobody has polled for longer than a waiting tab's interval
    link_page(pending, pending.person)
    pending.person.submit(pending.person.form("token"))
    assert ("decision", "allow") in pending.person.form("decision").buttons


def test_a_tab_without_script_does_not_wait(idp: Idp, people: People) -> None:
    """It was opened just now, but cannot go on by itself, so the link's page does."""
    pending = asks(idp, people())
    idp.clock.forward(seconds=6)
    pending.look()
    pending.person.sign_in_by_link()
    assert ("decision", "allow") in pending.person.form("decision").buttons


@pytest.mark.parametrize(("ago", "waits"), [(5000, True), (5001, False)])
def test_a_tab_waits_that_looked_within_five_seconds(idp: Idp, people: People, ago: int, waits: bool) -> None:
    """To the millisecond; after that it counts as closed or asleep."""
    stand_still(idp)
    pending = asks(idp, people())
    pending.state()
    idp.clock.forward(milliseconds=ago)
    pending.person.sign_in_by_link()
    assert ("Go back to the tab where you asked" in words_of(pending.person.text)) is waits


def test_a_tab_that_waits_is_pointed_to(idp: Idp, people: People) -> None:
    """If the waiting tab is alive, the link's page sends the person back to it, and also lets them go on here."""
    pending = asks(idp, people())
    pending.state()
    pending.person.sign_in_by_link()
    words = words_of(pending.person.text)
    assert "Go back to the tab where you asked" in words
    assert "Continue here instead" in words
    assert pending.state() | {"expires_in": 0, "mail": ""} == {
        "state": "signed_in",
        "mail": "",
        "next": pending.url.replace("/sign-in/", "/consent/").rpartition("/")[0].removeprefix(idp.issuer),
        "expires_in": 0,
    }


def test_session_fixation(idp: Idp, people: People) -> None:
    """Every sign-in makes a new session: a value planted beforehand is never the one that gets signed in."""
    pending = asks(idp, people())
    pending.person.sign_in_by_link()
    name = next(name for name in pending.person.browser.cookies if "gp-session" in name)
    planted = "gp_se_" + "A" * 43
    second = people("mallory@example.com")
    second.browser.cookies.set(name, planted, domain="localhost.local")
    again = asks(idp, second)
    link_page(again, second)
    made = sessions_made(
        [
            press(
                second,
                f"{idp.issuer}/sign-in/link",
                {"token": again.token, "csrf": field_value(second.text, "csrf")},
            )
        ]
    )
    assert len(made) == 1
    assert planted not in made[0]
    stranger = httpx2.Client(trust_env=False, cookies={name: planted})
    with stranger:
        answer = stranger.get(registered(idp).authorize_url())
    assert "/sign-in/" in answer.headers["location"], "the planted value is nobody"


def test_a_sign_in_replaces_the_session_before_it(idp: Idp, people: People) -> None:
    """Signing in again makes a new session and ends this browser's earlier one (ASVS 7.2.4)."""
    person = people()
    asks(idp, person)
    person.sign_in_by_link()
    name, first = next((n, v) for n, v in person.browser.cookies.items() if "gp-session" in n)
    again = asks(idp, person, prompt="login")
    person.submit(person.form("code"), code=again.code)
    second = person.browser.cookies[name]
    assert second != first
    with httpx2.Client(trust_env=False, cookies={name: first}) as thief:
        answer = thief.get(registered(idp).authorize_url())
    assert "/sign-in/" in answer.headers["location"], "the old cookie is worth nothing"


def test_other_persons_session(idp: Idp, people: People) -> None:
    """A link for an address other than the one signed in here names both and waits for an explicit click."""
    person = people("alice@example.com")
    asks(idp, person)
    person.sign_in_by_link()
    person.email = "bob@example.com"
    page = link_page(asks(idp, person, prompt="login"), person)
    words = words_of(page)
    assert "This browser is signed in as alice@example.com" in words
    assert "Sign in as bob@example.com" in words
    assert 'data-auto="no"' in page, "script must not press it"
    idp.clock.forward(seconds=6)
    person.submit(person.form("token"))
    assert "as bob@example.com" in words_of(person.text)


def test_the_same_persons_session_needs_no_click(idp: Idp, people: People) -> None:
    """Signing in again as oneself is not a change of person, however the address is written."""
    person = people("alice@example.com")
    asks(idp, person)
    person.sign_in_by_link()
    person.email = "ALICE@Example.com"
    page = link_page(asks(idp, person, mailbox="alice@example.com", prompt="login"), person)
    assert 'data-auto="yes"' in page


def test_phone_in_app_browser(idp: Idp, people: People) -> None:
    """On one phone the mail's link opens in another browser than the app's: its page copies the code in one tap,
    and five minutes in the background later the waiting page takes it."""
    in_app = people()
    in_app.browser.headers["user-agent"] = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Mobile/15E148"
    pending = asks(idp, in_app)
    browser = people()
    page = link_page(pending, browser)
    assert f'data-copy="{pending.code}"' in page
    assert "Copy code" in words_of(page)
    assert "on iPhone" in words_of(page)
    idp.clock.forward(minutes=5)
    in_app.submit(in_app.form("code"), code=pending.code)
    assert signed_in(in_app)
    assert not signed_in(browser)


def _csrf_of_fresh_page(idp: Idp, pending: Pending) -> str:
    return field_value(pending.person.open(f"{idp.issuer}/sign-in/{pending.url.split('/')[-2]}").text, "csrf")
