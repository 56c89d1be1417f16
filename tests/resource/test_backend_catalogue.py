"""The catalogue's `[[backend]]`: what is refused and with which message, and that a changed file is reread."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import structlog

from gatepost_resource import catalogue
from gatepost_resource.backends.rules import Backend, Rule
from gatepost_resource.settings import SettingsError
from tests.resource.backend import Backend as Running
from tests.resource.backend import Scripted, backing, text
from tests.resource.gate import gate, listing, write
from tests.resource.issuer import Issuer
from tests.resource.running import serving, wait_for
from tests.support.ports import free_port

MCP = "https://mcp.example.com/mcp"
HEAD = f"""
[[resource]]
url = "{MCP}"
name = "Tools"
[[resource.scope]]
name = "crm:read"
title = "Read"
[[resource]]
url = "https://other.example.com/mcp"
name = "Others"
"""
CRM = '[[backend]]\nname = "crm"\nurl = "https://crm.example.com/"\n'


@pytest.fixture(scope="module")
def backend() -> Iterator[Running]:
    with backing() as running:
        yield running


def _load(path: Path, text: str) -> tuple[Backend, ...]:
    file = path / "catalogue.toml"
    file.write_text(HEAD + text, encoding="utf-8")
    return catalogue.load(file, MCP).backends


def test_a_backend_is_read(tmp_path: Path) -> None:
    """Name, URL byte for byte, time-out, and the rules in the file's order."""
    text = f"""
    [[backend]]
    name = "crm"
    url = "https://crm.internal.example/mcp/"
    resource = "{MCP}"
    timeout = 2.5
    [backend.tools]
    "find_*" = "crm:read"
    "list" = "crm:read"
    """
    rules = (Rule("find_*", "crm:read"), Rule("list", "crm:read"))
    assert _load(tmp_path, text) == (Backend("crm", "https://crm.internal.example/mcp/", 2.5, rules),)


def test_a_backend_of_another_resource_is_not_ours(tmp_path: Path) -> None:
    """Its rules may name scopes that only the other resource has; checking them is the other server's job."""
    text = """
    [[backend]]
    name = "crm"
    url = "https://crm.example.com/mcp"
    resource = "https://other.example.com/mcp"
    tools = { "*" = "other:read" }
    """
    assert _load(tmp_path, text) == ()


