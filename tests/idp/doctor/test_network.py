"""The real network code: a DNS server on loopback that has a name, lacks it, or is down."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import dns.asyncresolver
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import pytest

from gatepost_idp.operate.doctor.outside.network import Addresses, Internet
from tests.support.ports import free_port

T = TypeVar("T")
ZONE = {
    ("mcp.example.test.", "A"): ["93.184.215.14", "93.184.215.15"],
    ("mcp.example.test.", "AAAA"): ["2606:2800:21f::1"],
    ("six.example.test.", "AAAA"): ["2606:2800:21f::2"],
    ("example.test.", "TXT"): ['"v=spf1 " "-all"', '"other"'],
}


@contextlib.contextmanager
def name_server() -> Iterator[int]:
    """Answers from ZONE, and that no other name exists."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_serve, args=(listener,), daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", listener.getsockname())
        thread.join(5)


def _serve(listener: socket.socket) -> None:
    while True:
        data, peer = listener.recvfrom(4096)
        if data == b"end":
            return
        asked = dns.message.from_wire(data)
        [question] = asked.question
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        answer = dns.message.make_response(asked)
        if texts := ZONE.get((name, kind)):
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *texts))
        elif not any(known == name for known, _ in ZONE):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        listener.sendto(answer.to_wire(), peer)


def resolver_at(port: int) -> dns.asyncresolver.Resolver:
    """A resolver that asks only that server."""
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = port
    return resolver


@pytest.fixture
def internet() -> Iterator[Internet]:
    """The real network, with a name server of the test's."""
    with name_server() as port:
        yield Internet(resolver_at(port))


def waited(work: Callable[[], Awaitable[T]]) -> T:
    """The result of the coroutine."""

    async def run() -> T:
        return await work()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("mcp.example.test", Addresses(("93.184.215.14", "93.184.215.15"), ("2606:2800:21f::1",))),
        ("six.example.test", Addresses((), ("2606:2800:21f::2",))),
        ("nobody.example.test", Addresses()),
        ("a..b", Addresses()),
        (f"{'x' * 70}.test", Addresses()),
        ("192.0.2.7", Addresses(("192.0.2.7",))),
        ("2001:db8::1", Addresses((), ("2001:db8::1",))),
        ("localhost", Addresses(("127.0.0.1",))),
    ],
)
def test_addresses(internet: Internet, host: str, found: Addresses) -> None:
    """Every address of a name, by family; none for a name that does not or cannot exist."""
    assert waited(lambda: internet.addresses(host)) == found


def test_connections_go_to_ipv4(internet: Internet) -> None:
    """As Claude's cloud connects; to IPv6 only if there is nothing else, and nowhere without a name."""
    assert waited(lambda: internet.dial("mcp.example.test", 443)) == ("93.184.215.14", 443)
    assert waited(lambda: internet.dial("six.example.test", 443)) == ("2606:2800:21f::2", 443)
    with pytest.raises(OSError, match="no address"):
        waited(lambda: internet.dial("nobody.example.test", 443))


def test_texts(internet: Internet) -> None:
    """The strings of a record are one text; a name without records has none."""
    found = waited(lambda: internet.texts("example.test"))
    assert found is not None
    assert set(found) == {"v=spf1 -all", "other"}
    assert waited(lambda: internet.texts("_dmarc.example.test")) == ()


def test_a_dns_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then texts are unknown, which differs from none, and addresses come from the machine itself."""
    monkeypatch.setattr("gatepost_idp.operate.doctor.outside.network.DNS_SECONDS", 0.3)
    away = Internet(resolver_at(free_port()))
    assert waited(lambda: away.texts("example.test")) is None
    known = waited(lambda: away.addresses("localhost.localdomain"))
    assert set(known.ipv4) <= {"127.0.0.1"}
