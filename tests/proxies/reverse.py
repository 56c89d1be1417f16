"""Caddy, nginx and HAProxy with the files of ``deploy/``; only addresses and certificates differ."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.processes import ROOT

DEPLOY = ROOT / "deploy"
ENDINGS = {"caddy": "Caddyfile", "nginx": "conf", "haproxy": "cfg"}
KINDS = tuple(ENDINGS)
SHAPES = ("two-hosts", "one-host", "issuer-path", "issuer-path-stripped", "rewritten-host", "behind-another")
COMPOSE = DEPLOY / "compose" / "Caddyfile"


def file_of(kind: str, shape: str) -> Path:
    """The file that an operator copies."""
    return DEPLOY / kind / f"{shape}.{ENDINGS[kind]}"


def settings_in(path: Path) -> dict[str, str]:
    """The settings that the file's comment asks for."""
    return dict(re.findall(r"^# ([A-Z_]+)=(\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE))


@dataclass(frozen=True)
class Certificate:
    """A certificate for every public name, from a private authority."""

    chain: Path
    key: Path
    both: Path
    authority: Path


@dataclass(frozen=True)
class Upstreams:
    """The ports of the two servers, or another proxy's port twice."""

    idp: int
    resource: int


def require(*kinds: str) -> None:
    """Skips the test if a proxy is not installed."""
    missing = [kind for kind in kinds if _program(kind) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; install it: apt-get install {' '.join(missing)}")
    if sys.platform != "linux":
        pytest.skip("the tests give the client an address of its own on loopback, which only Linux has")


def _program(kind: str) -> str | None:
    return shutil.which(kind, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextlib.contextmanager
def proxying(path: Path, folder: Path, certificate: Certificate, upstreams: Upstreams) -> Iterator[int]:
    """Runs the proxy with that file in front of ``upstreams``; yields its port."""
    kind = "caddy" if path.name.endswith("Caddyfile") else path.parent.name
    port = free_port()
    text = _changed(path.read_text(encoding="utf-8"), _changes(kind, port, certificate, upstreams))
    written = folder / path.name
    scheme = "http" if "http://auth" in text else "https"
    frame = _FRAMES[kind].format(port=port, folder=folder, scheme=scheme)
    written.write_text(frame + text + _ENDS[kind], encoding="utf-8")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "DOMAIN": "example.com"}
    with _running(_command(kind, written), port, folder / "proxy.log", environment):
        yield port


def _changes(kind: str, port: int, certificate: Certificate, upstreams: Upstreams) -> dict[str, str]:
    """The parts of a file that must change on a test machine; each may be absent."""
    return {
        "# tls": "tls",
        "/etc/ssl/example.com.pem": str(certificate.chain),
        "/etc/ssl/example.com.key": str(certificate.key),
        "/etc/haproxy/example.com.pem": str(certificate.both),
        "listen 443": f"listen 127.0.0.1:{port}",
        "listen 8080": f"listen 127.0.0.1:{port}",
        "bind :443": f"bind 127.0.0.1:{port}",
        "bind :8080": f"bind 127.0.0.1:{port}",
        ".com:8080": f".com:{port}",
        "127.0.0.1:9000": f"127.0.0.1:{upstreams.idp}",
        "127.0.0.1:9001": f"127.0.0.1:{upstreams.resource}",
        "dynamic a idp 9000": f"to 127.0.0.1:{upstreams.idp}",
        "resource:9001": f"127.0.0.1:{upstreams.resource}",
    }


def _changed(text: str, changes: Mapping[str, str]) -> str:
    wanted = re.compile("|".join(re.escape(old) + r"\b" for old in changes))
    return wanted.sub(lambda found: changes[found.group()], text)


_FRAMES = {
    # A test machine has no port 443, no root and no business with a public certificate authority.
    "caddy": "{{\n\tadmin off\n\tauto_https disable_redirects\n\t{scheme}_port {port}\n\tdefault_bind 127.0.0.1\n}}\n",
    "nginx": "daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n"
    "client_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\nfastcgi_temp_path {folder}/f;\n"
    "uwsgi_temp_path {folder}/u;\nscgi_temp_path {folder}/s;\n",
    "haproxy": "",
}
_ENDS = {"caddy": "", "nginx": "}\n", "haproxy": ""}


def _command(kind: str, path: Path) -> list[str]:
    program = str(_program(kind))
    return {
        "caddy": [program, "run", "--adapter", "caddyfile", "--config", str(path)],
        "nginx": [program, "-p", str(path.parent), "-e", "stderr", "-c", str(path)],
        "haproxy": [program, "-db", "-f", str(path)],
    }[kind]


@contextlib.contextmanager
def _running(command: list[str], port: int, log: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=dict(environment))
    try:
        deadline = time.monotonic() + 20
        while not _listens(port):
            said = log.read_text(encoding="utf-8", errors="replace")
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
