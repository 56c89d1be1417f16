"""The trace of the current request, for `gatepost trace`; an allow-list of parameters keeps secrets out.

The guard begins the trace, routes and ``errors`` add facts, and the guard passes it to the recorder once the response
is sent.
"""

import json
import random
import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from gatepost_idp import crypto, redirects
from gatepost_idp.parameters import Parameters
from gatepost_idp.protocol import RESOURCE_SERVER_GRANT_TYPES

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32: no letters that are easily confused
_LOOK_ALIKES = str.maketrans({"o": "0", "i": "1", "l": "1", "-": "", " ": ""})

_KEPT = frozenset((
    "client_id", "response_type", "response_mode", "scope", "prompt", "max_age", "code_challenge_method", "grant_type",
    "token_type_hint",
))  # fmt: skip  # a table of words
_ADDRESSES = frozenset(("redirect_uri", "resource"))
_MEASURED = frozenset((
    "state", "nonce", "code", "code_verifier", "refresh_token", "token", "login_hint", "subject_token", "actor_token",
))  # fmt: skip  # a table of words
_METADATA = (
    "client_name", "token_endpoint_auth_method", "grant_types", "response_types", "scope", "application_type",
)  # fmt: skip  # a table of words
_METADATA_ADDRESSES = ("redirect_uris", "client_uri", "logo_uri")
_PATHS = ("/register", "/authorize", "/token", "/revoke", "/introspect", "/userinfo")
_EVERYDAY = ("introspect", "userinfo")
_EVERYDAY_GRANTS = ("refresh_token", *RESOURCE_SERVER_GRANT_TYPES)
_NAME = re.compile(r"[a-z][a-z_]{0,31}")
_MOST_VALUES = 30
_LONGEST = 300

# A client that mixes up fields may send a secret in an allowed one, so of a long word with a digit only the beginning
# is kept, unless it is a client_id. Both patterns start at a word boundary, which prevents backtracking.
_RANDOM = re.compile(r"(?<![\w-])(?:(gp_[dcm]c_[\w.-]+)|(?=[\w-]*\d)([\w-]{6})[\w-]{14,})")
_ADDRESS = re.compile(r"(?<![^\s@:/])([^\s@:/]{0,2})[^\s@:/]*@([\w.-]+)")  # from a word's start only: linear time


@dataclass(slots=True)
class Trace:
    """The trace of one request. ``id``: the authorization's once known; ``step``: empty if not to be recorded."""

    id: str
    step: str = ""
    client_id: str = ""
    asked: Parameters | None = None
    facts: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    received: str = ""
    expected: str = ""
    event: str = ""

    def belongs_to(self, trace_id: str) -> None:
        """Assigns the request to the authorization with this trace id; an empty id changes nothing."""
        self.id = trace_id or self.id

    def tell(self, /, **facts: str) -> None:
        """Adds facts worth reading later; never secrets."""
        self.facts.update(facts)

    def refuse(self, reason: str, received: str = "", expected: str = "", event: str = "") -> None:
        """Records why the request is refused, what was received and expected; ``event`` is for the audit log."""
        self.reason, self.received, self.expected, self.event = reason, received, expected, event

    def is_kept(self, status: int) -> bool:
        """Whether to record the step; of refreshes, exchanges, introspection and userinfo, only refusals are."""
        if not self.step:
            return False
        is_everyday = self.asked is not None and self.asked.get("grant_type") in _EVERYDAY_GRANTS
        return status >= 400 or not (is_everyday or self.step in _EVERYDAY)

    def detail(self, status: int) -> dict[str, Any]:
        """The details to store. Secret parameters are left out here; ``plain`` redacts the rest before it is stored."""
        told = {"status": status, "asked": _shown(self.asked) if self.asked else {}, "told": self.facts}
        why = {"reason": self.reason, "received": self.received, "expected": self.expected}
        return {**told, **{name: value[:_LONGEST] for name, value in why.items() if value}}


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin(method: str, path: str) -> Trace:
    """Begins the trace of a request; for the pages of an authorization, the trace id follows from the path."""
    parts = path.removeprefix("/").split("/")
    is_page = parts[0] in ("sign-in", "consent") and len(parts) > 1 and parts[1] != "link"
    trace = Trace(id_of(parts[1]) if is_page else new_id(), _step(method, path, parts))
    _current.set(trace)
    return trace


def current() -> Trace:
    """The trace of the current request; outside of one, a throwaway trace."""
    return _current.get() or Trace("")


