"""Each person sees exactly the tools that their access covers, and learns how to get the others."""

from pathlib import Path

import httpx2
import pytest

from tests.journeys.connecting import HTTPS, LOOPBACK, MODES, AsksFor, Mode, Tracked, connection, in_thread
from tests.journeys.wire import Wire, mcp_request
from tests.support.mcp_client import Storage
from tests.support.oauth import answer_of
from tests.support.processes import Deployment, deployed
from tests.support.smtp import Postbox

WITHOUT_ECHO = ["demo_get_help", "demo_get_time", "request_access", "whoami"]
BASIC = ["demo_echo", *WITHOUT_ECHO]
ALL = sorted([*BASIC, "demo_get_server_info"])


@pytest.mark.clause("R5")
@pytest.mark.parametrize("mode", MODES)
async def test_an_unticked_box_hides_its_tool(deployment: Deployment, postbox: Postbox, mode: Mode) -> None:
    """The tool is not listed, `whoami` says what is hidden and why, and the token has no scope beyond the consent."""
    with Tracked(f"untick-{mode}@example.com", postbox) as person:
        person.ticks = ["demo:read"]
        async with connection(deployment.mcp, person, Storage(), mode) as connected:
            assert await connected.tools() == WITHOUT_ECHO
            assert connected.storage.tokens is not None
            assert connected.storage.tokens.scope == "demo:read"
            said = (await connected.call("whoami")).structured_content
            assert said is not None
            assert {"name": "demo_echo", "scope": "demo:echo"} in said["hidden_tools"]


@pytest.mark.clause("R4", "R5")
@pytest.mark.parametrize("callback", [LOOPBACK, HTTPS])
@pytest.mark.parametrize("mode", MODES)
async def test_a_call_of_an_unticked_tool_lets_the_client_step_up(
    deployment: Deployment, postbox: Postbox, mode: Mode, callback: str
) -> None:
    """403 insufficient_scope as an HTTP answer; the SDK asks the person again, who ticks the box, and the call is made.

    The remembered consent must not answer for an unticked scope: the client would get the same token and the same 403.
    """
    with Tracked(f"step-{mode}-{len(callback)}@example.com", postbox) as person:
        person.ticks = ["demo:read"]
        async with connection(deployment.mcp, person, Storage(), mode, callback) as connected:
            person.ticks, person.reviews = ["demo:read", "demo:echo"], True
            connected.answers.clear()
            assert (await connected.call("demo_echo", text="now I may")).structured_content == {"text": "now I may"}
            assert connected.answers[:3] == [("/mcp", 403), ("/token", 200), ("/mcp", 200)]
            assert len(person.submitted) == 1
            assert await connected.tools() == BASIC


@pytest.mark.clause("R4")
async def test_a_scope_that_was_given_meanwhile_is_reached_by_step_up(deployment: Deployment, postbox: Postbox) -> None:
    """A client that never asked for demo:ops asks for it once a refreshed token knows that its person holds it."""
    with Tracked("promoted@example.com", postbox) as person:
        async with connection(deployment.mcp, person, Storage()) as connected:
            await in_thread(deployment.gatepost, "users", "grant", person.email, "demo:ops")
            connected.outlive_access_token()
            assert await connected.tools() == BASIC
            assert not (await connected.call("demo_get_server_info")).is_error
            assert await connected.tools() == ALL
        assert answer_of(person.asked[-1])["scope"].split() == ["demo:read", "demo:echo", "demo:ops"]


@pytest.mark.clause("R5")
@pytest.mark.parametrize("mode", MODES)
async def test_a_call_without_the_entitlement_names_request_access(
    deployment: Deployment, postbox: Postbox, mode: Mode
) -> None:
    """A tool error and no challenge, which would loop; and request_access gives the link."""
    with Tracked(f"entitled-{mode}@example.com", postbox) as person:
        async with connection(deployment.mcp, person, Storage(), mode) as connected:
            refused = await connected.call("demo_get_server_info")
            assert refused.is_error
            assert "request_access" in str(refused.content)
            assert connected.answers[-1] == ("/mcp", 200)
            offered = (await connected.call("request_access")).structured_content
            assert offered is not None
            assert offered["url"] == f"{deployment.issuer}/account/access"
        assert len(person.asked) == 1


