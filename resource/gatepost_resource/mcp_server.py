"""MCP itself, in both protocol eras: the SDK's server, whose list and calls go by the caller's scopes."""

from typing import Any

from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.caching import CacheHint
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import x_mcp_header_map
from mcp_types import (
    INVALID_PARAMS,
    CallToolResult,
    GetPromptResult,
    InputRequiredResult,
    Tool,
    ToolAnnotations,
)
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost_resource.access_token import BearerToken
from gatepost_resource.counts import Counts
from gatepost_resource.demo import DemoTools, release
from gatepost_resource.latest import Kept, Latest
from gatepost_resource.tools import OURS, Toolbox


class Caller(AuthenticatedUser):
    """The SDK's user with our token. The bearer itself is left out: no tool can hand it on to another."""

    def __init__(self, token: BearerToken) -> None:
        """Fills in what the SDK binds its state to: client and subject."""
        held = list(token.scopes)
        super().__init__(AccessToken(token="", client_id=token.client_id, scopes=held, subject=token.subject))
        self.token = token


def current_caller() -> BearerToken:
    """Whose request is being answered; raises LookupError outside of one, so nothing is shown by mistake."""
    user = auth_context_var.get()
    if isinstance(user, Caller):
        return user.token
    raise LookupError("no verified caller")


class ScopedServer(MCPServer[Any]):
    """An MCP server whose ``tools/list`` and ``tools/call`` both ask the one table.

    Hiding a tool in the list does not stop its call, so the call is checked here too, whatever stands in
    front: the 403 of ``stepup`` is an offer to the client, this is the law.
    """

    def __init__(self, tools: Latest[Toolbox], counts: Counts, **options: Any) -> None:
        """``options``: those of the SDK's server."""
        super().__init__(**options)
        self._tools = tools
        self._counts = counts
        self._lists: Kept[Toolbox, dict[frozenset[str], list[Tool]]] = Kept(tools, lambda _: {})

    async def list_tools(self) -> list[Tool]:
        """The tools of the caller's scopes, in the table's order; kept ready for each set of scopes."""
        toolbox, lists = self._tools.current(), self._lists.current()
        held = toolbox.scopes.intersection(current_caller().scopes)
        found = lists.get(held)
        if found is None:
            ours = {tool.name: tool for tool in await super().list_tools()}
            visible = toolbox.visible(held)
            found = [entry.origin.shown if entry.origin else ours[entry.name] for entry in visible]
            lists[held] = found
        return found

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Calls a tool of the caller's scopes; raises ToolError, which the client gets as a result."""
        toolbox = self._tools.current()
        entry = toolbox.find(name)
        if entry is None:
            raise ToolError(f"Unknown tool: {name}")
        missing = toolbox.missing(name, current_caller().scopes)
        if missing is not None:
            self._counts.called(name, "error")
            raise ToolError(
                f"{entry.title} needs the scope {missing}, which this person does not hold here. Calling it"
                " again cannot help. Call request_access: it gives the link where access can be asked for."
            )
        try:
            result = await super().call_tool(name, arguments, context)
        except Exception:
            self._counts.called(name, "error")
            raise
        self._counts.called(name, "error" if getattr(result, "is_error", False) else "ok")
        return result

    def is_plain(self, name: str) -> bool:
        """Whether a call of this tool needs nothing of its request but the arguments: no context, no header fields."""
        entry, tool = self._tools.current().find(name), self._tool_manager.get_tool(name)
        if entry is None or entry.origin is not None or tool is None:
            return False
        asks = tool.context_kwarg is not None or tool.resolved_params or tool.output_schema is None
        return not asks and not x_mcp_header_map(tool.parameters)

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[Any, Any] | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """Raises MCPError for an unknown prompt, which is the caller's mistake: the SDK logs it as a fault of ours."""
        if all(prompt.name != name for prompt in await self.list_prompts()):
            raise MCPError(INVALID_PARAMS, f"Unknown prompt: {name}")
        return await super().get_prompt(name, arguments, context)


def build_server(name: str, tools: Latest[Toolbox], functions: DemoTools, counts: Counts) -> ScopedServer:
    """The server with every tool of ours, each served by the method of its name."""
    server = ScopedServer(
        tools,
        counts,
        name=name,
        version=release(),
        instructions="What you may call depends on your access: whoami tells, request_access asks for more.",
        log_level="WARNING",
        subscriptions=False,  # a list changes with the token, not while a stream is open
        cache_hints={"tools/list": CacheHint(ttl_ms=0, scope="private")},
    )
    for entry in OURS:
        server.add_tool(
            getattr(functions, entry.name),
            name=entry.name,
            title=entry.title,
            description=entry.description,
            annotations=_annotations(entry.title),
            structured_output=True,
        )
    return server


def _annotations(title: str) -> ToolAnnotations:
    return ToolAnnotations(
        title=title, read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
    )


def streamable_http(server: ScopedServer, max_body_bytes: int) -> ASGIApp:
    """The ASGI app that speaks MCP once the caller is known; its session manager must be running."""
    server.streamable_http_app(
        stateless_http=True,  # every request stands for itself, so any worker can answer it
        json_response=True,
        max_request_body_size=max_body_bytes,
        # Host and Origin are checked in front, where the log names the setting to change.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return _trimmed(server.session_manager.handle_request)


def _trimmed(app: ASGIApp) -> ASGIApp:
    """``app`` with header values freed of the space around them (RFC 9110 section 5.5); httptools leaves it behind."""

    async def trimmed(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        await app({**scope, "headers": headers}, receive, send)

    return trimmed
