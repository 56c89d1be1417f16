"""``gatepost demo`` as a newcomer runs it: one at a time, since its ports are fixed, and its mail read on its page."""

import contextlib
import fcntl
import html
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urljoin

import httpx2

from tests.support.processes import ROOT
from tests.support.smtp import Postbox

PORTS = (9000, 9001, 9025, 9026)
MCP_URL = "http://localhost:9001/mcp"
MAILBOX_URL = "http://localhost:9026"
START_SECONDS = 40
STOP_SECONDS = 20

_ROW = re.compile(r'<a href="([^"]*/messages/[^"]+)">(.*?)</a></td><td data-label="To">(.*?)</td>')
_LETTER = re.compile(r'<div class="letter">(.*?)</div>', re.DOTALL)


class MailboxPage(Postbox):
    """The demo's mail, read by HTTP on the page that the demo names."""

    def to(self, address: str) -> list[EmailMessage]:
        """Mails to ``address``, the oldest first."""
        with httpx2.Client(trust_env=False, timeout=10) as browser:
            page = browser.get(f"{MAILBOX_URL}/")
            assert page.status_code == 200, page.text
            rows = [row for row in _ROW.findall(page.text) if html.unescape(row[2]) == address]
            return [self._open(browser, *row) for row in reversed(rows)]

    def wait(self, address: str, count: int = 1, seconds: float = 10) -> EmailMessage:
        """The ``count``-th mail to ``address``, once it is on the page."""
        deadline = time.monotonic() + seconds
        while len(found := self.to(address)) < count:
            assert time.monotonic() < deadline, f"no mail number {count} to {address} within {seconds} s"
            time.sleep(0.1)
        return found[count - 1]

    @staticmethod
    def _open(browser: httpx2.Client, href: str, subject: str, to: str) -> EmailMessage:
        page = browser.get(urljoin(f"{MAILBOX_URL}/", href))
        letter = _LETTER.search(page.text)
        assert letter, page.text
        mail = EmailMessage()
        mail["Subject"] = html.unescape(subject)
        mail["To"] = html.unescape(to)
        mail.set_content(html.unescape(re.sub(r"<[^>]+>", "", letter.group(1))))
        return mail


@dataclass
class Demo:
    """A demo that runs; ``group`` holds all of its processes, as a terminal's Ctrl-C reaches them."""

    process: "subprocess.Popen[bytes]"
    output: Path

    def said(self) -> str:
        """The demo's terminal output."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def processes(self) -> list[int]:
        """The ids of its living processes."""
        return processes_of_group(self.process.pid)

    def interrupt(self) -> int:
        """Presses Ctrl-C; returns the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(STOP_SECONDS)


def processes_of_group(group: int) -> list[int]:
    """The living processes of a process group."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, pgid, state in rows if int(pgid) == group and not state.startswith("Z")]


def checkout_command() -> list[str]:
    """``gatepost`` from this checkout."""
    return [sys.executable, "-m", "gatepost_idp"]


def clean_environment(**settings: str) -> dict[str, str]:
    """What a newcomer's shell has; ``PYTHONPATH`` only for a command of the checkout."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, **settings}


def in_checkout(**settings: str) -> dict[str, str]:
    """The environment of a command of the checkout."""
    return clean_environment(PYTHONPATH=os.pathsep.join(str(ROOT / name) for name in ("idp", "resource")), **settings)


@contextlib.contextmanager
def demo_ports() -> Iterator[None]:
    """Waits for its turn among concurrent tests; raises AssertionError naming a port that is taken."""
    with (Path(tempfile.gettempdir()) / "gatepost-demo-ports.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        taken = [port for port in PORTS if is_taken(port)]
        assert not taken, f"the demo's port {taken[0]} is in use: end what runs there (another `gatepost demo`?)"
        yield


def is_taken(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def demo(command: Sequence[str], folder: Path, **settings: str) -> Iterator[Demo]:
    """``COMMAND demo`` in ``folder``, once it says what to paste; ended by Ctrl-C at the end where it still runs."""
    environment = in_checkout if list(command) == checkout_command() else clean_environment
    output = folder / "output.txt"
    with output.open("wb") as terminal:
        process = subprocess.Popen(
            [*command, "demo"],
            cwd=folder,
            env=environment(**settings),
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
    running = Demo(process, output)
    try:
        _wait_for_welcome(running)
        yield running
    finally:
        _end(running)


def _wait_for_welcome(running: Demo) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "Ctrl-C ends it." not in running.said():
        assert running.process.poll() is None, f"the demo ended:\n{running.said()}"
        assert time.monotonic() < deadline, f"the demo does not start:\n{running.said()}"
        time.sleep(0.05)


def _end(running: Demo) -> None:
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        running.interrupt()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()
