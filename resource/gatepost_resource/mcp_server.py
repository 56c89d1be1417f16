"""MCP in both protocol eras: the SDK's server, with its tool list and calls limited to the caller's scopes."""

import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any

from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import x_mcp_header_map
from mcp_types import (
    INVALID_PARAMS,
    CallToolResult,
    GetPromptResult,
    InputRequiredResult,
    ListToolsResult,
    PaginatedRequestParams,
    Tool,
    ToolAnnotations,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost_resource.access_token import BearerToken
from gatepost_resource.backends.call import Call, NotDone
from gatepost_resource.counts import Counts, Outcome
from gatepost_resource.demo import DemoTools, release
from gatepost_resource.exchange import owner
from gatepost_resource.latest import Kept, Latest
from gatepost_resource.pages import Paged
from gatepost_resource.streams import Streams
from gatepost_resource.tools import OURS, Origin, Toolbox, ToolEntry
from gatepost_resource.under_way import UnderWay

MAX_LISTS = 256

PassOn = Callable[[Call], Awaitable[CallToolResult]]


class Caller(AuthenticatedUser):
    """The SDK's user, with our token. The bearer itself is left out, so that no tool can pass it on."""

    def __init__(self, token: BearerToken) -> None:
        """Fills in what the SDK binds its state to: client and subject."""
        held = list(token.scopes)
        super().__init__(AccessToken(token="", client_id=token.client_id, scopes=held, subject=token.subject))
        self.token = token


def current_caller() -> BearerToken:
    """The token of the request being answered; raises LookupError outside one, so nothing is shown by mistake."""
    user = auth_context_var.get()
    if isinstance(user, Caller):
        return user.token
    raise LookupError("no verified caller")


class ScopedServer(MCPServer[Any]):
    """An MCP server whose ``tools/list`` and ``tools/call`` both consult the one table.

    Hiding a tool from the list does not prevent its call, so each call is checked here too: the 403 of
    ``stepup`` invites the client to ask for more, this check enforces the scope.
    """

    def __init__(self, tools: Latest[Toolbox], counts: Counts, pass_on: PassOn, **options: Any) -> None:
        """``pass_on``: calls a backend's tool. ``options``: those of the SDK's server."""
        super().__init__(**options)
        self.tools = tools
        self.under_way = UnderWay()
        self._ways: list[StreamableHTTPSessionManager] = []
        self._counts = counts
        self._pass_on = pass_on
        self._lists: Kept[Toolbox, OrderedDict[frozenset[str], Paged]] = Kept(tools, lambda _: OrderedDict())

    def add_way(self, max_body_bytes: int, *, json_response: bool) -> StreamableHTTPSessionManager:
        """Adds an SDK session manager that answers with JSON documents, or with what may become an SSE stream."""
        self.streamable_http_app(
            stateless_http=True,  # requests are independent, so any worker can answer them
            json_response=json_response,
            max_request_body_size=max_body_bytes,
            # Host and Origin are checked further out, where the log names the setting to change.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        self._ways.append(self.session_manager)
        return self.session_manager

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Within it, every session manager runs."""
        async with contextlib.AsyncExitStack() as open_ways:
            for way in self._ways:
                await open_ways.enter_async_context(way.run())
            yield

    async def list_tools(self) -> list[Tool]:
        """The tools of the caller's scopes, in the table's order."""
        return (await self._listed()).tools

    async def _listed(self) -> Paged:
        """The list for the caller's scopes, cached per set of scopes."""
        toolbox, lists = self.tools.current(), self._lists.current()
        held = toolbox.scopes.intersection(current_caller().scopes)
        found = lists.get(held)
        if found is None:
            ours = {tool.name: tool for tool in await super().list_tools()}
            visible = toolbox.visible(held)
            found = Paged([entry.origin.shown if entry.origin else ours[entry.name] for entry in visible])
            lists[held] = found
            if len(lists) > MAX_LISTS:  # a person with n scopes can narrow tokens to 2^n sets
                lists.popitem(last=False)
        else:
            lists.move_to_end(held)
        return found

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Calls a tool that the caller's scopes allow; raises ToolError, which the client gets as a result."""
        toolbox = self.tools.current()
        entry = toolbox.find(name)
        if entry is None:
            raise ToolError(_unknown(name, toolbox.absent(current_caller().scopes)))
        missing = toolbox.missing(name, current_caller().scopes)
        if missing is not None:
            self._counted(entry, "error")
            raise ToolError(
                f"{entry.title} needs the scope {missing}, which this token cannot be given now. Calling it again"
                " does not help. Call request_access: it gives the link where the person can ask for access. A"
                " personal token never changes: to use more access, make a new one."
            )
        if entry.origin is not None and context is not None:
            return await self._passed_on(entry, entry.origin, arguments, context)
        try:
            result = await super().call_tool(name, arguments, context)
        except Exception:
            self._counted(entry, "error")
            raise
        self._counted(entry, "error" if getattr(result, "is_error", False) else "ok")
        return result

    def is_plain(self, name: str) -> bool:
        """Whether this is one of our tools whose call needs only its arguments: no context, no header fields."""
        entry, tool = self.tools.current().find(name), self._tool_manager.get_tool(name)
        if entry is None or entry.origin is not None or tool is None:
            return False
        asks = tool.context_kwarg is not None or tool.resolved_params or tool.output_schema is None
        return not asks and not x_mcp_header_map(tool.parameters)

    async def _passed_on(
        self, entry: ToolEntry, origin: Origin, arguments: dict[str, Any], context: Context[Any, Any]
    ) -> CallToolResult:
        """The backend's result; raises ToolError in our words, or MCPError with the backend's own error."""
        request, caller = context.request_context, owner()
        asks = request.meta is not None and request.meta.get("progress_token") is not None
        progress = context.report_progress if asks else None
        call = Call(entry, origin, arguments, current_caller(), caller, request.protocol_version, progress)
        with contextlib.ExitStack() as cancellable:
            if request.protocol_version not in MODERN_PROTOCOL_VERSIONS and request.request_id is not None:
                cancellable.enter_context(self.under_way.call(caller, request.request_id))
            try:
                return await self._pass_on(call)
            except NotDone as reason:
                raise ToolError(str(reason)) from None

    def _counted(self, entry: ToolEntry, outcome: Outcome) -> None:
        if entry.origin is None:  # backend calls are counted per backend: it could invent tool names without end
            self._counts.called(entry.name, outcome)

    async def _handle_list_tools(
        self, ctx: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        """Overrides the SDK's handler, which returns the whole list, to return one page."""
        return (await self._listed()).page(params.cursor if params else None)

    def _tool_input_schema(self, name: str) -> dict[str, Any] | None:
        """Read by the SDK for arguments that a schema also wants as headers; None if hidden from the caller."""
        toolbox = self.tools.current()
        entry = toolbox.find(name)
        if entry is None or toolbox.missing(name, current_caller().scopes) is not None:
            return None
        return entry.origin.shown.input_schema if entry.origin else super()._tool_input_schema(name)

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[Any, Any] | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """Raises MCPError for an unknown prompt, the caller's mistake, which the SDK would log as a server fault."""
        if all(prompt.name != name for prompt in await self.list_prompts()):
            raise MCPError(INVALID_PARAMS, f"Unknown prompt: {name}")
        return await super().get_prompt(name, arguments, context)


def _unknown(name: str, absent: Collection[str]) -> str:
    """The message for a tool not in the table; names its backend if that is down and the caller has a scope of it."""
    behind = next((backend for backend in absent if name.startswith(f"{backend}_")), None)
    return (
        f"{behind}, the server behind {name}, cannot be reached at the moment." if behind else f"Unknown tool: {name}"
    )


def build_server(
    name: str, tools: Latest[Toolbox], functions: DemoTools, counts: Counts, pass_on: PassOn
) -> ScopedServer:
    """The server with every tool of our own, each served by the method of that name."""
    server = ScopedServer(
        tools,
        counts,
        pass_on,
        name=name,
        version=release(),
        instructions="What you may call depends on your access: whoami shows it, request_access is the way to more.",
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
    """The ASGI app that serves MCP to a verified caller; works only within ``server.running()``."""
    document = server.add_way(max_body_bytes, json_response=True)
    stream = server.add_way(max_body_bytes, json_response=False)
    return _trimmed(Streams(document.handle_request, stream.handle_request, server.tools, server.under_way))


def _trimmed(app: ASGIApp) -> ASGIApp:
    """``app`` with the space around header values stripped (RFC 9110, section 5.5), which httptools leaves trailing."""

    async def trimmed(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        await app({**scope, "headers": headers}, receive, send)

    return trimmed
