"""Gatepost as others get it: a wheel of the files in git, installed into a separate environment."""

import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging.demo import clean_environment
from tests.support.processes import ROOT


@dataclass(frozen=True)
class Installed:
    """An environment into which the wheel, and nothing else, was installed."""

    wheel: Path
    environment: Path

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.environment / "bin" / "python")

    @property
    def gatepost(self) -> str:
        """The console script."""
        return str(self.environment / "bin" / "gatepost")

    def run(self, *command: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
        """Runs a command of that environment; returns its output."""
        return subprocess.run(
            command, cwd=cwd, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
        )


def committed(*below: str) -> list[str]:
    """The files below some folders that a commit of this checkout would hold, and nothing that git ignores.

    In a fresh clone these are the tracked files; here what is new and not yet added counts too, so that work under
    way is tested as it is.
    """
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("the wheel is built from the files that git knows; clone the repository, and: apt-get install git")
    command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *below]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    return [name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def build_and_install(folder: Path) -> Installed:
    """Builds in a clean copy, as a release is built, and installs without dependencies."""
    source, wheels, environment = folder / "source", folder / "wheels", folder / "environment"
    for name in committed():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(source))
    (wheel,) = wheels.glob("gatepost-*.whl")
    _run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    python = str(environment / "bin" / "python")
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet", str(wheel))
    _see_packages_of_this_environment(python)
    shutil.rmtree(source)
    return Installed(wheel, environment)


def _see_packages_of_this_environment(python: str) -> None:
    """Dependencies come from where the tests run, behind what is installed here.

    A folder in a .pth file goes to the end of the path and its own .pth files are not read, so that an editable
    install of this checkout stays out of sight.
    """
    said = _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    here = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (Path(said.strip()) / "packages_of_the_tests.pth").write_text("\n".join(here) + "\n", encoding="utf-8")


def _run(*command: str) -> str:
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout
