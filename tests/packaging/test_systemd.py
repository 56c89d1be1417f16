"""The units of ``deploy/systemd``: systemd takes them, and holds the servers in."""

import configparser
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
    parsed = configparser.RawConfigParser(strict=False)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]  # how configparser keeps case
    parsed.read(unit, encoding="utf-8")
    service = parsed["Service"]
    name = unit.stem.removeprefix("gatepost-")
    assert service["ExecStart"] == f"/opt/gatepost/bin/gatepost {name}"
    fields = IdpSettings.model_fields if name == "idp" else ResourceSettings.model_fields
    setting, _, value = service["Environment"].partition("=")
    assert setting.removesuffix("_FILE").lower() in fields
    assert service["LoadCredential"].partition(":")[0] == value.removeprefix("%d/")
