"""Builds the image without a Docker engine or a registry, and runs it as compose.yaml says."""

import contextlib
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.support.processes import ROOT, START_SECONDS

PROGRAMS = ("podman", "buildah", "runc", "debootstrap")
BASE = "localhost/gatepost-tests-base:bookworm"
IMAGE = "localhost/gatepost-tests:latest"
STEP_SECONDS = 900
# Containers inside a container may not raise these, and the runtime would try.
LIMITS = ("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1000:2000")


def require() -> None:
    """Skips the test where containers cannot be made."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=_PATH) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; install them: apt-get install {' '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("only root can make a Debian to build on; run it as root, or in CI")


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def run(*command: str, check: bool = True) -> str:
    """The command's output; raises AssertionError with all of it if the command fails."""
    environment = {**os.environ, "PATH": _PATH}
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=STEP_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0 or not check, f"{' '.join(command)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def built(folder: Path) -> str:
    """The image, built from this checkout on a separate Debian; an earlier build is reused."""
    if not run("podman", "images", "--quiet", BASE):
        _make_base(folder)
    # The build sees the internet through whatever this machine sees it through.
    configured = folder / "pip.conf"
    configured.write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n", encoding="utf-8")
    seen = [f"--volume={place}:ro" for place in ("/etc/ssl/certs:/etc/ssl/certs", f"{configured}:/etc/pip.conf")]
    run(
        "buildah", "bud", "--isolation", "chroot", "--layers", *seen, f"--build-arg=BASE={BASE}", "-t", IMAGE, str(ROOT)
    )
    return IMAGE


def _make_base(folder: Path) -> None:
    root = folder / "root"
    run("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm", str(root))
    packed = folder / "root.tar"
    run("tar", "-C", str(root), "-cf", str(packed), ".")
    run("podman", "import", "--quiet", str(packed), BASE)
    shutil.rmtree(root)
    packed.unlink()


@dataclass
class Project:
    """The services of compose.yaml, one at a time, on this machine's network and with separate volumes."""

    folder: Path
    settings: Mapping[str, str]
    mark: str = field(default_factory=lambda: f"gatepost-tests-{uuid.uuid4().hex[:8]}")

    def once(self, service: str) -> None:
        """Runs a one-shot to its end."""
        run(*self._command("run", "--rm", service=service), *_entrypoint(_services()[service]["entrypoint"]))

    def shell(self, service: str, script: str) -> str:
        """The output of a script run in place of a service."""
        return run(*self._command("run", "--rm", service=service), *_entrypoint(["sh", "-c", script]))

    @contextlib.contextmanager
    def running(self, service: str) -> Iterator[None]:
        """The service until the block ends."""
        name = f"{self.mark}-{service}"
        run(*self._command("run", "--detach", "--name", name, service=service), IMAGE, *_services()[service]["command"])
        try:
            _wait_until_answered(f"http://127.0.0.1:{self.settings[f'{service.upper()}_PORT']}/readyz")
            yield
        except BaseException:
            print(run("podman", "logs", name, check=False))
            raise
        finally:
            run("podman", "rm", "--force", "--time", "10", name, check=False)

    def clear(self) -> None:
        """Removes the volumes."""
        for name in run("podman", "volume", "ls", "--quiet").split():
            if name.startswith(self.mark):
                run("podman", "volume", "rm", name)

    def _command(self, *verb: str, service: str) -> list[str]:
        """Every restriction of the service, as podman options."""
        written = _services()[service]
        options = [f"--cap-drop={name}" for name in written["cap_drop"]]
        options += [f"--security-opt={name.partition(':')[0]}" for name in written["security_opt"]]
        options += [f"--tmpfs={place}" for place in written["tmpfs"]]
        options += [
            f"--user={written['user']}",
            f"--memory={written['mem_limit']}",
            f"--pids-limit={written['pids_limit']}",
        ]
        options += ["--read-only"] if written["read_only"] else []
        options += [f"--volume={self._volume(place)}" for place in written.get("volumes", ())]
        environment = {**written.get("environment", {}), **self.settings}
        options += [f"--env={name}={value}" for name, value in environment.items() if name not in self._unset()]
        options += [f"--volume={self.mark}-var:/var/lib/gatepost/var"]  # SQLite, which stands in for PostgreSQL
        return ["podman", "--runtime", "runc", *verb, "--network=host", *LIMITS, *options]

    def _unset(self) -> set[str]:
        """What a setting of the test takes the place of."""
        return {f"{name}_FILE" for name in self.settings} | {"REDIS_URL", "SMTP_PASSWORD_FILE", "SMTP_USERNAME"}

    def _volume(self, place: str) -> str:
        source, _, rest = place.partition(":")
        return f"{ROOT / source}:{rest}" if source.startswith(".") else f"{self.mark}-{source}:{rest}"


def _services() -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"])


def _entrypoint(command: list[str]) -> list[str]:
    return ["--entrypoint", command[0], IMAGE, *command[1:]]


def _wait_until_answered(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(url):
        assert time.monotonic() < deadline, f"{url} does not answer"
        time.sleep(0.2)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return httpx2.get(url, trust_env=False, verify=False).status_code == httpx2.codes.OK
    return False
