"""The caller's network, the rates of the brakes, and the limits on mails and codes, counted in the database."""

import hashlib
import ipaddress
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

import limits as notation
import structlog
from starlette.requests import Request

from gatepost_idp.settings import Settings
from gatepost_idp.store import limits as store
from gatepost_idp.store.limits import Rule
from gatepost_idp.transaction import Transaction

log = structlog.get_logger("gatepost.limits")

BRAKES = {
    # Per network. Hosted clients share a few addresses, so these rates only stop a flood.
    "register": "600/minute",
    "token": "6000/minute",
    "authorize": "6000/minute",
    "sign-in": "300/minute",
}

WRONG_CODES_A_DAY = 20
_LONGEST_KEPT = 500

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Callers:
    """Finds the caller's address; X-Forwarded-For is believed only as far as TRUSTED_PROXIES reach."""

    def __init__(self, settings: Settings) -> None:
        self._trusted = tuple(ipaddress.ip_network(cidr, strict=False) for cidr in settings.trusted_proxies)
        self._warned = False
        self._known: Callable[[str, bytes], str] = lru_cache(4096)(self._network)

    def network(self, request: Request) -> str:
        """The caller's IPv4 address or IPv6 /64, roughly one household or server."""
        peer, _ = request.scope["client"] or ("", 0)
        forwarded = b",".join([value for name, value in request.scope["headers"] if name == b"x-forwarded-for"])
        # No proxy sends many kilobytes, and the cache would keep 4096 such headers.
        return self._known(peer, forwarded) if len(forwarded) <= _LONGEST_KEPT else self._network(peer, forwarded)

    def _network(self, peer: str, forwarded: bytes) -> str:
        return network_of(self._address(peer, forwarded.decode("latin-1")))

    def _address(self, peer: str, forwarded: str) -> str:
        """The rightmost hop that is not a trusted proxy; the leftmost can be forged (RFC 7239 section 7.4)."""
        hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
        if hops and not self._trusts(peer) and not self._warned:
            self._warned = True
            log.warning(
                "forwarded_for_ignored", peer=peer, setting="TRUSTED_PROXIES", example=f"TRUSTED_PROXIES={peer}"
            )
        caller = peer
        while hops and self._trusts(caller):
            caller = hops.pop()
        return str(_parsed(caller) or peer)

    def _trusts(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


def _parsed(address: str) -> IPAddress | None:
    """The address, or None; some proxies add a port: ``192.0.2.1:443``, ``[2001:db8::1]:443``."""
    bare = address.rpartition(":")[0] if address.count(":") == 1 or "]:" in address else address
    try:
        parsed = ipaddress.ip_address(bare.strip("[]"))
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, ipaddress.IPv6Address) else parsed


def network_of(address: str) -> str:
    """The IPv4 address itself, or the /64 of an IPv6 address other than loopback; anything else unchanged."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address) and not parsed.is_loopback:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed) if parsed else address


def rules(name: str, key: str, setting: str) -> list[Rule]:
    """The rules of one setting, in the notation of the ``limits`` library, counted under ``name`` and ``key``."""
    return [Rule(f"{name}:{key}", item.amount, int(item.get_expiry())) for item in notation.parse_many(setting)]


def take_mail(tx: Transaction, settings: Settings, mailbox: str, network: str, now: datetime, *, is_known: bool) -> int:
    """Counts one sign-in mail against LIMIT_ADDRESS, LIMIT_NETWORK and LIMIT_TOTAL: all of them or none.

    Returns 0 if the mail may be sent, else the seconds to wait. Mailboxes are stored as digests. A quarter of the total
    is reserved for existing accounts, so that a flood of unknown addresses locks nobody out.
    """
    total = rules("total", "", settings.limit_total)
    if not is_known:
        total = [Rule(rule.key, max(1, rule.amount * 3 // 4), rule.seconds) for rule in total]
    own = rules("address", _digest(mailbox), settings.limit_address) + rules("network", network, settings.limit_network)
    wait = store.take(tx, own + total, now)
    if wait and any(store.left(tx, rule, now) for rule in total):
        log.error("mail_limit_reached", setting="LIMIT_TOTAL", limit=settings.limit_total, seconds=wait)
    return wait


def codes_are_off(tx: Transaction, email_key: str, now: datetime) -> bool:
    """Whether WRONG_CODES_A_DAY were typed for this mailbox within a day; its links still work."""
    return store.left(tx, _wrong_codes(email_key), now) > 0


def count_wrong_code(tx: Transaction, email_key: str, now: datetime) -> None:
    """Counts a wrong code against the mailbox, across all of its attempts."""
    store.take(tx, [_wrong_codes(email_key)], now)


def _wrong_codes(email_key: str) -> Rule:
    return Rule(f"wrong code:{_digest(email_key)}", WRONG_CODES_A_DAY, 86_400)


def _digest(mailbox: str) -> str:
    return hashlib.sha256(mailbox.encode()).hexdigest()[:24]
