"""`make bench` measures the product as operators run it: every safeguard on, no limit raised."""

import contextlib
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from bench.running import Subject
from bench.subjects import Connected, gatepost
from gatepost_idp.database import Database
from gatepost_idp.limits import BRAKES
from gatepost_idp.settings import Settings
from tests.faults.asking import eventually
from tests.support.person import Person
from tests.support.smtp import Postbox


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("measured")


@pytest.fixture(scope="module")
def measured(folder: Path, postbox: Postbox) -> Iterator[tuple[Subject, dict[str, str], Connected]]:
    """The server as the benchmark starts it, with a connected person."""
    with gatepost(folder, postbox, None) as started:
        yield started


Measured = tuple[Subject, dict[str, str], Connected]


def test_its_settings_touch_no_safeguard(measured: Measured) -> None:
    """Addresses, mail, the store, the proxy that the load simulates; all else is at its default."""
    _, environment, _ = measured
    set_here = {name.lower() for name in environment} & Settings.model_fields.keys()
    assert set_here == {
        "oauth_issuer", "mcp_resource_url", "idp_port", "metrics_address", "database_url", "smtp_host", "smtp_port",
        "smtp_security", "mail_from", "trusted_proxies",
    }  # fmt: skip  # a list of names


def test_one_network_alone_is_braked(measured: Measured) -> None:
    """The load comes from many networks, as people do; from a single one it is told to wait."""
    subject, _, _ = measured
    allowed = int(BRAKES["register"].partition("/")[0])
    headers = {"x-forwarded-for": "198.51.100.7"}
    with httpx2.Client(base_url=subject.base, trust_env=False, headers=headers) as one:
        statuses = [one.post("/register", json={}).status_code for _ in range(allowed + 1)]
    assert statuses[0] == 400
    assert statuses[-1] == 429


def test_mail_is_limited(measured: Measured, postbox: Postbox) -> None:
    """A second mail to the same mailbox has to wait, as everywhere."""
    _, _, connected = measured
    with Person("twice@example.com", postbox) as person:
        for _ in range(2):
            person.browser.cookies.clear()
            person.open(connected.at.authorize_url(connected.client_id))
            person.ask_for_mail()
        assert re.search(r"\d+ seconds", person.text)
    assert len(postbox.to("twice@example.com")) == 1


def test_a_form_from_elsewhere_is_refused(measured: Measured, postbox: Postbox) -> None:
    """CSRF: the same form with a token that is not this browser's."""
    _, _, connected = measured
    with Person("forged@example.com", postbox) as person:
        person.open(connected.at.authorize_url(connected.client_id))
        assert person.submit(person.form("email"), email=person.email, csrf="of somebody else").status_code == 403


async def test_every_commit_is_on_the_disk(measured: Measured) -> None:
    """WAL and synchronous=FULL, whenever this database is opened as the server opens it."""
    _, environment, _ = measured
    database = Database(environment["DATABASE_URL"])
    try:
        found = await database.write(
            lambda tx: [tx._cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        )
    finally:
        database.close()
    assert found == ["wal", 2]


def test_what_happens_is_audited(measured: Measured, folder: Path) -> None:
    """The sign-in and the consent."""
    with contextlib.closing(sqlite3.connect(folder / "gatepost.db")) as database:
        events = {row[0] for row in database.execute("SELECT DISTINCT event FROM audit_event")}
    assert "consent.given" in events


def test_every_request_has_its_line_in_the_log(measured: Measured, folder: Path) -> None:
    """With its trace id, at the operators' log level."""
    httpx2.get(f"{measured[0].base}/jwks.json", trust_env=False)

    def is_there() -> bool:
        lines = (folder / "idp.log").read_text(encoding="utf-8").splitlines()
        return any('"path": "/jwks.json"' in line and '"trace_id"' in line for line in lines)

    eventually(is_there, "no line for /jwks.json")  # it is written after the answer is sent


def test_nothing_is_asserted_away(measured: Measured) -> None:
    """Python runs with its defaults: -O would remove the assertions, even those of libraries."""
    assert "PYTHONOPTIMIZE" not in measured[1]
    assert sys.flags.optimize == 0
