"""Measures sign-in by mail: ``python bench/sign_in.py`` prints how fast mail is sent, and how many mails are lost.

It starts its own servers on loopback and takes some two minutes; it changes nothing and asserts nothing.
"""

import asyncio
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from html import unescape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "idp"), str(ROOT / "resource")]

import httpx2  # noqa: E402 (needs sys.path)

from tests.faults.asking import as_process, built, changed  # noqa: E402 (needs sys.path)
from tests.faults.mailservers import Office  # noqa: E402 (needs sys.path)
from tests.faults.outage import over_an_outage  # noqa: E402 (needs sys.path)
from tests.idp.operator.forms import medians, timed  # noqa: E402 (needs sys.path)
from tests.support.oauth import TestClient, registered  # noqa: E402 (needs sys.path)
from tests.support.ports import free_port  # noqa: E402 (needs sys.path)

AT_ONCE = 50
ROUNDS = 5
FORMS = 200
MAILS = 100


class Receiver:
    """bench/receiver.py as a process, and the arrival time of each mail."""

    def __init__(self) -> None:
        self.port = free_port()
        self.arrived: dict[str, float] = {}
        command = [sys.executable, str(ROOT / "bench" / "receiver.py"), str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._note, daemon=True).start()

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def _note(self) -> None:
        for line in self._process.stdout or ():
            recipient, at = line.split()
            self.arrived.setdefault(recipient, float(at))


async def _ready(client: TestClient, number: int, email: str) -> Callable[[], "asyncio.Task[float]"]:
    """Opens the address page in a new browser; returns a function that sends its form and returns the start time."""
    network = {"x-forwarded-for": f"198.51.{number // 250}.{number % 250}"}  # a single network would hit the brakes
    browser = httpx2.AsyncClient(trust_env=False, timeout=60, follow_redirects=True, headers=network)
    page = await browser.get(client.authorize_url())
    form = {name: _value(page.text, name) for name in ("csrf", "form_time")}
    headers = {"origin": client.idp.issuer, "sec-fetch-site": "same-origin"}

    async def send() -> float:
        began = time.perf_counter()
        answer = await browser.post(
            str(page.url), data={**form, "email": email}, headers=headers, follow_redirects=False
        )
        await browser.aclose()
        if answer.status_code != 303:
            raise SystemExit(f"the form answered {answer.status_code}")
        return began

    return lambda: asyncio.create_task(send())


def _value(html: str, name: str) -> str:
    found = re.search(rf'<input[^>]*name="{name}"[^>]*value="([^"]*)"', html)
    return unescape(found.group(1)) if found else ""


def _all_arrived(receiver: Receiver, emails: set[str]) -> None:
    """Waits for the last mail, for at most half a minute."""
    deadline = time.monotonic() + 30
    while not emails <= receiver.arrived.keys() and time.monotonic() < deadline:
        time.sleep(0.01)


async def _at_once(client: TestClient, receiver: Receiver, number: int) -> list[float]:
    """Milliseconds from the POST of the address to the mail at the mail server, for fifty people at once."""
    emails = [f"person{number}-{n}@example.com" for n in range(AT_ONCE)]
    browsers = [await _ready(client, number * AT_ONCE + n, email) for n, email in enumerate(emails)]
    await asyncio.sleep(1.1)  # forms sent within a second of being shown are delayed
    began = await asyncio.gather(*(send() for send in browsers))
    await asyncio.to_thread(_all_arrived, receiver, set(emails))
    never = time.perf_counter()
    return [(receiver.arrived.get(email, never) - then) * 1000 for email, then in zip(emails, began, strict=True)]


def mail_latency(folder: Path) -> list[str]:
    """The rows for AT_ONCE people at once, after one warm-up round."""
    with Receiver() as receiver:
        idp = changed(built(folder, Office(), trusted_proxies=("127.0.0.1/32",)), smtp_port=receiver.port)
        with as_process(idp, folder / "idp.log"):
            client = registered(idp)
            rounds = [asyncio.run(_at_once(client, receiver, number)) for number in range(ROUNDS + 1)]
    took = [one for found in rounds[1:] for one in found]
    cuts = statistics.quantiles(took, n=100)
    return [
        f"POST to mail at the SMTP server, {AT_ONCE} at once, p50   {cuts[49]:8.0f} ms",
        f"POST to mail at the SMTP server, {AT_ONCE} at once, p99   {cuts[98]:8.0f} ms   ({len(took)} mails)",
    ]


def form_times(folder: Path) -> list[str]:
    """The rows for the form's response time, by kind of address."""
    found = medians(timed(folder, FORMS))
    rows = [f"form, {kind + ' address,':<17} median of {FORMS}          {took:8.1f} ms" for kind, took in found.items()]
    return [*rows, f"form, largest difference of medians          {max(found.values()) - min(found.values()):8.1f} ms"]


def outage(folder: Path) -> list[str]:
    """The rows for an outage of the mail server with a restart of ours in between."""
    found = over_an_outage(folder, MAILS, seconds=180)
    return [
        f"outage and restart, {found.asked} mails, lost               {found.lost:8d}",
        f"outage and restart, {found.asked} mails, doubled            {found.doubled:8d}",
    ]


def main() -> None:
    """Runs each part and prints its rows as they come."""
    sys.stdout.write(f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}, SQLite\n")
    for part in (mail_latency, form_times, outage):
        with tempfile.TemporaryDirectory() as folder:
            sys.stdout.write("\n".join(part(Path(folder))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
