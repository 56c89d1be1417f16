"""Mail servers that answer later, never, or nothing at all: every try is the same mail, and the person is told."""

import json
import time
from pathlib import Path

import pytest

from tests.faults.asking import as_thread, built, changed, counted, crowd, environment_for, eventually, identity
from tests.faults.mailservers import Office, opened, tapped
from tests.support.metrics import scrape
from tests.support.ports import free_port
from tests.support.processes import run_gatepost
from tests.support.serving import Idp

RETRY_AFTER_SECONDS = (1, 3, 10, 30, 60, 120, 120)
DELAYED = "Mail is not going out just now. We keep trying, and the link stays the same"


def _answered(idp: Idp, tries: int) -> None:
    """Waits until the server has answered that try."""
    eventually(lambda: counted(idp, f"tries = {tries} AND lease_until = 0") == 1, f"try {tries} never came")


@pytest.mark.usefixtures("brisk")
def test_greylist_451(tmp_path: Path) -> None:
    """A server that answers 451 is tried again after 1, 3, 10, 30, 60, 120 s, and every try has the same Message-ID,
    link and code; the ten minutes run from its acceptance, 14 minutes late."""
    office = Office()
    office.refusal = "451 4.7.1 greylisted, try again later"
    idp = built(tmp_path, office)
    with opened(office), as_thread(idp), crowd(idp, ["alice"]) as [alice]:
        for tries, wait in enumerate(RETRY_AFTER_SECONDS, 1):
            _answered(idp, tries)
            assert DELAYED in alice.page()
            idp.clock.forward(seconds=wait - 0.7)
            time.sleep(0.2)  # four looks of the worker
            assert alice.state()["state"] == "pending"
            assert len(office.offered) == tries, "too early"
            idp.clock.forward(seconds=0.6)
        _answered(idp, len(RETRY_AFTER_SECONDS) + 1)
        idp.clock.forward(minutes=8)
        office.refusal = None
        mail = office.wait("alice@example.com")
        assert 595 <= alice.until("sent")["expires_in"] <= 600
        assert len({identity(offered) for offered in office.offered}) == 1
        idp.clock.forward(minutes=9, seconds=50)
        assert 5 <= alice.state()["expires_in"] <= 10
        assert alice.signs_in(mail)


def test_reject_550(tmp_path: Path) -> None:
    """A refused address gets no mail for a day, and the page says so at once; ``gatepost mail suppressed`` lists it
    with the server's answer, ``gatepost mail allow`` lifts it, and the next mail goes out."""
    office = Office()
    office.unknown.add("alice@example.com")
    idp = built(tmp_path, office)
    environment = environment_for(idp)
    with opened(office), as_thread(idp), crowd(idp, ["alice"]) as [alice]:
        alice.until("failed")
        [listed] = json.loads(run_gatepost(environment, "mail", "suppressed", "--json"))
        assert listed["email"] == "alice@example.com"
        assert listed["answer"].startswith("550 5.1.1")
        office.unknown.clear()
        with crowd(idp, ["alice"]) as [again]:
            assert again.state()["mail"] == "failed"
            assert "Your mail was refused. Check the address" in again.page()
        assert office.offered == []
        run_gatepost(environment, "mail", "allow", "Alice@example.com")
        assert json.loads(run_gatepost(environment, "mail", "suppressed", "--json")) == []
        with crowd(idp, ["alice"]) as [third]:
            assert third.signs_in(office.wait("alice@example.com"))


def test_reject_550_is_over_after_a_day(tmp_path: Path) -> None:
    """Mailboxes come back: a day later the address is tried again automatically; others never waited."""
    office = Office()
    office.unknown.add("alice@example.com")
    idp = built(tmp_path, office)
    with opened(office), as_thread(idp), crowd(idp, ["alice"]) as [alice]:
        alice.until("failed")
        office.unknown.clear()
        with crowd(idp, ["bob"]) as [bob]:
            assert bob.signs_in(office.wait("bob@example.com"))
        for hours, says in ((23.9, "failed"), (0.2, "sent")):
            idp.clock.forward(hours=hours)
            with crowd(idp, ["alice"]) as [again]:
                again.until(says)
        assert len(office.to("alice@example.com")) == 1


