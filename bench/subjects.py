"""The measured authorization servers, ours and the floor, and the requests of each operation."""

import base64
import contextlib
import json
import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from bench.load import Line, Operation, expect, get
from bench.running import Command, Subject, started
from tests.support.oauth import challenge_of
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.processes import ROOT, environment_of, run_gatepost
from tests.support.smtp import Postbox

CALLBACK = "https://client.example/callback"  # not loopback, where consent is never silent
SCOPE = "demo:read demo:echo"
FORM = "application/x-www-form-urlencoded"
CODE, METADATA, REFRESH, INTROSPECTION, FIRST_PAGE = "code flow", "metadata", "refresh", "introspection", "first page"
"""The code flow: /authorize with a remembered consent, and /token."""


def gatepost_environment(folder: Path, mail_port: int) -> dict[str, str]:
    """The settings of `make bench`: addresses, and a trusted proxy, since the load claims many networks.

    They turn off no safeguard and widen no limit: tests/speed/test_measured.py.
    """
    port, resource_port = free_port(), free_port()
    return environment_of(
        OAUTH_ISSUER=f"http://localhost:{port}",
        MCP_RESOURCE_URL=f"http://localhost:{resource_port}/mcp",
        IDP_PORT=str(port),
        RESOURCE_PORT=str(resource_port),
        METRICS_ADDRESS=f"127.0.0.1:{free_port()}",
        DATABASE_URL=f"sqlite:///{folder / 'gatepost.db'}",
        SMTP_HOST="127.0.0.1",
        SMTP_PORT=str(mail_port),
        SMTP_SECURITY="none",
        MAIL_FROM="gatepost@example.test",
        TRUSTED_PROXIES="127.0.0.1/32",
    )


@contextlib.contextmanager
def gatepost(
    folder: Path, postbox: Postbox, core: int | None, starts: int = 1
) -> Iterator[tuple[Subject, dict[str, str], "Connected"]]:
    """Our authorization server, its environment (for the resource server), and a connected person."""
    environment = gatepost_environment(folder, postbox.port)
    run_gatepost(environment, "db", "upgrade")
    with started(command_of("gatepost", environment, folder, core), starts) as subject:
        connected = connect(subject.base, environment, postbox)
        subject.operations = {
            METADATA: get("/.well-known/oauth-authorization-server"),
            "JWKS": get("/jwks.json"),
            **connected.operations(),
        }
        yield subject, environment, connected


def command_of(name: str, environment: dict[str, str], folder: Path, core: int | None) -> Command:
    """The command with which an operator starts our authorization server."""
    arguments = [sys.executable, "-m", "gatepost_idp", "idp"]
    return Command(name, int(environment["IDP_PORT"]), "/healthz", arguments, environment, folder / "idp.log", core)


def connect(base: str, environment: dict[str, str], postbox: Postbox) -> "Connected":
    """Signs somebody in by mail with consent, and makes resource server credentials for introspection."""
    at = Wire(base, "/authorize", "/token", "/register", "/introspect", environment["MCP_RESOURCE_URL"])
    client_id = at.registered()
    with Person("somebody@example.com", postbox) as person:
        person.walk(at.authorize_url(client_id))
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in person.browser.cookies.jar)
    printed = run_gatepost(environment, "clients", "add", "Tools", "--resource-server")
    own = dict(line.split(": ", 1) for line in printed.strip().splitlines())
    basic = base64.b64encode(f"{own['client_id']}:{own['client_secret']}".encode()).decode()
    return Connected(at, client_id, cookies, "access_token", {"authorization": f"Basic {basic}"})


@contextlib.contextmanager
def floor(folder: Path, core: int | None, starts: int) -> Iterator[Subject]:
    """bench/floor.py, the lower bound for any server in Python."""
    port = free_port()
    arguments = [sys.executable, str(ROOT / "bench" / "floor.py"), str(port), str(folder / "floor.db")]
    command = Command("floor", port, "/", arguments, environment_of(), folder / "floor.log", core)
    with started(command, starts) as subject:
        body = urlencode({"grant_type": "refresh_token", "client_id": "x" * 60, "refresh_token": "x" * 50})

        async def refresh(line: Line) -> None:
            expect(await line.ask("POST", "/token", body, content_type=FORM), 200)

        subject.operations = {METADATA: get("/"), "JWKS": get("/"), REFRESH: lambda _slot: refresh}
        yield subject


