"""The units of ``deploy/systemd``: systemd accepts them, confines the servers, and root's commands find the data."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gatepost_idp.settings import Settings as IdpSettings
from gatepost_resource.settings import Settings as ResourceSettings
from tests.support.processes import ROOT

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
# 0 is held in altogether, 10 not at all; what is left is the network, which servers are for.
EXPOSURE = 1.5


def installed(unit: Path, folder: Path) -> Path:
    """The unit with a program that exists on this machine."""
    copied = folder / unit.name
    text = unit.read_text(encoding="utf-8").replace("/opt/gatepost/bin/gatepost", sys.executable)
    copied.write_text(text, encoding="utf-8")
    return copied


def service_of(unit: Path) -> configparser.SectionProxy:
    """Its section [Service]; of what stands there twice the last."""
    parsed = configparser.RawConfigParser(strict=False)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]  # how configparser keeps case
    parsed.read(unit, encoding="utf-8")
    return parsed["Service"]


def analyzed(*arguments: str) -> str:
    """What ``systemd-analyze`` says; it has to be content."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("install it: apt-get install systemd")
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_it(unit: Path, tmp_path: Path) -> None:
    """Without a word: an unknown or misspelt line would be a warning, and hold nothing in."""
    assert analyzed("verify", "--man=no", str(installed(unit, tmp_path))) == ""


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_it_is_held_in(unit: Path, tmp_path: Path) -> None:
    """By systemd's own measure."""
    said = analyzed("security", "--offline=yes", "--no-pager", str(installed(unit, tmp_path)))
    (exposure,) = re.findall(r"Overall exposure level for \S+ (\d+\.\d)", said)
    assert float(exposure) <= EXPOSURE


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_it_starts_what_there_is(unit: Path) -> None:
    """A command of ours, with settings that exist."""
    service = service_of(unit)
    name = unit.stem.removeprefix("gatepost-")
    assert service["ExecStart"] == f"/opt/gatepost/bin/gatepost {name}"
    fields = IdpSettings.model_fields if name == "idp" else ResourceSettings.model_fields
    setting, _, value = service["Environment"].partition("=")
    assert setting.removesuffix("_FILE").lower() in fields
    assert service["LoadCredential"].partition(":")[0] == value.removeprefix("%d/")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_what_it_keeps_outlives_it(unit: Path) -> None:
    """The database of the one, the approvals of the other: their defaults are relative, and all else is read-only."""
    service = service_of(unit)
    assert service["WorkingDirectory"] == f"/var/lib/{service['StateDirectory']}"
    assert service["StateDirectoryMode"] == "0700"
    assert not ResourceSettings(tool_approvals="var/approved-tools.json").tool_approvals.is_absolute()


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The folders of an installation; `gatepost` there says where it was run, with which settings."""
    for folder in ("etc", "gatepost", "gatepost-resource", "bin"):
        (tmp_path / folder).mkdir()
    (tmp_path / "etc" / "idp.env").write_text("OAUTH_ISSUER=https://auth.example.com\n")
    (tmp_path / "etc" / "resource.env").write_text("INTROSPECTION_CLIENT_ID=gp_rs_one\n")
    said = 'echo "$PWD $* ${OAUTH_ISSUER-} ${INTROSPECTION_CLIENT_ID-} ${INTROSPECTION_CLIENT_SECRET_FILE-}"; exit 3'
    (tmp_path / "bin" / "gatepost").write_text(f"#!/bin/sh\n: > made\n{said}\n")
    (tmp_path / "bin" / "gatepost").chmod(0o755)
    return tmp_path


def ran(machine: Path, *words: str) -> str:
    """What the script for root does with these words, each folder being one of the test's."""
    text = (ROOT / "deploy" / "systemd" / "gatepost").read_text(encoding="utf-8")
    for place, here in (("/etc/gatepost", "etc"), ("/var/lib", "."), ("/opt/gatepost/bin", "bin")):
        text = text.replace(place, str(machine / here))
    done = subprocess.run(
        ["sh", "-c", text, "gatepost", *words], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")
    return done.stdout.replace(str(machine), "").replace("/./", "/").strip()


def test_roots_commands_find_the_database(machine: Path) -> None:
    """With the settings of the service, in its folder; the command's exit code is the script's."""
    assert ran(machine, "users", "list") == "/gatepost users list https://auth.example.com"
    made = (machine / "gatepost" / "made").stat()
    assert (made.st_uid, made.st_mode & 0o777) == ((machine / "gatepost").stat().st_uid, 0o600)


def test_roots_commands_on_tools_find_the_approvals(machine: Path) -> None:
    """They are the resource server's, and need its credentials."""
    where, *rest = ran(machine, "tools", "accept", "crm/find person").split()
    assert (where, rest[-2:]) == ("/gatepost-resource", ["gp_rs_one", "/etc/client_secret"])
    assert rest[:3] == ["tools", "accept", "crm/find"]


def test_what_root_made_is_the_services(machine: Path) -> None:
    """A restored database that root owned would stop the service's next start."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away; run it as root, or in CI")
    os.chown(machine / "gatepost", 61234, 61234)
    ran(machine, "db", "restore", "/backups/x.db")
    assert (machine / "gatepost" / "made").stat().st_uid == 61234
