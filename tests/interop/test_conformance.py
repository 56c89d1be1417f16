"""The official MCP conformance suite, as its authors publish it, against both servers as processes."""

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.interop.node import start
from tests.interop.proxy import adding_bearer
from tests.journeys.wire import Wire
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.processes import Deployment
from tests.support.smtp import Postbox

SUITE = "@modelcontextprotocol/conformance/dist/index.js"
SECONDS = 60
PASSED = {"SUCCESS", "INFO"}

NO_SUBSCRIPTIONS = "SKIPPED: no list changes while a connection is open, so the server declares no subscriptions"
NO_DIAGNOSTICS = "FAILURE: not testable without the suite's own tool test_missing_capability, which is no tool of ours"

# Each scenario with its protocol revision, and the checks that do not pass there, each with the reason.
# The list is checked in both directions: a check that starts to pass must be removed from it.
SCENARIOS: dict[tuple[str, str], dict[str, str]] = {
    ("server-initialize", "2025-11-25"): {},
    ("ping", "2025-11-25"): {},
    ("tools-list", "2025-11-25"): {},
    ("tools-list", "2026-07-28"): {},
    ("dns-rebinding-protection", "2025-11-25"): {},
    ("dns-rebinding-protection", "2026-07-28"): {},
    ("caching", "2026-07-28"): {
        "sep-2549-resources-read-caching-hints": "SKIPPED: the server has tools and no MCP resources",
    },
    ("http-header-validation", "2026-07-28"): {},
    ("server-stateless", "2026-07-28"): {
        "sep-2575-server-rejects-undeclared-capability": NO_DIAGNOSTICS,
        "sep-2575-missing-capability-http-400": NO_DIAGNOSTICS,
        "sep-2575-server-sends-subscription-ack": NO_SUBSCRIPTIONS,
        "sep-2575-server-tags-subscription-id": NO_SUBSCRIPTIONS,
        "sep-2575-server-honors-notification-filter": NO_SUBSCRIPTIONS,
        "sep-2575-server-sends-prompts-list-changed-on-subscription": NO_SUBSCRIPTIONS,
        "sep-2575-server-sends-tools-list-changed-on-subscription": NO_SUBSCRIPTIONS,
    },
}

AUTHORIZATION: dict[str, str] = {}


@pytest.fixture(scope="module")
def proxied(deployment: Deployment, postbox: Postbox) -> Iterator[str]:
    """The MCP URL behind a proxy that adds the token of a person with a new account: the suite cannot send one."""
    with Person("conformance-server@example.com", postbox) as person:
        wire = Wire(deployment.mcp, person)
        with contextlib.closing(wire):
            wire.connect()
        with adding_bearer(deployment.mcp, wire.access_token) as url:
            yield url


@pytest.mark.program("conformance")
@pytest.mark.parametrize(("scenario", "revision"), SCENARIOS)
def test_the_resource_server_conforms(proxied: str, tmp_path: Path, scenario: str, revision: str) -> None:
    """Every check of the scenario passes, except those listed above with their reason."""
    suite = start(
        SUITE, "server", "--url", proxied, "--scenario", scenario, "--spec-version", revision, "-o", "out", cwd=tmp_path
    )
    said, _ = suite.communicate(timeout=SECONDS)
    checks = checks_below(tmp_path / "out", said)
    assert problems(checks, SCENARIOS[scenario, revision]) == [], said
    assert sum(check["status"] == "SUCCESS" for check in checks) > 0, f"nothing was checked:\n{said}"


@pytest.mark.program("conformance")
@pytest.mark.clause("A1", "A2", "A6")
def test_the_authorization_server_conforms(deployment: Deployment, postbox: Postbox, tmp_path: Path) -> None:
    """Metadata, and the code grant of a client that an operator added: the suite prints the URL, a person opens it."""
    port = free_port()
    redirect = f"http://127.0.0.1:{port}/callback"
    made = deployment.gatepost("clients", "add", "Conformance", "--redirect", redirect)
    client_id = made.partition("client_id: ")[2].split()[0]
    options = ["--url", deployment.issuer, "--client-id", client_id, "--resource", deployment.mcp]
    with (
        ended(start(SUITE, "authorization", *options, "-p", str(port), "-o", "out", cwd=tmp_path)) as suite,
        Person("conformance-issuer@example.com", postbox) as person,
    ):
        callback = person.walk(authorize_url(suite, deployment.issuer))
        assert callback.startswith(f"{redirect}?")
        assert httpx2.get(callback, trust_env=False).status_code == 200
        said, _ = suite.communicate(timeout=SECONDS)
    checks = checks_below(tmp_path / "out", said)
    assert problems(checks, AUTHORIZATION) == [], said
    passed = {check["id"] for check in checks if check["status"] == "SUCCESS"}
    assert passed == {
        "authorization-server-metadata",
        "authorization-server-metadata-cimd",
        "authorization-code-grant",
    }


def authorize_url(suite: "subprocess.Popen[str]", issuer: str) -> str:
    """The URL that the suite asks a person to open."""
    assert suite.stdout is not None
    giving_up = threading.Timer(SECONDS, suite.kill)  # a read waits for ever otherwise
    giving_up.start()
    read = []
    try:
        for line in suite.stdout:
            read.append(line)
            if line.startswith(f"{issuer}/authorize?"):
                return line.strip()
    finally:
        giving_up.cancel()
    raise AssertionError(f"the suite named no URL to open:\n{''.join(read)}")


@contextlib.contextmanager
def ended(suite: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """The suite, which waits five minutes for its callback unless it is killed."""
    with suite:
        try:
            yield suite
        finally:
            suite.kill()


def checks_below(folder: Path, said: str) -> list[dict[str, Any]]:
    """Every check that the suite recorded."""
    files = sorted(folder.rglob("checks.json"))
    assert files, f"the suite wrote no results:\n{said}"
    return [check for file in files for check in json.loads(file.read_text(encoding="utf-8"))]


def problems(checks: list[dict[str, Any]], known: dict[str, str]) -> list[str]:
    """Failed checks that are not listed, and listed ones whose outcome differs from the list."""
    found = {check["id"]: check["status"] for check in checks if check["status"] not in PASSED}
    reasons = {check["id"]: check.get("errorMessage", "") for check in checks if check["status"] not in PASSED}
    expected = {name: reason.partition(":")[0] for name, reason in known.items()}
    new = [f"{name}: {found[name]}: {reasons[name]}" for name in found if name not in expected]
    other = [
        f"{name}: {found.get(name, 'passed, or is gone')}, and stands here as {status}"
        for name, status in expected.items()
        if found.get(name) != status
    ]
    return [*new, *other]
