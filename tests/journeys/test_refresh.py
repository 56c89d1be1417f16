"""The later life of a connected client: refreshes, scopes that come and go, new keys, an IdP that is down."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from joserfc import jws

from tests.journeys.connecting import MODES, AsksFor, Mode, Tracked, connection, in_thread
from tests.journeys.wire import mcp_request
from tests.support.mcp_client import Storage
from tests.support.ports import free_port
from tests.support.processes import Deployment, deployed, environment_of, run_gatepost, running
from tests.support.serving import Idp, serving
from tests.support.smtp import Postbox

BASIC = ["demo_echo", "demo_get_help", "demo_get_time", "request_access", "whoami"]
ALL = sorted([*BASIC, "demo_get_server_info"])


@pytest.fixture
def own_deployment(tmp_path: Path, postbox: Postbox) -> Iterator[Deployment]:
    """Both servers for one test only, which may disturb them."""
    with deployed(tmp_path, postbox.port) as both:
        yield both


@pytest.mark.clause("A8")
@pytest.mark.parametrize("mode", MODES)
async def test_a_client_whose_token_is_over_refreshes_and_goes_on(
    deployment: Deployment, postbox: Postbox, mode: Mode
) -> None:
    """The next call is preceded by one POST /token, and nobody is asked; each time the refresh token is rotated."""
    with Tracked(f"refresh-{mode}@example.com", postbox) as person:
        async with connection(deployment.mcp, person, Storage(), mode) as connected:
            seen = [connected.tokens()]
            for _ in range(3):
                connected.answers.clear()
                connected.outlive_access_token()
                assert not (await connected.call("demo_echo", text="again")).is_error
                assert connected.answers[:2] == [("/token", 200), ("/mcp", 200)]
                assert connected.answers.count(("/token", 200)) == 1
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
async def test_a_rotation_of_keys_refuses_no_token(tmp_path: Path) -> None:
    """The new key is published beside the old one, signs a minute later, and tokens of both work."""
    with rotating(tmp_path) as (idp, mcp), Tracked("rotation@example.com", idp.postbox) as person:
        async with connection(mcp, person, Storage()) as connected:
            before = connected.tokens()[0]
            new = await in_thread(_rotate, tmp_path)
            old = _kid(before)
            assert old != new
            await in_thread(_wait, lambda: _published(idp) == {old, new})
            connected.outlive_access_token()
            await connected.tools()
            assert _kid(connected.tokens()[0]) == old, "a key must not sign before every resource server can know it"
            idp.clock.forward(seconds=60)
            connected.outlive_access_token()
            assert await connected.tools() == BASIC
            after = connected.tokens()[0]
            assert _kid(after) == new
            for token in (before, after):
                assert (await in_thread(mcp_request, mcp, token, "tools/list")).status_code == 200


@pytest.mark.clause("R7")
async def test_a_stolen_key_is_refused_from_the_first_new_token_on(tmp_path: Path) -> None:
    """``gatepost keys rotate --now``: connected clients refresh, and what the old key signed is refused everywhere."""
    with rotating(tmp_path) as (idp, mcp), Tracked("stolen@example.com", idp.postbox) as person:
        async with connection(mcp, person, Storage()) as connected:
            before = connected.tokens()[0]
            assert (await in_thread(mcp_request, mcp, before, "tools/list")).status_code == 200
            retiring = await in_thread(_rotate, tmp_path)
            new = await in_thread(_rotate, tmp_path, "--now")
            await in_thread(_wait, lambda: _published(idp) == {new})
            assert retiring != new
            connected.outlive_access_token()
            assert await connected.tools() == BASIC
            assert _kid(connected.tokens()[0]) == new
            assert (await in_thread(mcp_request, mcp, before, "tools/list")).status_code == 401
            bearer = {"authorization": f"Bearer {before}"}
            assert (await in_thread(lambda: idp.get("/userinfo", headers=bearer))).status_code == 401


@pytest.mark.clause("R7")
async def test_without_the_idp_the_tokens_that_are_out_go_on(own_deployment: Deployment, postbox: Postbox) -> None:
    """The resource server has the keys, so connected clients notice nothing until their next refresh."""
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


def _published(idp: Idp) -> set[str]:
    return {key["kid"] for key in idp.get("/jwks.json").json()["keys"] if key["alg"] == "ES256"}


def _get(url: str) -> httpx2.Response:
    with httpx2.Client(trust_env=False) as client:
        return client.get(url)


@contextlib.contextmanager
def rotating(folder: Path) -> Iterator[tuple[Idp, str]]:
    """An IdP on the test's clock, so that the test need not wait a minute, and a resource server as a process."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    mcp = f"http://localhost:{port}/mcp"
    with serving(folder, mcp_resource_url=mcp) as idp:
        settings = {"MCP_RESOURCE_URL": mcp, "RESOURCE_PORT": str(port), "METRICS_ADDRESS": ""}
        environment = environment_of(OAUTH_ISSUER=idp.issuer, **settings)
        with running(base, environment, folder / "resource.log", "gatepost_resource"):
            yield idp, mcp


def _rotate(folder: Path, *options: str) -> str:
    """Rotates as an operator does while the server runs; returns the new key's id."""
    environment = environment_of(DATABASE_URL=f"sqlite:///{folder / 'gatepost.db'}")
    made = json.loads(run_gatepost(environment, "keys", "rotate", *options, "--json"))["keys"]
    return next(str(key["kid"]) for key in made if key["algorithm"] == "ES256")


def _wait(condition: Callable[[], bool], seconds: float = 12) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about within ten seconds"
        time.sleep(0.2)
