"""Deployments in each shape, in threads of the test process, and doctor's run against one."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2
import trustme
import uvicorn

import gatepost_resource.app
from gatepost_idp.operate.doctor.doctor import Case, Doctor
from gatepost_idp.operate.doctor.finding import Finding, Outcome
from gatepost_idp.operate.doctor.outside.network import Addresses, Network
from gatepost_idp.protocol import Clock
from gatepost_idp.settings import LOOPBACK_NAMES, Settings
from gatepost_resource.issuer import Issuer
from gatepost_resource.settings import Settings as ResourceSettings
from tests.idp.doctor.front import Bend, Front, Route, listening, straight, trusting
from tests.support import serving
from tests.support.ports import free_port
from tests.support.serving import Idp, settings_of, upgrade
from tests.support.smtp import receiving

PUBLIC = Addresses(("93.184.215.14",))
AUTH, MCP, ONE = "auth.example.test", "mcp.example.test", "one.example.test"
ISSUERS = {
    "two-hosts": (f"https://{AUTH}", f"https://{MCP}/mcp"),
    "one-host": (f"https://{ONE}", f"https://{ONE}/mcp"),
    "issuer-path": (f"https://{ONE}/auth", f"https://{ONE}/mcp"),
    "stripped": (f"https://{ONE}/auth", f"https://{ONE}/mcp"),
    "one-port": (f"https://{ONE}", f"https://{ONE}/mcp"),
}
PROTECTED = "/.well-known/oauth-protected-resource"


@dataclass
class Names(Network):
    """Resolves every name to the front, at port 443; loopback stays loopback, except as ``moved`` says."""

    authority: trustme.CA
    front: int = 0
    hosts: dict[str, Addresses] = field(default_factory=dict)
    records: dict[str, tuple[str, ...]] | None = None
    moved: dict[int, int] = field(default_factory=dict)
    patience: float = 10.0

    def __post_init__(self) -> None:
        self.tls = trusting(self.authority)

    async def addresses(self, host: str) -> Addresses:
        return self.hosts.get(host, PUBLIC)

    async def texts(self, name: str) -> tuple[str, ...] | None:
        return None if self.records is None else self.records.get(name, ())

    async def dial(self, host: str, port: int) -> tuple[str, int]:
        if host in LOOPBACK_NAMES:
            return "127.0.0.1", self.moved.get(port, port)
        if port != 443:
            raise ConnectionRefusedError("nothing listens there")
        return "127.0.0.1", self.front


@dataclass
class Servers:
    """Both servers behind their front."""

    idp: Idp
    resource_port: int

    @property
    def idp_port(self) -> int:
        return self.idp.settings.idp_port

    @property
    def mcp(self) -> str:
        return self.idp.settings.mcp_resource_url

    def routes(self, shape: str) -> list[Route]:
        """The front's routes in that shape."""
        if shape == "two-hosts":
            return [Route(AUTH, "/", self.idp_port), Route(MCP, "/", self.resource_port)]
        own = [Route(ONE, "/mcp", self.resource_port), Route(ONE, PROTECTED, self.resource_port)]
        if shape == "one-host":
            return [*own, Route(ONE, "/", self.idp_port)]
        strips = "/auth" if shape == "stripped" else ""
        named = [Route(ONE, f"/.well-known/{name}/auth", self.idp_port) for name in WELL_KNOWN]
        return [*own, *named, Route(ONE, "/auth", self.idp_port, strips)]


WELL_KNOWN = ("oauth-authorization-server", "openid-configuration")


class _Near(httpx2.AsyncBaseTransport):
    """The resource server's connection to the issuer, whose public name does not exist here."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._inner = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@contextlib.contextmanager
def servers(
    folder: Path,
    issuer: str = "",
    mcp: str = "",
    *,
    idp: Mapping[str, Any] | None = None,
    resource: Mapping[str, Any] | None = None,
    keys_at: int = 0,
) -> Iterator[Servers]:
    """Both servers on loopback; ``idp`` and ``resource`` change the settings of one of them."""
    with receiving() as postbox:
        port, resource_port = free_port(), free_port()
        issuer, mcp = issuer or f"http://localhost:{port}", mcp or f"http://localhost:{resource_port}/mcp"
        given: dict[str, Any] = {"oauth_issuer": issuer, "mcp_resource_url": mcp, **(idp or {})}
        settings = settings_of(folder, postbox, port, **given)
        upgrade(settings)
        clock = serving.Clock()
        known = Idp(f"http://127.0.0.1:{port}", settings.oauth_issuer, settings, clock, postbox)
        asked = {"oauth_issuer": issuer, "mcp_resource_url": mcp, "resource_port": resource_port, **(resource or {})}
        with (
            serving.listening(settings, clock, port),
            _resource(ResourceSettings(**asked), resource_port, keys_at or port),
        ):
            yield Servers(known, resource_port)


@contextlib.contextmanager
def _resource(settings: ResourceSettings, port: int, keys_at: int) -> Iterator[None]:
    def near(url: str) -> Issuer:
        made = Issuer(url)
        made._client = httpx2.AsyncClient(transport=_Near(keys_at), headers={"accept-encoding": "identity"})
        return made

    with mock.patch.object(gatepost_resource.app, "Issuer", near):
        app = gatepost_resource.app.build_app(settings)
    config = uvicorn.Config(app, port=port, log_config=None, access_log=False, server_header=False, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the resource server did not start"
        time.sleep(0.005)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(20)


@contextlib.contextmanager
def fronted(
    network: Names,
    routes: list[Route],
    folder: Path,
    bend: Bend = straight,
    certificate: trustme.LeafCert | None = None,
) -> Iterator[Front]:
    """The front, over TLS, to which ``network`` leads."""
    front = Front(routes, bend)
    certificate = certificate or network.authority.issue_cert(AUTH, MCP, ONE)
    with listening(front, certificate, folder) as port:
        network.front = port
        yield front


def visited(
    network: Names, settings: Settings | None, url: str, *, now: Clock | None = None, **case: Any
) -> list[Outcome]:
    """Doctor's findings. ``settings``: None for a machine without the deployment's settings."""

    async def run() -> list[Outcome]:
        doctor = Doctor(now or _now, network, lambda: settings or Settings())
        return [outcome async for outcome in doctor.outcomes(Case(url, **case), lambda _title: None)]

    return asyncio.run(run())


def _now() -> datetime:
    return datetime.now(UTC)


def loud(outcomes: list[Outcome]) -> list[Finding]:
    """The findings that are more than information."""
    return [finding for outcome in outcomes for finding in outcome.findings if finding.level != "information"]
