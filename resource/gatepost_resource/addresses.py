"""The caller's address, which behind a proxy is what a trusted proxy says it is (TRUSTED_PROXIES)."""

import ipaddress
from collections.abc import Sequence

import structlog
from starlette.datastructures import Headers
from starlette.types import Scope

log = structlog.get_logger("gatepost_resource.addresses")


class Proxies:
    """The networks whose ``X-Forwarded-For`` is believed. It decides what the log says and nothing else."""

    def __init__(self, networks: Sequence[str]) -> None:
        """``networks``: in CIDR notation."""
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._warned = False

    def caller(self, scope: Scope) -> str:
        """The nearest address that is not a trusted proxy's: what stands left of it anybody can write."""
        address = str(scope["client"][0]) if scope.get("client") else ""
        forwarded = ",".join(Headers(scope=scope).getlist("x-forwarded-for"))
        if not forwarded:
            return address
        if not self._trusts(address):
            self._warn_once(address)
            return address
        for hop in reversed(forwarded.split(",")):
            address = hop.strip()
            if not self._trusts(address):
                break
        return address[:64]

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def _warn_once(self, address: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("forwarded_for_not_believed", peer=address, setting="TRUSTED_PROXIES")
