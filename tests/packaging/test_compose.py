"""compose.yaml, before anything is built: what it names exists, what it runs is pinned and restricted."""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatepost_idp.settings import Settings as IdpSettings
from gatepost_resource.settings import Settings as ResourceSettings
from tests.support.processes import ROOT

# Pinned to a release, or to the bytes.
PINNED = re.compile(r"[a-z0-9.]+/[a-z0-9/-]+:v?[0-9]+\.[0-9]+(\.[0-9]+)?(-[a-z]+)*|.+@sha256:[0-9a-f]{64}")
GIVEN = {"DOMAIN": "mcp.example.com", "SMTP_HOST": "smtp.example.com", "MAIL_FROM": "gatepost@example.com"}


@cache
def services() -> dict[str, dict[str, Any]]:
    """The services by name, as they are written."""
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"])


NAMES = sorted(yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"])
OWN = ("idp", "resource", "prepare", "secrets")


@pytest.mark.parametrize("name", NAMES)
def test_each_service_is_held_in(name: str) -> None:
    """No root, no capability (except for Caddy's ports), write access only where needed, and resource limits."""
    service = services()[name]
    assert service["user"].partition(":")[0] not in ("", "0", "root")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()


@pytest.mark.parametrize("name", NAMES)
def test_each_service_says_whether_it_is_well(name: str) -> None:
    """Or runs once, and others wait for it to have done its work."""
    service = services()[name]
    if name not in ("secrets", "prepare"):
        assert service["healthcheck"]["test"][0] == "CMD"
        return
    assert service["restart"] == "no"
    waiting = [other["depends_on"].get(name) for other in services().values() if "depends_on" in other]
    assert {"condition": "service_completed_successfully"} in waiting


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OWN])
def test_each_image_is_pinned(name: str) -> None:
    """So that the same image runs every time."""
    assert PINNED.fullmatch(services()[name]["image"])


def test_the_base_of_our_own_image_is_pinned() -> None:
    """And each stage is built on it, so that another base needs one argument."""
    written = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (base,) = re.findall(r"^ARG BASE=(\S+)$", written, re.MULTILINE)
    assert PINNED.fullmatch(base)
    assert re.findall(r"^FROM (\S+)", written, re.MULTILINE) == ["${BASE}", "${BASE}"]
    assert "--require-hashes" in written


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("idp", IdpSettings.model_fields),
        ("prepare", IdpSettings.model_fields),
        ("resource", ResourceSettings.model_fields),
    ],
)
def test_each_setting_exists(name: str, fields: dict[str, Any]) -> None:
    """By its name or as a file: a misspelt one would be ignored, and the default used."""
    for setting in services()[name]["environment"]:
        assert setting.removesuffix("_FILE").lower() in fields, setting


# What the other containers decide; all else is the operator's.
DECIDED = {
    "OAUTH_ISSUER", "MCP_RESOURCE_URL", "TRUSTED_PROXIES", "REDIS_URL", "TOOL_APPROVALS", "DATABASE_URL_FILE",
    "SECRET_KEY_FILE", "SMTP_PASSWORD_FILE", "INTROSPECTION_CLIENT_ID_FILE", "INTROSPECTION_CLIENT_SECRET_FILE",
}  # fmt: skip


@pytest.mark.parametrize("name", ["idp", "prepare", "resource"])
def test_every_setting_reaches_it(name: str) -> None:
    """By .env, whole: a line there that came to no container would be ignored without a word, be it EMAIL_DENY.

    `environment` wins over it, so what stands there is decided by the other containers, or is that line itself.
    """
    service = services()[name]
    assert service["env_file"] == [{"path": ".env", "required": False}]
    own = {setting: value for setting, value in service["environment"].items() if setting not in DECIDED}
    assert [setting for setting, value in own.items() if not str(value).startswith(f"${{{setting}:")] == []


def test_a_catalogue_has_a_place() -> None:
    """The same for both servers, and the name in each is that of the documents."""
    for name in ("idp", "prepare", "resource"):
        assert "./deploy/compose/etc:/etc/gatepost:ro" in services()[name]["volumes"]
    assert (ROOT / "deploy" / "compose" / "etc").is_dir()


def test_approvals_outlive_the_container() -> None:
    """In a volume, since its own root is read-only; an image without the folder would make that root's."""
    service = services()["resource"]
    folder = str(Path(service["environment"]["TOOL_APPROVALS"]).parent)
    assert f"approvals:{folder}" in service["volumes"]
    made = re.search(r"install -d -o 10001 -g 10001 -m 0755 (.+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert made
    assert Path(folder).name in made.group(1).split()


def test_no_secret_is_in_the_environment() -> None:
    """Each is a file; and each server is given the volumes with its own secrets alone."""
    for service in services().values():
        assert not [
            n
            for n in service.get("environment", {})
            if re.search("SECRET|PASSWORD|DATABASE_URL$", n) and not n.endswith("_FILE")
        ]
    seen = {place.partition(":")[0] for place in services()["resource"]["volumes"]}
    assert seen == {"introspection", "approvals", "./deploy/compose/etc"}


def test_one_address_alone_is_believed() -> None:
    """TRUSTED_PROXIES is Caddy's own address, which no other container gets."""
    front = services()["caddy"]["networks"]["front"]
    for name in ("idp", "resource"):
        assert services()[name]["environment"]["TRUSTED_PROXIES"] == front["ipv4_address"]


def test_it_can_be_scaled() -> None:
    """As many IdPs as asked for: no name and no port of the host that only one could have."""
    assert not {"container_name", "ports", "hostname"} & services()["idp"].keys()


def test_podman_compose_reads_it(tmp_path: Path) -> None:
    """The whole file, its variables filled in: as a second reader beside Docker's own."""
    if shutil.which("podman") is None:
        pytest.skip("install it: apt-get install podman")
    done = _compose({"PATH": os.environ["PATH"], "HOME": str(tmp_path), **GIVEN})
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)
    assert sorted(read["services"]) == sorted(set(NAMES) - {"mailbox"})
    assert read["services"]["idp"]["environment"]["OAUTH_ISSUER"] == "https://mcp.example.com"
    assert read["services"]["caddy"]["networks"]["front"]["aliases"] == ["mcp.example.com"]


@pytest.mark.parametrize("missing", sorted(GIVEN))
def test_what_only_the_operator_knows_has_to_be_given(tmp_path: Path, missing: str) -> None:
    """A deployment without its name or its mail server stops before it starts, and says which is missing."""
    if shutil.which("podman") is None:
        pytest.skip("install it: apt-get install podman")
    given = {name: value for name, value in GIVEN.items() if name != missing}
    done = _compose({"PATH": os.environ["PATH"], "HOME": str(tmp_path), **given})
    assert done.returncode != 0
    assert "set it to" in done.stderr


def _compose(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "podman_compose", "-f", str(ROOT / "compose.yaml"), "config"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
