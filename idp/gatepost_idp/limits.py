"""Who is calling, and the coarse brakes on the open doors (slowapi); the fine ones count in the database."""

import hashlib
import ipaddress
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

import limits as notation
import structlog
from slowapi import Limiter
from starlette.requests import Request

from gatepost_idp.database import Transaction
from gatepost_idp.settings import Settings
from gatepost_idp.store import limits as store
from gatepost_idp.store.limits import Rule

log = structlog.get_logger("gatepost.limits")

BRAKES = {
    # Hosted clients share a few addresses, so these only stop a flood (requests from one network).
    "register": "600/minute",
    "token": "6000/minute",
    "authorize": "6000/minute",
    "sign-in": "300/minute",
}

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Callers:
    """Finds the caller's address: X-Forwarded-For counts only as far as TRUSTED_PROXIES vouch for it."""

    def __init__(self, settings: Settings) -> None:
        self._trusted = tuple(ipaddress.ip_network(cidr, strict=False) for cidr in settings.trusted_proxies)
        self._warned = False
        self.address: Callable[[str, str], str] = lru_cache(4096)(self._address)

    def of(self, request: Request) -> str:
        """The caller's address."""
        peer = request.client.host if request.client else ""
        return self.address(peer, ",".join(request.headers.getlist("x-forwarded-for")))

    def network(self, request: Request) -> str:
        """The caller's IPv4 address or IPv6 /64: one household or one server."""
        return network_of(self.of(request))

    def _address(self, peer: str, forwarded: str) -> str:
        """The rightmost hop that is no proxy of ours (RFC 7239 section 7.4 tells why not the leftmost)."""
        hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
        if hops and not self._trusts(peer) and not self._warned:
            self._warned = True
            log.warning(
                "forwarded_for_ignored", peer=peer, setting="TRUSTED_PROXIES", example=f"TRUSTED_PROXIES={peer}"
            )
        caller = peer
        while hops and self._trusts(caller):
            caller = hops.pop()
        return caller if _parsed(caller) else peer

    def _trusts(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


def _parsed(address: str) -> IPAddress | None:
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, ipaddress.IPv6Address) else parsed


def network_of(address: str) -> str:
    """The IPv4 address itself, or the /64 of an IPv6 one."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed) if parsed else address


def rules(name: str, key: str, setting: str) -> list[Rule]:
    """The rules of one setting, in the notation of the ``limits`` library, counted under ``name`` and ``key``."""
    return [Rule(f"{name}:{key}", item.amount, int(item.get_expiry())) for item in notation.parse_many(setting)]


def brake(callers: Callers) -> Limiter:
    """The limiter of the open doors; it counts in this process's memory."""
    return Limiter(key_func=callers.network, headers_enabled=False)


def take_mail(tx: Transaction, settings: Settings, mailbox: str, network: str, now: datetime) -> int:
    """Counts one sign-in mail against LIMIT_ADDRESS, LIMIT_NETWORK and LIMIT_TOTAL, all of them or none.

    Answers the seconds to wait, 0 where the mail may go. Keys are digests: the table tells nobody's address.
    """
    digest = hashlib.sha256(mailbox.encode()).hexdigest()[:24]
    counted = [
        *rules("address", digest, settings.limit_address),
        *rules("network", network, settings.limit_network),
        *rules("total", "", settings.limit_total),
    ]
    return store.take(tx, counted, now)
