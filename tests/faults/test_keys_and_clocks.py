"""Keys that rotate under load, clocks that differ or jump, forged tokens: only valid tokens are accepted."""

import base64
import contextlib
import json
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from joserfc import jws

from gatepost_idp.database import Database
from gatepost_idp.keys import rotate
from gatepost_idp.transaction import Transaction
from gatepost_resource.app import build_app
from gatepost_resource.serving import bind, configuration
from gatepost_resource.settings import Settings
from tests.faults.asking import built, environment_for, eventually, waits
from tests.faults.load import Replicated
from tests.faults.sizes import SIZES, told
from tests.resource.issuer import new_key
from tests.resource.running import LIST
from tests.store.servers import running as postgresql
from tests.support import serving
from tests.support.clocked import SharedClock, clocked
from tests.support.oauth import TestClient, registered
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.processes import running
from tests.support.serving import Clock, Idp
from tests.support.smtp import Postbox, link_of, receiving

NOTICED = 1.5
"""Seconds within which a server checks its clock."""


@pytest.fixture(scope="module")
def mails() -> Iterator[Postbox]:
    with receiving() as postbox:
        yield postbox


@dataclass
class Tools:
    """A resource server whose clock is ``off`` by that many seconds."""

    mcp: str
    clock: Clock
    off: float = 0.0
    line: httpx2.Client = field(default_factory=lambda: httpx2.Client(trust_env=False, timeout=30))

    def now(self) -> float:
        return self.clock().timestamp() + self.off

    def asked(self, token: str) -> int:
        """The status of a call with ``token``."""
        headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
        return self.line.post(self.mcp, json=LIST, headers={**headers, "authorization": f"Bearer {token}"}).status_code


@contextlib.contextmanager
def tools_of(idp: Idp) -> Iterator[Tools]:
    """Our resource server on the clock of ``idp``. It fetches the keys continuously."""
    mcp = idp.settings.mcp_resource_url
    tools = Tools(mcp, idp.clock)
    settings = Settings(oauth_issuer=idp.issuer, mcp_resource_url=mcp)
    app = build_app(settings, clock=tools.now, monotonic=tools.now, refresh_seconds=0.2)
    server = uvicorn.Server(configuration(app, 1))
    sockets = bind(("127.0.0.1",), httpx2.URL(mcp).port or 0)
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    base = mcp.removesuffix("/mcp").replace("localhost", "127.0.0.1")
    try:
        eventually(lambda: server.started, "the resource server does not start")
        eventually(lambda: httpx2.get(f"{base}/readyz", trust_env=False).status_code == 200, "it has no keys")
        yield tools
    finally:
        tools.line.close()
        server.should_exit = True
        thread.join(15)
        for listener in sockets:
            listener.close()


@contextlib.contextmanager
def replicas(folder: Path, mails: Postbox, count: int) -> Iterator[Replicated]:
    """Servers in threads on one database and one clock, so that the test can skip hours."""
    idp = replicated_in_threads(folder, mails, count)
    with contextlib.ExitStack() as stack:
        for port in idp.ports:
            stack.enter_context(serving.listening(idp.settings, idp.clock, port))
        yield idp


def replicated_in_threads(folder: Path, mails: Postbox, count: int = 1) -> Replicated:
    """The same servers, not running yet."""
    idp = built(folder, mails, mcp_resource_url=f"http://localhost:{free_port()}/mcp", secret_key=("k" * 40,))
    ports = [idp.settings.idp_port, *(free_port() for _ in range(count - 1))]
    return Replicated(idp.base, idp.issuer, idp.settings, idp.clock, idp.postbox, ports)


