"""Mail servers that drip, hang or never answer QUIT: a slow mail delays no other, an accepted one is sent."""

import contextlib
import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost_idp.mail import smtp
from tests.faults.asking import as_thread, built, changed, counted, crowd, eventually, identity
from tests.faults.mailservers import Line, Office, opened, tapped
from tests.support.serving import Idp


@contextlib.contextmanager
def _behind_a_line(folder: Path) -> Iterator[tuple[Idp, Office, Line]]:
    """A server with a tapped line to its mail server."""
    office = Office()
    idp = built(folder, office)
    with opened(office), tapped(office) as line, as_thread(changed(idp, smtp_port=line.port)):
        yield idp, office, line


def test_drip_feed_holds_up_no_other_mail(tmp_path: Path) -> None:
    """While the server drips its answer to one mail, a byte at a time, later mails are sent at once."""
    with _behind_a_line(tmp_path) as (idp, office, line):
        line.drips_for = b"slow@example.com"
        with crowd(idp, ["slow"]) as [slow]:
            eventually(lambda: any(call.dripping for call in line.calls), "nothing drips")
            with crowd(idp, ["bob", "carol"]) as [bob, carol]:
                for one in (bob, carol):
                    assert one.signs_in(office.wait(one.person.email, seconds=5))
            assert slow.state()["state"] == "pending"


@pytest.mark.usefixtures("brisk")
def test_drip_feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail whose answer drips without end is given up, with its connection, well before its lease is over; it is
    tried again, and arrives once when the server is well."""
    monkeypatch.setattr(smtp, "DELIVERY_SECONDS", 1)  # for 30; the lease is twice as long
    with _behind_a_line(tmp_path) as (idp, office, line):
        line.drips_for = b"slow@example.com"
        with crowd(idp, ["slow"]) as [slow]:
            slow.until("delayed")
            eventually(lambda: bool(line.calls) and line.calls[0].ended is not None, "the line stays open")
            call = line.calls[0]
            assert call.ended is not None
            assert call.ended - call.began < 1.7, "hung up, and did not wait for a goodbye from a server that hangs"
            line.drips_for = b"nobody"
            idp.clock.forward(seconds=5)
            assert slow.signs_in(office.wait("slow@example.com"))
            assert len(office.mails) == 1


@pytest.mark.usefixtures("brisk")
def test_no_answer_to_quit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's 250 decides: even if its answer to QUIT never comes, the mail counts as sent, and is sent once."""
    monkeypatch.setattr(smtp, "DELIVERY_SECONDS", 1)  # for 30
    with _behind_a_line(tmp_path) as (idp, office, line):
        line.swallows = b"QUIT"
        with crowd(idp, ["alice"]) as [alice]:
            mail = office.wait("alice@example.com")
            alice.until("sent")
            idp.clock.forward(minutes=5)
            time.sleep(0.5)  # ten polls of the worker
            assert len(office.mails) == 1
            assert alice.signs_in(mail)
    gc.collect()  # reports, as an error, a connection left open when the server stopped


@pytest.mark.usefixtures("brisk")
def test_no_answer_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a server takes the content and then says nothing, the same mail is sent again later."""
    monkeypatch.setattr(smtp, "DELIVERY_SECONDS", 1)  # for 30
    with _behind_a_line(tmp_path) as (idp, office, _line):
        office.takes_seconds = 60
        with crowd(idp, ["alice"]) as [alice]:
            eventually(lambda: counted(idp, "tries = 1 AND next_at > created_at") == 1, "it was never given up")
            assert alice.until("delayed")["state"] == "pending"
            office.takes_seconds = 0
            idp.clock.forward(seconds=5)
            assert alice.signs_in(office.wait("alice@example.com"))
            assert len(office.offered) == 2
            assert len({identity(mail) for mail in office.offered}) == 1
