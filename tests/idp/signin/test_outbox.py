"""The outbox with difficult mail servers: greylisting, refusing, down, dropping connections; nothing is lost."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from tests.idp.signin.walk import Pending, asks, signed_in, types, words_of
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.serving import Clock, Idp, listening, serving, settings_of, upgrade
from tests.support.smtp import Postbox, code_of, link_of

People = Callable[..., Person]

AWAY = "Mail is not going out just now. We keep trying, and the link stays the same"


@contextlib.contextmanager
def _up(postbox: Postbox) -> Iterator[None]:
    """Runs the mail server until the block ends."""
    controller = Controller(postbox, hostname="127.0.0.1", port=postbox.port)
    controller.start()
    try:
        yield
    finally:
        controller.stop()


@contextlib.contextmanager
def _idp_of(folder: Path, postbox: Postbox) -> Iterator[Idp]:
    """A server that sends to ``postbox``, whether or not it is running."""
    port = free_port()
    settings = settings_of(folder, postbox, port)
    upgrade(settings)
    clock = Clock()
    with listening(settings, clock, port):
        yield Idp(f"http://127.0.0.1:{port}", settings.oauth_issuer, settings, clock, postbox)


def _waits(idp: Idp, person: Person) -> str:
    """``person`` asks for a mail that may not come yet; returns the waiting page's URL."""
    person.open(registered(idp).authorize_url())
    types(idp, person)
    assert "Check your mail" in person.text
    assert person.page is not None
    return str(person.page.url)


def _comes_to_say(person: Person, url: str, mail: str) -> dict[str, Any]:
    """Waits until the waiting page's script gets that state."""
    deadline = time.monotonic() + 10
    while True:
        state: dict[str, Any] = person.browser.get(f"{url}/state").json()
        if state["mail"] == mail:
            return state
        assert time.monotonic() < deadline, state
        time.sleep(0.02)


def _pending(idp: Idp, person: Person, url: str, count: int = 1) -> Pending:
    return Pending(idp, person, registered(idp), url, idp.postbox.wait(person.email, count))


def test_smtp_down_then_up(tmp_path: Path) -> None:
    """Without a mail server for twelve minutes the page says so and waits; then the mail comes, and its ten minutes
    run from there, so that the link works at 21 minutes."""
    postbox = Postbox()
    with _idp_of(tmp_path, postbox) as idp, Person("alice@example.com", postbox) as person:
        url = _waits(idp, person)
        state = _comes_to_say(person, url, "delayed")
        assert state["state"] == "pending"
        assert AWAY in words_of(person.open(url).text)
        idp.clock.forward(minutes=12)
        assert person.browser.get(f"{url}/state").json()["state"] == "pending"
        with _up(postbox):
            pending = _pending(idp, person, url)
            state = _comes_to_say(person, url, "sent")
            assert 590 <= state["expires_in"] <= 600
            assert "Your mail has been sent" in words_of(person.open(url).text)
            idp.clock.forward(minutes=9, seconds=30)
            assert len(postbox.mails) == 1
            pending.person.sign_in_by_link()
        assert signed_in(person)


def test_the_outbox_lives_through_a_restart(tmp_path: Path) -> None:
    """A mail queued while SMTP was down is sent after the server itself is restarted, with its code."""
    postbox, port, clock = Postbox(), free_port(), Clock()
    settings = settings_of(tmp_path, postbox, port)
    upgrade(settings)
    idp = Idp(f"http://127.0.0.1:{port}", settings.oauth_issuer, settings, clock, postbox)
    with Person("alice@example.com", postbox) as person:
        with listening(settings, clock, port):
            url = _waits(idp, person)
            _comes_to_say(person, url, "delayed")
        with _up(postbox), listening(settings, clock, port):
            pending = _pending(idp, person, url)
            person.open(url)
            person.submit(person.form("code"), code=pending.code)
            assert signed_in(person)


