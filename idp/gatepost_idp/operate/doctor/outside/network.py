"""Names and connections, as far as doctor needs them; a test brings a network of its own."""

import ipaddress
import socket
import ssl
from dataclasses import dataclass, field
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver

from gatepost_idp.settings import LOOPBACK_NAMES

PATIENCE_SECONDS = 10.0
"""How long Claude waits for discovery, registration and tokens."""
DNS_SECONDS = 5.0
_DNS_IS_AWAY = (dns.resolver.NoNameservers, dns.resolver.NoResolverConfiguration, dns.exception.Timeout)


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a host name leads to, as texts."""

    ipv4: tuple[str, ...] = ()
    ipv6: tuple[str, ...] = ()


class Network(Protocol):
    """``patience``: seconds until an answer comes too late. ``tls``: whose certificates are believed."""

    tls: ssl.SSLContext
    patience: float

    async def addresses(self, host: str) -> Addresses:
        """The host's addresses, none where there is no such name."""

    async def texts(self, name: str) -> tuple[str, ...] | None:
        """The TXT records; None where DNS does not answer."""

    async def dial(self, host: str, port: int) -> tuple[str, int]:
        """The address and port to connect to; raises OSError where there is none."""


@dataclass
class Internet:
    """The real one: DNS itself rather than this machine's hosts file, and IPv4, since Claude's cloud has no other."""

    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    patience: float = PATIENCE_SECONDS

    async def addresses(self, host: str) -> Addresses:
        """The A and AAAA records; what the machine knows where DNS cannot be asked."""
        if host in LOOPBACK_NAMES:
            return Addresses(("127.0.0.1",))
        if _is_address(host):
            return Addresses(ipv6=(host,)) if ":" in host else Addresses((host,))
        try:
            return Addresses(await _records(host, "A"), await _records(host, "AAAA"))
        except _DNS_IS_AWAY:
            return _known_here(host)

    async def texts(self, name: str) -> tuple[str, ...] | None:
        """Each record's strings joined (RFC 7208 section 3.3)."""
        try:
            return await _records(name, "TXT")
        except _DNS_IS_AWAY:
            return None

    async def dial(self, host: str, port: int) -> tuple[str, int]:
        """The first IPv4 address."""
        found = await self.addresses(host)
        for address in (*found.ipv4, *found.ipv6):
            return address, port
        raise OSError(f"{host} has no address")


async def _records(name: str, kind: str) -> tuple[str, ...]:
    try:
        answer = await dns.asyncresolver.resolve(name, kind, lifetime=DNS_SECONDS)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return ()
    if answer.rdtype == dns.rdatatype.TXT:
        return tuple(b"".join(record.strings).decode("utf-8", "replace") for record in answer)
    return tuple(str(record.address) for record in answer)


def _known_here(host: str) -> Addresses:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return Addresses()
    by_family = {family: tuple(str(at[0]) for kind, *_, at in found if kind == family) for family, *_ in found}
    return Addresses(by_family.get(socket.AF_INET, ()), by_family.get(socket.AF_INET6, ()))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
