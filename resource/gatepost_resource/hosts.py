"""The Host rule: a Host that is not ours means DNS rebinding or a wrong setting, and gets 421."""

from collections.abc import Collection, Sequence

import structlog
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost_resource.counts import Counts
from gatepost_resource.urls import hostname, is_loopback

log = structlog.get_logger("gatepost_resource.hosts")

# An orchestrator probes whatever address the container has.
EXCEPTED = ("/healthz", "/readyz")
MISDIRECTED = 421  # RFC 9110, section 15.5.20

_EVERY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 (compared with, not listened on)

PLAIN_WORDS = (
    "This server does not answer under the host name in your request.\n"
    "Check the address. If you run this server: its log says which setting to look at.\n"
)


class HostRule:
    """Answers the public host, loopback, the bind addresses and ALLOWED_HOSTS; refuses the rest with 421."""

    def __init__(
        self, app: ASGIApp, resource_url: str, bound: Sequence[str], allowed: Sequence[str], counts: Counts
    ) -> None:
        """``allowed``: host names with or without a port; without one, any port matches."""
        self._app = app
        self._resource_url = resource_url
        self._names = {hostname(resource_url), *(name.strip("[]").lower() for name in bound)}
        self._allowed = frozenset(allowed)
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on if its Host is ours; answers 421 otherwise."""
        if scope["type"] != "http" or scope["path"] in EXCEPTED:
            await self._app(scope, receive, send)
            return
        hosts = Headers(scope=scope).getlist("host")
        if len(hosts) == 1 and self.answers(hosts[0]):
            await self._app(scope, receive, send)
            return
        self._counts.refused("host")
        self._explain(", ".join(hosts))
        await PlainTextResponse(PLAIN_WORDS, status_code=MISDIRECTED)(scope, receive, send)

    def answers(self, host: str) -> bool:
        """Whether a Host header's value, with or without a port, is one of ours."""
        return _is_one_of(host, self._names, self._allowed)

    def _explain(self, host: str) -> None:
        log.warning(
            "host_refused",
            host=host[:200],
            hint=f"MCP_RESOURCE_URL is {self._resource_url}: is that the URL people type?"
            " Only if a proxy rewrites Host on the way: add what it sends to ALLOWED_HOSTS",
        )


class OwnNames:
    """The Host rule of the operator's listener: without it any page in their browser could read it (DNS rebinding)."""

    def __init__(self, app: ASGIApp, bound: str, allowed: Sequence[str]) -> None:
        """``bound``: the address listened on; a wildcard address takes any Host, since its names are not known."""
        self._app = app
        self._name = bound.strip("[]").lower()
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on if its Host is ours; answers 421 otherwise."""
        if scope["type"] == "http" and self._name not in _EVERY_ADDRESS:
            hosts = Headers(scope=scope).getlist("host")
            if len(hosts) != 1 or not _is_one_of(hosts[0], (self._name,), self._allowed):
                await PlainTextResponse(PLAIN_WORDS, status_code=MISDIRECTED)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_one_of(host: str, names: Collection[str], allowed: Collection[str]) -> bool:
    lowered = host.lower()
    name, colon, port = lowered.rpartition(":")
    bare = name if colon and port.isdecimal() else lowered
    unbracketed = bare.removeprefix("[").removesuffix("]")
    return lowered in allowed or bare in allowed or unbracketed in names or is_loopback(unbracketed)
