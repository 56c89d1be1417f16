"""The connection to the mail server: three explicit modes; a password goes only to the server it is meant for."""

import asyncio
import base64
import contextlib
import gc
import json
import ssl
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult

from gatepost_idp.mail.smtp import probe
from tests.faults.asking import as_thread, built, changed, counted, crowd, details, environment_for, eventually
from tests.faults.mailservers import PASSWORD, USERNAME, Authority, Line, Office, opened, tapped
from tests.support.ports import free_port
from tests.support.serving import Idp

WITH_PASSWORD = {"smtp_username": USERNAME, "smtp_password": PASSWORD}
AWAY = "Mail is not going out just now"


def _secrets() -> list[bytes]:
    """The password, also as AUTH PLAIN and AUTH LOGIN would encode it."""
    plain = f"\0{USERNAME}\0{PASSWORD}".encode()
    return [PASSWORD.encode(), base64.b64encode(plain), base64.b64encode(PASSWORD.encode())]


def _clear(line: Line) -> bool:
    """Whether any of that, or any AUTH, was sent in clear."""
    said = line.said()
    return any(secret in said for secret in _secrets()) or b"AUTH" in said.upper()


class Slow(Office):
    """Answers AUTH, and nothing more for a second."""

    def authenticate(self, *asked: Any) -> AuthResult:
        asyncio.get_running_loop().call_later(0.05, time.sleep, 1)
        return super().authenticate(*asked)


def _listening(**changes: Any) -> dict[str, Any]:
    """Settings with a details listener."""
    return {"metrics_address": f"127.0.0.1:{free_port()}", **changes}


@pytest.mark.parametrize("password", [PASSWORD, "of last year"])
@pytest.mark.parametrize("security", ["starttls", "implicit"])
def test_no_connection_outlives_the_question(
    tmp_path: Path, authority: Authority, security: str, password: str
) -> None:
    """A command's event loop ends with its question; by then the socket is closed, whatever the server says to that."""
    office = Slow(PASSWORD)
    idp = built(tmp_path, office, smtp_username=USERNAME, smtp_password=password, smtp_security=security)
    trust = ssl.create_default_context(cafile=str(authority.path))
    with opened(office, authority.context(), implicit=security == "implicit"):
        outcome = asyncio.run(probe(idp.settings, trust)).outcome
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            gc.collect()
    assert (outcome, told) == ("accepted" if password == PASSWORD else "misconfigured", [])


@pytest.mark.parametrize("security", ["starttls", "implicit"])
def test_password_over_tls(tmp_path: Path, authority: Authority, security: str) -> None:
    """With STARTTLS, and with TLS from the first byte, the mail arrives, and the password is sent only inside TLS."""
    office = Office(PASSWORD)
    idp = built(tmp_path, office, **_listening(**WITH_PASSWORD, smtp_security=security))
    with (
        opened(office, authority.context(), implicit=security == "implicit"),
        tapped(office) as line,
        as_thread(changed(idp, smtp_port=line.port)),
        crowd(idp, ["alice"]) as [alice],
    ):
        assert alice.signs_in(office.wait("alice@example.com"))
        assert office.logins == [True]
        assert not _clear(line)
        assert (b"STARTTLS" in line.said()) is (security == "starttls")
        assert details(idp)["mail"] == {"ok": True, "problem": ""}


def _stays_shut(idp: Idp, office: Office, names: list[str], word: str) -> None:
    """Asserts that no mail leaves, the page says so, and the operator gets a message that contains ``word``."""
    with crowd(idp, names) as waiting:
        for one in waiting:
            one.until("delayed")
            assert AWAY in one.page()
        told = details(idp)
        assert told["mail"]["ok"] is False
        assert word in told["mail"]["problem"], told
        assert PASSWORD not in json.dumps(told)
    assert office.mails == []
    assert office.logins == []