@dataclass(frozen=True)
class Wire:
    """The URLs of an authorization server's endpoints."""

    base: str
    authorize: str
    token: str
    register: str
    introspect: str
    resource: str
    scope: str = SCOPE

    def registered(self) -> str:
        """The id of a newly registered client."""
        return self.registration()["client_id"]

    def registration(self, **changes: str) -> dict[str, str]:
        """The response to a registration."""
        answer = httpx2.post(self.base + self.register, json={**REGISTRATION, **changes}, trust_env=False)
        if answer.status_code != 201:
            raise SystemExit(f"{self.base} registers nobody: {answer.text}")
        found: dict[str, str] = answer.json()
        return found

    def authorize_url(self, client_id: str) -> str:
        """The URL of an authorization request; always with the same verifier, to save the load computing challenges."""
        return f"{self.base}{self.authorize_target(client_id)}"

    def authorize_target(self, client_id: str) -> str:
        """``authorize_url`` without scheme and host."""
        asked = {
            "response_type": "code", "client_id": client_id, "redirect_uri": CALLBACK, "scope": self.scope,
            "resource": self.resource, "state": "some state", "code_challenge": _CHALLENGE,
            "code_challenge_method": "S256",
        }  # fmt: skip  # a form
        return f"{self.authorize}?{urlencode(asked)}"


VERIFIER = secrets.token_urlsafe(48)
_CHALLENGE = challenge_of(VERIFIER)
REGISTRATION = {
    "client_name": "Bench", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none",
    "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
}  # fmt: skip  # a form


@dataclass(frozen=True)
class Connected:
    """A client with a remembered consent, and the cookies of the browser that gave it."""

    at: Wire
    client_id: str
    cookies: str
    introspected: str
    """Which token is introspected: ``access_token`` or ``refresh_token``."""
    credentials: dict[str, str]
    """The introspecting client's credentials as header fields; if empty, the client itself introspects."""

    def operations(self) -> dict[str, Callable[[int], Operation]]:
        """The everyday operations of an authorization server."""
        return {
            "register": lambda _slot: self._register,
            CODE: lambda _slot: self._code,
            REFRESH: lambda _slot: Refreshing(self).again,
            INTROSPECTION: lambda _slot: Introspecting(self).again,
            FIRST_PAGE: lambda _slot: self._first_page,
        }

    async def tokens(self, line: Line) -> dict[str, str]:
        """Runs the code flow in two requests; returns the token response."""
        back = await line.ask("GET", self.at.authorize_target(self.client_id), cookie=self.cookies)
        code = parse_qs(urlsplit(expect(back, 302, 303).field("location")).query).get("code", [""])[0]
        return await self.redeem(
            line, grant_type="authorization_code", code=code, redirect_uri=CALLBACK, code_verifier=VERIFIER
        )

    async def redeem(self, line: Line, **form: str) -> dict[str, str]:
        """POST /token with ``resource``, as MCP requires of clients (RFC 8707 section 2.2)."""
        body = urlencode({"client_id": self.client_id, "resource": self.at.resource, **form})
        answer = expect(await line.ask("POST", self.at.token, body, content_type=FORM), 200)
        found: dict[str, str] = json.loads(answer.body)
        return found

    async def _code(self, line: Line) -> None:
        await self.tokens(line)

    async def _register(self, line: Line) -> None:
        body = json.dumps(REGISTRATION)
        expect(await line.ask("POST", self.at.register, body, content_type="application/json"), 201)

    async def _first_page(self, line: Line) -> None:
        """An authorization request of a browser without cookies, and the page that it redirects to."""
        sent = expect(await line.ask("GET", self.at.authorize_target(self.client_id)), 302, 303)
        cookies = "; ".join(one.partition(";")[0] for one in sent.fields("set-cookie"))
        expect(await line.ask("GET", urlsplit(sent.field("location")).path, cookie=cookies), 200)


class Refreshing:
    """A connection that refreshes, with its current refresh token."""

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
        self._token = ""

    async def again(self, line: Line) -> None:
        """Refreshes; connects first if it has not yet."""
        if not self._token:
            self._token = (await self._connected.tokens(line))["refresh_token"]
        found = await self._connected.redeem(line, grant_type="refresh_token", refresh_token=self._token)
        if found["refresh_token"] == self._token:
            raise SystemExit("a refresh token was not rotated")
        self._token = found["refresh_token"]


class Introspecting:
    """A connection whose token is introspected."""

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
        self._body = ""

    async def again(self, line: Line) -> None:
        """Introspects; connects first if it has not yet."""
        own = self._connected
        if not self._body:
            form = {"token": (await own.tokens(line))[own.introspected]}
            self._body = urlencode(form if own.credentials else {**form, "client_id": own.client_id})
        answer = await line.ask("POST", own.at.introspect, self._body, content_type=FORM, **own.credentials)
        if not json.loads(expect(answer, 200).body)["active"]:
            raise SystemExit("a token that stands was called inactive")
