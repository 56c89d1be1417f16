"""The MCP Python client, connecting with nothing configured, and the person who answers its questions."""

import contextlib
from collections.abc import AsyncIterator
from typing import Literal

import anyio.to_thread
import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider, TokenStorage
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from tests.support.oauth import answer_of
from tests.support.person import Person


class Storage(TokenStorage):
    """What the client keeps between connections."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


def provider(
    url: str,
    person: Person,
    storage: Storage,
    callback: str,
    name: str = "Journey client",
    document: str | None = None,
) -> OAuthClientProvider:
    """The SDK's own OAuth client; its browser is ``person``, and ``document`` the URL of its metadata document."""
    answers: list[str] = []

    async def open_browser(authorize_url: str) -> None:
        answers.append(await anyio.to_thread.run_sync(person.walk, authorize_url))

    async def callback_arrived() -> AuthorizationCodeResult:
        answer = answer_of(answers[-1])
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))

    return OAuthClientProvider(
        url,
        OAuthClientMetadata.model_validate({"client_name": name, "redirect_uris": [callback]}),
        storage,
        open_browser,
        callback_arrived,
        client_metadata_url=document,
    )


@contextlib.asynccontextmanager
async def connected(
    url: str,
    person: Person,
    storage: Storage,
    mode: Literal["legacy", "auto"] = "auto",
    callback: str = "http://127.0.0.1:3017/callback",
) -> AsyncIterator[Client]:
    """A connected client that discovered and authorized everything by itself."""
    auth = provider(url, person, storage, callback)
    async with (
        httpx2.AsyncClient(auth=auth, trust_env=False, timeout=20) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client
