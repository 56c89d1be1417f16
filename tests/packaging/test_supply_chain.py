"""Third-party code: each action and package is pinned to its bytes, and `make sbom` lists them."""

import json
import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.processes import ROOT

_LOCKED = re.compile(
    r"^([a-z0-9._-]+)==([^ ]+)(?: ; [^\\]+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LOCKS = ("requirements.lock", "requirements-dev.lock")


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the last line of `make sbom` writes; the tool checks it against CycloneDX's schema."""
    path = tmp_path_factory.mktemp("sbom") / "gatepost.cdx.json"
    program = Path(sysconfig.get_path("scripts")) / "cyclonedx-py"
    command = [
        str(program),
        "requirements",
        "requirements.lock",
        "--pyproject",
        "pyproject.toml",
        "--output-reproducible",
    ]
    subprocess.run([*command, "--validate", "--output-file", str(path)], cwd=ROOT, check=True, capture_output=True)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_the_sbom_is_that_of_gatepost(sbom: dict[str, Any]) -> None:
    """CycloneDX, with the product, its license, and no path of the machine that made it."""
    assert sbom["bomFormat"] == "CycloneDX"
    product = sbom["metadata"]["component"]
    assert (product["name"], product["licenses"][0]["license"]["id"]) == ("gatepost", "Apache-2.0")
    assert str(ROOT) not in json.dumps(sbom)


def test_the_sbom_has_each_locked_package_with_its_hashes(sbom: dict[str, Any]) -> None:
    """Name, version and digests as pip checks them at the installation: no more packages, no fewer."""
    listed = {
        (part["name"], part["version"]): {one["content"] for one in part["externalReferences"][0]["hashes"]}
        for part in sbom["components"]
    }
    locked = {
        (name, version): set(re.findall(r"sha256:(\w+)", hashes))
        for name, version, hashes in _LOCKED.findall((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    }
    assert len(locked) > 50
    assert listed == locked


@pytest.mark.parametrize("name", LOCKS)
def test_each_package_is_locked_by_its_hashes(name: str) -> None:
    """No line of a lock is a range, an address or a package without a digest."""
    text = (ROOT / name).read_text(encoding="utf-8")
    packages = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(packages) == len(_LOCKED.findall(text))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_each_action_is_pinned_to_a_commit(path: Path) -> None:
    """A tag can be moved to other code; the comment beside the digest says which release it is."""
    used = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read(path: Path) -> None:
    """And leaves no credentials behind for what it runs."""
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout")]
        assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


@pytest.mark.parametrize("name", LOCKS)
def test_each_lock_is_audited(name: str) -> None:
    """For known vulnerabilities, every day."""
    audit = yaml.safe_load((ROOT / ".github" / "workflows" / "audit.yml").read_text(encoding="utf-8"))
    assert name in audit["jobs"]["pip-audit"]["strategy"]["matrix"]["lock"]
    assert "schedule" in audit[True]  # YAML's `on`
