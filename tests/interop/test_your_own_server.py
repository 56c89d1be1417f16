"""The servers of examples/, as people copy them, behind our authorization server: who gets in and who does not."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from gatepost_idp.database import Database
from gatepost_idp.keys import Keys
from tests.interop.node import start_own
from tests.journeys.connecting import AsksFor, in_thread
from tests.support.mcp_client import Storage, connected
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.processes import ROOT, run_gatepost
from tests.support.serving import Idp, serving

EXAMPLES = ROOT / "examples"
SERVERS = ("mcp_sdk.py", "fastmcp_server.py", "typescript_sdk.mjs")
HEADERS = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


@dataclass
class Notes:
    """One of the servers, and the authorization server that it trusts."""

    mcp: str
    idp: Idp

    def post(self, token: str | None) -> httpx2.Response:
        """tools/list."""
        headers = HEADERS if token is None else {**HEADERS, "authorization": f"Bearer {token}"}
        return httpx2.post(self.mcp, json=LIST, headers=headers, trust_env=False, timeout=20)


@pytest.fixture(scope="module", params=SERVERS)
def notes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notes]:
    """Each of the three, with the catalogue that comes with them."""
    folder, port = tmp_path_factory.mktemp("notes"), free_port()
    mcp = f"http://localhost:{port}/mcp"
    with serving(folder, mcp_resource_url=mcp, catalogue=str(EXAMPLES / "catalogue.toml")) as idp:
        environment = {"OAUTH_ISSUER": idp.issuer, "MCP_RESOURCE_URL": mcp, "PORT": str(port)}
        with ended(started(request.param, folder, environment)) as process:
            answers(process, mcp)
            yield Notes(mcp, idp)


def started(name: str, folder: Path, environment: dict[str, str]) -> "subprocess.Popen[str]":
    """The example as a process; its packages' warnings do not matter here."""
    if name.endswith(".mjs"):
        return start_own(EXAMPLES / name, cwd=folder, **environment)
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, str(EXAMPLES / name)],
            env={**inherited, "FASTMCP_SHOW_SERVER_BANNER": "false", **environment},
            cwd=folder,
            stdout=log,
            stderr=log,
            text=True,
        )


@contextlib.contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """Ends it after the block."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def answers(process: "subprocess.Popen[str]", url: str) -> None:
    """Returns once ``url`` gives any answer."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "it ended"
        with contextlib.suppress(httpx2.TransportError):
            httpx2.get(url, trust_env=False)
            return
        time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


async def test_a_client_connects_with_nothing_configured(notes: Notes) -> None:
    """From the URL alone: sign-in, consent, the tools; a scope not held is refused in words."""
    with Person("reader@example.com", notes.idp.postbox) as person:
        async with connected(notes.mcp, person, Storage()) as client:
            assert sorted(tool.name for tool in (await client.list_tools()).tools) == ["read_notes", "write_note"]
            assert not (await client.call_tool("read_notes", {})).is_error
            refused = await client.call_tool("write_note", {"text": "hello"})
            assert refused.is_error
            assert "notes:write" in str(refused.content)


async def test_who_holds_the_scope_may_write(notes: Notes) -> None:
    """`gatepost users grant`, as the catalogue's comment says; each person sees their own notes."""
    environment = {
        "OAUTH_ISSUER": notes.idp.issuer, "MCP_RESOURCE_URL": notes.mcp, "CATALOGUE": str(EXAMPLES / "catalogue.toml"),
        "DATABASE_URL": notes.idp.settings.database_url, "PYTHONPATH": str(ROOT / "idp"), "PATH": os.environ["PATH"],
    }  # fmt: skip  # a table of settings
    with Person("writer@example.com", notes.idp.postbox) as person:
        async with connected(notes.mcp, person, Storage()):
            pass
        await in_thread(run_gatepost, environment, "users", "grant", person.email, "notes:write")
    with AsksFor("writer@example.com", notes.idp.postbox, "notes:read notes:write") as person:
        async with connected(notes.mcp, person, Storage()) as client:
            written = await client.call_tool("write_note", {"text": "hello"})
            assert not written.is_error, written
            assert "hello" in str((await client.call_tool("read_notes", {})).content)
    with Person("another@example.com", notes.idp.postbox) as person:
        async with connected(notes.mcp, person, Storage()) as client:
            assert "hello" not in str((await client.call_tool("read_notes", {})).content)


def test_without_a_token_it_says_where_to_get_one(notes: Notes) -> None:
    """401 with the metadata's URL (RFC 9728); the metadata names the resource and our issuer byte for byte."""
    refused = notes.post(None)
    assert refused.status_code == 401
    place = refused.headers["www-authenticate"].partition('resource_metadata="')[2].partition('"')[0]
    told = httpx2.get(place, trust_env=False).json()
    assert (told["resource"], told["authorization_servers"]) == (notes.mcp, [notes.idp.issuer])
    assert "notes:read" in told["scopes_supported"]


def signed(notes: Notes, key: ECKey | None = None, header: dict[str, str] | None = None, **claims: Any) -> str:
    """A token signed by our authorization server's key, with changes; a claim of None is omitted."""
    database = Database(notes.idp.settings.database_url)
    try:
        keys = Keys(database, notes.idp.settings.secret_keys, notes.idp.clock)
        asyncio.run(keys.load())
        signing = keys.signing()
    finally:
        database.close()
    now = int(time.time())
    said = {
        "iss": notes.idp.issuer, "aud": notes.mcp, "sub": "somebody", "client_id": "some-client", "jti": "1",
        "iat": now, "exp": now + 600, "scope": "notes:read",
    }  # fmt: skip  # a table of claims
    found = {name: value for name, value in {**said, **claims}.items() if value is not None}
    assert isinstance(signing.private, ECKey)
    return jwt.encode(
        {"alg": "ES256", "typ": "at+jwt", "kid": signing.kid, **(header or {})}, found, key or signing.private
    )


def test_a_good_token_is_taken(notes: Notes) -> None:
    """Otherwise the refusals below would prove nothing."""
    assert notes.post(signed(notes)).status_code == 200


@pytest.mark.parametrize(
    "attack",
    [
        {"aud": "https://other.example/mcp"},
        {"aud": None},
        {"iss": "https://other.example"},
        {"iss": None},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"sub": None},
        {"header": {"typ": "JWT"}},
        {"header": {"kid": "another"}},
        {"key": ECKey.generate_key("P-256")},
    ],
    ids=["another audience", "no audience", "another issuer", "no issuer", "expired", "no expiry", "no subject",
         "an id token", "an unknown key", "a foreign key"],
)  # fmt: skip  # names beside what they name
def test_a_bad_token_is_not(notes: Notes, attack: dict[str, Any]) -> None:
    """Signed with our own key, unless the case is about the key: each check is the example's own."""
    assert notes.post(signed(notes, **attack)).status_code == 401


def test_a_token_without_a_signature_is_not(notes: Notes) -> None:
    """Attack: the token says itself that it needs no signature (RFC 8725 section 2.1)."""
    _, claims, _ = signed(notes).split(".")
    assert notes.post(f"eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{claims}.").status_code == 401


def test_a_token_without_the_scope_is_not(notes: Notes) -> None:
    """Signed and meant for this server, but its person approved no scopes."""
    assert notes.post(signed(notes, scope="")).status_code in (401, 403)
