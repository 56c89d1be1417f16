"""Kills, outages, full disks and races against real processes: nothing answered is lost, nobody is let in twice."""

import contextlib
import random
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.faults.asking import environment_for, eventually
from tests.faults.load import Replicated, at_once, chains, nothing_lost, replicated, under_load
from tests.faults.sizes import BACK_SECONDS, EDGE, SIZES, told
from tests.store.servers import Postgres
from tests.store.servers import running as postgresql
from tests.support.oauth import TestClient, registered
from tests.support.ports import free_port
from tests.support.serving import Clock, Idp, settings_of
from tests.support.smtp import Postbox, receiving

KEY = "k" * 40


@pytest.fixture(scope="module")
def mails() -> Iterator[Postbox]:
    with receiving() as postbox:
        yield postbox


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that these tests stop and start, with enough connections for all their processes."""
    with postgresql() as server:
        server._say("ALTER SYSTEM SET max_connections = 500")
        server.stop()
        server.start()
        yield server


@pytest.fixture(scope="module")
def two(postgres: Postgres, mails: Postbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    """Two replicas on PostgreSQL. At full size an outage is longer than the grace for a lost answer."""
    settings = {"database_url": postgres.empty(), "secret_key": (KEY,), "refresh_grace_seconds": 300}
    with replicated(tmp_path_factory.mktemp("two"), mails, 2, **settings) as replicas:
        yield replicas


@pytest.fixture(scope="module")
def one(mails: Postbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    """One process on SQLite."""
    with replicated(tmp_path_factory.mktemp("one"), mails, 1, refresh_grace_seconds=300) as replicas:
        yield replicas


@pytest.fixture(params=["two", "one"])
def replicas(request: pytest.FixtureRequest) -> Replicated:
    """Two replicas on PostgreSQL, then one process on SQLite."""
    found: Replicated = request.getfixturevalue(request.param)
    return found


def redemption(client: TestClient, code: str) -> dict[str, str]:
    """The form that redeems ``code``."""
    return {
        "grant_type": "authorization_code",
        "client_id": client.id,
        "code": code,
        "redirect_uri": client.redirect_uri,
        "code_verifier": client.verifier,
    }


def test_of_many_redemptions_of_one_code_one_wins(replicas: Replicated) -> None:
    """Whichever replica each request reaches; and since the code was replayed, its grant has ended."""
    client = registered(replicas)
    count = SIZES.at_once if len(replicas.ports) > 1 else min(SIZES.at_once, EDGE)
    with replicas.person("racer@example.com") as person:
        for number in range(SIZES.rounds):
            answers = at_once(replicas, redemption(client, client.code(person)), count)
            told(f"round {number + 1} of {SIZES.rounds}: {len(answers)} at once on {len(replicas.ports)}")
            won = [answer for answer in answers if answer.status_code == 200]
            assert len(won) == 1, [answer.text for answer in answers]
            assert {answer.json().get("error") for answer in answers if answer is not won[0]} == {"invalid_grant"}
            assert client.refresh(won[0].json()["refresh_token"]).status_code == 400


def test_of_many_refreshes_of_one_token_each_gets_the_same_successor(replicas: Replicated) -> None:
    """One successor, one family, on whichever replica."""
    client = registered(replicas)
    with replicas.person("racer@example.com") as person:
        token = str(client.connect(person)["refresh_token"])
    for number in range(SIZES.rounds):
        told(f"round {number + 1} of {SIZES.rounds}: {SIZES.refreshes} at once on {len(replicas.ports)}")
        form = {"grant_type": "refresh_token", "client_id": client.id, "refresh_token": token}
        answers = at_once(replicas, form, SIZES.refreshes)
        assert {answer.status_code for answer in answers} == {200}
        [token] = {answer.json()["refresh_token"] for answer in answers}
    kept = f"FROM authorization_grant g JOIN refresh_token t ON t.grant_id = g.id WHERE client_id = '{client.id}'"
    assert replicas.rows(f"SELECT count(DISTINCT g.id), count(*) {kept}") == [(1, SIZES.rounds + 1)]


def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path, replicas: Replicated) -> None:
    """Again and again a random process dies at a random moment under load; it is back within seconds."""
    replicas.forget_grants()
    load = chains(replicas, SIZES.chains)
    back = []
    with under_load(replicas, load):
        for number in range(SIZES.kills):
            told(f"kill {number + 1} of {SIZES.kills}")
            time.sleep(random.uniform(0.1, 0.6))  # noqa: S311 (a moment, not a secret)
            back.append(replicas.kill(random.randrange(len(replicas.ports))))  # noqa: S311 (as above)
    answered = sum(chain.answered for chain in load)
    told(f"{SIZES.kills} kills, {answered} answers, back after {max(back):.1f} s at the most")
    nothing_lost(replicas, load)
    assert answered > SIZES.kills
    assert statistics.median(back) < BACK_SECONDS  # the worst one is as often caused by another program


def test_a_stopped_postgresql_is_503_and_heals(two: Replicated, postgres: Postgres) -> None:
    """Meanwhile every answer is 503 with Retry-After, never 500, and never a token that is not stored; a few seconds
    after PostgreSQL is back everybody is served."""
    two.forget_grants()
    load = chains(two, SIZES.chains)
    with under_load(two, load):
        time.sleep(0.5)
        postgres.stop()
        time.sleep(SIZES.outage)
        postgres.start()
        began = time.monotonic()
        time.sleep(BACK_SECONDS + 2)
    nothing_lost(two, load)
    assert all(chain.unavailable for chain in load)
    healed = max(0.0, max(chain.last_trouble for chain in load) - began)
    told(f"stopped for {SIZES.outage} s, healed {healed:.1f} s after it was back")
    assert healed < BACK_SECONDS


def refused_meanwhile(idp: Replicated, client: TestClient, token: str) -> None:
    """Asserts that a refresh is refused for now in a way clients understand, and that pages say so too."""
    answer = client.refresh(token)
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable"), answer.text
    assert answer.headers["retry-after"].isdigit()
    assert idp.get("/healthz").status_code == 200


def test_a_full_disk_is_503_and_heals(one: Replicated) -> None:
    """When the database's journal cannot be written, nothing is answered that is not stored; with room again all goes
    on. The limit leaves room for the log, since this is about the database."""
    one.forget_grants()
    [chain] = chains(one, 1)
    process = psutil.Process(one.servers[0].process.pid)
    limit = one.servers[0].log.stat().st_size + 30_000
    assert Path(f"{one.settings.sqlite_path}-wal").stat().st_size > limit
    unlimited = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (limit, unlimited[1]))
    try:
        for _ in range(3):
            refused_meanwhile(one, chain.client, chain.token)
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, unlimited)
    nothing_lost(one, [chain])


def test_a_database_locked_by_another_process_is_503_and_heals(one: Replicated) -> None:
    """While another tool locks the file, requests are refused after waiting five seconds; then all goes on."""
    one.forget_grants()
    [chain] = chains(one, 1)
    other = sqlite3.connect(one.settings.sqlite_path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        refused_meanwhile(one, chain.client, chain.token)
    finally:
        other.execute("ROLLBACK")
        other.close()
    nothing_lost(one, [chain])


def test_a_read_only_postgresql_is_503_and_heals(two: Replicated, postgres: Postgres) -> None:
    """As after a failover that leaves the server on a standby."""
    two.forget_grants()
    [chain] = chains(two, 1)
    url = two.settings.database_url
    postgres.reads_only(url, True)
    try:
        for _ in range(4):
            refused_meanwhile(two, chain.client, chain.token)
    finally:
        postgres.reads_only(url, False)
    eventually(lambda: all(two.get("/readyz").status_code == 200 for _ in range(20)), "no healing", BACK_SECONDS)
    nothing_lost(two, [chain])


def test_a_stop_answers_what_is_in_flight_and_takes_nothing_new(tmp_path: Path, mails: Postbox) -> None:
    """On SIGTERM a refresh that is waiting for the database is answered, with ``Connection: close``, and stored."""
    with replicated(tmp_path, mails, 1) as idp, ThreadPoolExecutor(1) as pool:
        [chain] = chains(idp, 1)
        other = sqlite3.connect(idp.settings.sqlite_path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        waiting = pool.submit(chain.client.refresh, chain.token)
        time.sleep(0.3)
        idp.servers[0].process.terminate()
        time.sleep(0.3)
        with pytest.raises(httpx2.TransportError):
            idp.get("/healthz")
        other.execute("ROLLBACK")
        other.close()
        answer = waiting.result(20)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        idp.servers[0].process.wait(10)
        idp.starts(0)
        chain.token = answer.json()["refresh_token"]
        assert chain.client.refresh(chain.token).status_code == 200


def test_the_whole_road_over_replicas_by_chance(two: Replicated) -> None:
    """Sign-in, consent, code, tokens, revocation: no step needs the process that served the previous step."""
    for number in range(6):
        client = registered(two)
        with two.person(f"wanderer{number}@example.com") as person:
            tokens: dict[str, Any] = client.connect(person)
            following = client.refresh(tokens["refresh_token"]).json()
            assert client.code(person)
        assert two.post("/revoke", {"client_id": client.id, "token": following["refresh_token"]}).status_code == 200
        assert client.refresh(following["refresh_token"]).status_code == 400


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_that_start_at_once_agree(
    tmp_path: Path, mails: Postbox, kind: str, request: pytest.FixtureRequest
) -> None:
    """Each migrates and serves an empty database: there is one schema and one signing key, which each publishes."""
    changes: dict[str, Any] = {"secret_key": (KEY,)}
    if kind == "postgresql":
        changes["database_url"] = request.getfixturevalue("postgres").empty()
    settings = settings_of(tmp_path, mails, free_port(), **changes)
    idp = Idp(f"http://127.0.0.1:{settings.idp_port}", settings.oauth_issuer, settings, Clock(), mails)
    ports = [free_port() for _ in range(SIZES.starts)]
    with ThreadPoolExecutor(SIZES.starts) as pool, contextlib.ExitStack() as stack:
        jwks = list(pool.map(lambda port: started(stack, idp, port, tmp_path), ports))
    assert len(jwks[0]["keys"]) >= 1
    assert all(answer == jwks[0] for answer in jwks)


def _ended(process: "subprocess.Popen[bytes]") -> None:
    process.kill()  # another test is about how it stops
    process.wait(30)


def started(stack: contextlib.ExitStack, idp: Idp, port: int, folder: Path) -> dict[str, Any]:
    """Upgrades, serves, and returns the keys it publishes."""
    gatepost = f"{sys.executable} -m gatepost_idp"
    log = folder / f"{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"{gatepost} db upgrade && exec {gatepost} idp"],
            env=environment_for(idp, IDP_PORT=str(port)),
            stdout=output,
            stderr=output,
        )
    stack.callback(_ended, process)
    keys: list[dict[str, Any]] = []

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx2.TransportError):
            keys.append(httpx2.get(f"http://127.0.0.1:{port}/jwks.json", trust_env=False).json())
        return bool(keys)

    eventually(answers, f"it does not start: {log.read_text()}", SIZES.patience)
    return keys[0]
