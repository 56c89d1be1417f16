"""The command line of the MCP Inspector, as its authors publish it: one process for each command."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.interop.by_url import ByUrl
from tests.interop.node import start
from tests.interop.terminal import NO_BROWSER, watched
from tests.interop.traffic import Traffic
from tests.journeys.connecting import MODES, Mode, Tracked
from tests.support.ports import free_port
from tests.support.processes import Deployment
from tests.support.smtp import Postbox

INSPECTOR = "@modelcontextprotocol/inspector/clients/launcher/build/index.js"
READER = ["whoami", "request_access", "demo_get_help", "demo_get_time"]


@pytest.mark.program("mcp-inspector")
@pytest.mark.clause("A1", "A5.echo", "A8.rotation", "R2", "R5")
@pytest.mark.parametrize("era", MODES)
def test_it_connects_refreshes_and_signs_in_anew(
    deployment: Deployment, postbox: Postbox, tmp_path: Path, era: Mode
) -> None:
    """It keeps its tokens between runs, refreshes an expired one, and requests more when told to sign in again.

    It lists the tools before it calls one, so it never calls a hidden one and never gets a 403 to step up from.
    """
    traffic = Traffic(deployment)
    with Tracked(f"inspector-{era}@example.com", postbox) as person:
        inspect = inspector(deployment.mcp, person, tmp_path, era)
        person.ticks = ["demo:read"]
        listed = inspect("--method", "tools/list")["result"]["tools"]
        assert [tool["name"] for tool in listed] == READER
        assert traffic.statuses("POST", "/register") == [201]

        before = outlived(tmp_path)
        called = inspect("--method", "tools/call", "--tool-name", "demo_get_time")
        assert not called["result"]["isError"]
        assert refresh_token(tmp_path) != before
        assert len(person.asked) == 1

        hidden = inspect("--method", "tools/call", "--tool-name", "demo_get_server_info")
        assert hidden["error"]["code"] == "tool_not_found"
        assert 403 not in traffic.statuses("POST", "/mcp")

        person.ticks, person.reviews = ["demo:read", "demo:echo"], True
        echo = ("--method", "tools/call", "--tool-name", "demo_echo", "--tool-arg", "text=now I may")
        assert inspect("--relogin", *echo)["result"]["structuredContent"] == {"text": "now I may"}
        assert len(person.asked) == 2


@pytest.mark.program("mcp-inspector")
@pytest.mark.clause("A4", "A4.public", "A8.rotation")
@pytest.mark.parametrize("era", MODES)
def test_it_connects_as_the_url_of_its_metadata_document(
    by_url: ByUrl, postbox: Postbox, tmp_path: Path, era: Mode
) -> None:
    """It does not register, and refreshes under that id."""
    url = by_url.show_script(f"/inspector-{era}.json", "http://127.0.0.1/oauth/callback")
    whoami = ("--client-metadata-url", url, "--method", "tools/call", "--tool-name", "whoami")
    with Tracked(f"inspector-url-{era}@example.com", postbox) as person:
        inspect = inspector(by_url.mcp, person, tmp_path, era)
        assert inspect(*whoami)["result"]["structuredContent"]["client_id"] == url
        before = outlived(tmp_path)
        assert inspect(*whoami)["result"]["structuredContent"]["client_id"] == url
        assert refresh_token(tmp_path) != before
        assert len(person.asked) == 1


def inspector(mcp: str, person: Tracked, folder: Path, era: Mode) -> Callable[..., dict[str, Any]]:
    """The program on one machine: takes its arguments, returns what it prints as JSON."""
    callback = f"http://127.0.0.1:{free_port()}/oauth/callback"
    environment = {
        "HOME": str(folder),
        "MCP_STORAGE_DIR": str(folder),
        "MCP_INSPECTOR_SECRET_STORE": "file",
        "MCP_AUTO_OPEN_ENABLED": "true",  # otherwise it signs nobody in without a terminal
        **NO_BROWSER,
    }
    fixed = ("--cli", mcp, "--transport", "http", "--protocol-era", era, "--format", "json")

    def inspect(*arguments: str) -> dict[str, Any]:
        process = start(INSPECTOR, *fixed, "--callback-url", callback, *arguments, cwd=folder, **environment)
        with watched(process, person) as terminal:
            said = [line for line in terminal.lines() if line.startswith("{")]
            assert said, "".join(terminal.said)
            return dict(json.loads(said[-1]))

    return inspect


def outlived(folder: Path) -> str:
    """Corrupts its stored access token, as if expired; returns the refresh token beside it."""
    secrets = folder / "secrets.json"
    text, spoiled = re.subn(r'(access_token\\":\\")[^"\\]+', r"\1outlived", secrets.read_text(encoding="utf-8"))
    assert spoiled == 1, text
    secrets.write_text(text, encoding="utf-8")
    return refresh_token(folder)


def refresh_token(folder: Path) -> str:
    """The refresh token that it stores."""
    found = re.search(r"gp_rt_[\w-]+", (folder / "secrets.json").read_text(encoding="utf-8"))
    assert found
    return found.group()
