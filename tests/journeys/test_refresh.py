"""What a connected client goes through later: refreshes, scopes that come and go, keys that change, an IdP that is away."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from joserfc import jws

from tests.journeys.connecting import MODES, AsksFor, Connection, Mode, Tracked, connection, in_thread
from tests.journeys.wire import mcp_request
from tests.support.mcp_client import Storage
from tests.support.processes import Deployment, deployed
from tests.support.smtp import Postbox

BASIC = ["demo_echo", "demo_get_help", "demo_get_time", "request_access", "whoami"]
ALL = sorted([*BASIC, "demo_get_server_info"])


@pytest.fixture
def own_deployment(tmp_path: Path, postbox: Postbox) -> Iterator[Deployment]:
    """Both servers for one test alone, which may hurt them."""
    with deployed(tmp_path, postbox.port) as both:
        yield both


@pytest.mark.clause("A8")
@pytest.mark.parametrize("mode", MODES)
async def test_a_client_whose_token_is_over_refreshes_and_goes_on(
    deployment: Deployment, postbox: Postbox, mode: Mode
) -> None:
    """The next call is preceded by one POST /token and nobody is asked; the refresh token was rotated, every time."""
    with Tracked(f"refresh-{mode}@example.com", postbox) as person:
        async with connection(deployment.mcp, person, Storage(), mode) as connected:
            seen = [connected.tokens()]
            for _ in range(3):
                connected.answers.clear()
                connected.outlive_access_token()
                assert not (await connected.call("demo_echo", text="again")).is_error
                assert connected.answers == [("/token", 200), ("/mcp", 200)]
                seen.append(connected.tokens())
            assert len({access for access, _ in seen}) == len(seen)
            assert len({refresh for _, refresh in seen}) == len(seen)
        assert len(person.asked) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_an_entitlement_that_comes_and_goes_shows_at_the_next_refresh(
    deployment: Deployment, postbox: Postbox, mode: Mode
) -> None:
    """`users grant` opens the tool, `users revoke` closes it again; the client reconnects for neither."""
    email = f"ops-{mode}@example.com"
    with AsksFor(email, postbox, "demo:read demo:echo demo:ops") as person:
        async with connection(deployment.mcp, person, Storage(), mode) as connected:
            assert await connected.tools() == BASIC
            await in_thread(deployment.gatepost, "users", "grant", email, "demo:ops")
            assert await connected.tools() == BASIC, "a token says what it said when it was made"
            connected.outlive_access_token()
            assert await connected.tools() == ALL
            assert not (await connected.call("demo_get_server_info")).is_error
            await in_thread(deployment.gatepost, "users", "revoke", email, "demo:ops")
            connected.outlive_access_token()
            assert await connected.tools() == BASIC
            assert (await connected.call("demo_get_server_info")).is_error
        assert len(person.asked) == 1


@pytest.mark.clause("R7")
async def test_a_rotation_of_keys_refuses_no_token(deployment: Deployment, postbox: Postbox) -> None:
    """The new key is published beside the old one, signs from its hour on, and tokens of both keep working."""
    with Tracked("rotation@example.com", postbox) as person:
        async with connection(deployment.mcp, person, Storage()) as connected:
            before = connected.tokens()[0]
            said = await in_thread(deployment.gatepost, "keys", "rotate", "--json")
            new = json.loads(said)["kid"]
            old = _kid(before)
            await in_thread(_wait, lambda: {old, new} <= _published(deployment))
            connected.outlive_access_token()
            await connected.tools()
            assert _kid(connected.tokens()[0]) == old, "a key must not sign before every resource server can know it"
            _let_sign(deployment, new)
            await _refresh_until_signed_by(connected, new)
            assert await connected.tools() == BASIC
            assert _status(deployment, connected.tokens()[0]) == 200
            assert _status(deployment, before) == 200


@pytest.mark.clause("R7")
async def test_without_the_idp_the_tokens_that_are_out_go_on(own_deployment: Deployment, postbox: Postbox) -> None:
    """The resource server knows the keys: whoever is connected notices nothing until the next refresh."""
    with Tracked("alone@example.com", postbox) as person:
        async with connection(own_deployment.mcp, person, Storage()) as connected:
            own_deployment.idp.process.terminate()
            await in_thread(own_deployment.idp.process.wait, 20)
            with pytest.raises(httpx2.ConnectError):
                await in_thread(_get, f"{own_deployment.issuer}/healthz")
            assert await connected.tools() == BASIC
            assert not (await connected.call("demo_echo", text="still here")).is_error
            assert own_deployment.resource.process.poll() is None


def _kid(token: str) -> str:
    return str(jws.extract_compact(token.encode()).headers()["kid"])


def _published(deployment: Deployment) -> set[str]:
    return {key["kid"] for key in _get(f"{deployment.issuer}/jwks.json").json()["keys"]}


def _get(url: str) -> httpx2.Response:
    with httpx2.Client(trust_env=False) as client:
        return client.get(url)


def _let_sign(deployment: Deployment, kid: str) -> None:
    """Moves the instant from which a key signs into the past, so that no test waits out the minute."""
    path = deployment.environment["DATABASE_URL"].removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as database:
        now = int(time.time() * 1000)
        changed = database.execute("UPDATE signing_key SET active_at = ? WHERE kid = ?", (now - 1000, kid)).rowcount
        database.commit()
    assert changed == 1


async def _refresh_until_signed_by(connected: Connection, kid: str) -> None:
    deadline = time.monotonic() + 12
    while _kid(connected.tokens()[0]) != kid:
        assert time.monotonic() < deadline, "a rotation has to hold within ten seconds"
        await in_thread(time.sleep, 0.5)
        connected.outlive_access_token()
        assert await connected.tools() == BASIC


def _status(deployment: Deployment, token: str) -> int:
    return mcp_request(deployment.mcp, token, "tools/list").status_code


def _wait(condition: Callable[[], bool], seconds: float = 12) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about within ten seconds"
        time.sleep(0.2)