def claims_of(token: str) -> dict[str, Any]:
    """A JWT's claims, unverified."""
    return dict(json.loads(decoded(token.split(".")[1])))


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@dataclass
class Caller:
    """A client that refreshes, and calls the tools with every token that is still valid."""

    client: TestClient
    tools: Tools
    refresh_token: str
    valid: list[str] = field(default_factory=list)
    calls: int = 0
    refused: list[str] = field(default_factory=list)
    kids: set[str] = field(default_factory=set)

    def run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            answer = self.client.refresh(self.refresh_token)
            assert answer.status_code == 200, answer.text
            self.refresh_token = answer.json()["refresh_token"]
            self.valid.append(answer.json()["access_token"])
            for token in {self.valid[0], random.choice(self.valid), self.valid[-1]}:  # noqa: S311 (no secret)
                self._call(token)
            time.sleep(0.02)  # a network may refresh a hundred times a second
            self.valid = [token for token in self.valid if claims_of(token)["exp"] > self.tools.now()]

    def _call(self, token: str) -> None:
        status = self.tools.asked(token)
        self.calls += 1
        self.kids.add(json.loads(decoded(token.split(".", maxsplit=1)[0]))["kid"])
        if status != 200 and claims_of(token)["exp"] > self.tools.now():
            self.refused.append(f"{status} {token}")


def rotated(idp: Replicated) -> None:
    """``gatepost keys rotate`` and the next hour: published everywhere, signing a minute later, the old keys gone."""
    database = Database(idp.settings.database_url)
    try:
        with database.engine.begin() as connection:
            life = timedelta(minutes=idp.settings.access_token_minutes)
            transaction = Transaction(connection, connection.connection.cursor())
            made = rotate(transaction, idp.settings.secret_keys, idp.clock(), life)
            kids = {row.kid for row in made}
            transaction.finish()
    finally:
        database.close()

    def published(port: int) -> bool:
        keys = httpx2.get(f"http://127.0.0.1:{port}/jwks.json", trust_env=False).json()["keys"]
        return kids <= {key["kid"] for key in keys}

    for port in idp.ports:
        eventually(lambda p=port: published(p), "a replica does not publish it")  # type: ignore[misc]  # mypy infers no lambda with a default


@contextlib.contextmanager
def processes_on_postgresql(folder: Path, mails: Postbox, count: int) -> Iterator[Replicated]:
    """Servers as separate processes on one clock and one PostgreSQL; they read the keys every tenth of a second, since
    the clock jumps a minute."""
    place = folder / "clock"
    clock, mcp = SharedClock(place), f"http://localhost:{free_port()}/mcp"
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(postgresql()).empty()
        idp = built(folder, mails, mcp_resource_url=mcp, secret_key=("k" * 40,), database_url=url)
        ports = [idp.settings.idp_port, *(free_port() for _ in range(count - 1))]
        made = Replicated(idp.base, idp.issuer, idp.settings, clock, mails, ports)
        for port in ports:
            environment = clocked(environment_for(idp, IDP_PORT=str(port)))
            command = ("tests.support.clocked", str(place), "50")
            base, log = f"http://127.0.0.1:{port}", folder / f"{port}.log"
            made.servers.append(stack.enter_context(running(base, environment, log, *command)))
        yield made


def test_rotating_keys_refuses_no_valid_token(tmp_path: Path, mails: Postbox) -> None:
    """Two replicas on PostgreSQL, tokens of both, continuous calls: through each rotation and the end of each old key,
    every token that has not expired is accepted, even the oldest."""
    with (
        processes_on_postgresql(tmp_path, mails, 2) as idp,
        tools_of(idp) as tools,
        ThreadPoolExecutor(4) as pool,
    ):
        client = registered(idp)
        with idp.person() as alice:
            callers = [Caller(client, tools, str(client.connect(alice)["refresh_token"])) for _ in range(4)]
        stopped = threading.Event()
        at_work, began = [pool.submit(caller.run, stopped) for caller in callers], time.monotonic()
        try:
            for number in range(SIZES.rotations):
                told(f"rotation {number + 1} of {SIZES.rotations}")
                rotated(idp)
                for step in (61, 420, 420):  # it signs; half a lifetime; the old key's tokens expire, and then it goes
                    idp.clock.forward(seconds=step)
                    time.sleep(0.7)  # everybody reads the keys again, and is called again
                    eventually(lambda: len(_kids(callers)) >= number + 2, "the new key signs nothing", 30)  # noqa: B023 (called at once)
        finally:
            stopped.set()
        for one in at_work:
            one.result()
    calls, seconds = sum(caller.calls for caller in callers), time.monotonic() - began
    told(f"{SIZES.rotations} rotations, {calls} calls, {calls / seconds:.0f} a second beside the refreshes")
    assert [caller.refused for caller in callers] == [[]] * 4
    assert len(_kids(callers)) == SIZES.rotations + 1


