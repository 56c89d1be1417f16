"""The caller's address in the log: X-Forwarded-For counts only as far as TRUSTED_PROXIES vouch for it."""

import pytest

from gatepost_resource.addresses import Proxies

PROXY, SECOND = "10.0.0.1", "10.0.0.2"

CHAINS = [
    # Trusted networks, peer, headers, expected caller.
    ((), PROXY, ("203.0.113.9",), PROXY),
    ((PROXY,), "198.51.100.7", ("203.0.113.9",), "198.51.100.7"),
    ((PROXY,), PROXY, (), PROXY),
    ((PROXY,), PROXY, ("1.2.3.4, 203.0.113.9",), "203.0.113.9"),
    ((PROXY,), PROXY, ("1.2.3.4", "203.0.113.9"), "203.0.113.9"),
    ((PROXY,), PROXY, (f"203.0.113.9, {SECOND}",), SECOND),
    (("10.0.0.0/8",), PROXY, (f"1.2.3.4, 203.0.113.9, {SECOND}",), "203.0.113.9"),
    (("10.0.0.0/8",), PROXY, (SECOND,), SECOND),
    # With a port, as some load balancers write them; and addresses of both families.
    (("10.0.0.0/8",), PROXY, (f"203.0.113.9:4711, {SECOND}:443",), "203.0.113.9"),
    (("fd00::/8",), "fd00::1", ("[2001:db8::9]:4711",), "2001:db8::9"),
    ((PROXY,), "::ffff:10.0.0.1", ("203.0.113.9",), "203.0.113.9"),
    # Anything that is not an address is ignored: then the peer is the caller.
    ((PROXY,), PROXY, ("unknown",), PROXY),
    ((PROXY,), PROXY, ("203.0.113.9, <script>",), PROXY),
    ((PROXY,), PROXY, (",,,",), PROXY),
]


@pytest.mark.parametrize(("trusted", "peer", "forwarded", "caller"), CHAINS)
def test_the_caller_is_the_rightmost_hop_that_is_not_ours(
    trusted: tuple[str, ...], peer: str, forwarded: tuple[str, ...], caller: str
) -> None:
    """The same rule as at the authorization server, wherever an address is logged."""
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    assert Proxies(trusted).caller({"type": "http", "headers": headers, "client": (peer, 4711)}) == caller


def test_a_request_without_a_peer_has_no_address() -> None:
    """Over a Unix socket, for example."""
    assert Proxies((PROXY,)).caller({"type": "http", "headers": [], "client": None}) == ""
