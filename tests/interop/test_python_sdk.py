"""The MCP Python client, unmodified, with both protocol versions: from the URL alone to a step-up."""

import pytest

from tests.interop.by_url import ByUrl
from tests.journeys.connecting import MODES, Mode, Tracked, connection
from tests.support.mcp_client import Storage
from tests.support.oauth import answer_of
from tests.support.processes import Deployment
from tests.support.smtp import Postbox

READER = ["demo_get_help", "demo_get_time", "request_access", "whoami"]


@pytest.mark.program("python-sdk")
@pytest.mark.clause("A1", "A5.public", "A8.rotation", "R2", "R4", "R5")
@pytest.mark.parametrize("mode", MODES)
async def test_it_connects_refreshes_and_steps_up(deployment: Deployment, postbox: Postbox, mode: Mode) -> None:
    """One registration, one question for each widening, and no challenge for what the person does not hold."""
    with Tracked(f"python-{mode}@example.com", postbox) as person:
        person.ticks = ["demo:read"]
        async with connection(deployment.mcp, person, Storage(), mode) as connected:
            assert connected.answers[0] == ("/mcp", 401)
            assert connected.answers.count(("/register", 201)) == 1
            assert await connected.tools() == READER

            before = connected.tokens()[1]
            connected.outlive_access_token()
            assert not (await connected.call("demo_get_time")).is_error
            assert connected.tokens()[1] != before
            assert len(person.asked) == 1

            person.ticks, person.reviews = ["demo:read", "demo:echo"], True
            connected.answers.clear()
            assert (await connected.call("demo_echo", text="now I may")).structured_content == {"text": "now I may"}
            assert connected.answers[:3] == [("/mcp", 403), ("/token", 200), ("/mcp", 200)]
            assert answer_of(person.asked[-1])["scope"] == "demo:read demo:echo"

            connected.answers.clear()
            refused = await connected.call("demo_get_server_info")
            assert refused.is_error
            assert "request_access" in str(refused.content)
            assert connected.answers == [("/mcp", 200)]
        assert len(person.asked) == 2


@pytest.mark.program("python-sdk")
@pytest.mark.clause("A4", "A4.public", "A8.rotation", "R4")
@pytest.mark.parametrize("mode", MODES)
async def test_it_connects_as_the_url_of_its_metadata_document(by_url: ByUrl, postbox: Postbox, mode: Mode) -> None:
    """It does not register: its document is fetched, and its URL is its id at sign-in, refresh and step-up."""
    url = by_url.show_script(f"/python-{mode}.json")
    with Tracked(f"python-url-{mode}@example.com", postbox) as person:
        person.ticks = ["demo:read"]
        async with connection(by_url.mcp, person, Storage(), mode, document=url) as connected:
            assert "/register" not in [path for path, _ in connected.answers]
            assert answer_of(person.asked[0])["client_id"] == url
            assert await connected.tools() == READER

            before = connected.tokens()[1]
            connected.outlive_access_token()
            assert not (await connected.call("demo_get_time")).is_error
            assert connected.tokens()[1] != before

            person.ticks, person.reviews = ["demo:read", "demo:echo"], True
            assert (await connected.call("demo_echo", text="now I may")).structured_content == {"text": "now I may"}
            assert (await connected.call("whoami")).structured_content["client_id"] == url
        assert len(person.asked) == 2