def _kids(callers: list[Caller]) -> set[str]:
    """Every key that signed a token seen so far."""
    return set().union(*(set(caller.kids) for caller in callers))


@pytest.mark.parametrize(("off", "status"), [(-60, 200), (60, 200), (-300, 401), (300, 401)])
def test_clocks_of_the_two_servers_differ(tmp_path: Path, mails: Postbox, off: int, status: int) -> None:
    """A minute of difference is accepted, at a token's start and at its end; five minutes are not."""
    with replicas(tmp_path, mails, 1) as idp, tools_of(idp) as tools, idp.person() as alice:
        token = str(registered(idp).connect(alice)["access_token"])
        if off > 0:
            idp.clock.forward(minutes=15, seconds=-5)
        tools.off = off
        assert tools.asked(token) == status


def test_a_step_back_of_an_hour_revives_nothing(tmp_path: Path, mails: Postbox) -> None:
    """When the server's clock goes back, nothing spent, replaced or revoked works again; what is valid still does."""
    with replicas(tmp_path, mails, 1) as idp, idp.person() as alice:
        client = registered(idp)
        alive, revoked, replaced = (str(client.connect(alice)["refresh_token"]) for _ in range(3))
        successor = client.refresh(replaced).json()["refresh_token"]
        assert idp.post("/revoke", {"client_id": client.id, "token": revoked}).status_code == 200
        code = client.code(alice)
        spent = client.redeem(code)
        assert spent.status_code == 200
        idp.clock.forward(seconds=idp.settings.refresh_grace_seconds + 1)
        time.sleep(NOTICED)
        idp.clock.forward(hours=-1)
        assert client.refresh(alive).status_code == 200
        for answer in (client.redeem(code), client.refresh(revoked), client.refresh(replaced)):
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        # Both were replays, so the grants that they opened have ended as well.
        assert client.refresh(spent.json()["refresh_token"]).status_code == 400
        assert client.refresh(successor).status_code == 400


def _a_code(idp: Replicated, client: TestClient, person: Person) -> Callable[[], bool]:
    code = client.code(person)
    return lambda: client.redeem(code).status_code == 200


def _a_refresh_token(idp: Replicated, client: TestClient, person: Person) -> Callable[[], bool]:
    token = client.connect(person)["refresh_token"]
    return lambda: client.refresh(token).status_code == 200


def _a_session(idp: Replicated, client: TestClient, person: Person) -> Callable[[], bool]:
    client.code(person)
    return lambda: "login_required" not in str(person.browser.get(client.authorize_url(prompt="none")).headers)


def _a_link(idp: Replicated, client: TestClient, person: Person) -> Callable[[], bool]:
    waiting = waits(person, client)
    mail = idp.postbox.wait(person.email)
    return lambda: person.open(link_of(mail)).status_code == 200 and waiting.signs_in(mail)


ENDING: dict[str, tuple[Callable[[Replicated, TestClient, Person], Callable[[], bool]], timedelta]] = {
    "code": (_a_code, timedelta(seconds=60)),
    "refresh token": (_a_refresh_token, timedelta(days=30)),
    "session, idle": (_a_session, timedelta(days=7)),
    "link": (_a_link, timedelta(minutes=10)),
}