@pytest.mark.parametrize("security", ["starttls", "implicit"])
@pytest.mark.parametrize("fault", ["of an authority nobody knows", "of another name"])
def test_starttls_bad_certificate(tmp_path: Path, authority: Authority, security: str, fault: str) -> None:
    """A certificate that does not prove who the server is stops the mail: the circuit opens, the page and the operator
    are told, no password is sent, and nothing is lost once the certificate is fixed."""
    office = Office(PASSWORD)
    idp = built(tmp_path, office, **_listening(**WITH_PASSWORD, smtp_security=security))
    bad = authority.context("smtp.elsewhere.test") if "name" in fault else Authority(tmp_path / "other.pem").context()
    with opened(office, bad, implicit=security == "implicit"), tapped(office) as line:
        with as_thread(changed(idp, smtp_port=line.port)):
            _stays_shut(idp, office, ["alice", "bob"], "certificate")
            calls = len(line.calls)
            time.sleep(1.5)
            assert len(line.calls) == calls, "the circuit is open: nobody knocks again"
        assert not _clear(line)
    idp.clock.forward(seconds=31)
    with opened(office, authority.context(), implicit=security == "implicit"), as_thread(idp):
        for name in ("alice", "bob"):
            office.wait(f"{name}@example.com")


STRIPPED = {
    "left out": lambda answer: answer.replace(b"250-STARTTLS\r\n", b""),
    "another word": lambda answer: answer.replace(b"250-STARTTLS", b"250-XXXXXXXA"),
    "left out, and AUTH put in": lambda answer: answer.replace(b"250-STARTTLS", b"250-AUTH PLAIN LOGIN"),
    "refused when asked for": lambda answer: answer.replace(b"220 Ready to start TLS", b"502 5.5.1 what?"),
    "refused, AUTH offered": lambda answer: answer.replace(b"220 Ready to start TLS", b"454 4.7.0 later").replace(
        b"250-STARTTLS", b"250-STARTTLS\r\n250-AUTH PLAIN LOGIN"
    ),
}


@pytest.mark.parametrize("how", STRIPPED.keys())
def test_starttls_stripped(tmp_path: Path, authority: Authority, how: str) -> None:
    """If an attacker strips STARTTLS, no mail and no password is sent in clear; every byte was recorded."""
    office = Office(PASSWORD)
    idp = built(tmp_path, office, **_listening(**WITH_PASSWORD, smtp_security="starttls"))
    with opened(office, authority.context()), tapped(office) as line:
        line.bend = STRIPPED[how]
        with as_thread(changed(idp, smtp_port=line.port)):
            _stays_shut(idp, office, ["alice"], "STARTTLS" if how.startswith(("left", "another")) else "")
        assert line.calls
        assert not _clear(line)
        assert b"MAIL FROM" not in line.said().upper()
        assert b"alice@example.com" not in line.said()
        line.bend = lambda answer: answer
        idp.clock.forward(seconds=31)
        with as_thread(changed(idp, smtp_port=line.port)):
            office.wait("alice@example.com")


def _feels_its_way(idp: Idp, office: Office) -> None:
    """Asserts that half a minute later one mail tries the password again, not all of them."""
    before = len(office.logins)
    idp.clock.forward(seconds=31)
    eventually(lambda: len(office.logins) > before, "it never tries again")
    time.sleep(1)
    assert len(office.logins) <= before + 2


def test_auth_535(tmp_path: Path, authority: Authority) -> None:
    """With a wrong password and 30 mails waiting there are a few tries in several seconds, not thirty, since providers
    lock accounts for that. Page and operator are told; after a restart with the right password every mail is sent."""
    office = Office(PASSWORD)
    names = [f"person{n}" for n in range(30)]
    right = built(tmp_path, office, **_listening(**WITH_PASSWORD, smtp_security="starttls"))
    wrong = changed(right, smtp_password="the one of last year")
    with contextlib.ExitStack() as stack:
        with as_thread(right):  # nothing listens at the mail server's port: all thirty wait
            waiting = stack.enter_context(crowd(right, names))
            waiting[0].until("delayed")
        stack.enter_context(opened(office, authority.context()))
        right.clock.forward(minutes=2)
        with as_thread(wrong):
            eventually(lambda: details(wrong)["mail"]["problem"].startswith("535"), "nobody told the operator")
            time.sleep(4)
            assert 1 <= len(office.logins) <= 4, f"{len(office.logins)} tries of a wrong password"  # PLAIN and LOGIN
            assert not any(office.logins)
            assert AWAY in waiting[-1].page()
            assert details(wrong)["mail"]["ok"] is False
            assert "last year" not in json.dumps(details(wrong))
            _feels_its_way(right, office)
        right.clock.forward(minutes=3)
        with as_thread(right):
            for one in waiting:
                office.wait(one.person.email)
            eventually(lambda: details(right)["mail"]["ok"], "the operator still sees trouble")
            assert waiting[0].signs_in(office.to(waiting[0].person.email)[0])
        assert len(office.mails) == 30
        assert counted(right, "state = 'sent'") == 30


