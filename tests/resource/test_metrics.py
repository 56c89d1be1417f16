"""METRICS_ADDRESS of the resource server: requests, refusals, calls and keys are counted; nobody is named."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from gatepost_resource.counts import Counts
from tests.resource.issuer import Issuer, issuing
from tests.resource.running import LIST, Running, serving
from tests.support.metrics import scrape
from tests.support.ports import free_port
from tests.support.processes import environment_of, running

HOT_MICROSECONDS = 10


@contextlib.contextmanager
def watched(issuer: Issuer) -> Iterator[tuple[Running, str]]:
    """A server and its METRICS_ADDRESS."""
    address = f"127.0.0.1:{free_port()}"
    with serving(issuer, metrics_address=address) as server:
        yield server, address


@pytest.fixture
def resource(issuer: Issuer) -> Iterator[tuple[Running, str]]:
    with watched(issuer) as both:
        yield both


def test_requests_refusals_and_calls_are_counted(resource: tuple[Running, str]) -> None:
    """By place and status, by code or rule, by tool and outcome; and how long each place takes."""
    server, address = resource
    token = server.token(scope="demo:read", scope_entitlements="demo:read demo:echo")
    assert server.post(LIST, token).status_code == 200
    assert server.call("demo_get_time", token).status_code == 200
    assert server.call("demo_get_server_info", token).json()["result"]["isError"]
    assert server.call("demo_echo", token, text="x").status_code in (200, 403)
    assert server.post(LIST).status_code == 401
    assert server.post(LIST, "x.y.z").status_code == 401
    assert server.post(LIST, token, host="other.example").status_code == 421
    assert server.post(LIST, token, origin="https://other.example").status_code == 403
    told = scrape(address)
    assert told.value("gatepost_resource_requests_total", place="mcp", status="401") == 2
    assert told.value("gatepost_resource_requests_total", place="other", status="421") == 1
    for error in ("no_token", "invalid_token", "host", "origin"):
        assert told.value("gatepost_resource_refusals_total", error=error) == 1, error
    assert told.value("gatepost_resource_tool_calls_total", tool="demo_get_time", outcome="ok") == 1
    assert told.value("gatepost_resource_tool_calls_total", tool="demo_get_server_info", outcome="error") == 1
    assert told.value("gatepost_resource_answer_seconds_count", place="mcp") == 7
    assert told.value("gatepost_resource_keys") == 1


def test_what_strangers_send_makes_no_label(resource: tuple[Running, str]) -> None:
    """Attack: a label for each invented path, tool or Host would fill this server's and Prometheus's memory."""
    server, address = resource
    token = server.token()
    for number in range(20):
        server.request("GET", f"/invented/{number}")
        server.request("GET", f"/.well-known/oauth-protected-resource/invented{number}")
        server.call(f"invented_{number}", token)
        server.post(LIST, token, host=f"invented{number}.example")
    told = scrape(address).labels()
    assert "nvented" not in str(told)
    assert told["place"] <= {"mcp", "metadata", "other", "health"}
    assert "tool" not in told


def test_details_say_why_it_is_not_ready() -> None:
    """Without the issuer's keys: 503, with the reason here and without it for the public; and no age of the keys."""
    with issuing() as issuer:
        issuer.stop()
        address = f"127.0.0.1:{free_port()}"
        with serving(issuer, ready=False, metrics_address=address) as server:
            told = scrape(address)
            assert told.value("gatepost_resource_keys") == 0
            assert "gatepost_resource_keys_age_seconds" not in told.samples
            details = httpx2.get(f"http://{address}/readyz", trust_env=False)
            assert details.status_code == 503
            assert details.json()["keys"]["problem"]
            assert server.request("GET", "/readyz").text == "not ready\n"
            assert server.request("GET", "/metrics").status_code == 404


def test_keys_tell_how_long_ago_they_were_fetched(resource: tuple[Running, str]) -> None:
    """The age grows while the issuer is down, long before a token is refused."""
    server, address = resource
    server.monotonic.offset += 3600
    assert 3600 <= scrape(address).value("gatepost_resource_keys_age_seconds") < 3660
    ready = httpx2.get(f"http://{address}/readyz", trust_env=False)
    good = {"ok": True, "problem": ""}
    told = {"ready": True, "keys": good, "catalogue": good, "approvals": good, "backends": []}
    assert (ready.status_code, ready.json()) == (200, told)


def test_details_are_not_read_by_a_page_under_a_rebound_name(issuer: Issuer) -> None:
    """The details answer only to the listener's own name; if it listens on every address, to any name."""
    for bound, foreign in (("127.0.0.1", 421), ("0.0.0.0", 200)):
        port = free_port()
        with serving(issuer, metrics_address=f"{bound}:{port}", allowed_hosts=("metrics.internal",)):
            scrape(f"127.0.0.1:{port}")
            names = ("rebound.example", f"127.0.0.1.rebound.example:{port}")
            own = (f"localhost:{port}", "[::1]", "metrics.internal:80")
            for path in ("/readyz", "/metrics"):
                assert {status(port, path, host) for host in names} == {foreign}
                assert {status(port, path, host) for host in own} == {200}


def status(port: int, path: str, host: str) -> int:
    """The status for a browser whose DNS says that ``host`` is this machine."""
    return httpx2.get(f"http://127.0.0.1:{port}{path}", headers={"host": host}, trust_env=False).status_code


def test_each_worker_listens_ten_ports_on(issuer: Issuer, tmp_path: Path) -> None:
    """Two workers have two listeners, ten ports apart; there is no third."""
    port, metrics = free_port(), free_port()
    base = f"http://127.0.0.1:{port}"
    settings = {"OAUTH_ISSUER": issuer.url, "MCP_RESOURCE_URL": f"{base}/mcp", "RESOURCE_PORT": str(port)}
    settings |= {"WORKERS": "2", "METRICS_ADDRESS": f"127.0.0.1:{metrics}"}
    with running(base, environment_of(**settings), tmp_path / "resource.log", "gatepost_resource"):
        scrape(f"127.0.0.1:{metrics}")
        scrape(f"127.0.0.1:{metrics + 10}")
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"http://127.0.0.1:{metrics + 20}/metrics", trust_env=False)


def test_a_taken_port_costs_the_details_alone(issuer: Issuer, tmp_path: Path) -> None:
    """A warning names the setting, and the server still serves."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with watched(issuer) as (_, address):
        settings = {"OAUTH_ISSUER": issuer.url, "MCP_RESOURCE_URL": f"{base}/mcp", "RESOURCE_PORT": str(port)}
        environment = environment_of(METRICS_ADDRESS=address, **settings)
        with running(base, environment, tmp_path / "resource.log", "gatepost_resource") as server:
            assert httpx2.get(f"{base}/healthz", trust_env=False).status_code == 200
            assert "details_not_served" in server.logged()
            assert "METRICS_ADDRESS" in server.logged()


def test_a_start_does_not_pay_for_prometheus() -> None:
    """Its library is loaded by the first scrape."""
    code = "import sys, gatepost_resource.app; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=environment_of(), check=False).returncode == 0


def test_counting_costs_a_request_next_to_nothing() -> None:
    """Measured as the best of ten rounds, since other programs run on the machine."""
    counts, rounds = Counts(), []
    for _ in range(10):
        started = time.perf_counter()
        for _ in range(2_000):
            counts.answered("mcp", 200, 0.003)
        rounds.append((time.perf_counter() - started) / 2_000 * 1e6)
    print(f"{min(rounds):.2f} us a request")
    assert min(rounds) < HOT_MICROSECONDS
