"""Checks for both hosts a public IPv4 address, an open port, and a valid certificate."""

import ipaddress
from collections.abc import Awaitable, Callable
from datetime import timedelta

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.outside.network import Addresses
from gatepost_idp.operate.doctor.outside.visit import Visit, host_of, port_of, scheme_of
from gatepost_idp.operate.doctor.outside.wire import Certificate, Unanswered
from gatepost_idp.settings import is_loopback

NO_NAME = Fault(
    "no-name",
    "Could not connect.",
    "an A record with the server's public IPv4 address",
    "DNS: A record",
    "mcp.example.com. A 192.0.2.10 (your own address)",
)
NO_IPV4 = Fault(
    "no-ipv4",
    "Could not connect from Claude, though your browser does: Claude's cloud calls over IPv4.",
    "an A record beside the AAAA record",
    "DNS: A record",
    "mcp.example.com. A 192.0.2.10 (your own address)",
)
PRIVATE_ADDRESS = Fault(
    "private-address",
    "Could not connect from outside, though it works at home or in the office.",
    "a public IPv4 address, or a tunnel",
    "DNS: A record",
    "gatepost demo --public https://YOUR.TUNNEL",
)
PORT_CLOSED = Fault(
    "port-closed",
    "Could not connect.",
    "an open port; if it is open from outside but not from here, run doctor elsewhere",
    "firewall, port forwarding, or the reverse proxy that should listen",
    "allow inbound TCP 443",
)
CERTIFICATE_EXPIRED = Fault(
    "certificate-expired",
    "Could not connect, from one day to the next.",
    "a certificate that has not expired",
    "reverse proxy: certificate",
    "renew it; Caddy does so by itself, certbot by `certbot renew`",
)
CERTIFICATE_UNTRUSTED = Fault(
    "certificate-untrusted",
    "Could not connect, though curl -k does.",
    "a certificate from a public authority, with the intermediate chain",
    "reverse proxy: certificate",
    "Caddy does so by itself; with certbot, fullchain.pem (not cert.pem)",
)
CERTIFICATE_NAME = Fault(
    "certificate-name",
    "Could not connect: the certificate is for another name.",
    "a certificate for this host",
    "reverse proxy: certificate",
    "certbot -d mcp.example.com -d auth.example.com",
)
CERTIFICATE_ENDS = Fault(
    "certificate-ends",
    "Nothing yet, but soon: could not connect.",
    "a certificate that renews itself in time",
    "reverse proxy: certificate",
    "systemctl status certbot.timer",
    "warning",
)
TLS_BROKEN = Fault(
    "tls-broken",
    "Could not connect: what listens there does not speak TLS 1.2 or later.",
    "TLS on this port",
    "reverse proxy: TLS",
    "Caddy does so by itself; nginx: listen 443 ssl",
)
_CERTIFICATE_FAULTS = (CERTIFICATE_EXPIRED, CERTIFICATE_UNTRUSTED, CERTIFICATE_NAME, CERTIFICATE_ENDS, TLS_BROKEN)
SOON = timedelta(days=14)

Reach = Callable[[Visit, str], Awaitable[list[Finding]]]


async def _dns(visit: Visit, url: str) -> list[Finding]:
    host = host_of(url)
    found = await visit.network.addresses(host)
    if is_loopback(url):
        return []
    if not found.ipv4:
        return [NO_IPV4.seen(f"{host} has only {', '.join(found.ipv6)}") if found.ipv6 else _nameless(visit, host)]
    if not all(ipaddress.ip_address(address).is_global for address in found.ipv4):
        return [PRIVATE_ADDRESS.seen(f"{host} leads to {_listed(found)}")]
    return []


def _nameless(visit: Visit, host: str) -> Finding:
    """The finding for a name without addresses: missing in DNS, or wrong in a setting."""
    if host == host_of(visit.url) or (visit.configured and host == host_of(visit.configured.oauth_issuer)):
        return NO_NAME.seen(f"{host} has no address")
    setting = "OAUTH_ISSUER of the resource server, or DNS: A record"
    return NO_NAME.seen(f"{host} has no address", setting=setting, example="OAUTH_ISSUER=https://auth.example.com")


async def _port(visit: Visit, url: str) -> list[Finding]:
    try:
        await visit.wire.connect(host_of(url), port_of(url))
    except Unanswered as problem:
        return [PORT_CLOSED.seen(f"{host_of(url)} port {port_of(url)}: {problem}")]
    return []


async def _certificate(visit: Visit, url: str) -> list[Finding]:
    if scheme_of(url) == "http":
        return []
    try:
        certificate = await visit.wire.certificate(host_of(url), port_of(url))
    except Unanswered as problem:
        return [_refused(problem).seen(f"{host_of(url)}: {problem}")]
    return _ending(visit, url, certificate)


def _refused(problem: Unanswered) -> Fault:
    said = str(problem).lower()
    if "expired" in said or "not yet valid" in said:
        return CERTIFICATE_EXPIRED
    if "mismatch" in said or "not valid for" in said:
        return CERTIFICATE_NAME
    if "certificate" in said or "self-signed" in said or "self signed" in said:
        return CERTIFICATE_UNTRUSTED
    return TLS_BROKEN


def _ending(visit: Visit, url: str, certificate: Certificate) -> list[Finding]:
    """A warning two weeks before the certificate ends, later if its whole life is short."""
    left = certificate.ends - visit.now()
    if left > min(SOON, (certificate.ends - certificate.begins) / 5):
        return []
    return [CERTIFICATE_ENDS.seen(f"{host_of(url)}: {left.days} days left, until {certificate.ends:%Y-%m-%d}")]


def _listed(found: Addresses) -> str:
    return ", ".join(found.ipv4)


def _of_resource(reach: Reach) -> Callable[[Visit], Awaitable[list[Finding]]]:
    async def check(visit: Visit) -> list[Finding]:
        return await reach(visit, visit.url)

    return check


def _of_issuer(reach: Reach) -> Callable[[Visit], Awaitable[list[Finding]]]:
    """The check for the issuer's host and port, unless they are those of the resource."""

    async def check(visit: Visit) -> list[Finding]:
        issuer = await visit.issuer()
        same = (host_of(issuer), port_of(issuer)) == (host_of(visit.url), port_of(visit.url))
        return [] if same else await reach(visit, issuer)

    return check


_DNS_FAULTS = (NO_NAME, NO_IPV4, PRIVATE_ADDRESS)
DNS = Check("dns", "DNS", _of_resource(_dns), _DNS_FAULTS, ("url",))
PORT = Check("port", "Port", _of_resource(_port), (PORT_CLOSED,), ("dns",))
CERTIFICATE = Check("certificate", "Certificate", _of_resource(_certificate), _CERTIFICATE_FAULTS, ("port",))
ISSUER_DNS = Check("issuer-dns", "DNS of the issuer", _of_issuer(_dns), _DNS_FAULTS, ("issuer-name",))
ISSUER_PORT = Check("issuer-port", "Port of the issuer", _of_issuer(_port), (PORT_CLOSED,), ("issuer-dns",))
ISSUER_CERTIFICATE = Check(
    "issuer-certificate", "Certificate of the issuer", _of_issuer(_certificate), _CERTIFICATE_FAULTS, ("issuer-port",)
)
