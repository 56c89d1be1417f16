"""The MCP Python client with its insides in reach, and a person whose every form is counted."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import anyio.to_thread
import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

from tests.support.mcp_client import Storage, provider
from tests.support.person import Person
from tests.support.smtp import Postbox

Mode = Literal["legacy", "auto"]
MODES: tuple[Mode, ...] = ("legacy", "auto")

HTTPS = "https://app.example/callback"
LOOPBACK = "http://127.0.0.1:3017/callback"


class Tracked(Person):
    """A person who counts the forms they sent, and can be told how to answer.

    ``ticks``: the boxes they leave ticked; None leaves the page as it comes. ``by_link``: signs in by the mailed link
    instead of its code. ``reviews``: on the one-tap page they change what was allowed. ``remembers``: leaves that box
    ticked. ``agrees``: presses the button that goes on, and not the one that goes back.
    """

    def __init__(self, email: str, postbox: Postbox) -> None:
        super().__init__(email, postbox)
        self.submitted: list[str] = []
        self.asked: list[str] = []
        self.ticks: list[str] | None = None
        self.by_link = False
        self.reviews = False
        self.remembers = True
        self.agrees = True

    def __enter__(self) -> Self:
        return self

    def walk(self, authorize_url: str) -> str:
        """As every person, and remembers which URL the client opened."""
        self.asked.append(authorize_url)
        self.submitted.clear()
        return super().walk(authorize_url)

    def submit(self, form: Any, **changes: Any) -> httpx2.Response:
        """Sends a form and counts it."""
        self.submitted.append(form.action)
        return super().submit(form, **changes)

    def sign_in_by_code(self, count: int = 1) -> None:
        """By the code, or by the link where that was wanted."""
        if not self.by_link:
            super().sign_in_by_code(count)
            return
        self.sign_in_by_link(count)
        # The link's page says that the waiting tab goes on by itself; this browser has one tab, so it goes on here.
        onwards = [link for link in self._parsed().links if "/consent/" in link]
        if onwards:
            self.open(urljoin(self._address, onwards[0]))

    def allow(self, **changes: Any) -> None:
        """Presses the button that goes on, with the boxes that this person wants ticked."""
        if self.reviews:
            review = [link for link in self._parsed().links if "review=" in link]
            if review:
                self.open(urljoin(self._address, review[0]))
        if "remember" in self.form("decision").names():
            changes |= {"scope": self.ticks} if self.ticks is not None else {}
            changes |= {} if self.remembers else {"remember": "0"}
        if not self.agrees:
            self.submit(self.form("decision"), decision="deny")
            return
        super().allow(**changes)


class AsksFor(Tracked):
    """A person whose client asks for scopes of its own choice, as some ask for all that the metadata lists."""

    def __init__(self, email: str, postbox: Postbox, scope: str) -> None:
        super().__init__(email, postbox)
        self.scope = scope

    def walk(self, authorize_url: str) -> str:
        """The client's URL with its scopes replaced."""
        parts = urlsplit(authorize_url)
        parameters = dict(parse_qsl(parts.query)) | {"scope": self.scope}
        return super().walk(parts._replace(query=urlencode(parameters)).geturl())


@dataclass
class Connection:
    """A connected client and its OAuth half."""

    client: Client
    auth: OAuthClientProvider
    storage: Storage
    answers: list[tuple[str, int]]
    """Path and status of every HTTP answer but 202, with which notifications are taken whenever they come."""

    def outlive_access_token(self) -> None:
        """To the client its access token is over from now on; the SDK's own refresh follows with the next call."""
        self.auth.context.token_expiry_time = time.time() - 1

    async def tools(self) -> list[str]:
        """The names of the tools it sees."""
        return sorted(tool.name for tool in (await self.client.list_tools()).tools)

    async def call(self, name: str, **arguments: Any) -> CallToolResult:
        """Calls a tool."""
        result = await self.client.call_tool(name, arguments)
        assert isinstance(result, CallToolResult)
        return result

    def tokens(self) -> tuple[str, str]:
        """The access and the refresh token that are stored."""
        assert self.storage.tokens is not None
        assert self.storage.tokens.refresh_token is not None
        return self.storage.tokens.access_token, self.storage.tokens.refresh_token


@contextlib.asynccontextmanager
async def connection(
    url: str,
    person: Person,
    storage: Storage,
    mode: Mode = "auto",
    callback: str = LOOPBACK,
    document: str | None = None,
    **line: Any,
) -> AsyncIterator[Connection]:
    """A client that found its own way in.

    With ``document`` its id is that URL; ``line``: what its HTTP client is made with besides.
    """
    auth = provider(url, person, storage, callback, document=document)
    answers: list[tuple[str, int]] = []

    async def seen(response: httpx2.Response) -> None:
        if response.status_code != httpx2.codes.ACCEPTED:
            answers.append((response.request.url.path, response.status_code))

    hooks = {"response": [seen]}
    async with (
        httpx2.AsyncClient(auth=auth, trust_env=False, timeout=20, event_hooks=hooks, **line) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield Connection(client, auth, storage, answers)


async def in_thread(work: Any, *arguments: Any) -> Any:
    """Blocking work (a command, a person) beside the client's event loop."""
    return await anyio.to_thread.run_sync(work, *arguments)
