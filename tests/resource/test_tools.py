"""R5, R6: a token's tools, listed and called by the real MCP client in both protocol eras."""

import re
from typing import Any

import pytest

from tests.resource.running import ERAS, LEGACY, LIST, MODERN, Mode, Running

MODES: list[Mode] = ["legacy", "auto"]
EVERYBODY = ["whoami", "request_access", "demo_get_help", "demo_get_time", "demo_echo"]


@pytest.mark.clause("R5", "R6")
@pytest.mark.parametrize("mode", MODES)
async def test_a_client_connects_lists_and_calls(resource: Running, mode: Mode) -> None:
    """With a new account's scopes a client gets five tools, in order, and can call each."""
    async with resource.client(resource.token(), mode) as client:
        assert client.protocol_version == (MODERN if mode == "auto" else LEGACY[1])
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == EVERYBODY
        for tool in tools:
            arguments = {"text": "héllo\n\u0000"} if tool.name == "demo_echo" else {}
            result = await client.call_tool(tool.name, arguments)
            assert not result.is_error, tool.name
            assert result.structured_content
            if tool.name == "demo_echo":
                assert result.structured_content == {"text": "héllo\n\u0000"}


@pytest.mark.parametrize("mode", MODES)
async def test_every_tool_tells_what_it_is(resource: Running, mode: Mode) -> None:
    """Each has a title, readOnlyHint, an output schema and a name that every client accepts."""
    async with resource.client(resource.token(scope="demo:read demo:echo demo:ops"), mode) as client:
        tools = (await client.list_tools()).tools
    assert len(tools) == 6
    for tool in tools:
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool.name)
        assert tool.title
        assert tool.description
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is True
        assert tool.output_schema is not None
        assert tool.output_schema["type"] == "object"


@pytest.mark.clause("R5")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ("", ["whoami", "request_access"]),
        ("demo:read", ["whoami", "request_access", "demo_get_help", "demo_get_time"]),
        ("demo:echo", ["whoami", "request_access", "demo_echo"]),
        ("openid demo:ops", ["whoami", "request_access", "demo_get_server_info"]),
        ("demo:readx demo", ["whoami", "request_access"]),
    ],
)
def test_the_list_is_that_of_the_scopes(resource: Running, era: str, scope: str, names: list[str]) -> None:
    """Each set of scopes shows its tools and no others; an empty one still shows whoami and request_access."""
    listed = resource.post(LIST, resource.token(scope=scope), era).json()["result"]["tools"]
    assert [tool["name"] for tool in listed] == names


@pytest.mark.clause("R6")
def test_the_list_is_private_and_always_the_same(resource: Running) -> None:
    """cacheScope is private, as the list depends on the token; the same token gets the same bytes."""
    token = resource.token()
    first = resource.post(LIST, token, MODERN)
    assert first.json()["result"]["cacheScope"] == "private"
    assert first.json()["result"]["ttlMs"] == 0
    assert resource.post(LIST, token, MODERN).content == first.content


@pytest.mark.clause("R6")
def test_one_list_does_not_leak_into_another(resource: Running) -> None:
    """Cached lists belong to a set of scopes, not to whoever asked first."""
    wide, narrow = resource.token(scope="demo:ops"), resource.token(scope="demo:read")
    for era in ERAS:
        assert "demo_get_server_info" in resource.post(LIST, wide, era).text
        assert "demo_get_server_info" not in resource.post(LIST, narrow, era).text
        assert "demo_get_server_info" in resource.post(LIST, wide, era).text


@pytest.mark.clause("R5")
@pytest.mark.parametrize("era", ERAS)
def test_a_hidden_tool_that_nobody_can_give_is_an_error_that_names_request_access(resource: Running, era: str) -> None:
    """Without the entitlement there is no challenge, which would loop, and no call."""
    response = resource.call("demo_get_server_info", resource.token(), era)
    assert response.status_code == 200
    assert "www-authenticate" not in response.headers
    result = response.json()["result"]
    assert result["isError"] is True
    assert "request_access" in result["content"][0]["text"]
    assert "demo:ops" in result["content"][0]["text"]
    assert "A personal token never changes" in result["content"][0]["text"]  # asking for it would lead nowhere
    assert "uptime" not in response.text


@pytest.mark.clause("R5")
@pytest.mark.parametrize("era", ERAS)
def test_an_issuer_that_says_nothing_of_entitlements_gets_the_error_too(resource: Running, era: str) -> None:
    """Without entitlements in the token nothing says that asking for more can succeed."""
    token = resource.token(entitlements=None, scope="demo:read")
    assert resource.call("demo_echo", token, era, text="x").json()["result"]["isError"] is True


