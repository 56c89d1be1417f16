"""A mail server that is down, defers and hangs in turn, with a restart at each: every mail arrives, and works."""

import contextlib
import time
from pathlib import Path

import pytest

from gatepost_idp.mail import smtp
from tests.faults.asking import Waiting, as_thread, built, counted, crowd, eventually
from tests.faults.mailservers import Office, opened
from tests.faults.sizes import SIZES

TURNS = ("away", "later", "hanging") * 2
LEASE_SECONDS = 60


def _turn(stack: contextlib.ExitStack, office: Office, mood: str) -> None:
    office.refusal = "451 4.3.0 later" if mood == "later" else None
    office.takes_seconds = 3600 if mood == "hanging" else 0
    if mood != "away":
        stack.enter_context(opened(office))


@pytest.mark.usefixtures("brisk")
def test_no_mail_is_lost_and_each_link_works_when_it_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """People ask throughout the outage, and the server is restarted at each phase; once the mail server is well every
    mail arrives, at most one in a hundred twice, and its link signs in the person who asked."""
    office = Office()
    idp = built(tmp_path, office)
    waiting: list[Waiting] = []
    with contextlib.ExitStack() as people:
        impatient = people.enter_context(monkeypatch.context())
        impatient.setattr(smtp, "DELIVERY_SECONDS", 1)  # for 30: a server that hangs must have time to hang again
        for number, mood in enumerate(TURNS):
            with contextlib.ExitStack() as turn:
                _turn(turn, office, mood)
                turn.enter_context(as_thread(idp))
                until = time.monotonic() + SIZES.mail_outage / len(TURNS)
                names = [f"person{number}-{n}" for n in range(SIZES.mails // len(TURNS))]
                waiting += people.enter_context(crowd(idp, names))
                time.sleep(max(0.0, until - time.monotonic()))
            idp.clock.forward(seconds=LEASE_SECONDS + 1)
        assert office.mails == []
        assert counted(idp, "state = 'queued'") == len(waiting) == SIZES.mails // len(TURNS) * len(TURNS)
        office.refusal, office.takes_seconds = None, 0
        impatient.undo()  # otherwise a slow machine would abort a conversation whose mail was kept, and send it twice
        with opened(office), as_thread(idp):
            eventually(lambda: counted(idp, "state = 'queued'") == 0, "mails are left over", SIZES.patience)
            came = [len(office.to(one.person.email)) for one in waiting]
            assert min(came) == 1, "mails are lost"
            assert sum(count > 1 for count in came) <= len(came) / 100
            idp.clock.stop()  # that many in a row take longer than a link lives
            for one in waiting:
                assert one.signs_in(office.to(one.person.email)[-1])
