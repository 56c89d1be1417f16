"""REDIS_URL: the coarse rate limits count across processes; without Redis each process counts alone, with an alert."""

import itertools
import time
from collections.abc import Iterator

import httpx2
import pytest

from gatepost_idp.limits import BRAKES
from tests.faults.asking import details, eventually
from tests.faults.load import Replicated, replicated
from tests.faults.redis_server import Redis, redis_server
from tests.support.ports import free_port
from tests.support.smtp import receiving

A_MINUTE = int(BRAKES["register"].split("/")[0])
ALONE = A_MINUTE * 3 // 5
"""Fewer than the limit for one network; twice that is more."""
PROMPTLY = 0.5
_NETWORKS = (f"192.0.2.{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def two(redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    """Two processes of one server; the first has the operator's listener."""
    settings = {
        "redis_url": redis.url,
        "trusted_proxies": ("127.0.0.1",),
        "metrics_address": f"127.0.0.1:{free_port()}",
    }
    with receiving() as mails, replicated(tmp_path_factory.mktemp("two"), mails, 2, **settings) as replicas:
        yield replicas


@pytest.fixture
def network() -> str:
    """The network that a test's requests come from."""
    return next(_NETWORKS)


def knock(idp: Replicated, number: int, network: str, count: int) -> list[httpx2.Response]:
    """Sends ``count`` empty registrations to one of the processes."""
    headers = {"x-forwarded-for": network, "host": idp.issuer.removeprefix("http://")}
    with httpx2.Client(trust_env=False, headers=headers, timeout=20) as line:
        return [line.post(f"http://127.0.0.1:{idp.ports[number]}/register") for _ in range(count)]


def statuses(answers: list[httpx2.Response]) -> set[int]:
    """The statuses: 400 if the request was read, 429 if it was limited."""
    return {answer.status_code for answer in answers}


def shares(idp: Replicated, problem: bool = False) -> bool:
    """What the operator's listener says of Redis, without which a server is still ready."""
    told = details(idp)
    assert told["ready"] is True
    return bool(told["limits"]["ok"]) is not problem


def test_brakes_count_across_processes(two: Replicated, redis: Redis, network: str) -> None:
    """Requests to one process count at the other; and each count in Redis expires after its minute."""
    assert statuses(knock(two, 0, network, ALONE)) == {400}
    assert statuses(knock(two, 1, network, ALONE)) <= {400, 429}
    eventually(lambda: statuses(knock(two, 1, network, 1)) == {429}, "the second process lets it in")
    eventually(lambda: statuses(knock(two, 0, network, 1)) == {429}, "the first process lets it in")
    assert statuses(knock(two, 0, "198.51.100.7", 1)) == {400}
    ends = redis.ends()
    assert any(network in key for key in ends)
    assert all(0 <= seconds <= 60 for seconds in ends.values())


def test_redis_lost(two: Replicated, redis: Redis, network: str) -> None:
    """With Redis killed every request is answered at once, limits hold from memory, one alert is logged, the operator's
    listener names it, and nobody is locked out. Once it is restarted, empty, counts are shared again by themselves."""
    before = [server.logged().count("limits_not_shared") for server in two.servers]
    redis.kill()
    try:
        answers = knock(two, 0, network, A_MINUTE + 1)
        assert [answer.status_code for answer in answers] == [400] * A_MINUTE + [429]
        assert max(answer.elapsed.total_seconds() for answer in answers) < PROMPTLY
        assert statuses(knock(two, 1, network, ALONE)) == {400}
        eventually(lambda: shares(two, problem=True), "nobody tells the operator")
        for server, already in zip(two.servers, before, strict=True):
            eventually(lambda s=server, n=already: s.logged().count("limits_not_shared") == n + 1, "no alert")  # type: ignore[misc]  # as in test_keys_and_clocks
        time.sleep(1)
        assert [server.logged().count("limits_not_shared") for server in two.servers] == [n + 1 for n in before]
        assert "hunter2" not in str(details(two))
    finally:
        redis.start()
    eventually(lambda: shares(two), "it does not heal")
    test_brakes_count_across_processes(two, redis, next(_NETWORKS))


def test_redis_that_hangs(two: Replicated, redis: Redis, network: str) -> None:
    """With Redis suspended, its connections open, no request waits for it, and it recovers by itself."""
    with redis.standing_still():
        began = time.monotonic()
        while time.monotonic() - began < 2.5:
            for answer in knock(two, 0, network, 5) + knock(two, 1, network, 5):
                assert answer.status_code == 400
                assert answer.elapsed.total_seconds() < PROMPTLY
            time.sleep(0.1)
        eventually(lambda: shares(two, problem=True), "nobody tells the operator")
    eventually(lambda: shares(two), "it does not heal")
