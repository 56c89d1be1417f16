"""``python -m gatepost_resource`` as operators run it: start, log, stop, and its messages when it cannot start."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from gatepost_resource.logs import Lines
from tests.resource.issuer import Issuer
from tests.resource.running import LIST, wait_for
from tests.support.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]


class Process:
    """The server in a separate process."""

    def __init__(self, environment: dict[str, str], stderr: Path) -> None:
        paths = os.pathsep.join(str(CHECKOUT / name) for name in ("idp", "resource"))
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._stderr = stderr
        with stderr.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gatepost_resource"],
                env={**inherited, "PYTHONPATH": paths, "PYTHONWARNINGS": "error", **environment},
                stderr=log,
                stdout=log,
            )

    @property
    def said(self) -> str:
        return self._stderr.read_text()

    @property
    def log(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.said.splitlines()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=15)


@contextlib.contextmanager
def running(environment: dict[str, str], path: Path) -> Iterator[Process]:
    started = Process(environment, path)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait()


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture
def place(issuer: Issuer) -> dict[str, str]:
    port = free_port()
    return {
        "OAUTH_ISSUER": issuer.url,
        "MCP_RESOURCE_URL": f"http://localhost:{port}/mcp",
        "RESOURCE_PORT": str(port),
        "LOG_FORMAT": "json",
    }


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def test_it_listens_on_every_address_and_stops_when_told(place: dict[str, str], tmp_path: Path) -> None:
    """RESOURCE_HOST may name several, since `localhost` may be IPv4 or IPv6; SIGTERM ends it with exit code 0."""
    base = f"http://127.0.0.1:{place['RESOURCE_PORT']}"
    with running({**place, "RESOURCE_HOST": "127.0.0.1,::1"}, tmp_path / "log") as server:
        wait_for(lambda: answers(f"{base}/readyz"))
        if has_ipv6():
            assert answers(f"http://[::1]:{place['RESOURCE_PORT']}/readyz")
        assert server.stop() == 0
        assert "Traceback" not in server.said


def test_requests_under_way_are_finished_first(place: dict[str, str], issuer: Issuer, tmp_path: Path) -> None:
    """A stop during a request lets it finish."""
    base = f"http://127.0.0.1:{place['RESOURCE_PORT']}"
    with running(place, tmp_path / "log") as server:
        wait_for(lambda: answers(f"{base}/readyz"))
        host, port = base.removeprefix("http://").split(":")
        token = issuer.token(place["MCP_RESOURCE_URL"])
        body = json.dumps(LIST).encode()
        head = [
            "POST /mcp HTTP/1.1",
            f"Host: {host}:{port}",
            f"Authorization: Bearer {token}",
            "Content-Type: application/json",
            "Accept: application/json",
            f"Content-Length: {len(body)}",
        ]
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode() + body[:10])
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(body[10:])
            assert b" 200 " in connection.recv(4096)
        assert server.process.wait(timeout=15) == 0


def test_several_workers_share_the_port(place: dict[str, str], issuer: Issuer, tmp_path: Path) -> None:
    """Any of them can answer any request; one signal stops them all."""
    base = f"http://127.0.0.1:{place['RESOURCE_PORT']}"
    with running({**place, "WORKERS": "2"}, tmp_path / "log") as server:
        wait_for(lambda: answers(f"{base}/readyz"), 30)
        headers = {
            "authorization": f"Bearer {issuer.token(place['MCP_RESOURCE_URL'])}",
            "content-type": "application/json",
            "accept": "application/json",
        }
        for _ in range(6):
            answer = httpx2.post(f"{base}/mcp", json=LIST, headers=headers, trust_env=False)
            assert answer.status_code in (200, 503)  # the second worker may still be fetching its keys
        assert server.stop() == 0


@pytest.mark.clause("R3.not-logged")
def test_the_log_tells_what_matters_and_no_secret(place: dict[str, str], issuer: Issuer, tmp_path: Path) -> None:
    """One JSON object a line: the start, each request, each refusal with its setting; no query, cookie or token."""
    base = f"http://127.0.0.1:{place['RESOURCE_PORT']}"
    token = issuer.token(place["MCP_RESOURCE_URL"])
    with running({**place, "LOG_LEVEL": "debug"}, tmp_path / "log") as server:
        wait_for(lambda: answers(f"{base}/readyz"))
        with httpx2.Client(base_url=base, trust_env=False) as client:
            secrets = {
                "authorization": f"Bearer {token}",
                "cookie": "session=c00kie",
                "accept": "application/json",
                "x-forwarded-for": "198.51.100.9",
            }
            good = client.post("/mcp?access_token=qu3ry", json=LIST, headers=secrets)
            client.post("/mcp", json=LIST, headers={"authorization": "Bearer w0rthless.w0rthless.x"})
            client.get("/mcp", headers={"host": "evil.example"})
            client.post("/mcp", json=LIST, headers={"origin": "https://evil.example"})
        server.stop()
        said, log = server.said, server.log
    for secret in (token, token.split(".")[2], "qu3ry", "c00kie", "w0rthless"):
        assert secret not in said
    events = {str(line["event"]): line for line in log}
    assert events["serving"]["mcp_url"] == place["MCP_RESOURCE_URL"]
    assert "JWTs" in str(events["jwt_only"]["hint"])
    requests = [line for line in log if line["event"] == "request" and line["status"] == 200]
    (one,) = [line for line in requests if line["path"] == "/mcp"]
    assert one["client_id"] == "client-1"
    assert one["address"] == "127.0.0.1"
    assert one["request_id"] == good.headers["x-request-id"]
    host_hint = str(events["host_refused"]["hint"])
    assert events["host_refused"]["host"] == "evil.example"
    assert host_hint.index("MCP_RESOURCE_URL") < host_hint.index("ALLOWED_HOSTS")
    assert events["origin_refused"]["origin"] == "https://evil.example"
    assert events["origin_refused"]["setting"] == "ALLOWED_ORIGINS"
    assert events["forwarded_for_not_believed"]["setting"] == "TRUSTED_PROXIES"


@pytest.mark.parametrize("style", ["json", "text"])
def test_the_level_holds_for_our_lines_too(place: dict[str, str], tmp_path: Path, style: str) -> None:
    """With LOG_LEVEL=WARNING successes are not logged, refusals are."""
    base = f"http://127.0.0.1:{place['RESOURCE_PORT']}"
    with running({**place, "LOG_LEVEL": "WARNING", "LOG_FORMAT": style}, tmp_path / "log") as server:
        wait_for(lambda: answers(f"{base}/readyz"))
        httpx2.get(f"{base}/", trust_env=False)
        httpx2.get(f"{base}/", headers={"host": "evil.example"}, trust_env=False)
        server.stop()
    (line,) = server.said.splitlines()
    assert "host_refused" in line
    assert "gatepost_resource.hosts" in line


@pytest.mark.parametrize("problem", [BrokenPipeError("nobody reads"), OSError(28, "no space"), ValueError("closed")])
def test_a_log_that_takes_no_line_stops_no_request(problem: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the log cannot be written, the line is lost, but the request is answered."""

    class Refusing:
        def write(self, _: str) -> int:
            raise problem

    monkeypatch.setattr(sys, "stderr", Refusing())
    Lines("gatepost_resource.requests").info("a line")


