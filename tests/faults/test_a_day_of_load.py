"""A day's tokens on a clock so fast that everything expired is purged: neither memory nor tables grow."""

import contextlib
import http.client
import json
import math
import statistics
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlencode

import psutil
from sqlmodel import SQLModel

from tests.faults.asking import built, environment_for
from tests.faults.load import Replicated
from tests.faults.sizes import SIZES, told
from tests.support.clocked import SharedClock, clocked
from tests.support.oauth import TestClient, answer_of, registered
from tests.support.processes import running
from tests.support.smtp import receiving

HOURS = 24 * 24
"""Ended connections are kept longest, a week: within that many hours every table is purged repeatedly."""
LIFE = 9
"""How often a connection refreshes, once an hour; then it is revoked or abandoned."""
LINES = 2 if SIZES.day < 100_000 else 8
"""Enough workers for writes to share commits; each makes at least one connection an hour."""
FASTER = 300
"""The purge runs five times a second instead of once a minute, which would be once in some hours of this clock."""
MEMORY = 1.10
ROWS = 1.25
"""The growth allowed; without the purge it would be two thirds."""
_NETWORKS = count(1)


class Line:
    """One kept HTTP connection that costs little per request: client and server share the machine."""

    def __init__(self, idp: Replicated) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", idp.ports[0], timeout=60)
        self._headers = {
            "host": idp.issuer.removeprefix("http://"),
            "content-type": "application/x-www-form-urlencoded",
        }
        self._left = 0
        self.close = self._http.close

    def request(
        self, method: str, path: str, form: dict[str, str] | None = None, cookie: str = ""
    ) -> tuple[str, bytes]:
        """Location and body of an answer, which must not be an error."""
        if not self._left:  # as many requests as one network may send in a minute
            self._left = 3000
            number = next(_NETWORKS)
            self._headers["x-forwarded-for"] = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        self._left -= 1
        self._http.request(method, path, urlencode(form or {}), self._headers | ({"cookie": cookie} if cookie else {}))
        answer = self._http.getresponse()
        body = answer.read()
        assert answer.status < 400, body
        return answer.headers.get("location", ""), body


@dataclass
class Share:
    """A part of the load, on its own connection: in each hour some clients connect, and all live ones refresh."""

    line: Line
    client: TestClient
    each_hour: int
    cookie: str
    living: deque[list[str]] = field(default_factory=deque)
    answered: int = 0

    def hour(self) -> None:
        """Runs the load of one hour."""
        if len(self.living) == LIFE:
            for token in self.living.popleft()[::2]:
                self.line.request("POST", "/revoke", {"client_id": self.client.id, "token": token})
        for tokens in self.living:
            tokens[:] = [self._token(grant_type="refresh_token", refresh_token=token) for token in tokens]
        self.living.append([self._connect() for _ in range(self.each_hour)])
        self.line.request("GET", self._asked)  # the email page: somebody who never goes on to sign in

    @property
    def _asked(self) -> str:
        return self.client.authorize_url().removeprefix(self.client.idp.issuer)

    def _connect(self) -> str:
        location, _ = self.line.request("GET", self._asked, cookie=self.cookie)
        return self._token(
            grant_type="authorization_code",
            code=answer_of(location)["code"],
            redirect_uri=self.client.redirect_uri,
            code_verifier=self.client.verifier,
        )

    def _token(self, **form: str) -> str:
        _, body = self.line.request("POST", "/token", {"client_id": self.client.id, **form})
        self.answered += 1
        return str(json.loads(body)["refresh_token"])


@dataclass(frozen=True, slots=True)
class Reading:
    """Megabytes of the process, and the rows of each table."""

    megabytes: float
    rows: dict[str, int]


@contextlib.contextmanager
def aged(folder: Path) -> Iterator[Replicated]:
    """One server as a process, on SQLite, whose clock and chores run fast; idle connections and the audit log are kept
    for a day."""
    clock = SharedClock(folder / "clock")
    with receiving() as mails:
        idp = built(folder, mails, trusted_proxies=("127.0.0.1",), refresh_token_days=1, audit_days=1)
        command = ("tests.support.clocked", str(folder / "clock"), str(FASTER))
        with running(idp.base, clocked(environment_for(idp)), folder / "idp.log", *command) as server:
            yield Replicated(idp.base, idp.issuer, idp.settings, clock, mails, [idp.settings.idp_port], [server])


def reading(idp: Replicated) -> Reading:
    """The current reading."""
    tables = sorted(SQLModel.metadata.tables)
    rows = idp.rows(" UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in tables))  # noqa: S608 (our own names)
    return Reading(psutil.Process(idp.servers[0].process.pid).memory_info().rss / 2**20, dict(rows))


def summary(readings: list[Reading]) -> Reading:
    """The most memory, and the median of each table: how recent its purge was is chance."""
    rows = {name: round(statistics.median(one.rows[name] for one in readings)) for name in readings[0].rows}
    return Reading(max(one.megabytes for one in readings), rows)


def test_a_day_of_load_leaves_no_trace(tmp_path: Path) -> None:
    """With code flows, refreshes, revocations, abandoned sign-ins and the purge running, in the last third of the time
    memory is at most a tenth above that of the second third, and no table holds more rows."""
    with aged(tmp_path) as idp, ThreadPoolExecutor(LINES) as pool, contextlib.ExitStack() as stack:
        client = registered(idp)
        with idp.person() as alice:
            client.connect(alice)
            cookie = "; ".join(f"{name}={value}" for name, value in alice.browser.cookies.items())
        each_hour = math.ceil(SIZES.day / (HOURS * LIFE * LINES))
        lines = [stack.enter_context(contextlib.closing(Line(idp))) for _ in range(LINES)]
        shares = [Share(line, client, each_hour, cookie) for line in lines]
        readings = []
        began = time.monotonic()
        for hour in range(HOURS):
            list(pool.map(Share.hour, shares))
            idp.clock.forward(hours=1)
            if hour % 8 == 7:
                readings.append(reading(idp))
            if hour % 24 == 23:
                answered, seconds = sum(share.answered for share in shares), time.monotonic() - began
                told(f"day {hour // 24 + 1}: {answered} tokens, {seconds:.0f} s, {readings[-1].megabytes:.0f} MB")
        third = len(readings) // 3
        early, late = summary(readings[third : 2 * third]), summary(readings[2 * third :])
    told(f"{sum(share.answered for share in shares)} tokens, {early.megabytes:.0f} MB, then {late.megabytes:.0f} MB")
    assert late.megabytes < MEMORY * early.megabytes
    grown = {name: (early.rows[name], rows) for name, rows in late.rows.items() if rows > ROWS * early.rows[name] + 20}
    assert grown == {}
