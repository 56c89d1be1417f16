"""Shared by the protocol tests: a server to talk to, its database from outside, and readers for its answers."""

import asyncio
import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import sqlalchemy
from joserfc import jwt
from joserfc.jwk import KeySet

from gatepost_idp.clients.fetcher import Fetcher
from gatepost_idp.database import Database
from gatepost_idp.transaction import Transaction
from tests.support.oauth import TestClient, answer_of
from tests.support.person import Person, links_of
from tests.support.ports import free_port
from tests.support.serving import Clock, Idp, listening, settings_of, upgrade
from tests.support.smtp import receiving

T = TypeVar("T")
BASIC = "Basic "
FORM = {"content-type": "application/x-www-form-urlencoded"}


def line() -> httpx2.Client:
    """A connection without cookies or redirects. It is for plain http, so it loads no certificates."""
    jar = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx2.Client(trust_env=False, timeout=20, cookies=jar, verify=False)


@dataclass
class Server(Idp):
    """An authorization server over one connection: a new client per request would cost more than the request."""

    line: httpx2.Client

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return self.line.request(method, f"{self.issuer}{path}", **options)

    def raw(self, path: str, body: bytes, **headers: str) -> httpx2.Response:
        """POSTs exactly these bytes, as a form unless ``content_type`` says otherwise."""
        sent = {**FORM, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.request("POST", path, content=body, headers=sent)


@contextlib.contextmanager
def running(folder: Path, path: str = "", *, fetcher: Fetcher | None = None, **changes: Any) -> Iterator[Server]:
    """A server whose issuer has this path, on the database in ``folder``; ``changes`` are settings."""
    with receiving() as postbox, line() as client:
        port = free_port()
        settings = settings_of(folder, postbox, port, **{"oauth_issuer": f"http://localhost:{port}{path}", **changes})
        upgrade(settings)
        clock = Clock()
        with listening(settings, clock, port, fetcher):
            yield Server(f"http://127.0.0.1:{port}", settings.oauth_issuer, settings, clock, postbox, client)


def authorize(client: TestClient, *more: str, **changes: str | None) -> httpx2.Response:
    """GET /authorize as a browser without cookies; ``more`` is appended to the query unchanged."""
    url = "&".join((client.authorize_url(**changes), *more))
    return client.idp.get(url.removeprefix(client.idp.issuer))


def error_of(response: httpx2.Response, client: TestClient) -> dict[str, str]:
    """The error that /authorize sent to the client; asserts that it went to the client's own address.

    Nobody is signed in here: then a public address is shown as a link on a page, which the person may follow or not.
    """
    if response.status_code == 302:
        location = response.headers["location"]
    else:
        (location,) = (link for link in links_of(page_of(response)) if "error=" in link)
    assert location.startswith(f"{client.redirect_uri}?"), location
    assert response.headers["cache-control"] == "no-store"
    found = answer_of(location)
    assert found["iss"] == client.idp.issuer
    assert "code" not in found
    return found


def page_of(response: httpx2.Response, status: int = 400) -> str:
    """The text of a page for a person; asserts that it does not redirect."""
    assert response.status_code == status, response.text
    assert "location" not in response.headers
    assert "refresh" not in response.headers
    assert response.headers["content-type"].startswith("text/html")
    assert "http-equiv" not in response.text
    return response.text


def refused(response: httpx2.Response, error: str, status: int = 400) -> dict[str, Any]:
    """Asserts an error for a program (RFC 6749 section 5.2): our JSON, no-store, in the allowed characters."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    body = dict(response.json())
    assert body["error"] == error, body
    assert set(body) <= {"error", "error_description", "error_uri"}
    text = body.get("error_description", "")
    assert all(" " <= character <= "~" and character not in '"\\' for character in text), text
    return body


def tokens_of(response: httpx2.Response) -> dict[str, Any]:
    """A token response (RFC 6749 section 5.1)."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["pragma"] == "no-cache"
    body = dict(response.json())
    assert body["token_type"] == "Bearer"
    assert "scope" in body
    return body


def opened(server: Idp, token: str) -> jwt.Token:
    """The claims of the server's JWT, verified with its published keys."""
    keys = KeySet.import_key_set(server.get("/jwks.json").json())
    return jwt.decode(token, keys, algorithms=["ES256", "RS256"])


def scope_of(tokens: dict[str, Any]) -> set[str]:
    """The scopes of a token response."""
    return set(str(tokens["scope"]).split())


def basic(client_id: str, secret: str) -> dict[str, str]:
    """The HTTP Basic header, for values that are already encoded if needed (RFC 6749 section 2.3.1)."""
    return {"authorization": BASIC + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


def rows(server: Idp, query: str, **values: object) -> list[tuple[Any, ...]]:
    """The rows of a table, read directly from the database."""
    engine = sqlalchemy.create_engine(server.settings.database_url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sqlalchemy.text(query), values)]
    finally:
        engine.dispose()


def at_rest(server: Idp) -> bytes:
    """All bytes of the database, including its write-ahead log."""
    path = server.settings.sqlite_path
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))


def beside(server: Idp, work: Callable[[Transaction], T]) -> T:
    """Does ``work`` in the server's database as another process would, such as the command line."""
    database = Database(server.settings.database_url)

    async def write() -> T:
        return await database.write(work)

    try:
        return asyncio.run(write())
    finally:
        database.close()


def asks_everything(person: Person) -> bool:
    """Whether the page is the whole consent page: it has boxes to tick."""
    return any("remember" in form.names() for form in person.forms())


def asks_one_tap(person: Person) -> bool:
    """Whether the page is the one-tap page, with a single button to go on."""
    return not asks_everything(person) and any(("decision", "allow") in form.buttons for form in person.forms())


def went_silently(person: Person, client: TestClient) -> dict[str, str]:
    """The answer to a request that showed no page."""
    assert person.page is not None
    assert person.page.status_code == 302, person.text
    location = person.page.headers["location"]
    assert location.startswith(client.redirect_uri)
    assert urlsplit(str(person.page.url)).path == "/authorize"
    return answer_of(location)


def as_json(value: object) -> bytes:
    """JSON for the wire."""
    return json.dumps(value).encode()
