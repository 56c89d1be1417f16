"""Which addresses are accepted, whose account they are, and that nobody learns who has one."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.idp.signin.walk import Pending, asks, rows, signed_in, types, words_of
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.serving import Clock, Idp, listening, serving, settings_of, upgrade
from tests.support.smtp import receiving

People = Callable[..., Person]

NO_ONE_MAILBOX = {
    "two with a comma": "alice@example.com,mallory@evil.example",
    "two with a comma and a space": "alice@example.com, mallory@evil.example",
    "two with a semicolon": "alice@example.com;mallory@evil.example",
    "two with a space": "alice@example.com mallory@evil.example",
    "two at signs": "alice@example.com@evil.example",
    "comma in quotes": '"alice@example.com,mallory"@evil.example',
    "quoted local part": '"alice"@example.com',
    "display name": "Alice <alice@example.com>",
    "angle brackets": "<alice@example.com>",
    "comment": "alice(mallory@evil.example)@example.com",
    "comment at the end": "alice@example.com(evil)",
    "CR LF and a header": "alice@example.com\r\nBcc: mallory@evil.example",
    "LF and an address": "alice@example.com\nmallory@evil.example",
    "CR": "alice@example.com\rmallory@evil.example",
    "NUL": "alice@example.com\0mallory@evil.example",
    "group": "friends:alice@example.com,mallory@evil.example;",
    "source route": "@evil.example:alice@example.com",
    "percent hack with a bang": "evil.example!alice@example.com\\",
    "domain literal": "alice@[127.0.0.1]",
    "no domain": "alice",
    "no local part": "@example.com",
    "bare host": "alice@localhost",
    "two dots": "alice@example..com",
    "leading dot": ".alice@example.com",
    "unicode local part": "älice@example.com",
    "fullwidth at sign": "alice\N{FULLWIDTH COMMERCIAL AT}example.com",
    "bidi override": "alice\N{RIGHT-TO-LEFT OVERRIDE}@example.com",
    "zero width space": "ali\N{ZERO WIDTH SPACE}ce@example.com",
    "nothing": "",
    "spaces": "   ",
}


def test_two_addresses(idp: Idp, people: People) -> None:
    """Anything but exactly one mailbox gets a calm sentence beside the field, keeps the input, and sends no mail."""
    person = people()
    person.open(registered(idp).authorize_url())
    for name, typed in NO_ONE_MAILBOX.items():
        answer = person.submit(person.form("email"), email=typed)
        assert answer.status_code == 400, name
        assert "Enter one email address, like name@example.com." in words_of(answer.text), name
        assert 'aria-invalid="true"' in answer.text
    assert rows(idp, "SELECT count(*) FROM outbox") == [0]
    assert rows(idp, "SELECT count(*) FROM sign_in_attempt") == [0]
    assert idp.postbox.mails == []
    types(idp, person)
    assert "Check your mail" in person.text, "and the form still works"


def test_a_very_long_address_gets_the_page_again(idp: Idp, people: People) -> None:
    """Whatever is pasted into the field, the answer is a page, never a framework's error."""
    person = people()
    person.open(registered(idp).authorize_url())
    form = person.form("email")
    for length in (255, 1000, 100_000):
        answer = person.submit(form, email=f"{'a' * length}@example.com")
        assert answer.status_code == 400
        assert answer.headers["content-type"].startswith("text/html")
        assert "Enter one email address" in words_of(answer.text)


def test_spaces_around_an_address_are_a_slip(idp: Idp, people: People) -> None:
    """A space before or after, as phones add, is stripped."""
    person = people()
    person.open(registered(idp).authorize_url())
    person.submit(person.form("email"), email="  alice@example.com ")
    assert idp.postbox.wait("alice@example.com")
    assert "Check your mail" in person.text


