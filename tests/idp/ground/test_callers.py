"""The caller's address: X-Forwarded-For counts only as far as TRUSTED_PROXIES vouch for it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from structlog.testing import capture_logs

from gatepost_idp import limits
from gatepost_idp.limits import Callers, network_of
from gatepost_idp.settings import Settings
from gatepost_idp.store.limits import Rule

PROXY, SECOND = "10.0.0.1", "10.0.0.2"


def callers(*trusted: str) -> Callers:
    return Callers(Settings(trusted_proxies=trusted))


def request(peer: str | None, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    client = None if peer is None else (peer, 4321)
    return Request({"type": "http", "headers": headers, "client": client})


CHAINS = [
    # Trusted networks, peer, headers, expected caller.
    ((), "198.51.100.7", (), "198.51.100.7"),
    ((), "198.51.100.7", ("203.0.113.9",), "198.51.100.7"),
    ((PROXY,), "198.51.100.7", ("203.0.113.9",), "198.51.100.7"),
    ((PROXY,), PROXY, (), PROXY),
    ((PROXY,), PROXY, ("203.0.113.9",), "203.0.113.9"),
    ((PROXY,), PROXY, (" 203.0.113.9 ",), "203.0.113.9"),
    # The rightmost hop that is not a trusted proxy: the caller wrote what is left of it.
    ((PROXY,), PROXY, ("1.2.3.4, 203.0.113.9",), "203.0.113.9"),
    ((PROXY,), PROXY, ("10.0.0.1, 203.0.113.9",), "203.0.113.9"),
    ((PROXY,), PROXY, ("1.2.3.4", "203.0.113.9"), "203.0.113.9"),
    ((PROXY,), PROXY, (f"203.0.113.9, {SECOND}",), SECOND),
    (("10.0.0.0/8",), PROXY, (f"203.0.113.9, {SECOND}",), "203.0.113.9"),
    (("10.0.0.0/8",), PROXY, (f"1.2.3.4, 203.0.113.9, {SECOND}",), "203.0.113.9"),
    (("10.0.0.0/8",), PROXY, (f"{SECOND}",), SECOND),
    (("10.0.0.0/8",), PROXY, (f"10.9.9.9, {SECOND}",), "10.9.9.9"),
    # Anything that is not an address is ignored: then the peer is the caller.
    ((PROXY,), PROXY, ("unknown",), PROXY),
    ((PROXY,), PROXY, ("",), PROXY),
    ((PROXY,), PROXY, (",,,",), PROXY),
    ((PROXY,), PROXY, ("203.0.113.9, <script>",), PROXY),
    ((PROXY,), PROXY, ("203.0.113.9, _hidden",), PROXY),
    # IPv6, mapped addresses included.
    (("fd00::/8",), "fd00::1", ("2001:db8::9",), "2001:db8::9"),
    ((PROXY,), "::ffff:10.0.0.1", ("203.0.113.9",), "203.0.113.9"),
    ((PROXY,), "::ffff:10.0.0.9", ("203.0.113.9",), "10.0.0.9"),
    ((PROXY,), PROXY.partition("/")[0], ("203.0.113.9:4711",), "203.0.113.9"),
    ((PROXY,), PROXY.partition("/")[0], ("[2001:db8::9]:4711",), "2001:db8::9"),
    (("10.0.0.0/8",), PROXY, ("203.0.113.9, ::ffff:10.0.0.2",), "203.0.113.9"),
]


@pytest.mark.parametrize(("trusted", "peer", "forwarded", "caller"), CHAINS)
def test_the_caller_is_the_rightmost_hop_that_is_not_ours(
    trusted: tuple[str, ...], peer: str, forwarded: tuple[str, ...], caller: str
) -> None:
    """A forged header cannot choose the address, and so the rate limit, that a caller has."""
    assert callers(*trusted).network(request(peer, *forwarded)) == network_of(caller)


def test_a_request_without_a_peer_has_no_address() -> None:
    """As over a Unix socket: such requests count as one caller, and nothing breaks."""
    assert callers(PROXY).network(request(None, "203.0.113.9")) == ""
    assert callers(PROXY).network(request(None)) == ""


def test_a_header_from_nowhere_is_warned_of_once() -> None:
    """The warning names the setting that would trust it; a trusted proxy causes none."""
    ours = callers()
    with capture_logs() as logged:
        for _ in range(3):
            ours.network(request("198.51.100.7", "203.0.113.9"))
            ours.network(request("198.51.100.8", "203.0.113.9"))
        callers(PROXY).network(request(PROXY, "203.0.113.9"))
        callers().network(request("198.51.100.7"))
    assert [(entry["event"], entry["example"]) for entry in logged] == [
        ("forwarded_for_ignored", "TRUSTED_PROXIES=198.51.100.7")
    ]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("[2001:db8::1]", "2001:db8::/64"),
        ("::1", "::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::ffff:cb00:7109", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unknown", "unknown"),
    ],
)
def test_a_network_is_one_household_or_one_server(address: str, network: str) -> None:
    """An IPv4 address, or the /64 of an IPv6 one: nobody gets 2^64 allowances."""
    assert network_of(address) == network


def test_addresses_of_one_household_are_counted_together() -> None:
    """In whatever form the proxy writes them."""
    ours = callers(PROXY)
    seen = ["2001:db8::1", "2001:db8::ffff:2", "2001:0DB8:0:0:1::"]
    assert {ours.network(request(PROXY, address)) for address in seen} == {"2001:db8::/64"}
    assert ours.network(request(PROXY, "2001:db8:0:1::1")) == "2001:db8:0:1::/64"


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(max_codepoint=255), max_size=40), st.sampled_from([PROXY, "198.51.100.7", "fe80::1%eth0"]))
def test_no_header_raises_and_none_from_a_stranger_counts(forwarded: str, peer: str) -> None:
    """Whatever the header contains."""
    ours = callers(PROXY)
    found = ours.network(request(peer, forwarded))
    if peer != PROXY:
        assert found == network_of(peer)


def test_a_limit_is_written_in_the_notation_of_the_library() -> None:
    """Each rule has its amount and seconds, under its name and key."""
    assert limits.rules("address", "abc", "1/30seconds;5/15minutes;20/day") == [
        Rule("address:abc", 1, 30),
        Rule("address:abc", 5, 900),
        Rule("address:abc", 20, 86400),
    ]
