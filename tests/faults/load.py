"""Replicas of one server behind a balancer that picks at random, and connections that refresh without pause."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import sqlalchemy

from tests.faults.asking import built, environment_for
from tests.faults.sizes import SIZES
from tests.support import processes
from tests.support.oauth import TestClient, registered
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.processes import Server
from tests.support.serving import Idp
from tests.support.smtp import Postbox

_COIN = random.Random()  # noqa: S311 (which replica, not a secret)


def elsewhere() -> dict[str, str]:
    """The caller's address as the balancer gives it: varied, since one network may not send as much as a test does."""
    return {"x-forwarded-for": f"10.{_COIN.randrange(256)}.{_COIN.randrange(256)}.{_COIN.randrange(256)}"}


class Scattered(httpx2.BaseTransport):
    """Sends each request to a random replica: nothing may depend on which one served a person before."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._inner = httpx2.HTTPTransport(retries=0, limits=httpx2.Limits(max_keepalive_connections=20))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends the request on; the Host stays the public one, as with any balancer."""
        url = request.url.copy_with(port=_COIN.choice(self._ports))
        sent = httpx2.Request(
            request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
        )
        return self._inner.handle_request(sent)

    def close(self) -> None:
        self._inner.close()


@dataclass
class Replicated(Idp):
    """One authorization server of several processes. ``starts``: restarts one, by its number."""

    ports: list[int] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    starts: Callable[[int], None] = lambda _number: None

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One request to one of them."""
        with self.line() as own:
            return own.request(method, f"{self.issuer}{path}", **options)

    def line(self) -> httpx2.Client:
        """An HTTP client whose requests go to random replicas."""
        return httpx2.Client(transport=Scattered(self.ports), timeout=SIZES.patience)

    @contextlib.contextmanager
    def person(self, email: str = "alice@example.com") -> Iterator[Person]:
        """A person whose requests go to random replicas."""
        with Person(email, self.postbox) as one:
            agent = one.browser.headers["user-agent"]
            one.browser.close()
            one.browser = httpx2.Client(transport=Scattered(self.ports), timeout=30, headers={"user-agent": agent})
            yield one

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a table, read from outside the servers."""
        engine = sqlalchemy.create_engine(self.settings.database_url)
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.exec_driver_sql(statement)]
        finally:
            engine.dispose()

    def forget_grants(self) -> None:
        """Deletes the grants, so that later counts are the test's own."""
        engine = sqlalchemy.create_engine(self.settings.database_url)
        with engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM refresh_token")
            connection.exec_driver_sql("DELETE FROM authorization_grant")
        engine.dispose()

    def kill(self, number: int) -> float:
        """kill -9 of one process, restarted at once; returns the seconds until it answers."""
        self.servers[number].process.kill()
        self.servers[number].process.wait()
        began = time.monotonic()
        self.starts(number)
        return time.monotonic() - began


@contextlib.contextmanager
def replicated(folder: Path, postbox: Postbox, count: int, **changes: Any) -> Iterator[Replicated]:
    """``count`` processes of one server on one database; ``changes`` are settings."""
    idp = built(folder, postbox, **{"trusted_proxies": ("127.0.0.1",), **changes})
    ports = [idp.settings.idp_port, *(free_port() for _ in range(count - 1))]
    with contextlib.ExitStack() as stack:
        made = Replicated(idp.base, idp.issuer, idp.settings, idp.clock, idp.postbox, ports)

        def start(number: int) -> None:
            environment = environment_for(idp, IDP_PORT=str(ports[number]))
            log = folder / f"idp-{number}-{time.monotonic_ns()}.log"
            base = f"http://127.0.0.1:{ports[number]}"
            server = stack.enter_context(processes.running(base, environment, log, "gatepost_idp", "idp"))
            made.servers[number : number + 1] = [server]

        made.starts = start
        for number in range(count):
            start(number)
        yield made


@dataclass
class Chain:
    """One connection that refreshes again and again, with the latest token it got."""

    client: TestClient
    token: str
    answered: int = 0
    refused: list[str] = field(default_factory=list)
    """Answers that no outage excuses: anything but a 200, or a 503 with Retry-After."""
    unavailable: int = 0
    last_trouble: float = 0.0

    def form(self) -> dict[str, str]:
        """The refresh."""
        return {"grant_type": "refresh_token", "client_id": self.client.id, "refresh_token": self.token}

    def run(self, replicas: Replicated, stopped: threading.Event) -> None:
        """Refreshes until told to stop; repeats a request that got no answer, as a client does."""
        with replicas.line() as own:
            while not stopped.is_set() and not self.refused:
                try:
                    answer = own.post(f"{replicas.issuer}/token", data=self.form(), headers=elsewhere())
                except httpx2.TransportError:
                    self._trouble()
                    continue
                self._take(answer)

    def _take(self, answer: httpx2.Response) -> None:
        if answer.status_code == 200:
            self.token = str(answer.json()["refresh_token"])
            self.answered += 1
        elif answer.status_code == 503 and answer.headers.get("retry-after", "").isdigit():
            self.unavailable += 1
            self._trouble()
        else:
            self.refused.append(f"{answer.status_code} {answer.text[:300]}")

    def _trouble(self) -> None:
        self.last_trouble = time.monotonic()
        time.sleep(0.05)


def chains(replicas: Replicated, count: int) -> list[Chain]:
    """``count`` connections of one person, who consents once."""
    client = registered(replicas)
    with replicas.person() as alice:
        return [Chain(client, str(client.connect(alice)["refresh_token"])) for _ in range(count)]


@contextlib.contextmanager
def under_load(replicas: Replicated, all_chains: list[Chain]) -> Iterator[None]:
    """Makes all of them refresh until the block ends."""
    stopped = threading.Event()
    with ThreadPoolExecutor(len(all_chains)) as pool:
        running = [pool.submit(chain.run, replicas, stopped) for chain in all_chains]
        try:
            yield
        finally:
            stopped.set()
    for one in running:
        one.result()


def nothing_lost(replicas: Replicated, all_chains: list[Chain]) -> None:
    """Asserts that every answered token is stored: the last one of each connection works. None was spent twice: each
    family is one chain of tokens, of which one is unspent."""
    for chain in all_chains:
        assert chain.refused == []
        answer = chain.client.refresh(chain.token)
        assert answer.status_code == 200, answer.text
        chain.answered += 1
    lines = replicas.rows(
        "SELECT count(*), sum(CASE WHEN spent_at IS NULL THEN 1 ELSE 0 END) FROM refresh_token GROUP BY grant_id"
    )
    assert [unspent for _, unspent in lines] == [1] * len(all_chains)
    # Each answer adds one token; a lost answer was asked for again and was the same token.
    assert sum(count for count, _ in lines) == len(all_chains) + sum(chain.answered for chain in all_chains)


def at_once(replicas: Replicated, form: dict[str, str], count: int) -> list[httpx2.Response]:
    """The same POST /token over ``count`` connections, at the same moment."""
    gate = threading.Barrier(count)

    def send(_number: int) -> httpx2.Response:
        with replicas.line() as own:
            gate.wait(SIZES.patience)  # all are connected: a silent connection is closed after five seconds
            own.get(f"{replicas.issuer}/healthz")  # the address is resolved before the race begins
            gate.wait(SIZES.patience)
            return own.post(f"{replicas.issuer}/token", data=form, headers=elsewhere())

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(send, range(count)))