@pytest.mark.parametrize("when", ["just now", "a while ago", "while nothing ran"])
@pytest.mark.parametrize("kind", ENDING)
def test_what_expired_stays_dead_after_a_step_back(tmp_path: Path, mails: Postbox, kind: str, when: str) -> None:
    """What expired unused before the clock went back an hour stays expired; what is made afterwards lives as usual."""
    make, life = ENDING[kind]
    names = (f"{secrets.token_hex(4)}@example.com" for _ in range(2))
    with contextlib.ExitStack() as stack:
        idp = replicated_in_threads(tmp_path, mails)
        running = stack.enter_context(contextlib.ExitStack())
        running.enter_context(serving.listening(idp.settings, idp.clock, idp.ports[0]))
        client = registered(idp)
        works = make(idp, client, stack.enter_context(idp.person(next(names))))
        idp.clock.forward(seconds=life.total_seconds() + 30)
        time.sleep(NOTICED)
        if when == "while nothing ran":
            running.close()
        idp.clock.forward(hours=-1)
        if when == "while nothing ran":
            stack.enter_context(serving.listening(idp.settings, idp.clock, idp.ports[0]))
        time.sleep(NOTICED if when == "a while ago" else 0)
        assert not works()
        assert make(idp, client, stack.enter_context(idp.person(next(names))))()


def _flipped(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]


def _one_bit(part: int) -> Callable[[list[bytes], random.Random], list[bytes]]:
    def forge(parts: list[bytes], chance: random.Random) -> list[bytes]:
        return [_flipped(content, chance) if number == part else content for number, content in enumerate(parts)]

    return forge


def _widened(parts: list[bytes], chance: random.Random) -> list[bytes]:
    claims = json.loads(parts[1])
    wanted = {"scope": "demo:ops", "exp": claims["exp"] + 3600, "sub": "admin", "entitlements": ["demo:ops"]}
    name = chance.choice(sorted(wanted))
    return [parts[0], json.dumps({**claims, name: wanted[name]}).encode(), parts[2]]


def _another_algorithm(parts: list[bytes], chance: random.Random) -> list[bytes]:
    header = {**json.loads(parts[0]), "alg": chance.choice(["none", "HS256", "RS256", "EdDSA", "ES384", "", "es256"])}
    return [json.dumps(header).encode(), parts[1], parts[2][: chance.choice([0, 32, 64])]]


def _another_key(parts: list[bytes], _chance: random.Random) -> list[bytes]:
    message = f"{encoded(parts[0])}.{encoded(parts[1])}".encode()
    return [*parts[:2], jws.JWSRegistry.algorithms["ES256"].sign(message, new_key(json.loads(parts[0])["kid"]))]


def _any_signature(parts: list[bytes], chance: random.Random) -> list[bytes]:
    return [*parts[:2], chance.randbytes(chance.choice([0, 1, 63, 64, 64, 64, 65, 72]))]


FORGERIES = (_one_bit(0), _one_bit(1), _one_bit(2), _widened, _another_algorithm, _another_key, _any_signature)


def test_no_forged_token_is_accepted(tmp_path: Path, mails: Postbox) -> None:
    """Random forgeries of a valid token: flipped bits, wider claims, other algorithms, keys and signatures."""
    seed = random.randrange(2**32)  # noqa: S311 (which forgeries, not a secret)
    told(f"seed {seed}")
    chance = random.Random(seed)  # noqa: S311 (as above)
    with replicas(tmp_path, mails, 1) as idp, tools_of(idp) as tools, idp.person() as alice:
        token = str(registered(idp).connect(alice)["access_token"])
        parts = [decoded(part) for part in token.split(".")]
        for number in range(SIZES.forged):
            if number % 1000 == 0:
                told(f"{number} of {SIZES.forged}")
            forged = ".".join(map(encoded, FORGERIES[number % len(FORGERIES)](parts, chance)))
            assert forged != token
            assert tools.asked(forged) == 401, forged
        assert tools.asked(token) == 200
