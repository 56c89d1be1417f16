"""Counts mails over an SMTP outage with a restart in the middle: a few for a test, many for bench/."""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.asking import as_process, built, crowd
from tests.faults.mailservers import Office, opened


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many people asked, got no mail, got more than one."""

    asked: int
    lost: int
    doubled: int


def over_an_outage(folder: Path, people: int, seconds: float = 60) -> Outcome:
    """A quarter of the people ask before the outage and are still being served when it begins, a quarter during it;
    then the server is restarted; a quarter ask while the outage lasts, and a quarter once the mail server is back.
    Waits ``seconds`` for the last mail."""
    office = Office()
    idp = built(folder, office)
    names = [f"person{n}" for n in range(people)]
    quarters = [names[n::4] for n in range(4)]
    with contextlib.ExitStack() as stack:
        with as_process(idp, folder / "before.log"):
            with opened(office):
                stack.enter_context(crowd(idp, quarters[0]))
            stack.enter_context(crowd(idp, quarters[1]))
        with as_process(idp, folder / "after.log"):
            stack.enter_context(crowd(idp, quarters[2]))
            with opened(office):
                stack.enter_context(crowd(idp, quarters[3]))
                deadline = time.monotonic() + seconds
                while time.monotonic() < deadline and not all(office.to(f"{name}@example.com") for name in names):
                    time.sleep(0.1)
    came = [len(office.to(f"{name}@example.com")) for name in names]
    return Outcome(people, lost=came.count(0), doubled=sum(1 for count in came if count > 1))