@pytest.mark.parametrize(
    ("tool", "scope"),
    [("find_all", "b"), ("find_one", "a"), ("find_one ", "a"), ("list", "c"), ("FIND_one", None), ("other", None)],
)
def test_the_exact_name_wins_then_the_first_pattern(tool: str, scope: str | None) -> None:
    """Whichever comes first in the file; names are case-sensitive."""
    rules = (Rule("find_*", "a"), Rule("*i*", "c"), Rule("find_all", "b"))
    assert Backend("crm", "https://x", 1, rules).scope_of(tool) == scope


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[backend]]", "a [[backend]] needs a `name`"),
        ('[[backend]]\nname = "CRM"', "a [[backend]] needs a `name`"),
        ('[[backend]]\nname = "a_b"', "a [[backend]] needs a `name`"),
        ('[backend]\nname = "crm"', "`backend` must be written as [[backend]]"),
        ('[[backend]]\nname = "crm"', "backend crm: `url` must be"),
        ('[[backend]]\nname = "crm"\nurl = "http://crm.example.com/mcp"', "backend crm: `url` is plain http"),
        ('[[backend]]\nname = "crm"\nurl = "http://93.184.216.34/mcp"', "backend crm: `url` is plain http"),
        ('[[backend]]\nname = "crm"\nurl = "https://a:b@crm.example.com/"', "backend crm: `url` must have no user"),
        ('[[backend]]\nname = "crm"\nurl = "https://crm.example.com/?a"', "backend crm: `url` must have no user"),
        ('[[backend]]\nname = "crm"\nurl = "ftp://crm.example.com/"', "backend crm: `url` must be an https"),
        ('[[backend]]\nname = "crm"\nurl = "https://crm.example.com/"\ntimeout = 0', "backend crm: `timeout` must"),
        ('[[backend]]\nname = "crm"\nurl = "https://crm.example.com/"\ntimeout = nan', "backend crm: `timeout` must"),
        ('[[backend]]\nname = "crm"\nurl = "https://crm.example.com/"\ntimeout = "5"', "backend crm: `timeout` must"),
        (
            '[[backend]]\nname = "crm"\nurl = "https://crm.example.com/"\ntimout = 5',
            "backend crm: there is no such key: 'timout'",
        ),
        (
            '[[backend]]\nname = "crm"\nurl = "https://crm.example.com/"\nresource = "x"',
            "`resource` matches the url of no",
        ),
        ('[[backend]]\nname = "crm"\nurl = "https://crm.example.com/"\ntools = ["x"]', "`tools` must be a table"),
        (
            '[[backend]]\nname = "crm"\nurl = "https://crm.example.com/"\ntools = { "x" = "crm:write" }',
            "backend crm: the rule for 'x' names a scope",
        ),
        *(
            (f'{CRM}tools = {{ "find_*" = {wrong} }}', "backend crm: the rule for 'find_*' must be the name of a scope")
            for wrong in ('["crm:read"]', '{ scope = "crm:read" }', "5", "0.5", "true", "2026-11-21", "[[]]")
        ),
        (
            f"{CRM}[backend.tools.find]\nall = 'crm:read'",
            "backend crm: the rule for 'find' must be the name of a scope",
        ),
        (f"{CRM}tools = 5", "backend crm: `tools` must be a table"),
        (f"{CRM}timeout = {'9' * 400}", "backend crm: `timeout` must be above 0"),
        (f"{CRM}timeout = inf", "backend crm: `timeout` must be above 0"),
        (f"{CRM}timeout = [5]", "backend crm: `timeout` must be a number"),
        (f"{CRM}timeout = true", "backend crm: `timeout` must be a number"),
        (f'{CRM}resource = ["x"]', "backend crm: `resource` matches the url of no"),
        (f'{CRM}"a\\nb" = 1', r"backend crm: there is no such key: 'a\nb'"),
        ('[[backend]]\nname = "crm"\nurl = ["https://crm.example.com/"]', "backend crm: `url` must be"),
        ('[[backend]]\nname = ["crm"]', "a [[backend]] needs a `name`"),
        (f"{CRM}tools = {'[' * 5000}", "the file is not TOML"),
        ('[[backend]]\nname = "a"\nurl = "https://a.example/"\n' * 2, "two backends have the name a"),
        (
            '[[backend]]\nname = "a"\nurl = "https://a.example/"\n[[backend]]\nname = "b"\nurl = "https://a.example/"',
            "two backends have the url https://a.example/",
        ),
    ],
)
def test_a_wrong_backend_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    """It names the setting, the backend and what to fix."""
    with pytest.raises(SettingsError) as refused:
        _load(tmp_path, text)
    assert said in str(refused.value)
    assert str(refused.value).startswith("CATALOGUE: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://localhost:1/mcp", "http://crm:8000/mcp", "http://10.1.2.3/", "http://[::1]:5/"]
)
def test_plain_http_is_for_the_house(tmp_path: Path, url: str) -> None:
    """It is accepted for this machine, private addresses and the bare names of container networks only."""
    assert _load(tmp_path, f'[[backend]]\nname = "crm"\nurl = "{url}"')[0].url == url


def test_backends_without_credentials_stop_the_start(issuer: Issuer, tmp_path: Path) -> None:
    """No token could be had for them, so the server says so at once, with the setting's name."""
    write(tmp_path / "catalogue.toml", listing(("crm", "http://localhost:1/mcp")))
    with (
        pytest.raises(SettingsError, match="INTROSPECTION_CLIENT_ID: is not set"),
        serving(issuer, catalogue=tmp_path / "catalogue.toml"),
    ):
        pass


