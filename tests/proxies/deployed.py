"""Both servers behind a proxy: one IdP per shape, and a resource server per proxy, through which it fetches the
issuer's keys."""

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.journeys.connecting import Tracked
from tests.proxies.reverse import Certificate, Upstreams, file_of, proxying
from tests.proxies.tunnel import Tunnel
from tests.support.ports import free_port
from tests.support.processes import Server, environment_of, running
from tests.support.serving import Clock, Idp, listening, settings_of, upgrade
from tests.support.smtp import Postbox, receiving

# The proxy in front of another proxy is one of the others.
OUTER = {"caddy": "nginx", "nginx": "haproxy", "haproxy": "caddy"}


@dataclass
class Public:
    """A deployment as seen from outside."""

    issuer: str
    mcp: str
    postbox: Postbox
    resource: Server
    tunnel: Tunnel
    context: ssl.SSLContext

    @contextlib.contextmanager
    def person(self, email: str) -> Iterator["Visitor"]:
        """A person outside."""
        with Visitor(email, self.postbox) as person:
            person.browser.close()
            person.browser = self.client(event_hooks={"response": [person.seen.append]})
            yield person

    def client(self, **options: object) -> httpx2.Client:
        """An HTTP client outside, which trusts only the private authority."""
        return httpx2.Client(proxy=self.tunnel.url, verify=self.context, trust_env=False, timeout=20, **options)  # type: ignore[arg-type]  # options are of any kind


class Visitor(Tracked):
    """A person whose browser remembers each answer."""

    def __init__(self, email: str, postbox: Postbox) -> None:
        super().__init__(email, postbox)
        self.seen: list[httpx2.Response] = []


@contextlib.contextmanager
def issuing(folder: Path, settings: dict[str, str]) -> Iterator[Idp]:
    """The IdP for one shape, configured as the shape's files say."""
    with receiving() as postbox:
        port = free_port()
        given = {name.lower(): value for name, value in settings.items()}
        configured = settings_of(folder, postbox, port, **given)
        upgrade(configured)
        clock = Clock()
        with listening(configured, clock, port):
            yield Idp(f"http://127.0.0.1:{port}", configured.oauth_issuer, configured, clock, postbox)


@contextlib.contextmanager
def published(path: Path, folder: Path, idp: Idp, certificate: Certificate, tunnel: Tunnel) -> Iterator[Public]:
    """The IdP and a resource server behind the proxy with that file, and behind a second one if the file needs it."""
    port = free_port()
    environment = environment_of(
        OAUTH_ISSUER=idp.issuer,
        MCP_RESOURCE_URL=idp.settings.mcp_resource_url,
        TRUSTED_PROXIES=",".join(idp.settings.trusted_proxies),
        ALLOWED_HOSTS=",".join(idp.settings.allowed_hosts),
        RESOURCE_PORT=str(port),
        HTTPS_PROXY=tunnel.url,
        SSL_CERT_FILE=str(certificate.authority),
        LOG_FORMAT="json",
    )
    with contextlib.ExitStack() as stack:
        upstreams = Upstreams(idp.settings.idp_port, port)
        tunnel.target = stack.enter_context(proxying(path, folder, certificate, upstreams))
        if path.stem == "behind-another":
            outer = file_of(OUTER[path.parent.name], "two-hosts")
            inner = Upstreams(tunnel.target, tunnel.target)
            tunnel.target = stack.enter_context(proxying(outer, folder, certificate, inner))
        server = running(f"http://127.0.0.1:{port}", environment, folder / "resource.log", "gatepost_resource")
        resource = stack.enter_context(server)
        context = ssl.create_default_context(cafile=certificate.authority)
        yield Public(idp.issuer, idp.settings.mcp_resource_url, idp.postbox, resource, tunnel, context)