def test_a_trusted_proxy_is_believed_about_the_address(place: dict[str, str], tmp_path: Path) -> None:
    """The rightmost hop that is not a trusted proxy is the caller; anybody can forge what is left of it."""
    base = f"http://127.0.0.1:{place['RESOURCE_PORT']}"
    with running({**place, "TRUSTED_PROXIES": "127.0.0.0/8,10.0.0.0/8"}, tmp_path / "log") as server:
        wait_for(lambda: answers(f"{base}/readyz"))
        headers = {"x-forwarded-for": "6.6.6.6, 198.51.100.9, 10.1.2.3"}
        httpx2.get(f"{base}/", headers=headers, trust_env=False)
        server.stop()
        (line,) = [line for line in server.log if line["event"] == "request" and line["path"] == "/"]
    assert line["address"] == "198.51.100.9"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"OAUTH_ISSUER": "http://auth.example.com"}, "OAUTH_ISSUER"),
        ({"OAUTH_ISSUER": "https://auth.example.com"}, "MCP_RESOURCE_URL"),
        ({"CATALOGUE": "/nowhere/catalogue.toml"}, "CATALOGUE"),
        ({"RESOURCE_HOST": "192.0.2.1"}, "RESOURCE_HOST"),
    ],
)
def test_a_wrong_setting_stops_the_start(
    place: dict[str, str], tmp_path: Path, changes: dict[str, str], name: str
) -> None:
    """One line on standard error, exit code 2, no traceback."""
    with running({**place, **changes, "LOG_LEVEL": "error"}, tmp_path / "log") as server:
        assert server.process.wait(timeout=15) == 2
        (line,) = server.said.splitlines()
    assert line.startswith(f"{name}: ")
    assert "example: " in line


def test_a_port_in_use_stops_the_start(place: dict[str, str], tmp_path: Path) -> None:
    """The message names the setting to change, without a traceback."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(place["RESOURCE_PORT"])))
        other.listen()
        with running({**place, "LOG_LEVEL": "error"}, tmp_path / "log") as server:
            assert server.process.wait(timeout=15) == 2
            assert server.said.startswith("RESOURCE_PORT: ")
            assert "Address already in use" in server.said


def test_pythons_own_resource_module_is_still_itself() -> None:
    """The folder `resource` is not a package: `import resource` has getrlimit even with the checkout on the path."""
    paths = os.pathsep.join(str(CHECKOUT / name) for name in ("", "idp", "resource"))
    code = "import resource, gatepost_resource; resource.getrlimit(resource.RLIMIT_NOFILE); print('fine')"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "fine\n", result.stderr


def test_the_two_packages_do_not_know_each_other() -> None:
    """Nothing of the authorization server is imported: they share only protocols."""
    code = "import sys, gatepost_resource.__main__; print([m for m in sys.modules if 'gatepost_idp' in m])"
    paths = os.pathsep.join(str(CHECKOUT / name) for name in ("idp", "resource"))
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "[]\n", result.stderr
