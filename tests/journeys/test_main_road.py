"""The main flow with a real MCP client: a URL, a mail, a consent, the tools; both servers are processes."""

from typing import Literal

import pytest

from tests.support.mcp_client import Storage, connected
from tests.support.person import Person
from tests.support.processes import Deployment
from tests.support.smtp import Postbox

VISIBLE = ["demo_echo", "demo_get_help", "demo_get_time", "request_access", "whoami"]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_client_with_nothing_configured_connects_and_calls_every_tool(
    deployment: Deployment, postbox: Postbox, mode: Literal["legacy", "auto"]
) -> None:
    """401, both metadata documents, registration, PKCE, mail, consent, tokens, tools/list, a call of each."""
    storage = Storage()
    with Person(f"road-{mode}@example.com", postbox) as person:
        async with connected(deployment.mcp, person, storage, mode) as client:
            listed = await client.list_tools()
            assert sorted(tool.name for tool in listed.tools) == VISIBLE
            for name in VISIBLE:
                arguments = {"text": "hello"} if name == "demo_echo" else {}
                result = await client.call_tool(name, arguments)
                assert not result.is_error, result
            whoami = await client.call_tool("whoami", {})
            assert person.email in str(whoami.structured_content)
    assert storage.tokens is not None
    assert storage.tokens.refresh_token is not None
