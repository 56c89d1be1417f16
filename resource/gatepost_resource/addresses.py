"""The caller's address for the log; behind a trusted proxy (TRUSTED_PROXIES) it comes from X-Forwarded-For."""

import functools
import ipaddress
from collections.abc import Sequence

import structlog
from starlette.datastructures import Headers
from starlette.types import Scope

log = structlog.get_logger("gatepost_resource.addresses")


class Proxies:
    """The networks whose ``X-Forwarded-For`` is believed. The result is logged and decides nothing."""

    def __init__(self, networks: Sequence[str]) -> None:
        """``networks``: in CIDR notation."""
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._warned = False

    def caller(self, scope: Scope) -> str:
        """The rightmost address that is not a trusted proxy's; anybody can forge what is left of it."""
        peer = str(scope["client"][0]) if scope.get("client") else ""
        forwarded = ",".join(Headers(scope=scope).getlist("x-forwarded-for"))
        hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
        if hops and not self._trusts(peer):
            self._warn_once(peer)
        caller = peer
        while hops and self._trusts(caller):
            caller = hops.pop()
        parsed = _parsed(caller)
        return str(parsed) if parsed is not None else peer

    def _trusts(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def _warn_once(self, address: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("forwarded_for_not_believed", peer=address, setting="TRUSTED_PROXIES")


@functools.lru_cache(4096)  # each request looks up its peer twice and its caller once
def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address without the port some proxies add (``192.0.2.1:443``, ``[2001:db8::1]:443``); None if invalid."""
    bare = address.rpartition(":")[0] if address.count(":") == 1 or "]:" in address else address
    try:
        parsed = ipaddress.ip_address(bare.strip("[]"))
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, ipaddress.IPv6Address) else parsed