@pytest.mark.clause("R5")
@pytest.mark.parametrize("era", ERAS)
def test_an_unknown_tool_is_just_unknown(resource: Running, era: str) -> None:
    """It gets no challenge and no hint, only the SDK's own message."""
    for name in ("nothing", "demo_echo2", "DEMO_ECHO", "", "demo:ops"):
        response = resource.call(name, resource.token(), era)
        assert response.status_code == 200
        result = response.json()["result"]
        assert result["isError"] is True
        assert result["content"][0]["text"] == f"Unknown tool: {name}"


@pytest.mark.clause("R5")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("prompts/list", {}),
        ("resources/list", {}),
        ("resources/templates/list", {}),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "demo"}, "argument": {"name": "n", "value": "demo_get_s"}},
        ),
        ("server/discover", {}),
        (
            "initialize",
            {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
        ),
        ("demo_get_server_info", {}),
    ],
)
def test_nothing_else_tells_of_hidden_tools(
    resource: Running, era: str, method: str, parameters: dict[str, Any]
) -> None:
    """Prompts, resources, completion, discovery and initialisation name no tool at all."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    response = resource.post(message, resource.token(), era)
    assert response.status_code < 500
    told = response.text.replace('"data":"demo_get_server_info"', "")  # an unknown method is echoed
    for name in ("demo_get", "demo_echo", "demo:ops"):
        assert name not in told


@pytest.mark.parametrize("mode", MODES)
async def test_whoami_says_who_may_do_what_until_when(resource: Running, mode: Mode) -> None:
    """It names the person, client, scopes, expiry in UTC, and the hidden tools with the scope each needs."""
    token = resource.token(scope="demo:read", exp=4_102_444_800, iat=1_700_000_000)
    async with resource.client(token, mode) as client:
        result = await client.call_tool("whoami", {})
    assert result.structured_content == {
        "subject": "user-1",
        "email": "alice@example.com",
        "client_id": "client-1",
        "client_name": "Claude",
        "scopes": ["demo:read"],
        "expires": "2100-01-01T00:00:00Z",
        "hidden_tools": [
            {"name": "demo_echo", "scope": "demo:echo"},
            {"name": "demo_get_server_info", "scope": "demo:ops"},
        ],
        "unreachable": [],
    }


async def test_whoami_works_with_an_empty_scope(resource: Running) -> None:
    """A token without scopes still belongs to a person, who can be told so."""
    async with resource.client(resource.token(scope="", email=None, client_name=None), "auto") as client:
        result = await client.call_tool("whoami", {})
    assert result.structured_content is not None
    assert result.structured_content["scopes"] == []
    assert result.structured_content["email"] is None


@pytest.mark.parametrize("mode", MODES)
async def test_request_access_gives_the_link(resource: Running, mode: Mode) -> None:
    """The link is the issuer's page, and the hidden tools are named."""
    async with resource.client(resource.token(), mode) as client:
        result = await client.call_tool("request_access", {})
    assert result.structured_content is not None
    assert result.structured_content["url"] == f"{resource.issuer.url}/account/access"
    assert result.structured_content["hidden_tools"] == [{"name": "demo_get_server_info", "scope": "demo:ops"}]
    assert f"{resource.issuer.url}/account/access" in result.structured_content["text"]


async def test_an_operator_sees_how_the_server_runs(resource: Running) -> None:
    """demo:ops allows demo_get_server_info; setting the clock does not change the uptime."""
    async with resource.client(resource.token(scope="demo:ops"), "auto") as client:
        resource.clock.offset -= 50
        result = await client.call_tool("demo_get_server_info", {})
        resource.clock.offset += 50
    assert result.structured_content is not None
    assert result.structured_content["resource"] == resource.mcp
    assert result.structured_content["uptime_seconds"] >= 0


@pytest.mark.parametrize("era", ERAS)
def test_help_names_only_what_the_caller_may_use(resource: Running, era: str) -> None:
    """The help lists tools too, so it is filtered like the list."""
    text = resource.call("demo_get_help", resource.token(scope="demo:read"), era).text
    assert "demo_get_time" in text
    assert "demo_echo" not in text
    assert "demo_get_server_info" not in text


@pytest.mark.clause("R3.no-passthrough")
@pytest.mark.parametrize("era", ERAS)
def test_a_tool_never_sees_the_bearer(resource: Running, era: str) -> None:
    """No tool's answer contains the token."""
    token = resource.token(scope="demo:read demo:echo demo:ops")
    for name in EVERYBODY:
        assert token not in resource.call(name, token, era, text="x").text


@pytest.mark.parametrize("era", ERAS)
def test_wrong_arguments_are_the_tools_error(resource: Running, era: str) -> None:
    """Missing, mistyped and oversized arguments are results with isError, not crashes."""
    for arguments in ({}, {"text": 5}, {"text": "x" * 10_001}, {"text": None}):
        result = resource.call("demo_echo", resource.token(), era, **arguments).json()["result"]
        assert result["isError"] is True, arguments
