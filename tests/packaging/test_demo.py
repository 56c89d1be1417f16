"""`gatepost demo` from an installed wheel, in an empty folder, as a newcomer runs it."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.journeys.connecting import MODES, Connection, Tracked, connection, in_thread
from tests.packaging.demo import (
    MAILBOX_URL,
    MCP_URL,
    PORTS,
    STOP_SECONDS,
    MailboxPage,
    clean_environment,
    demo,
    is_taken,
    processes_of_group,
)
from tests.packaging.installed import Installed
from tests.support.mcp_client import Storage

pytestmark = pytest.mark.usefixtures("ports")

VISIBLE = ["demo_echo", "demo_get_help", "demo_get_time", "request_access", "whoami"]


async def test_a_newcomer_connects_with_what_the_demo_prints(installed: Installed, tmp_path: Path) -> None:
    """The printed MCP URL, the mail on the mailbox page, the tools; both eras; and all of it again after a restart.

    What was agreed and issued is kept under var/ of the folder, and nothing is left behind by Ctrl-C.
    """
    storage = Storage()
    with demo([installed.gatepost], tmp_path) as running:
        said = running.said()
        for line in (MCP_URL, MAILBOX_URL, f"claude mcp add --transport http gatepost {MCP_URL}"):
            assert line in said
        assert (tmp_path / "var" / "gatepost.db").is_file()
        for mode in MODES:
            with Tracked(f"newcomer-{mode}@example.com", MailboxPage()) as person:
                async with connection(MCP_URL, person, storage := Storage(), mode) as connected:
                    assert await connected.tools() == VISIBLE
                    assert not (await connected.call("demo_get_time")).is_error
        assert len(running.processes()) == 3
        assert await in_thread(running.interrupt) == 0
        assert_clean_end(running.process.pid, running.said())
    with (
        demo([installed.gatepost], tmp_path),
        Tracked("newcomer-auto@example.com", MailboxPage()) as person,
    ):
        async with connection(MCP_URL, person, storage) as connected:
            assert await connected.tools() == VISIBLE
            refreshed = await in_thread(_refresh, connected)
        assert refreshed.status_code == 200, refreshed.text
        assert person.asked == [], "who was connected before the restart is connected after it"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_demo_alone_ends_all_of_it(
    installed: Installed, tmp_path: Path, number: signal.Signals
) -> None:
    """As a supervisor or `kill` sends it: the servers are the demo's to end."""
    with demo([installed.gatepost], tmp_path) as running:
        os.kill(running.process.pid, number)
        assert running.process.wait(STOP_SECONDS) == 0
        assert_clean_end(running.process.pid, running.said())


def test_both_addresses_of_localhost_answer(installed: Installed, tmp_path: Path) -> None:
    """`localhost` may be either."""
    with demo([installed.gatepost], tmp_path):
        for port in (9000, 9001, 9026):
            for host in ("127.0.0.1", *(["[::1]"] if _has_ipv6() else [])):
                assert httpx2.get(f"http://{host}:{port}/", trust_env=False).status_code == 200


def test_a_proxy_for_the_web_is_not_asked_for_this_machine(installed: Installed, tmp_path: Path) -> None:
    """Companies' shells name one; the demo asks itself, and the resource server its issuer, without it."""
    nobody = "http://127.0.0.1:1"
    with demo([installed.gatepost], tmp_path, HTTP_PROXY=nobody, http_proxy=nobody, ALL_PROXY=nobody):
        assert httpx2.get("http://localhost:9001/readyz", trust_env=False).status_code == 200


@pytest.mark.parametrize("port", PORTS)
def test_a_busy_port_is_one_line(installed: Installed, tmp_path: Path, port: int) -> None:
    """Which port, soon, with an exit code, and with nothing left running."""
    with taken(port):
        began = time.monotonic()
        process = subprocess.Popen(
            [installed.gatepost, "demo"],
            cwd=tmp_path,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=20)
        finally:
            left = processes_of_group(process.pid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert left == []
    assert process.returncode not in (0, -signal.SIGKILL)
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    assert str(port) in lines[0]
    assert time.monotonic() - began < 20, "it took too long to notice"


def _refresh(connected: Connection) -> httpx2.Response:
    """By hand: after a restart of its own the SDK no longer knows where tokens are refreshed."""
    assert connected.storage.client is not None
    form = {
        "grant_type": "refresh_token",
        "refresh_token": connected.tokens()[1],
        "client_id": connected.storage.client.client_id,
    }
    return httpx2.post("http://localhost:9000/token", data=form, trust_env=False)


def assert_clean_end(group: int, said: str) -> None:
    """No process, no listener and no traceback is left."""
    assert processes_of_group(group) == []
    assert [port for port in PORTS if is_taken(port)] == []
    assert "Traceback" not in said
    assert said.rstrip().endswith("Ctrl-C ends it."), said


@contextlib.contextmanager
def taken(port: int) -> Iterator[None]:
    """Takes the port: another program listens there."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        yield


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False
