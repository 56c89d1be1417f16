"""The outbox through kill -9, restarts and a mail server that is down: no mail is lost, and copies are identical."""

import asyncio
import contextlib
import random
import sqlite3
import threading
import time
from pathlib import Path

import httpx2
import pytest

from gatepost_idp.app import Parts
from gatepost_idp.clients.fetcher import Fetcher
from gatepost_idp.operate.background import steadily
from tests.faults.asking import Waiting, as_process, as_thread, built, counted, crowd, eventually, identity
from tests.faults.mailservers import Office, opened
from tests.faults.outage import over_an_outage
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.processes import Server
from tests.support.serving import Idp

STAGES = ("recipient", "content", "kept")
MOMENTS = 2
LEASE_SECONDS = 60


async def test_a_mail_that_leaves_just_then_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """If the worker is woken and cancelled at the same moment, it ends; otherwise the server would never stop."""
    idp = built(tmp_path, Office())
    parts = Parts(idp.settings, idp.clock, Fetcher())
    worker = asyncio.create_task(steadily("outbox", parts.outbox.work, 0))
    await asyncio.sleep(0.3)
    parts.outbox.wake()
    worker.cancel()
    await asyncio.wait([worker], timeout=5)
    assert worker.cancelled()
    parts.database.close()


def test_a_start_waits_for_a_database_that_is_busy(tmp_path: Path) -> None:
    """It waits longer than a request would, for many processes may start on one file at the same moment."""
    idp = built(tmp_path, Office())
    other = sqlite3.connect(idp.settings.sqlite_path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    threading.Timer(7, lambda: other.execute("ROLLBACK")).start()
    with as_thread(idp):
        assert idp.get("/readyz").status_code == 200
    other.close()


def _killed_at(server: Server, office: Office, stage: str) -> threading.Event:
    """Kills the server as soon as the mail server reaches ``stage``; the event is set when it did."""
    killed = threading.Event()

    def kill(reached: str) -> None:
        if reached == stage and not killed.is_set():
            server.process.kill()
            server.process.wait()
            killed.set()

    office.at = kill
    return killed


def _alike(office: Office, waiting: list[Waiting]) -> None:
    """Asserts that each mail came once or twice, identical, and that its link signs in the browser that asked."""
    for one in waiting:
        copies = office.to(one.person.email)
        assert 1 <= len(copies) <= 2, f"{one.person.email}: {len(copies)} mails"
        assert len({identity(copy) for copy in copies}) == 1
        assert one.signs_in(copies[-1])


def _restarted(idp: Idp, office: Office, waiting: list[Waiting]) -> None:
    """Starts the next process a lease later by its clock; it sends the mails that the killed one had claimed."""
    office.at = lambda _stage: None
    with as_thread(idp):
        for one in waiting:
            office.wait(one.person.email)
        eventually(lambda: counted(idp, "state = 'queued'") == 0, "mails are left over")
        _alike(office, waiting)


@pytest.mark.parametrize("stage", STAGES)
def test_outbox_killed_mid_send(tmp_path: Path, stage: str) -> None:
    """kill -9 while the mail server gets the recipient, has the content, or has kept the mail but not yet said so:
    after a restart each mail has come once or twice, identical, and its link works."""
    office = Office()
    idp = built(tmp_path, office)
    with opened(office), Person("alice@example.com", office) as alice:
        with as_process(idp, tmp_path / "idp.log") as server:
            alice.open(registered(idp).authorize_url())
            killed = _killed_at(server, office, stage)
            with contextlib.suppress(httpx2.TransportError):  # the kill may come before the page that follows
                alice.ask_for_mail()
            assert killed.wait(10)
        assert counted(idp, "state = 'queued' AND lease_until > 0") == 1
        idp.clock.forward(seconds=LEASE_SECONDS + 1)
        _restarted(idp, office, [Waiting(alice, "")])
        if stage != "content":  # a mail server may or may not keep a mail whose sender died
            assert len(office.to("alice@example.com")) == (2 if stage == "kept" else 1)


def test_outbox_killed_at_any_moment(tmp_path: Path) -> None:
    """kill -9 at random moments while mails are on their way to a slow server: the same holds."""
    seed = int(time.time())
    print(f"seed {seed}")
    moments = random.Random(seed)  # noqa: S311 (moments, not secrets)
    office = Office()
    office.takes_seconds = 0.1
    idp = built(tmp_path, office)
    with contextlib.ExitStack() as stack:
        stack.enter_context(opened(office))
        for kill in range(MOMENTS):
            with as_process(idp, tmp_path / f"idp-{kill}.log") as server:
                waiting = stack.enter_context(crowd(idp, [f"person{kill}{n}" for n in range(3)]))
                time.sleep(moments.uniform(0, 0.25))
                server.process.kill()
                server.process.wait()
            idp.clock.forward(seconds=LEASE_SECONDS + 1)
            _restarted(idp, office, waiting)


def test_lease_of_a_killed_process(tmp_path: Path) -> None:
    """No other process takes a killed process's mails for 60 s from its claim, since it might still be sending; then
    the next one does."""
    office = Office()
    office.takes_seconds = 60
    idp = built(tmp_path, office)
    with contextlib.ExitStack() as stack:
        stack.enter_context(opened(office))
        with as_process(idp, tmp_path / "idp.log") as server:
            [alice] = stack.enter_context(crowd(idp, ["alice"]))
            eventually(lambda: len(office.offered) == 1, "the mail never came as far as its content")
            server.process.kill()
            server.process.wait()
        office.takes_seconds = 0
        idp.clock.forward(seconds=LEASE_SECONDS - 15)
        with as_thread(idp):
            [bob] = stack.enter_context(crowd(idp, ["bob"]))
            bob.until("sent")
            assert alice.state()["mail"] != "sent"
            assert office.to("alice@example.com") == []
            idp.clock.forward(seconds=16)
            assert alice.signs_in(office.wait("alice@example.com"))
            assert len({identity(mail) for mail in office.offered if mail["To"] == "alice@example.com"}) == 1


def test_nothing_is_lost_over_an_outage_and_a_restart(tmp_path: Path) -> None:
    """Twenty people ask while the mail server goes down and comes back, and the server is restarted in between: twenty
    mails arrive."""
    found = over_an_outage(tmp_path, 20)
    assert found.lost == 0
    assert found.doubled == 0