def new_id() -> str:
    """A random trace id, for a request whose authorization is not known."""
    return _readable(random.getrandbits(56).to_bytes(7, "big"))  # a name, not a secret


def id_of(request_id: str) -> str:
    """The trace id of an authorization request: 50 bits of a digest of its id, which it does not reveal."""
    return _readable(crypto.token_hash(f"trace {request_id}"))


def typed(text: str) -> str:
    """The stored form of a trace id as typed by a person, with confusable letters corrected."""
    letters = text.strip().lower().translate(_LOOK_ALIKES)
    return f"{letters[:5]}-{letters[5:]}" if len(letters) == 10 else text.strip()


def shown_length(name: str, value: str | None) -> str:
    """Describes a value that must not be kept: ``code: 49 characters``."""
    return f"no {name}" if value is None else f"{name}: {len(value)} characters"


def registration(body: bytes) -> dict[str, str]:
    """The known members of a registration request (RFC 7591 section 2), and the names of the others."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return {"body": f"no JSON, {len(body)} bytes"}
    if not isinstance(members, dict):
        return {"body": f"JSON, but a {type(members).__name__} instead of an object"}
    found = {name: _text(members[name]) for name in _METADATA if name in members}
    found |= {name: _uris(members[name]) for name in _METADATA_ADDRESSES if name in members}
    return found | {name: "present" for name in list(members)[:_MOST_VALUES] if name not in found and _is_name(name)}


def plain(value: str) -> str:
    """Text safe for a terminal and for PostgreSQL: one line, no control characters, no whole token or mail address."""
    is_plain = len(value) <= _LONGEST and value.isascii() and value.isprintable()
    text = value if is_plain else redirects.plain_name(value, _LONGEST)
    text = _RANDOM.sub(_shortened, text)
    return _ADDRESS.sub(r"\1...@\2", text) if "@" in text else text


def masked(address: str) -> str:
    """A mail address for traces and logs: ``al...@example.com``."""
    local, _, domain = address.rpartition("@")
    return f"{local[:2]}...@{domain}"


def _shortened(found: re.Match[str]) -> str:
    return found.group(1) or f"{found.group(2)}..."


def _readable(data: bytes) -> str:
    number = int.from_bytes(data[:7], "big")
    letters = "".join([_ALPHABET[number >> shift & 31] for shift in range(0, 50, 5)])
    return f"{letters[:5]}-{letters[5:]}"


def _step(method: str, path: str, parts: list[str]) -> str:
    """The step's name; empty for preflights, the waiting page's poll, and pages outside authorizations."""
    if method == "OPTIONS" or parts[-1] == "state":
        return ""
    if path.startswith("/.well-known/"):
        return "discovery"
    if path in _PATHS:
        return path[1:]
    if parts[0] not in ("sign-in", "consent"):
        return ""
    if len(parts) > 2 and parts[-1] in ("code", "resend", "change", "deny", "again", "switch", "not-me"):
        return f"{parts[0]} {parts[-1]}"
    if parts[1:] == ["link"]:
        return "sign-in link"
    form = "mail" if parts[0] == "sign-in" else "decision"
    return f"{parts[0]} {form if method == 'POST' else 'page'}"


def _shown(asked: Parameters) -> dict[str, str]:
    """Parameters in a form that may be stored; of those not known to be harmless, only the name or length."""
    found: dict[str, str] = {}
    for name, value in list(asked.values.items())[:_MOST_VALUES]:
        if name in _KEPT:
            found[name] = value[:_LONGEST]
        elif name in _ADDRESSES:
            found[name] = redirects.shown(value)
        elif name in _MEASURED:
            found[name] = f"{len(value)} characters"
        elif name == "code_challenge":
            found[name] = f"{value[:8]}... ({len(value)} characters)"
        elif _is_name(name):
            found[name] = "present"
    return found


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _text(value: object) -> str:
    """A member that should be a string or a list of strings, shortened."""
    if isinstance(value, str):
        return value[:_LONGEST]
    if isinstance(value, list):
        return ", ".join(str(item)[:100] for item in value[:10] if isinstance(item, str))[:_LONGEST]
    return f"a {type(value).__name__}"


def _uris(value: object) -> str:
    if isinstance(value, str):
        return redirects.shown(value)
    if isinstance(value, list):
        return ", ".join(redirects.shown(item) for item in value[:10] if isinstance(item, str))[: 2 * _LONGEST]
    return f"a {type(value).__name__}"