def test_case(idp: Idp, people: People) -> None:
    """Alice@ and alice@ are one account, and the mail goes to the account's address, not to the one typed."""
    first = people("Alice.Smith@Example.com")
    pending = asks(idp, first, mailbox="Alice.Smith@example.com")
    first.open(pending.url)
    first.submit(first.form("code"), code=pending.code)
    second = people("ALICE.smith@EXAMPLE.COM")
    again = asks(idp, second, mailbox="Alice.Smith@example.com")
    assert not idp.postbox.to("ALICE.smith@example.com")
    second.open(again.url)
    second.submit(second.form("code"), code=again.code)
    assert signed_in(second)
    assert rows(idp, "SELECT email FROM account") == ["Alice.Smith@example.com"]
    assert "as Alice.Smith@example.com" in words_of(second.text)


def test_a_tag_is_another_person(idp: Idp, people: People) -> None:
    """``+tag`` is kept: signing up with one makes a separate account."""
    for email in ("alice@example.com", "alice+work@example.com"):
        pending = asks(idp, people(email))
        pending.person.submit(pending.person.form("code"), code=pending.code)
    assert rows(idp, "SELECT count(*) FROM account") == [2]


def test_unicode_twin(idp: Idp, people: People) -> None:
    """A look-alike domain is a different one: it is shown and mailed as an A-label, and never matches the other's
    account (Django CVE-2019-19844)."""
    owner = people("alice@example.com")
    asks(idp, owner)
    owner.sign_in_by_link()
    twin = people("alice@ex\N{CYRILLIC SMALL LETTER A}mple.com")
    pending = asks(idp, twin, mailbox="alice@xn--exmple-4nf.com")
    assert "xn--exmple-4nf.com" in words_of(pending.look())
    twin.submit(twin.form("code"), code=pending.code)
    assert rows(idp, "SELECT count(*) FROM account") == [2]
    assert len(idp.postbox.to("alice@example.com")) == 1


def test_no_account_before_the_link_is_used(idp: Idp, people: People) -> None:
    """Asking for a mail creates no account; using it does, with a new account's scopes."""
    pending = asks(idp, people())
    assert rows(idp, "SELECT count(*) FROM account") == [0]
    pending.person.sign_in_by_link()
    assert rows(idp, "SELECT email FROM account") == ["alice@example.com"]
    assert rows(idp, "SELECT scope FROM entitlement ORDER BY scope") == ["demo:echo", "demo:read"]


@contextlib.contextmanager
def _closed(folder: Path) -> Iterator[Idp]:
    """A server where Alice has an account, and where sign-up is now closed."""
    with receiving() as postbox:
        port = free_port()
        settings = settings_of(folder, postbox, port)
        upgrade(settings)
        clock = Clock()
        idp = Idp(f"http://127.0.0.1:{port}", settings.oauth_issuer, settings, clock, postbox)
        with listening(settings, clock, port), Person("alice@example.com", postbox) as alice:
            asks(idp, alice)
            alice.sign_in_by_link()
        shut = settings_of(folder, postbox, port, signup="closed")
        with listening(shut, clock, port):
            yield Idp(idp.base, idp.issuer, shut, clock, postbox)


def _asked(idp: Idp, person: Person) -> Pending:
    """As ``asks``, whether or not a mail comes."""
    client = registered(idp)
    person.open(client.authorize_url())
    types(idp, person)
    assert person.page is not None
    return Pending(idp, person, client, str(person.page.url), idp.postbox.mails[-1])


_OWN = (
    (r'name="(csrf|form_time)" value="[^"]*"', "own"),
    (r"(/sign-in/)[\w-]{10,}(/[\w-]{10,})?", r"\1own"),
    (r"trace <code>[^<]*", "own"),
    (r"<b>[a-z]+ [a-z]+</b>", "words"),
)


def _bare(person: Person) -> tuple[int, str, list[int]]:
    """Status and body of the page without what differs per person, and its countdowns separately."""
    assert person.page is not None
    body = person.text.replace(person.email, "ADDRESS")
    for pattern, instead in _OWN:
        body = re.sub(pattern, instead, body)
    seconds = [int(found) for found in re.findall(r'data-countdown="(\d+)"', body)]
    body = re.sub(r'data-countdown="\d+"', "", re.sub(r"\d+ (seconds|minutes)", "a time", body))
    return person.page.status_code, body, seconds