@pytest.mark.clause("R4.link")
@pytest.mark.parametrize("mode", MODES)
async def test_the_link_of_request_access_widens_the_grant_at_the_next_refresh(
    deployment: Deployment, postbox: Postbox, mode: Mode
) -> None:
    """The person ticks a box on the page that the tool names; the client refreshes, and asks nobody again."""
    with Tracked(f"widens-{mode}@example.com", postbox) as person:
        person.ticks = ["demo:read"]
        async with connection(deployment.mcp, person, Storage(), mode) as connected:
            assert await connected.tools() == WITHOUT_ECHO
            offered = (await connected.call("request_access")).structured_content
            assert offered is not None
            await in_thread(person.open, offered["url"])
            await in_thread(lambda: person.submit(person.form("grant"), scope=["demo:read", "demo:echo"]))
            connected.outlive_access_token()
            connected.answers.clear()
            assert await connected.tools() == BASIC
            assert ("/token", 200) in connected.answers
            assert not (await connected.call("demo_echo", text="hello")).is_error
        assert len(person.asked) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_two_people_see_different_tools_at_one_url(deployment: Deployment, postbox: Postbox, mode: Mode) -> None:
    """Two people at the same URL, with interleaved calls, each see their own tools."""
    every = "demo:read demo:echo demo:ops"
    with (
        Tracked(f"visitor-{mode}@example.com", postbox) as visitor,
        AsksFor(f"operator-{mode}@example.com", postbox, every) as operator,
    ):
        async with (
            connection(deployment.mcp, visitor, Storage(), mode) as one,
            connection(deployment.mcp, operator, Storage(), mode) as other,
        ):
            await in_thread(deployment.gatepost, "users", "grant", operator.email, "demo:ops")
            other.outlive_access_token()
            for _ in range(2):
                assert await one.tools() == BASIC
                assert await other.tools() == ALL
            emails = [(await each.call("whoami")).structured_content for each in (one, other)]
            assert [said and said["email"] for said in emails] == [visitor.email, operator.email]


@pytest.mark.clause("R3", "A7", "R3.audience")
async def test_a_token_for_another_resource_is_refused(tmp_path: Path, postbox: Postbox) -> None:
    """One issuer, two resources: a token issued for the second is refused by the first."""
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(TWO_RESOURCES, encoding="utf-8")
    with (
        deployed(tmp_path, postbox.port, CATALOGUE=str(catalogue)) as deployment,
        Tracked("audience@example.com", postbox) as person,
    ):
        storage = Storage()
        async with connection(deployment.mcp, person, storage) as connected:
            assert await connected.tools() == BASIC
            foreign = await in_thread(_token_for, deployment, person, OTHER_RESOURCE)
            own = await in_thread(_token_for, deployment, person, deployment.mcp)
        refused = await in_thread(_list_tools, deployment, foreign)
        assert refused.status_code == 401
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]
        assert (await in_thread(_list_tools, deployment, own)).status_code == 200


OTHER_RESOURCE = "https://elsewhere.example/mcp"
TWO_RESOURCES = f"""
[[resource]]
name = "Example tools"
[[resource.scope]]
name = "demo:read"
title = "Read"
new_accounts = true
[[resource.scope]]
name = "demo:echo"
title = "Echo"
new_accounts = true

[[resource]]
url = "{OTHER_RESOURCE}"
name = "Other tools"
[[resource.scope]]
name = "demo:read"
title = "Read there"
new_accounts = true
"""


def _token_for(deployment: Deployment, person: Tracked, resource: str) -> str:
    wire = Wire(deployment.mcp, person, resource)
    try:
        wire.connect()
    finally:
        wire.close()
    return wire.access_token


def _list_tools(deployment: Deployment, token: str) -> httpx2.Response:
    return mcp_request(deployment.mcp, token, "tools/list")
