"""With a person's token: which scopes it lacks, why it is refused, and whether streams get through."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gatepost_idp.operate.doctor.examination import first
from gatepost_idp.operate.doctor.finding import Outcome
from tests.idp.doctor import bends
from tests.idp.doctor.deployment import Names, Servers, fronted, loud, servers, visited
from tests.idp.doctor.front import Asked, Front, Go, Reply, Route, listening
from tests.idp.doctor.test_outside import assert_first
from tests.support.oauth import registered
from tests.support.person import Person


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers on loopback, so that a person can sign in and their client can call."""
    with servers(tmp_path_factory.mktemp("bearer")) as made:
        yield made


@pytest.fixture(scope="module")
def token(both: Servers) -> str:
    """Alice's, with the scopes of a new account."""
    with Person("alice@example.com", both.idp.postbox) as alice:
        return str(registered(both.idp).connect(alice)["access_token"])


def tried(network: Names, both: Servers, token: str, **changes: Any) -> list[Outcome]:
    """Doctor's findings with that token."""
    return visited(network, both.idp.settings, both.mcp, token=token, **changes)


def test_what_a_token_lacks(both: Servers, network: Names, token: str) -> None:
    """Each hidden tool with its scope and the command that grants it, as information; the token is never shown."""
    outcomes = tried(network, both, token)
    assert loud(outcomes) == []
    [told] = [f for outcome in outcomes for f in outcome.findings if f.fault == "token-lacks-scopes"]
    assert "demo:ops, which demo_get_server_info needs" in told.seen
    assert told.example.startswith("gatepost users grant alice@example.com demo:ops")
    assert token not in str(outcomes)
    assert token.rpartition(".")[2] not in str(outcomes)


def test_a_token_without_scopes(both: Servers, network: Names) -> None:
    """Connected but no tools: the account holds none of the scopes."""
    with Person("bob@example.com", both.idp.postbox) as bob:
        client = registered(both.idp)
        answer = client.connect(bob)
        _take_all(both)
        none = client.refresh(answer["refresh_token"]).json()["access_token"]
    assert_first(first(tried(network, both, none)), "token-without-tools", "gatepost users grant")


def _take_all(both: Servers) -> None:
    with sqlite3.connect(both.idp.settings.sqlite_path) as connection:
        connection.execute("DELETE FROM entitlement")
    connection.close()


BENT: dict[str, tuple[Callable[[str], str], str]] = {
    "changed": (lambda token: f"{token[:-8]}AAAAAAAA", "signature"),
    "of another kind": (lambda _: "gp_pt_no_such_token", "opaque"),
    "cut short by a terminal": (lambda token: f"{token[:40]}\u2026", "characters"),
    "with a line break": (lambda token: f"{token}\r\nX-More: yes", "characters"),
}


@pytest.mark.parametrize("how", BENT)
def test_a_refused_token(both: Servers, network: Names, token: str, how: str) -> None:
    """Refused, with the reason that can be read from it; the token itself is never shown."""
    bent, reason = BENT[how]
    found = first(tried(network, both, bent(token)))
    assert_first(found, "token-refused", "the token")
    assert found is not None
    assert reason in found.seen
    assert token[:40] not in str(found)


def test_a_token_of_somewhere_else(
    both: Servers, public: dict[str, Servers], network: Names, token: str, tmp_path: Path
) -> None:
    """It has another issuer."""
    other = public["two-hosts"]
    with fronted(network, other.routes("two-hosts"), tmp_path):
        found = first(visited(network, other.idp.settings, other.mcp, token=token))
    assert_first(found, "token-refused", "OAUTH_ISSUER")
    assert found is not None
    assert f"its iss is {both.idp.issuer}" in found.seen


async def _streaming(asked: Asked, go: Go) -> Reply:
    """Another server, which opens a stream for any request that asks for one."""
    if asked.method != "GET" or "event-stream" not in asked.header("accept"):
        return await go(asked)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b": still here\n\n"
            await asyncio.sleep(0.1)

    return Reply(200, (("content-type", "text/event-stream"),), endless())


@pytest.mark.parametrize("holds", [True, False])
def test_a_proxy_that_holds_streams_back(both: Servers, network: Names, token: str, holds: bool) -> None:
    """A proxy that passes answers on only when complete never passes on an endless one."""
    network.patience = 3.0

    async def bend(asked: Asked, go: Go) -> Reply:
        async def server(passed: Asked) -> Reply:
            return await _streaming(passed, go)

        return await bends.holding_back(asked, server) if holds else await server(asked)

    with listening(Front([Route("localhost", "/", both.resource_port)], bend)) as port:
        network.moved[both.resource_port] = port
        outcomes = tried(network, both, token)
    if not holds:
        assert loud(outcomes) == []
        return
    assert_first(first(outcomes), "stream-held-back", "buffering")
