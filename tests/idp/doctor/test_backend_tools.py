"""The backends' tools as doctor sees them: the faults in `gatepost tools list`, each with its remedy."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from gatepost_idp.settings import Settings
from tests.idp.doctor.deployment import Names
from tests.idp.doctor.test_inside import changed, examined
from tests.resource.backend import scripted, text
from tests.resource.issuer import issuing
from tests.support.processes import environment_of
from tests.support.serving import Idp

CATALOGUE = """
[[resource]]
name = "Tools"
[[resource.scope]]
name = "crm:read"
title = "Read"
new_accounts = true
[[backend]]
name = "crm"
url = "{crm}"
tools = {{ "find_*" = "crm:read", "none_*" = "crm:read" }}
[[backend]]
name = "hr"
url = "http://localhost:1/mcp"
tools = {{ "*" = "crm:read" }}
"""
TOOLS = ["find_one", "find.it", "find_it", "unruled", "find_changed"]


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.toml"


def _faults(network: Names, settings: Settings, told: Mapping[str, object]) -> dict[str, str]:
    outcomes = examined(network, settings, survey=lambda: told)
    return {
        finding.fault: finding.seen
        for outcome in outcomes
        if outcome.check == "backend-tools"
        for finding in outcome.findings
    }


def test_each_fault_of_a_tool_is_found_and_named(idp: Idp, network: Names, catalogue: Path, tmp_path: Path) -> None:
    """From the output of the resource server's own command about real backends."""
    listed = [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]
    approved = {"version": 1, "tools": {"crm": {"find_changed": "{}"}}}
    (tmp_path / "approved.json").write_text(json.dumps(approved), encoding="utf-8")
    with issuing() as issuer, scripted(lambda backend, message: text(message), listed) as crm:
        catalogue.write_text(CATALOGUE.format(crm=crm.url), encoding="utf-8")
        environment = environment_of(
            OAUTH_ISSUER=issuer.url,
            MCP_RESOURCE_URL=idp.settings.mcp_resource_url,
            CATALOGUE=str(catalogue),
            TOOL_APPROVALS=str(tmp_path / "approved.json"),
            INTROSPECTION_CLIENT_ID=issuer.credentials[0],
            INTROSPECTION_CLIENT_SECRET=issuer.credentials[1],
        )
        asked = [sys.executable, "-m", "gatepost_resource", "tools", "list", "--json"]
        done = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    found = _faults(network, changed(idp, catalogue=str(catalogue)), json.loads(done.stdout))
    assert found.keys() == {
        "backend-unreachable",
        "tool-unruled",
        "tool-left-out",
        "tool-changed",
        "rule-fits-nothing",
    }
    assert "hr: " in found["backend-unreachable"]
    assert found["tool-unruled"] == "crm: unruled"
    assert "'find.it' and 'find_it' would both be crm_find_it" in found["tool-left-out"]
    assert found["tool-changed"] == "crm: find_changed"
    assert found["rule-fits-nothing"] == "crm: 'none_*' matches none of its tools"


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({"refused": "INTROSPECTION_CLIENT_ID: is not set"}, "tools-not-listed"),
        ({"tools": [], "problem": "TOOL_APPROVALS: it is not a file of approved tools"}, "approvals-unusable"),
    ],
)
def test_what_the_command_cannot_do_is_told(
    idp: Idp, network: Names, catalogue: Path, told: dict[str, object], fault: str
) -> None:
    """The command's error is shown, with the setting to fix."""
    catalogue.write_text(CATALOGUE.format(crm="http://localhost:2/mcp"), encoding="utf-8")
    assert _faults(network, changed(idp, catalogue=str(catalogue)), told).keys() == {fault}


def test_without_a_backend_nobody_is_asked(idp: Idp, network: Names) -> None:
    """The command takes a second, which a deployment without backends need not wait for."""
    asked: list[int] = []

    def survey() -> dict[str, object]:
        asked.append(1)
        return {"refused": "nobody should ask"}

    assert examined(network, idp.settings, survey=survey)
    assert asked == []
