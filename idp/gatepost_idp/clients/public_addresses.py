"""Decides which addresses a document may be fetched from: public ones only, which prevents SSRF."""

import ipaddress

_SPECIAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        # IANA's special-purpose registries (RFC 6890), written out: Python's list differs between versions and calls
        # some of these global.
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # formally public, but Azure's internal platform address
        "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
    )
)  # fmt: skip  # a table of networks
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether ``address`` is a public unicast address; False if it is not an address at all.

    IPv6 is allowed only within 2000::/3, which excludes unique local, link-local and multicast addresses and every
    form that embeds an IPv4 address: mapped, compatible and translated ones lie outside, 6to4 and Teredo are in the
    table. One exception: behind NAT64 (RFC 6052) every IPv4 server has an IPv6 address; the embedded one decides.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:
            return False
        if parsed in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)))
        if parsed not in _UNICAST:
            return False
    return parsed.is_global and not any(parsed.version == each.version and parsed in each for each in _SPECIAL)
