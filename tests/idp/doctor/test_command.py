"""``gatepost doctor`` beside real servers: what it prints, its exit code, and that it gives nothing away."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping

from gatepost_idp.settings import Settings
from tests.faults.mailservers import PASSWORD
from tests.support.oauth import registered
from tests.support.person import Person
from tests.support.ports import free_port
from tests.support.processes import Deployment, environment_of
from tests.support.serving import Clock, Idp
from tests.support.smtp import Postbox


def doctor(environment: Mapping[str, str], *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    """Runs it."""
    return subprocess.run(
        [sys.executable, "-m", "gatepost_idp", "doctor", *arguments],
        env=dict(environment),
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_healthy_deployment(deployment: Deployment) -> None:
    """Exit code 0, a line for each check, and no colour or progress bar without a terminal."""
    done = doctor(deployment.environment, deployment.mcp)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "ok    Answer of the MCP URL" in lines
    assert "ok    Database schema" in lines
    assert lines[-1] == "All is well."
    assert "\x1b" not in done.stdout


def test_a_failure(deployment: Deployment) -> None:
    """Exit code 1; what was seen, what was expected, what to change, an example; and where to begin."""
    done = doctor(deployment.environment, deployment.mcp.removesuffix("/mcp"))
    assert done.returncode == 1
    assert "FAIL  The MCP URL: url-lacks-path" in done.stdout
    for name in ("seen", "expected", "change", "example"):
        assert f"      {name} " in done.stdout
    assert "skip  after url: DNS, Port, Certificate, " in done.stdout
    assert done.stdout.splitlines()[-1] == "Begin with: the MCP URL that people paste"


def test_json(deployment: Deployment) -> None:
    """One document, for scripts, with the same exit codes."""
    well = doctor(deployment.environment, deployment.mcp, "--json")
    told = json.loads(well.stdout)
    assert (well.returncode, told["ok"], told["begin_with"]) == (0, True, None)
    broken = doctor({**deployment.environment, "SMTP_PORT": str(free_port())}, "--json")
    told = json.loads(broken.stdout)
    assert (broken.returncode, told["ok"], told["begin_with"]) == (1, False, "SMTP_HOST and SMTP_PORT")
    [finding] = [f for check in told["checks"] for f in check["findings"]]
    assert set(finding) == {"fault", "level", "seen", "expected", "setting", "example"}


def test_a_wrong_setting(deployment: Deployment) -> None:
    """It is a finding like any other: no traceback, exit code 1."""
    done = doctor({**deployment.environment, "SIGNUP": "everybody"})
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "Begin with: SIGNUP"
    assert done.stderr == ""


def test_no_secret_is_printed(deployment: Deployment) -> None:
    """Neither keys nor passwords, whatever is wrong with them."""
    secrets = {
        "SECRET_KEY": "hunter-two-" * 4,
        "SMTP_PASSWORD": PASSWORD,
        "SMTP_USERNAME": "me",
        "SMTP_HOST": "127.0.0.1",
    }
    environment = {**deployment.environment, **secrets, "SMTP_SECURITY": "starttls"}
    for arguments in ((), ("--json",), (deployment.mcp,)):
        done = doctor(environment, *arguments)
        assert done.returncode == 1
        assert [value for value in ("hunter-two", PASSWORD) if value in done.stdout + done.stderr] == []


def test_a_machine_that_knows_nothing(deployment: Deployment) -> None:
    """Without settings only the URL is checked: no complaint about a missing database."""
    done = doctor(environment_of(), deployment.mcp)
    assert done.returncode == 0, done.stdout
    assert "Database" not in done.stdout


def test_a_person(deployment: Deployment, postbox: Postbox) -> None:
    """By address and by token: the scopes they lack for each tool, and the command that grants them."""
    with Person("doctors-patient@example.com", postbox) as person:
        settings = Settings(oauth_issuer=deployment.issuer, mcp_resource_url=deployment.mcp)
        idp = Idp(deployment.idp.base, deployment.issuer, settings, Clock(), postbox)
        token = registered(idp).connect(person)["access_token"]
    by_address = doctor(deployment.environment, "--email", "doctors-patient@example.com")
    wanted = "lacks demo:ops, which demo_get_server_info needs"
    assert wanted in by_address.stdout
    assert by_address.returncode == 0
    by_token = doctor(deployment.environment, deployment.mcp, "--token", "-", given=f"{token}\n")
    assert "gatepost users grant doctors-patient@example.com demo:ops" in by_token.stdout
    assert token not in by_token.stdout + by_token.stderr
    assert by_token.returncode == 0


def test_colours_on_a_terminal(deployment: Deployment) -> None:
    """On a terminal: colours, and the check in progress; the words are the same."""
    ours, theirs = pty.openpty()
    environment = {**deployment.environment, "TERM": "xterm-256color", "SMTP_PORT": str(free_port())}
    command = [sys.executable, "-m", "gatepost_idp", "doctor"]
    with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal reports that the other side is gone
            while chunk := os.read(ours, 65536):
                shown += chunk
        assert process.wait(60) == 1
    os.close(ours)
    assert b"\x1b[1;31mFAIL" in shown
    assert "Mail server …".encode() in shown
