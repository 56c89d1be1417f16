"""The MCP TypeScript packages, 1.x and 2.x, unmodified: discovery, registration, requests, refresh and step-up."""

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.interop.by_url import ByUrl
from tests.interop.node import start_own
from tests.journeys.connecting import LOOPBACK, Tracked
from tests.support.oauth import answer_of
from tests.support.processes import Deployment
from tests.support.smtp import Postbox

SECONDS = 60
_numbers = count()
READER = ["whoami", "request_access", "demo_get_help", "demo_get_time"]

# Package and protocol version: 1.x speaks only one.
CLIENTS = [("sdk", "legacy"), ("client", "legacy"), ("client", "auto")]


class TypeScript:
    """The program typescript.mjs, and the person whose browser it opens."""

    def __init__(self, process: "subprocess.Popen[str]", person: Tracked) -> None:
        self._process = process
        self.person = person

    def do(self, command: str, **details: Any) -> dict[str, Any]:
        """Runs one command, which must succeed."""
        answer = self.attempt(command, **details)
        assert "problem" not in answer, answer
        return answer

    def attempt(self, command: str, **details: Any) -> dict[str, Any]:
        """Runs one command; the person opens any URL that it asks to open."""
        answer = self._said({"command": command, **details})
        while "open" in answer:
            answer = self._said({"callback": self.person.walk(answer["open"])})
        return answer

    def call(self, tool: str, **given: Any) -> dict[str, Any]:
        """A tool's answer."""
        return self.do("call", tool=tool, given=given)

    def requests(self) -> list[tuple[str, str, int]]:
        """Method, path and status of every request since the last look.

        Leaves out the notification stream, which the older protocol opens at unpredictable moments.
        """
        asked = [tuple(request) for request in self.do("requests")["requests"]]
        return [request for request in asked if request[:2] != ("GET", "/mcp")]

    def _said(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(message)}\n")
        self._process.stdin.flush()
        said = []
        for line in self._process.stdout:
            said.append(line)
            if line.startswith("{"):
                return dict(json.loads(line))
        raise AssertionError(f"it ended:\n{''.join(said)}")


@contextlib.contextmanager
def typescript(folder: Path, person: Tracked, *arguments: str) -> Iterator[TypeScript]:
    """The program; ``arguments``: package, protocol version, and the URLs of MCP, callback and metadata document."""
    with start_own("typescript.mjs", *arguments, cwd=folder) as process:
        giving_up = threading.Timer(SECONDS, process.kill)  # otherwise a read waits forever
        giving_up.start()
        try:
            yield TypeScript(process, person)
        finally:
            giving_up.cancel()
            process.kill()


