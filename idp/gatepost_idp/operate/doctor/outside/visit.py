"""The subject of the outside checks: the URL, the operator's settings if known, and requests to both servers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from gatepost_idp.operate.doctor.finding import Finding
from gatepost_idp.operate.doctor.outside import routing
from gatepost_idp.operate.doctor.outside.network import Network
from gatepost_idp.operate.doctor.outside.routing import IDP, RESOURCE, Place
from gatepost_idp.operate.doctor.outside.wire import Answer, Headers, Unanswered, Wire
from gatepost_idp.protocol import Clock
from gatepost_idp.settings import Settings

USER_AGENT = "gatepost-doctor"
CLAUDE = "Claude-User"
"""The User-Agent of the first request from Claude's cloud."""
MISDIRECTED = 421  # RFC 9110 section 15.5.20
PORTS = {"http": 80, "https": 443}
INITIALIZE = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
    b'"capabilities":{},"clientInfo":{"name":"gatepost-doctor","version":"1"}}}'
)
MCP_HEADERS: Headers = (
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
    ("mcp-protocol-version", "2025-11-25"),
)


@dataclass
class Visit:
    """One visit to ``url``. ``configured``: the deployment's settings, None if this machine does not have them."""

    url: str
    network: Network
    wire: Wire
    now: Clock
    configured: Settings | None = None
    token: str = ""

    @property
    def well_known(self) -> str:
        """The path-inserted URL of the resource metadata (RFC 9728 section 3.1)."""
        return inserted(self.url, "oauth-protected-resource")

    async def get(self, place: Place, url: str, *headers: tuple[str, str]) -> Answer | Finding:
        """``ask`` with GET."""
        return await self.ask(place, "GET", url, headers)

    async def post_mcp(self, *headers: tuple[str, str], body: bytes = INITIALIZE) -> Answer | Finding:
        """``ask`` with a POST to the MCP URL."""
        return await self.ask(RESOURCE, "POST", self.url, (*MCP_HEADERS, *headers), body)

    async def ask(
        self, place: Place, method: str, url: str, headers: Headers = (), body: bytes = b""
    ) -> Answer | Finding:
        """The response of the server ``place``, or a finding if there was none or something else responded."""
        try:
            answer = await self.raw(method, url, headers, body)
        except Unanswered as problem:
            return routing.unanswered(f"{method} {url}", problem)
        if answer.status == MISDIRECTED:
            public = self.url if place is RESOURCE else await self.issuer()
            return routing.host_refused(place, f"{method} {url}", public, self.configured is not None)
        return routing.misrouted(place, method, url, answer) or answer

    async def raw(
        self, method: str, url: str, headers: Headers = (), body: bytes = b"", *, whole: bool = True
    ) -> Answer:
        """The response, whoever sent it; raises Unanswered."""
        named = any(name == "user-agent" for name, _ in headers)
        agent = () if named else (("user-agent", USER_AGENT),)
        return await self.wire.ask(method, url, (*agent, *headers), body, whole)

    async def resource_document(self) -> dict[str, object]:
        """The resource's metadata; empty if it cannot be read, which its own check reports."""
        return await self._document(RESOURCE, self.well_known)

    async def issuer(self) -> str:
        """The issuer named by the resource's metadata, else the configured one, else empty."""
        named = issuer_of(await self.resource_document())
        return named or (self.configured.oauth_issuer if self.configured else "")

    async def issuer_document(self) -> dict[str, object]:
        """The issuer's metadata, from the URL that clients try first; empty if it cannot be read."""
        return await self._document(IDP, inserted(await self.issuer(), "oauth-authorization-server"))

    async def _document(self, place: Place, url: str) -> dict[str, object]:
        answer = await self.get(place, url)
        return {} if isinstance(answer, Finding) else answer.document or {}


def issuer_of(document: Mapping[str, object]) -> str:
    """The first authorization server in a resource's metadata if it is a URL, else empty."""
    named = document.get("authorization_servers")
    first = named[0] if isinstance(named, list) and named else None
    return first if isinstance(first, str) and is_url(first) else ""


def is_url(text: str) -> bool:
    """Whether ``text`` is an http or https URL with a host and a valid port, and without user information."""
    try:
        return bool(scheme_of(text) and host_of(text) and port_of(text)) and "@" not in urlsplit(text).netloc
    except ValueError:
        return False


def inserted(url: str, name: str) -> str:
    """The path-inserted URL of a well-known document (RFC 8414 section 3.1, RFC 9728 section 3.1)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/.well-known/{name}{parts.path.rstrip('/')}"


def root_of(url: str) -> str:
    """Scheme, host and port of ``url``."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def host_of(url: str) -> str:
    """The host without its port, in lower case."""
    return urlsplit(url).hostname or ""


def port_of(url: str) -> int:
    """The port, explicit or the scheme's default."""
    parts = urlsplit(url)
    return parts.port or PORTS.get(parts.scheme, 0)


def scheme_of(url: str) -> Literal["http", "https", ""]:
    """``http``, ``https``, or empty for any other scheme."""
    scheme = urlsplit(url).scheme
    return "https" if scheme == "https" else "http" if scheme == "http" else ""
