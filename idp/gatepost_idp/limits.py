"""Who is calling, how much is let through of what, and the fine limits, which count in the database."""

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
    # Hosted clients share a few addresses, so these only stop a flood (requests from one network).
    "register": "600/minute",
    "token": "6000/minute",
    "authorize": "6000/minute",
    "sign-in": "300/minute",
}

WRONG_CODES_A_DAY = 20
_LONGEST_KEPT = 500

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Callers:
    """Finds the caller's address: X-Forwarded-For counts only as far as TRUSTED_PROXIES vouch for it."""

    def __init__(self, settings: Settings) -> None:
        self._trusted = tuple(ipaddress.ip_network(cidr, strict=False) for cidr in settings.trusted_proxies)
        self._warned = False
        self._known: Callable[[str, bytes], str] = lru_cache(4096)(self._network)

    def network(self, request: Request) -> str:
        """The caller's IPv4 address or IPv6 /64: one household or one server."""
        peer, _ = request.scope["client"] or ("", 0)
        forwarded = b",".join([value for name, value in request.scope["headers"] if name == b"x-forwarded-for"])
        # A header of many kilobytes is no proxy's, and 4096 of them would be kept.
        return self._known(peer, forwarded) if len(forwarded) <= _LONGEST_KEPT else self._network(peer, forwarded)

    def _network(self, peer: str, forwarded: bytes) -> str:
        return network_of(self._address(peer, forwarded.decode("latin-1")))

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
        return str(_parsed(caller) or peer)

    def _trusts(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


def _parsed(address: str) -> IPAddress | None:
    """The address, which some proxies write with a port: ``192.0.2.1:443``, ``[2001:db8::1]:443``."""
    bare = address.rpartition(":")[0] if address.count(":") == 1 or "]:" in address else address
    try:
        parsed = ipaddress.ip_address(bare.strip("[]"))
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


def take_mail(tx: Transaction, settings: Settings, mailbox: str, network: str, now: datetime, *, is_known: bool) -> int:
    """Counts one sign-in mail against LIMIT_ADDRESS, LIMIT_NETWORK and LIMIT_TOTAL, all of them or none.

    Answers the seconds to wait, 0 where the mail may go. Keys are digests: the table tells nobody's address. A
    quarter of the total is kept for existing accounts, so that a flood of strangers locks nobody out.
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
    """Whether too many wrong codes were typed for this mailbox today; its links still work."""
    return store.left(tx, _wrong_codes(email_key), now) > 0


def count_wrong_code(tx: Transaction, email_key: str, now: datetime) -> None:
    """Counts a wrong code against the mailbox, over all of its attempts."""
    store.take(tx, [_wrong_codes(email_key)], now)


def _wrong_codes(email_key: str) -> Rule:
    return Rule(f"wrong code:{_digest(email_key)}", WRONG_CODES_A_DAY, 86_400)


def _digest(mailbox: str) -> str:
    return hashlib.sha256(mailbox.encode()).hexdigest()[:24]
