"""Times the form for known, unknown and refused addresses: a few for a test, many for bench/."""

import contextlib
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx2

from tests.faults.asking import as_process, built
from tests.faults.mailservers import Office, opened
from tests.idp.signin.walk import field_value, press
from tests.support.oauth import registered
from tests.support.person import Person

KINDS = ("known", "unknown", "refused")


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer: its time in milliseconds, its content, and the page that it led to."""

    milliseconds: float
    answer: httpx2.Response
    page: httpx2.Response


@contextlib.contextmanager
def _sign_in_page(folder: Path) -> Iterator[tuple[Person, str, dict[str, str]]]:
    """A server process that admits only example.com, with one member; returns a browser, its page, its form."""
    office = Office()
    idp = built(folder, office, signup="domains", signup_domains=("example.com",), trusted_proxies=("127.0.0.1/32",))
    with opened(office), as_process(idp, folder / "idp.log"):
        with Person("known@example.com", office) as member:
            member.walk(registered(idp).authorize_url())
        with Person("whoever@example.com", office) as person:
            person.open(registered(idp).authorize_url())
            assert person.page is not None
            time.sleep(1.1)  # a form sent within a second is delayed, whoever it is for
            yield person, str(person.page.url), {name: field_value(person.text, name) for name in ("csrf", "form_time")}


def timed(folder: Path, each: int) -> dict[str, list[Answered]]:
    """Sends ``each`` forms of every kind, shuffled, so that any drift affects all kinds alike."""
    order = list(KINDS) * each
    random.Random(each).shuffle(order)  # noqa: S311 (an order, not a secret)
    found: dict[str, list[Answered]] = {kind: [] for kind in KINDS}
    with _sign_in_page(folder) as (person, url, form):
        for number, kind in enumerate(order):
            address = {"known": "known@example.com", "unknown": f"p{number}@example.com"}.get(
                kind, f"p{number}@no.test"
            )
            # Each from another network: a single one would soon be limited.
            person.browser.headers["x-forwarded-for"] = f"198.51.{number // 250}.{number % 250}"
            began = time.perf_counter()
            answer = press(person, url, {**form, "email": address})
            took = (time.perf_counter() - began) * 1000
            page = person.browser.get(urljoin(url, answer.headers["location"]))
            found[kind].append(Answered(took, answer, page))
    return found


def medians(found: dict[str, list[Answered]]) -> dict[str, float]:
    """Milliseconds by kind."""
    return {kind: statistics.median(one.milliseconds for one in answered) for kind, answered in found.items()}