def test_the_file_is_read_again_when_it_changes(shared_issuer: Issuer, backend: Running, tmp_path: Path) -> None:
    """A backend is added, changes its rules, is removed: lists, calls, 403s and metadata follow within seconds."""
    with gate(shared_issuer, tmp_path, listing()) as door:
        token = door.token()
        assert len(door.names(token)) == 5
        write(door.catalogue, listing(("crm", backend.url)))
        door.shows("crm_find_person", token)
        assert not door.result("crm_find_person", token, name="x")["isError"]
        write(door.catalogue, listing(("crm", backend.url), rules={"find_person": "demo:ops", "count": "demo:echo"}))
        door.hides("crm_find_person", token)
        assert "crm_count" in door.names(token)
        wide = door.running.token(scope="demo:read", entitlements=["demo:ops"])
        assert door.running.call("crm_find_person", wide, name="x").status_code == 403
        write(door.catalogue, listing().replace("demo:ops", "demo:other"))
        door.hides("crm_count", token)
        assert door.words("crm_count", token) == "Unknown tool: crm_count"
        metadata = door.running.request("GET", "/.well-known/oauth-protected-resource/mcp").json()
        assert metadata["scopes_supported"] == ["demo:read", "demo:echo", "demo:other"]
        assert "demo:other" in door.running.post({}).headers["www-authenticate"]
        assert "demo:other" in door.running.request("GET", "/mcp", headers={"accept": "text/html"}).text


def test_a_broken_file_keeps_the_last_good_one_and_says_so(
    shared_issuer: Issuer, backend: Running, tmp_path: Path
) -> None:
    """In the readiness details and as a metric; once fixed, the file is used."""
    address = f"127.0.0.1:{free_port()}"

    def told(path: str) -> str:
        return httpx2.get(f"http://{address}{path}", trust_env=False).text

    text = listing(("crm", backend.url))
    with gate(shared_issuer, tmp_path, text, metrics_address=address) as door:
        token = door.token()
        door.shows("crm_find_person", token)
        for broken in ("[[", text.replace("demo:ops", "demo:gone", 1), text.replace('name = "crm"', 'name = "C"')):
            write(door.catalogue, broken)
            wait_for(lambda: not json.loads(told("/readyz"))["catalogue"]["ok"])
            assert "gatepost_resource_catalogue_good 0.0" in told("/metrics")
            assert "crm_find_person" in door.names(token)
            write(door.catalogue, text)
            wait_for(lambda: json.loads(told("/readyz"))["catalogue"]["ok"])
        door.catalogue.unlink()
        wait_for(lambda: "cannot be read" in json.loads(told("/readyz"))["catalogue"]["problem"])
        assert not door.result("crm_find_person", token, name="x")["isError"]


def test_one_at_another_address_is_another_one(shared_issuer: Issuer, backend: Running, tmp_path: Path) -> None:
    """If the name stays and the URL changes, calls go to the new URL only."""
    with backing() as other, gate(shared_issuer, tmp_path, listing(("crm", backend.url))) as door:
        token = door.token()
        door.shows("crm_find_person", token)
        write(door.catalogue, listing(("crm", other.url)))
        wait_for(lambda: other.lists > 0)
        wait_for(lambda: not door.result("crm_find_person", token, name="x")["isError"])
        assert [body for body in other.bodies if body.get("method") == "tools/call"]


def test_a_call_while_a_backend_is_replaced_is_told_so(shared_issuer: Issuer, tmp_path: Path) -> None:
    """While the old backend's sessions are being ended, the tool is still listed, and a call says why it fails."""

    class Slow(Scripted):
        def end(self) -> None:
            time.sleep(1)

    old = Slow(lambda backend, message: text(message), era="2025")
    try:
        with (
            structlog.testing.capture_logs() as logged,
            backing() as other,
            gate(shared_issuer, tmp_path, listing(("crm", old.url), rules={"*": "demo:read"})) as door,
        ):
            token = door.token()
            assert not door.result("crm_act", token)["isError"]
            write(door.catalogue, listing(("crm", other.url), rules={"*": "demo:read"}))
            wait_for(lambda: door.result("crm_act", token)["isError"])
            said = door.words("crm_act", token)
            assert (
                said
                == "crm, the server behind this tool, is being removed or replaced. List the tools again in a moment."
            )
            door.shows("crm_find_person", token)
        assert not [line for line in logged if line.get("exc_info")]
    finally:
        old.close()