def test_auth_535_while_serving(tmp_path: Path, authority: Authority) -> None:
    """If the password becomes wrong while the server runs and thirty people ask, there are a few tries, then none."""
    office = Office(PASSWORD)
    idp = built(tmp_path, office, **_listening(**WITH_PASSWORD, smtp_security="starttls"))
    with opened(office, authority.context()), as_thread(idp), crowd(idp, ["alice"]) as [alice]:
        alice.until("sent")
        office.logins.clear()
        office.password = "changed by somebody"
        with crowd(idp, [f"person{n}" for n in range(30)]) as waiting:
            for one in waiting:
                one.until("delayed")
            time.sleep(2)
            # Eight ask at a time, and each try is two logins, PLAIN and LOGIN: concurrent mails arrive together.
            assert len(office.logins) <= 16, f"{len(office.logins)} tries of a wrong password"
            office.password = PASSWORD
            idp.clock.forward(minutes=1)
            for one in waiting:
                office.wait(one.person.email)


def _gatepost(idp: Idp, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    # A TLS connection dropped as the program ends makes Python print a warning, if enabled, after the answer.
    environment = {**environment_for(idp, **settings), "PYTHONWARNINGS": "ignore::ResourceWarning"}
    return subprocess.run(
        [sys.executable, "-m", "gatepost_idp", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"SMTP_USERNAME": USERNAME, "SMTP_PASSWORD": PASSWORD}, "none would send the password in the clear"),
        ({"SMTP_HOST": "smtp.example.com"}, "none is accepted only for loopback or a private network"),
        ({"SMTP_HOST": "8.8.8.8"}, "none is accepted only for loopback or a private network"),
    ],
    ids=["with a username", "to a public name", "to a public address"],
)
def test_security_none_is_refused(tmp_path: Path, settings: dict[str, str], reason: str) -> None:
    """SMTP_SECURITY=none with a password, or to a host on the internet, stops the start with one line that names it."""
    idp = built(tmp_path, Office(), smtp_security="none")
    done = _gatepost(idp, "idp", **settings)
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("SMTP_SECURITY: ")
    assert reason in line
    assert PASSWORD not in line


def test_mail_test_says_what_the_server_answered(tmp_path: Path, authority: Authority) -> None:
    """``gatepost mail test`` exits with 0 if the mail was accepted and 1 if not, and prints the server's answer, so
    that an operator fixes the setting and not the address; it never shows the password."""
    office = Office(PASSWORD)
    office.unknown.add("nobody@example.com")
    idp = built(tmp_path, office, **WITH_PASSWORD, smtp_security="starttls")
    trusted = {"SSL_CERT_FILE": str(authority.path)}
    with opened(office, authority.context()):
        done = _gatepost(idp, "mail", "test", "ops@example.com", **trusted)
        assert done.returncode == 0, done.stderr
        assert f"127.0.0.1:{office.port} (starttls): accepted: kept" in done.stdout
        assert str(office.wait("ops@example.com")["Subject"])
        trials: dict[str, tuple[str, dict[str, str]]] = {
            "refused: 550 5.1.1": ("nobody@example.com", trusted),
            "misconfigured: 535 5.7.8": ("ops@example.com", {**trusted, "SMTP_PASSWORD": "of last year"}),
            "certificate verify failed": ("ops@example.com", {}),
            "unreachable": ("ops@example.com", {**trusted, "SMTP_PORT": str(free_port())}),
            "SMTP_HOST": ("ops@example.com", {**trusted, "SMTP_HOST": ""}),
        }
        with ThreadPoolExecutor(len(trials)) as pool:
            ended = list(pool.map(lambda trial: _gatepost(idp, "mail", "test", trial[0], **trial[1]), trials.values()))
    for word, done in zip(trials, ended, strict=True):
        assert done.returncode == 1, word
        assert word in done.stderr, f"{word}: {done.stderr}"
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stdout == ""
        assert PASSWORD not in done.stderr
        assert "of last year" not in done.stderr
