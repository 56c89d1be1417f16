"""Name resolution and connections for doctor; tests replace them."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver

from gatepost_idp.settings import LOOPBACK_NAMES

PATIENCE_SECONDS = 10.0
"""How long Claude waits for discovery, registration and tokens."""
DNS_SECONDS = 5.0
_KINDS = ("A", "AAAA")
_DNS_IS_AWAY = (dns.resolver.NoNameservers, dns.resolver.NoResolverConfiguration, dns.exception.Timeout)


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of a host name, as text."""

    ipv4: tuple[str, ...] = ()
    ipv6: tuple[str, ...] = ()


class Network(Protocol):
    """``patience``: seconds to wait for an answer. ``tls``: which certificates are trusted."""

    tls: ssl.SSLContext
    patience: float

    async def addresses(self, host: str) -> Addresses:
        """The host's addresses; none if the name does not exist."""

    async def texts(self, name: str) -> tuple[str, ...] | None:
        """The TXT records; None if DNS does not answer."""

    async def dial(self, host: str, port: int) -> tuple[str, int]:
        """The address and port to connect to; raises OSError if there is none."""


class Internet:
    """The real network: asks DNS rather than the hosts file, and prefers IPv4, since Claude's cloud uses only that."""

    def __init__(self, resolver: dns.asyncresolver.Resolver | None = None) -> None:
        self.tls = ssl.create_default_context()
        self.patience = PATIENCE_SECONDS
        self._resolver = resolver
        self._known: dict[str, Addresses] = {}

    async def addresses(self, host: str) -> Addresses:
        """The A and AAAA records; if DNS does not answer, the system resolver's addresses."""
        if host not in self._known:
            self._known[host] = await self._looked_up(host)
        return self._known[host]

    async def texts(self, name: str) -> tuple[str, ...] | None:
        """Each record's strings joined (RFC 7208 section 3.3)."""
        try:
            return tuple(
                [b"".join(record.strings).decode("utf-8", "replace") for record in await self._ask(name, "TXT")]
            )
        except _DNS_IS_AWAY:
            return None

    async def dial(self, host: str, port: int) -> tuple[str, int]:
        """The first IPv4 address, else the first IPv6 address; raises OSError if there is none."""
        found = await self.addresses(host)
        for address in (*found.ipv4, *found.ipv6):
            return address, port
        raise OSError(f"{host} has no address")

    async def _looked_up(self, host: str) -> Addresses:
        if host in LOOPBACK_NAMES:
            return Addresses(("127.0.0.1",))
        if _is_address(host):
            return Addresses(ipv6=(host,)) if ":" in host else Addresses((host,))
        try:
            found = {
                kind: tuple(sorted([str(record.address) for record in await self._ask(host, kind)])) for kind in _KINDS
            }
        except _DNS_IS_AWAY:
            return await _known_here(host)
        return Addresses(*found.values())

    async def _ask(self, name: str, kind: str) -> Sequence[Any]:
        """The records; none if the name does not exist. dnspython's record types have no common base."""
        try:
            self._resolver = self._resolver or dns.asyncresolver.get_default_resolver()
            return list(await self._resolver.resolve(name, kind, lifetime=DNS_SECONDS))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.name.LabelTooLong, dns.name.EmptyLabel):
            return ()


async def _known_here(host: str) -> Addresses:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return Addresses()
    ipv4, ipv6 = (
        tuple(str(at[0]) for family, *_, at in found if family == wanted)
        for wanted in (socket.AF_INET, socket.AF_INET6)
    )
    return Addresses(ipv4, ipv6)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