@pytest.fixture
def client(
    deployment: Deployment, postbox: Postbox, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[TypeScript]:
    """A connected program, whose person allowed it only to read."""
    package, mode = request.param
    email = f"typescript-{next(_numbers)}@example.com"
    with (
        Tracked(email, postbox) as person,
        typescript(tmp_path, person, package, mode, deployment.mcp, LOOPBACK) as program,
    ):
        person.ticks = ["demo:read"]
        program.do("connect")
        yield program


@pytest.mark.program("typescript-sdk", "typescript-client")
@pytest.mark.clause("A1", "A5.public", "A8.rotation", "R2", "R4", "R5")
@pytest.mark.parametrize("client", CLIENTS, indirect=True, ids="-".join)
def test_it_connects_and_refreshes(client: TypeScript) -> None:
    """From the URL alone to a call; once the access token has expired, to the next call without asking anybody."""
    asked = client.requests()
    assert asked[0] == ("POST", "/mcp", 401)
    assert ("POST", "/register", 201) in asked
    assert client.do("list")["tools"] == READER
    before = client.do("kept")
    client.do("outlive")
    client.requests()
    assert not client.call("demo_get_time").get("isError")
    asked = client.requests()
    assert (asked[0], asked.count(("POST", "/token", 200))) == (("POST", "/mcp", 401), 1)
    assert client.do("kept")["refresh_token"] != before["refresh_token"]
    assert len(client.person.asked) == 1


@pytest.mark.program("typescript-client")
@pytest.mark.clause("R4")
@pytest.mark.parametrize("client", CLIENTS[1:], indirect=True, ids="-".join)
def test_it_steps_up_once_and_goes_on(client: TypeScript) -> None:
    """403 with every scope that the call needs; it asks the person for them and repeats the call."""
    client.person.ticks, client.person.reviews = ["demo:read", "demo:echo"], True
    client.requests()
    assert client.call("demo_echo", text="now I may")["structuredContent"] == {"text": "now I may"}
    assert client.requests() == [("POST", "/mcp", 403), ("POST", "/token", 200), ("POST", "/mcp", 200)]
    assert answer_of(client.person.asked[-1])["scope"] == "demo:read demo:echo"
    assert len(client.person.asked) == 2


@pytest.mark.program("typescript-sdk")
@pytest.mark.clause("R4", "R4.link")
@pytest.mark.parametrize("client", CLIENTS[:1], indirect=True, ids="-".join)
def test_the_first_sdk_refreshes_instead_so_the_link_is_its_way_up(client: TypeScript) -> None:
    """1.x answers a 403 with a refresh, which alone widens nothing, and gives up at the second: no loop.

    If the person has meanwhile followed request_access's link, that refresh brings what the call needs.
    """
    client.requests()
    assert "403 after trying upscoping" in client.attempt("call", tool="demo_echo", given={"text": "x"})["problem"]
    assert answers_of_posts(client) == [("/mcp", 403), ("/token", 200), ("/mcp", 403)]
    client.person.open(client.call("request_access")["structuredContent"]["url"])
    client.person.submit(client.person.form("grant"), scope=["demo:read", "demo:echo"])
    client.requests()
    assert client.call("demo_echo", text="now I may")["structuredContent"] == {"text": "now I may"}
    assert answers_of_posts(client) == [("/mcp", 403), ("/token", 200), ("/mcp", 200)]
    assert len(client.person.asked) == 1


def answers_of_posts(client: TypeScript) -> list[tuple[str, int]]:
    """Path and status; 1.x fetches both documents before each token request."""
    return [(path, status) for method, path, status in client.requests() if method == "POST"]


@pytest.mark.program("typescript-sdk", "typescript-client")
@pytest.mark.clause("A4", "A4.public", "A8.rotation")
@pytest.mark.parametrize(("package", "mode"), CLIENTS)
def test_it_connects_as_the_url_of_its_metadata_document(
    by_url: ByUrl, postbox: Postbox, tmp_path: Path, package: str, mode: str
) -> None:
    """It does not register, and refreshes under that id."""
    url = by_url.show_script(f"/{package}-{mode}.json")
    with (
        Tracked(f"typescript-{next(_numbers)}@example.com", postbox) as person,
        typescript(tmp_path, person, package, mode, by_url.mcp, LOOPBACK, url) as client,
    ):
        client.do("connect")
        assert "/register" not in [path for _, path, _ in client.requests()]
        client.do("outlive")
        assert client.call("whoami")["structuredContent"]["client_id"] == url
        assert len(person.asked) == 1


@pytest.mark.program("typescript-sdk", "typescript-client")
@pytest.mark.clause("R5")
@pytest.mark.parametrize("client", CLIENTS, indirect=True, ids="-".join)
def test_what_the_person_does_not_hold_leads_in_no_circle(client: TypeScript) -> None:
    """No challenge at all, but a tool error that names request_access."""
    client.requests()
    refused = client.call("demo_get_server_info")
    assert refused["isError"]
    assert "request_access" in refused["content"][0]["text"]
    assert client.requests() == [("POST", "/mcp", 200)]
    assert len(client.person.asked) == 1