def _alike(known: Pending, other: Pending, apart: float = 0) -> None:
    """Asserts that both waiting pages are equal except for what differs per person; countdowns within three seconds.

    ``apart``: how many seconds later the second person asked.
    """
    pages = []
    for pending in (known, other):
        pending.look()
        pages.append(_bare(pending.person))
    assert pages[0][:2] == pages[1][:2]
    assert all(abs(a - b) <= 3 + apart for a, b in zip(pages[0][2], pages[1][2], strict=True)), (
        pages[0][2],
        pages[1][2],
    )
    states = [pending.state() for pending in (known, other)]
    assert abs(states[0].pop("expires_in") - states[1].pop("expires_in")) <= 3 + apart
    assert states[0] == states[1]


def test_enumeration(tmp_path: Path) -> None:
    """Known, unknown and refused addresses get the same status and the same pages, now, minutes later, and after
    asking again: nobody learns who has an account. Only the known one gets mail."""
    with (
        _closed(tmp_path) as idp,
        Person("alice@example.com", idp.postbox) as alice,
        Person("nobody@example.com", idp.postbox) as nobody,
    ):
        known = _asked(idp, alice)
        began = time.monotonic()
        refused = _asked(idp, nobody)
        apart = time.monotonic() - began
        idp.postbox.wait(alice.email, 2)
        known.until("sent")
        refused.until("sent")
        _alike(known, refused, apart)
        for minutes in (1, 4, 4):
            idp.clock.forward(minutes=minutes)
            _alike(known, refused, apart)
        began = time.monotonic()
        for pending in (known, refused):
            pending.look()
            pending.person.submit(pending.person.form_to("/resend"))
        apart += time.monotonic() - began
        for pending in (known, refused):
            pending.until("sent")
        _alike(known, refused, apart)
        idp.clock.forward(minutes=1, seconds=2)
        _alike(known, refused, apart)
        assert {str(mail["To"]) for mail in idp.postbox.mails} == {alice.email}


def test_enumeration_while_mail_is_not_going_out(tmp_path: Path) -> None:
    """A mail server that is down makes no difference between them either."""
    with (
        _closed(tmp_path) as idp,
        Person("alice@example.com", idp.postbox) as alice,
        Person("nobody@example.com", idp.postbox) as nobody,
    ):
        idp.postbox.refusal = "451 later"
        known, refused = _asked(idp, alice), _asked(idp, nobody)
        known.until("delayed")
        refused.until("delayed")
        _alike(known, refused)


def test_enumeration_of_known_and_unknown_where_anybody_may_sign_up(idp: Idp, people: People) -> None:
    """With open sign-up both get a mail and the same pages."""
    asks(idp, people("alice@example.com")).person.sign_in_by_link()
    known, unknown = asks(idp, people("alice@example.com")), asks(idp, people("nobody@example.com"))
    _alike(known, unknown)


def test_a_refused_address_gets_no_way_in(tmp_path: Path) -> None:
    """With closed sign-up no code signs them in, and after five tries the attempt is locked like any other."""
    with _closed(tmp_path) as idp, Person("nobody@example.com", idp.postbox) as nobody:
        pending = _asked(idp, nobody)
        for digits in range(5):
            nobody.open(pending.url)
            nobody.submit(nobody.form("code"), code=f"{digits:08d}")
        assert pending.state()["state"] == "locked"
        assert not signed_in(nobody)
        assert idp.postbox.to(nobody.email) == []


@pytest.mark.parametrize(
    ("email", "may"),
    [("a@example.org", True), ("a@EXAMPLE.org", True), ("a@sub.example.org", False), ("a@notexample.org", False)],
)
def test_signup_domains(tmp_path: Path, email: str, may: bool) -> None:
    """SIGNUP=domains admits the domains it names and no others with the same ending."""
    with (
        serving(tmp_path, signup="domains", signup_domains=("example.org",)) as idp,
        Person(email.lower(), idp.postbox) as person,
        Person("a@example.org", idp.postbox) as last,
    ):
        person.open(registered(idp).authorize_url())
        person.submit(person.form("email"), email=email)
        assert "Check your mail" in person.text
        if may:
            idp.postbox.wait(person.email)
        else:
            asks(idp, last)
        assert bool(idp.postbox.to(person.email)) is may
