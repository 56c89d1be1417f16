"""This server's own tools: ``whoami``, ``request_access`` and the demo's; none changes anything."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

from pydantic import BaseModel, Field

from gatepost_resource.access_token import BearerToken
from gatepost_resource.latest import Latest
from gatepost_resource.tools import Toolbox

MAX_ECHO_CHARACTERS = 10_000


class ToolSummary(BaseModel):
    """A tool the caller may use."""

    name: str
    title: str


class Help(BaseModel):
    """The answer of ``demo_get_help``."""

    text: str
    tools: list[ToolSummary]


class ServerTime(BaseModel):
    """The answer of ``demo_get_time``."""

    utc: str = Field(description="ISO 8601, in UTC")
    unix_seconds: int


class Echo(BaseModel):
    """The answer of ``demo_echo``."""

    text: str


class ServerInformation(BaseModel):
    """The answer of ``demo_get_server_info``."""

    version: str
    python: str
    started: str = Field(description="ISO 8601, in UTC")
    uptime_seconds: int
    resource: str
    issuer: str


class HiddenTool(BaseModel):
    """A tool that this token cannot call, and the scope it wants."""

    name: str
    scope: str


class Identity(BaseModel):
    """The answer of ``whoami``."""

    subject: str
    email: str | None
    client_id: str
    client_name: str | None = Field(description="What the client calls itself; nobody verified it")
    scopes: list[str]
    expires: str = Field(description="ISO 8601, in UTC")
    hidden_tools: list[HiddenTool]
    unreachable: list[str] = Field(description="The servers behind this one that cannot be reached at the moment")


class AccessRequest(BaseModel):
    """The answer of ``request_access``."""

    url: str
    text: str
    hidden_tools: list[HiddenTool]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the tools may say about this server."""

    service_name: str
    issuer: str
    resource: str
    access_page: str
    support_email: str | None


def release() -> str:
    """The installed release of Gatepost; ``0`` if it is not installed."""
    try:
        return version("gatepost")
    except PackageNotFoundError:  # a checkout that nobody installed
        return "0"


def iso(seconds: float) -> str:
    """An instant, given in seconds since the epoch, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


class DemoTools:
    """One method per tool, with the tool's name."""

    def __init__(
        self,
        facts: Facts,
        tools: Latest[Toolbox],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        caller: Callable[[], BearerToken],
    ) -> None:
        """``clock``: seconds since the epoch. ``monotonic``: seconds from any origin.

        ``caller``: returns the token of the request being answered.
        """
        self._facts = facts
        self._tools = tools
        self._clock = clock
        self._monotonic = monotonic
        self._caller = caller
        self._started = monotonic()
        self._release = release()  # reads a file, so only once

    async def demo_get_help(self) -> Help:
        """What this server is, and the tools the caller may use."""
        visible = self._tools.current().visible(self._caller().scopes)
        return Help(
            text=f"This is {self._facts.service_name}. It shows each person exactly the tools that their"
            " access covers. whoami says what is hidden and why; request_access gives the link where more can"
            " be allowed.",
            tools=[ToolSummary(name=entry.name, title=entry.title) for entry in visible],
        )

    async def demo_get_time(self) -> ServerTime:
        """The time, by the clock that was passed in."""
        now = self._clock()
        return ServerTime(utc=iso(now), unix_seconds=int(now))

    async def demo_echo(
        self, text: Annotated[str, Field(max_length=MAX_ECHO_CHARACTERS, description="What to send back")]
    ) -> Echo:
        """The same text; it is not stored."""
        return Echo(text=text)

    async def demo_get_server_info(self) -> ServerInformation:
        """Version, addresses and uptime, for operators."""
        return ServerInformation(
            version=self._release,
            python=platform.python_version(),
            started=iso(self._started),
            uptime_seconds=int(self._monotonic() - self._started),
            resource=self._facts.resource,
            issuer=self._facts.issuer,
        )

    async def whoami(self) -> Identity:
        """What the caller's token says, and the tools it hides."""
        token = self._caller()
        return Identity(
            subject=token.subject,
            email=token.email,
            client_id=token.client_id,
            client_name=token.client_name,
            scopes=list(token.scopes),
            expires=iso(token.expires_at),
            hidden_tools=self._hidden(token),
            unreachable=list(self._tools.current().absent(token.scopes)),
        )

    async def request_access(self) -> AccessRequest:
        """The link where more can be granted; whether it is, is decided there."""
        ask = f" or write to {self._facts.support_email}" if self._facts.support_email else ""
        return AccessRequest(
            url=self._facts.access_page,
            text=f"Ask the person to open {self._facts.access_page} in a browser. There they can allow what"
            f" they hold and ask the operator for the rest{ask}. Then reconnect, or wait for the next"
            " refresh.",
            hidden_tools=self._hidden(self._caller()),
        )

    def _hidden(self, token: BearerToken) -> list[HiddenTool]:
        hidden = self._tools.current().hidden(token.scopes)
        return [HiddenTool(name=entry.name, scope=entry.scope or "") for entry in hidden]
