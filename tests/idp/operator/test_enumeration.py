"""Asking with an address reveals nothing about it: not by the answer's bytes, its time, or a limit."""

import re
from pathlib import Path

import httpx2

from tests.faults.asking import as_thread, built, changed, waits
from tests.faults.mailservers import Office, opened
from tests.idp.operator.forms import medians, timed
from tests.support.oauth import registered
from tests.support.person import Person

OWN = (
    (r"[\w.]+@[\w.]+", "ADDRESS"),
    (r"<b>[a-z]+ [a-z]+</b>", "REFERENCE"),
    (r'name="csrf" value="[^"]*"', "TOKEN"),
    (r"(/sign-in/)[\w-]{10,}(/[\w-]{10,})?", r"\1ID"),
    (r"[Tt]race <code>[^<]*", "TRACE"),
    (r'data-countdown="\d+"', ""),
    # Whichever it is by now: the mail to somebody and the question in place of one to nobody take alike, not the same.
    (r'<p role="status">Your mail (is about to be|has been) sent[^<]*', "MAIL"),
    (r"\d+ (seconds|minutes)", "TIME"),
)
OF_THE_ANSWER = {"date", "set-cookie", "location", "content-length", "x-trace-id"}


def _bare(answer: httpx2.Response) -> tuple[int, str, tuple[str, ...]]:
    """Status, body and headers without what differs in every request."""
    body = answer.text
    for pattern, instead in OWN:
        body = re.sub(pattern, instead, body)
    headers = (f"{name}: {value}" for name, value in answer.headers.items() if name not in OF_THE_ANSWER)
    return answer.status_code, body, tuple(sorted([*headers, *(name for name in answer.headers)]))


def test_enumeration(tmp_path: Path) -> None:
    """Sixty known, unknown and refused addresses each, shuffled: the form's answer and the page after it are the same,
    byte for byte except for what differs in every request, and the median times of the form lie within 25 ms."""
    found = timed(tmp_path, 60)
    answers = {_bare(one.answer) for answered in found.values() for one in answered}
    assert len(answers) == 1, answers
    assert next(iter(answers))[0] == 303
    pages = {kind: {_bare(one.page) for one in answered} for kind, answered in found.items()}
    assert all(len(alike) == 1 for alike in pages.values()), "one page of each kind"
    assert pages["known"] == pages["unknown"] == pages["refused"]
    took = medians(found)
    assert max(took.values()) - min(took.values()) < 25, took


def test_enumeration_by_the_limit(tmp_path: Path) -> None:
    """Every try counts: a mailbox's limit is reached after as many tries for a refused address as for a known one."""
    office = Office()
    idp = built(tmp_path, office)
    with opened(office):
        with as_thread(idp), Person("known@example.com", office) as member:
            member.walk(registered(idp).authorize_url())
        closed = changed(idp, signup="closed", limit_address="3/day")
        closed.clock.forward(seconds=86_400 - idp.clock().timestamp() % 86_400 + 1)
        with as_thread(closed):
            found = {}
            for email in ("known@example.com", "nobody@example.com"):
                with Person(email, office) as person:
                    waiting = waits(person, registered(closed))
                    for _ in range(2):
                        closed.clock.forward(seconds=31)
                        waiting.page()
                        person.submit(person.form_to("/resend"))
                    person.open(registered(closed).authorize_url())
                    found[email] = person.submit(person.form("email"), email=email).status_code
    assert found == {"known@example.com": 429, "nobody@example.com": 429}