def test_421_at_the_greeting(tmp_path: Path) -> None:
    """A server too busy to talk is tried again a second later, not half a minute: no setting is wrong."""
    office = Office()
    idp = built(tmp_path, office)
    with opened(office), tapped(office) as line, as_thread(changed(idp, smtp_port=line.port)):
        line.greeting = b"421 4.3.2 Too many connections, try again later\r\n"
        with crowd(idp, ["alice"]) as [alice]:
            alice.until("delayed")
            assert DELAYED in alice.page()
            line.greeting = None
            idp.clock.forward(seconds=4)
            assert alice.signs_in(office.wait("alice@example.com", seconds=4))
            assert len(office.offered) == 1


@pytest.mark.parametrize("answer", ["451 4.7.1 greylisted", "550 5.1.1 no such user"])
def test_an_outage_is_over_with_the_first_answer_about_a_mail(tmp_path: Path, answer: str) -> None:
    """It proves that connecting and signing in work: the alarm ends, even if that mail was not sent."""
    office = Office()
    office.refusal = answer
    idp = built(tmp_path, office, metrics_address=f"127.0.0.1:{free_port()}")
    with as_thread(idp), crowd(idp, ["alice"]) as [alice]:
        alice.until("delayed")
        assert scrape(idp.settings.metrics_address).value("gatepost_mail_up") == 0
        with opened(office):
            idp.clock.forward(seconds=5)
            eventually(lambda: scrape(idp.settings.metrics_address).value("gatepost_mail_up") == 1, "the alarm stays")
        assert office.mails == []


def test_drop_after_data(tmp_path: Path) -> None:
    """If the connection drops after one person's mail, which was kept, that mail comes a second time, with the same
    Message-ID, link and code; the other mails come once."""
    office = Office()
    office.drops["bob@example.com"] = 1
    idp = built(tmp_path, office)
    with opened(office), as_thread(idp), crowd(idp, ["alice", "bob", "carol"]) as [alice, bob, carol]:
        office.wait("bob@example.com")
        eventually(lambda: counted(idp, "tries = 1 AND state = 'queued' AND next_at > 0") == 1, "bob's was not tried")
        idp.clock.forward(seconds=2)
        copies = [office.wait("bob@example.com", n) for n in (1, 2)]
        for one in (alice, bob, carol):
            one.until("sent")
        assert len({identity(copy) for copy in copies}) == 1
        assert bob.signs_in(copies[0])
        assert alice.signs_in(office.wait("alice@example.com"))
        assert sorted(str(mail["To"]) for mail in office.mails) == [
            f"{name}@example.com" for name in ("alice", "bob", "bob", "carol")
        ]


NONSENSE = {
    "web server": b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
    "no number": b"hello there\r\n",
    "not text": b"\xff\xfe\x00\x80\r\n",
    "a number of its own": b"999 \xe2\x98\x83\r\n",
    "one endless line": b"220 " + b"x" * 100_000,
    "nothing": b"",
    "a final no": b"554 5.7.1 your network is not welcome\r\n",
}


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("greeting", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense(tmp_path: Path, greeting: bytes) -> None:
    """Whatever answers on the mail server's port, the worker survives: the mail is sent once a mail server is back."""
    office = Office()
    idp = built(tmp_path, office)
    with opened(office), tapped(office) as line, as_thread(changed(idp, smtp_port=line.port)):
        line.greeting = greeting
        with crowd(idp, ["alice"]) as [alice]:
            alice.until("delayed")
            line.greeting = None
            idp.clock.forward(minutes=1)
            assert alice.signs_in(office.wait("alice@example.com"))