def test_greylist_451(idp: Idp, people: People) -> None:
    """After ``try again later`` the mail is retried after 1, then 3 seconds, and the page says so meanwhile."""
    idp.postbox.refusal = "451 4.7.1 greylisted, try again later"
    person = people()
    url = _waits(idp, person)
    _comes_to_say(person, url, "delayed")
    assert AWAY in words_of(person.open(url).text)
    idp.postbox.refusal = None
    idp.clock.forward(seconds=5)
    pending = _pending(idp, person, url)
    _comes_to_say(person, url, "sent")
    assert signed_in(person) is False
    pending.person.sign_in_by_link()
    assert signed_in(person)


def test_what_was_sent_stays_sent_while_the_server_is_away(tmp_path: Path) -> None:
    """The page of a sent mail raises no alarm because of other mails."""
    postbox = Postbox()
    with (
        _idp_of(tmp_path, postbox) as idp,
        Person("alice@example.com", postbox) as alice,
        Person("bob@example.com", postbox) as bob,
    ):
        with _up(postbox):
            first = asks(idp, alice)
        _comes_to_say(bob, _waits(idp, bob), "delayed")
        assert first.state()["mail"] == "sent"


def test_a_mail_that_nothing_can_take_is_late_before_it_is_tried(tmp_path: Path) -> None:
    """Without SMTP_HOST no try ever fails, and the page must not say that the mail is about to be sent."""
    with serving(tmp_path, smtp_host="") as idp, Person("alice@example.com", idp.postbox) as alice:
        url = _waits(idp, alice)
        assert f'<p role="status">{AWAY}' in alice.text
        assert alice.browser.get(f"{url}/state").json()["mail"] == "delayed"


class Picky(Postbox):
    """A mail server that answers RCPT with ``says`` while that is set."""

    says: str | None = None

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's name)
        self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: Any
    ) -> str:
        if self.says is not None:
            return self.says
        envelope.rcpt_tos.append(address)
        return "250 OK"


def test_greylist_451_at_the_recipient(tmp_path: Path) -> None:
    """Greylisting at RCPT, as most servers do it, is handled alike."""
    postbox = Picky()
    postbox.says = "451 4.7.1 greylisted"
    with _up(postbox), _idp_of(tmp_path, postbox) as idp, Person("alice@example.com", postbox) as person:
        url = _waits(idp, person)
        _comes_to_say(person, url, "delayed")
        postbox.says = None
        idp.clock.forward(seconds=5)
        assert _pending(idp, person, url).code


@pytest.mark.parametrize("stage", ["RCPT", "DATA"])
def test_reject_550(tmp_path: Path, stage: str) -> None:
    """A final refusal is shown, with what to do; the mail is not tried again, and the address can be changed."""
    postbox = Picky()
    answer = "550 5.1.1 <alcie@example.com> no such user"
    postbox.says, postbox.refusal = (answer, None) if stage == "RCPT" else (None, answer)
    with _up(postbox), _idp_of(tmp_path, postbox) as idp, Person("alcie@example.com", postbox) as person:
        url = _waits(idp, person)
        assert _comes_to_say(person, url, "failed")["state"] == "pending"
        assert "Your mail was refused. Check the address" in words_of(person.open(url).text)
        postbox.says = postbox.refusal = None
        idp.clock.forward(minutes=3)
        person.submit(person.form_to("/change"))
        person.email = "alice@example.com"
        types(idp, person)
        assert person.page is not None
        second = str(person.page.url)
        _comes_to_say(person, second, "sent")
        assert [str(mail["To"]) for mail in postbox.mails] == ["alice@example.com"]
        person.sign_in_by_link()
        assert signed_in(person)


