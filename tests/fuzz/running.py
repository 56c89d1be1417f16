"""The deployment to fuzz, the number of cases, and the health check at the end."""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import psutil
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from tests.fuzz.doors import IDP, RESOURCE
from tests.fuzz.grammar import Known, basic
from tests.fuzz.judge import Judge
from tests.journeys.wire import Wire, whole_run
from tests.support.line import Line
from tests.support.oauth import challenge_of
from tests.support.person import Person
from tests.support.processes import Deployment, Server, deployed
from tests.support.smtp import Postbox

T = TypeVar("T")
CASES = int(os.environ.get("GATEPOST_FUZZ_CASES", "10000"))
SEED = os.environ.get("GATEPOST_FUZZ_SEED", "")
MEGABYTE = 1024 * 1024
GROWTH = 64
"""Megabytes by which a server may have grown at the end of a wave, however many cases it had."""

VERIFIER = "v" * 43
REDIRECTS = ["https://client.test/callback", "http://127.0.0.1:4000/cb", "cursor://client/cb"]
CALLBACKS = (r"https://client\.test/callback", r"http://127\.0\.0\.1:\d+/cb", "cursor://client/cb")
FAULTS = re.compile(r'Traceback|"level": ?"(error|critical)"')

_people = count()


@dataclass
class Target:
    """Both servers, each with a line to it and a judge of what comes back."""

    deployment: Deployment
    postbox: Postbox
    idp: Line
    resource: Line
    known: Known
    idp_judge: Judge
    resource_judge: Judge

    @contextlib.contextmanager
    def well(self) -> Iterator[None]:
        """Asserts that no log has an error, memory has not grown too much, and a new person can use everything."""
        servers = (self.deployment.idp, self.deployment.resource)
        self.journey()
        before = [_megabytes(server) for server in servers]
        started, sent = time.monotonic(), self.idp.sent + self.resource.sent
        yield
        print(f"{self.idp.sent + self.resource.sent - sent} requests in {time.monotonic() - started:.1f} s")
        self.journey()
        for server, had in zip(servers, before, strict=True):
            print(f"{had:.0f} MB, then {_megabytes(server):.0f} MB")
            faults = [line for line in server.logged().splitlines() if FAULTS.search(line)]
            assert not faults, faults[:5]
            assert _megabytes(server) - had < GROWTH, f"{had} MB, then {_megabytes(server)} MB"

    def journey(self) -> None:
        """A whole flow: connects, calls a tool, refreshes, and calls a tool again."""
        with Person(f"afterwards-{next(_people)}@example.com", self.postbox) as person:
            last = whole_run(self.deployment.mcp, person).exchanges[-1].response
        assert person.email in last.text, last.text


def run(share: float, cases: SearchStrategy[T], work: Callable[[T], None]) -> None:
    """Runs ``work`` on ``share`` of all cases: the same ones each time, unless GATEPOST_FUZZ_SEED says otherwise."""
    number = max(1, round(CASES * share))
    print(f"{number} cases, seed: {SEED or 'the same each time'}")
    rules = settings(
        max_examples=number,
        deadline=None,
        database=None,
        derandomize=not SEED,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )

    @rules
    @given(case=cases)
    def each(case: T) -> None:
        work(case)

    (seed(SEED)(each) if SEED else each)()


@contextlib.contextmanager
def targeted(folder: Path, postbox: Postbox) -> Iterator[Target]:
    """Both servers, and a person's tokens; every request may claim its source address."""
    wide = {"TRUSTED_PROXIES": "127.0.0.0/8", "ACCESS_TOKEN_MINUTES": "240", "LOG_LEVEL": "warning"}
    limits = dict.fromkeys(("LIMIT_ADDRESS", "LIMIT_NETWORK", "LIMIT_TOTAL"), "1000000/minute")
    with deployed(folder, postbox.port, **wide, **limits) as deployment:
        idp, resource = (_line(server) for server in (deployment.idp, deployment.resource))
        known = _material(deployment, postbox)
        judges = (Judge(IDP, CALLBACKS), Judge(RESOURCE, plain=True))
        yield Target(deployment, postbox, idp, resource, known, *judges)
        for line, judge in zip((idp, resource), judges, strict=True):
            line.close()
            print(seen(judge))


def _line(server: Server) -> Line:
    place = urlsplit(server.base)
    return Line(str(place.hostname), int(place.port or 0))


def _material(deployment: Deployment, postbox: Postbox) -> Known:
    """Clients, a person's tokens, and cookies, all real; and some that are no longer valid."""
    public, secretive = _registered(deployment), _registered(deployment, "client_secret_post")
    with Person("known@example.com", postbox) as person:
        wires = [whole_run(deployment.mcp, person) for _ in range(2)]
        wires.append(_openid(deployment.mcp, person))
        cookies = [f"{name}={value}" for name, value in person.browser.cookies.items()]
    access = [wire.access_token for wire in wires]
    asking = _resource_server(deployment)
    forged = [
        f"{access[0][:-6]}AAAAAA",
        access[0].rpartition(".")[0] + ".",
        "x",
        "a.b.c",
        "gp_rt_x",
        wires[0].refresh_token,
    ]
    values = {
        "client_id": [public["client_id"]],
        "redirect_uri": [*REDIRECTS, "http://127.0.0.1:5000/cb"],
        "resource": [deployment.mcp],
        "code": [wires[0].code, "gp_ac_x", "12345678"],
        "code_verifier": [VERIFIER, wires[0].verifier],
        "code_challenge": [challenge_of(VERIFIER)],
        "refresh_token": [wires[0].refresh_token, "gp_rt_x"],
        "token": [wires[1].refresh_token, access[1], "gp_rt_x"],
    }
    good, wrong = (basic(secretive["client_id"], shown) for shown in (secretive["client_secret"], "x"))
    secret = (secretive["client_id"], secretive["client_secret"])
    clients = [(public["client_id"], ""), secret, asking, (wires[0].client_id, ""), (wires[1].client_id, "")]
    return Known(values, clients, [good, basic(*asking), wrong, "Basic x"], ["", *access * 3, *forged], cookies)


def _openid(mcp: str, person: Person) -> Wire:
    """A client whose token is valid at /userinfo too."""
    wire = Wire(mcp, person)
    wire.scope = "openid email demo:read"
    wire.connect()
    wire.close()
    return wire


def _resource_server(deployment: Deployment) -> tuple[str, str]:
    """Credentials that may introspect."""
    made = deployment.gatepost("clients", "add", "Fuzz", "--resource-server", "--json")
    client = json.loads(made)
    return client["client_id"], client["client_secret"]


def _registered(deployment: Deployment, method: str = "none") -> dict[str, Any]:
    body = {"client_name": "Fuzz", "redirect_uris": REDIRECTS, "token_endpoint_auth_method": method}
    answer = httpx2.post(f"{deployment.issuer}/register", json=body, trust_env=False)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def _megabytes(server: Server) -> float:
    return float(psutil.Process(server.process.pid).memory_info().rss) / MEGABYTE


def seen(judge: Judge) -> str:
    """A table of the answers by endpoint."""
    return "\n".join(f"{status} {number:6} {place}" for (place, status), number in sorted(judge.seen.items()))
