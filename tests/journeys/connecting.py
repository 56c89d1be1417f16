"""The MCP Python client with access to its internals, and a person whose forms are counted."""

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

    ``ticks``: the boxes they leave ticked; None leaves the page as it is. ``by_link``: signs in by the mailed link
    instead of its code. ``reviews``: on the one-tap page they change what was allowed. ``remembers``: leaves that box
    ticked. ``agrees``: presses the button that consents, not the one that refuses.
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
        """As for any person, and records which URL the client opened."""
        self.asked.append(authorize_url)
        self.submitted.clear()
        return super().walk(authorize_url)

    def submit(self, form: Any, **changes: Any) -> httpx2.Response:
        """Sends a form and counts it."""
        self.submitted.append(form.action)
        return super().submit(form, **changes)

    def sign_in_by_code(self, count: int = 1) -> None:
        """Signs in by the code, or by the link if ``by_link`` is set."""
        if not self.by_link:
            super().sign_in_by_code(count)
            return
        self.sign_in_by_link(count)
        # The link's page says that the waiting tab goes on by itself; this browser has one tab, so it goes on here.
        onwards = [link for link in self._parsed().links if "/consent/" in link]
        if onwards:
            self.open(urljoin(self._address, onwards[0]))

    def allow(self, **changes: Any) -> None:
        """Presses the button that consents, with the boxes ticked that this person wants."""
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
    """A person whose client chooses the scopes to ask for, as some ask for all that the metadata lists."""

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
    """Path and status of every HTTP answer except 202, which acknowledges notifications at any time."""

    def outlive_access_token(self) -> None:
        """Makes the client think that its access token has expired; the SDK refreshes at the next call."""
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
    """A client that discovered and authorized everything by itself.

    ``document``: the URL that is its id, if given; ``line``: further options of its HTTP client.
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
    """Runs blocking work (a command, a person) beside the client's event loop."""
    return await anyio.to_thread.run_sync(work, *arguments)