class Filtering(Postbox):
    """A mail server that refuses mail that mentions a blocked host."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        if b"blocked.example" in bytes(envelope.original_content or b""):
            return "554 5.7.1 listed on a block list"
        return await super().handle_DATA(server, session, envelope)


def test_a_stranger_cannot_shut_a_mailbox_off_with_a_host_that_filters_refuse(tmp_path: Path) -> None:
    """A refused content, part of which the caller controls, fails only that mail; the next one is sent."""
    postbox = Filtering()
    with (
        _up(postbox),
        _idp_of(tmp_path, postbox) as idp,
        Person("alice@example.com", postbox) as stranger,
        Person("alice@example.com", postbox) as alice,
    ):
        stranger.open(registered(idp, redirect_uris=["https://blocked.example/cb"]).authorize_url())
        types(idp, stranger)
        assert stranger.page is not None
        _comes_to_say(stranger, str(stranger.page.url), "failed")
        idp.clock.forward(seconds=31)  # the mailbox's own limit
        asks(idp, alice).person.sign_in_by_link()
        assert signed_in(alice)


class Dropping(Postbox):
    """A mail server that keeps a mail and, the first time, drops the connection instead of confirming it."""

    drops = 1

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        said = await super().handle_DATA(server, session, envelope)
        if self.drops > 0:
            self.drops -= 1
            server.transport.abort()
        return said


def test_a_drop_after_data_sends_the_same_mail_again(tmp_path: Path) -> None:
    """If it is unknown whether the mail was accepted, it is sent again, with the same Message-ID, link and code, so
    that a mail program shows one, and either works."""
    postbox = Dropping()
    with _up(postbox), _idp_of(tmp_path, postbox) as idp, Person("alice@example.com", postbox) as person:
        url = _waits(idp, person)
        postbox.wait(person.email, 1)
        _comes_to_say(person, url, "delayed")
        idp.clock.forward(seconds=2)
        postbox.wait(person.email, 2)
        _comes_to_say(person, url, "sent")
        mails = postbox.to(person.email)
        assert len(mails) == 2
        assert len({str(mail["Message-ID"]) for mail in mails}) == 1
        assert len({link_of(mail) for mail in mails}) == 1
        assert len({code_of(mail) for mail in mails}) == 1
        person.sign_in_by_link()
        assert signed_in(person)


def test_mail_of_what_ended_is_not_sent(idp: Idp, people: People) -> None:
    """A queued mail whose attempt has ended is never sent."""
    idp.postbox.refusal = "451 later"
    person = people("alcie@example.com")
    url = _waits(idp, person)
    _comes_to_say(person, url, "delayed")
    person.open(url)
    person.submit(person.form_to("/change"))
    idp.postbox.refusal = None
    idp.clock.forward(seconds=30)
    asks(idp, people("alice@example.com"))
    assert idp.postbox.to("alcie@example.com") == []


def test_one_mailbox_that_is_refused_holds_up_no_other(tmp_path: Path) -> None:
    """A refusal of one person's mail does not delay the next person's."""
    postbox = Picky()
    postbox.says = "550 5.1.1 no such user"
    with (
        _up(postbox),
        _idp_of(tmp_path, postbox) as idp,
        Person("nobody@example.com", postbox) as nobody,
        Person("alice@example.com", postbox) as alice,
    ):
        _comes_to_say(nobody, _waits(idp, nobody), "failed")
        postbox.says = None
        assert '<p role="status">Your mail has been sent.' in asks(idp, alice).look()


class Slow(Postbox):
    """A slow mail server."""

    def __init__(self) -> None:
        super().__init__()
        self.has_data = threading.Event()

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        self.has_data.set()
        await asyncio.sleep(1.5)
        return await super().handle_DATA(server, session, envelope)


def test_the_form_answers_at_once_while_the_mail_server_hangs(tmp_path: Path) -> None:
    """The form does not wait for SMTP: the waiting page comes at once, and raises no alarm yet."""
    postbox = Slow()
    with _up(postbox), _idp_of(tmp_path, postbox) as idp, Person("alice@example.com", postbox) as person:
        started = time.monotonic()
        url = _waits(idp, person)
        assert time.monotonic() - started < 1.4
        assert postbox.has_data.wait(5)
        assert person.browser.get(f"{url}/state").json()["mail"] == "queued"
        assert '<p role="status">Your mail is about to be sent.' in person.open(url).text
        _comes_to_say(person, url, "sent")
