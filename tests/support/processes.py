"""Both servers as real processes, started as an operator starts them."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30


@dataclass
class Server:
    """A process that answers at ``base``; its log is a file."""

    base: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def logged(self) -> str:
        """Everything it has logged so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")


@dataclass
class Deployment:
    """An IdP and a resource server that know each other only by their URLs."""

    issuer: str
    mcp: str
    idp: Server
    resource: Server
    environment: dict[str, str]

    def gatepost(self, *arguments: str) -> str:
        """Runs a ``gatepost`` command beside the servers; returns its output."""
        return run_gatepost(self.environment, *arguments)


def environment_of(**settings: str) -> dict[str, str]:
    """This process's environment without any Gatepost settings, plus ``settings``."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "XDG_RUNTIME_DIR") if name in os.environ}
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("idp", "resource"))
    return {**kept, **coverage, "PYTHONPATH": paths, "PYTHONWARNINGS": "error", **settings}


def run_gatepost(environment: Mapping[str, str], *arguments: str) -> str:
    """Runs ``gatepost ARGUMENTS``; raises AssertionError with its output if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "gatepost_idp", *arguments],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"gatepost {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def running(base: str, environment: Mapping[str, str], log: Path, *command: str) -> Iterator[Server]:
    """A server process, from when its /healthz answers until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=dict(environment), stdout=output, stderr=output
        )
    server = Server(base, process, log)
    try:
        wait_for(f"{base}/healthz", server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(url: str, server: Server) -> None:
    """Returns once ``url`` answers 200."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.process.poll() is None, f"the server ended:\n{server.logged()}"
        with contextlib.suppress(httpx2.TransportError):
            # verify: this is plain http, and each try would otherwise load all certificates while the server starts.
            if httpx2.get(url, trust_env=False, verify=False).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"{url} does not answer:\n{server.logged()}")


@contextlib.contextmanager
def deployed(folder: Path, smtp_port: int, **settings: str) -> Iterator[Deployment]:
    """Both servers on free ports, on a fresh SQLite file unless ``settings`` says otherwise."""
    idp_port, resource_port = free_port(), free_port()
    issuer, mcp = f"http://localhost:{idp_port}", f"http://localhost:{resource_port}/mcp"
    environment = environment_of(
        **{
            "OAUTH_ISSUER": issuer,
            "MCP_RESOURCE_URL": mcp,
            "IDP_PORT": str(idp_port),
            "RESOURCE_PORT": str(resource_port),
            "DATABASE_URL": f"sqlite:///{folder / 'gatepost.db'}",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(smtp_port),
            "SMTP_SECURITY": "none",
            "MAIL_FROM": "gatepost@example.test",
            "METRICS_ADDRESS": "",
            "LIMIT_ADDRESS": "1000/minute",
            "LIMIT_NETWORK": "1000/minute",
            "LIMIT_TOTAL": "1000/minute",
            **settings,
        }
    )
    run_gatepost(environment, "db", "upgrade")
    idp_base, resource_base = f"http://127.0.0.1:{idp_port}", f"http://127.0.0.1:{resource_port}"
    with (
        running(idp_base, environment, folder / "idp.log", "gatepost_idp", "idp") as idp,
        running(resource_base, environment, folder / "resource.log", "gatepost_resource") as resource,
    ):
        yield Deployment(issuer, mcp, idp, resource, environment)
