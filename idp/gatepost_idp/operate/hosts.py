"""Decides which Host headers are answered; any other means DNS rebinding or a wrong setting."""

from collections.abc import Collection

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost_idp.settings import LOOPBACK_NAMES

MISDIRECTED = PlainTextResponse(
    "This server does not answer under the host name in your request. Check the address.\n", 421
)
_EVERY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 (compared with, not listened on)


def is_one_of(host: str, names: Collection[str], allowed: Collection[str] = ()) -> bool:
    """Whether a Host header is among ``names`` on any port, or in ``allowed`` with or without its port.

    The port is ignored because a proxy has its own, and some omit it.
    """
    whole = host.lower()
    name, colon, port = whole.rpartition(":")
    bare = name if colon and port.isdecimal() else whole
    return whole in allowed or bare in allowed or bare.removeprefix("[").removesuffix("]") in names


class OwnNames:
    """Host check for pages meant for this machine only, which a web page could otherwise read by DNS rebinding."""

    def __init__(self, app: ASGIApp, bound: str = "localhost", allowed: Collection[str] = ()) -> None:
        """``bound``: where it listens. If that is every address, its names are unknown and any Host is accepted."""
        self._app = app
        self._names = frozenset((*LOOPBACK_NAMES, bound.strip("[]").lower()))
        self._allowed = frozenset(host.lower() for host in allowed)
        self._any = bound.strip("[]") in _EVERY_ADDRESS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes requests on, or answers 421 to a foreign Host (RFC 9110 section 15.5.20)."""
        if scope["type"] == "http" and not self._any:
            hosts = Request(scope).headers.getlist("host")
            if len(hosts) != 1 or not is_one_of(hosts[0], self._names, self._allowed):
                await MISDIRECTED(scope, receive, send)
                return
        await self._app(scope, receive, send)
