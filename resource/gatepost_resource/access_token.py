"""What a JWT access token must look like before any key is looked for (RFC 9068, section 4)."""

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatepost_resource.errors import ExpiredToken, InvalidToken

LEEWAY_SECONDS = 60
MAX_TOKEN_CHARACTERS = 8192
MAX_TEXT_CHARACTERS = 2048  # a client_id may be a URL
ES256_SIGNATURE_BYTES = 64
END_OF_TIME = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second a datetime can hold

_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
_SCOPES = re.compile(r"([\x21\x23-\x5B\x5D-\x7E]+( [\x21\x23-\x5B\x5D-\x7E]+)*)?")  # RFC 6749, section 3.3
# Each lets a token bring its own key or change the rules (RFC 7515, section 4.1; RFC 7797).
_REFUSED_HEADERS = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64", "enc", "zip"})


@dataclass(frozen=True, slots=True)
class BearerToken:
    """What the issuer says about the caller. ``client_name`` and ``email`` are for display only.

    ``entitlements``: every scope this person holds at this resource, and so those for which step-up can succeed;
    empty if the issuer does not send the claim. ``expires_at``: seconds since the epoch.
    """

    subject: str
    client_id: str
    scopes: tuple[str, ...]
    entitlements: frozenset[str]
    expires_at: int
    email: str | None = None
    client_name: str | None = None


@dataclass(frozen=True, slots=True)
class Identifiers:
    """The ``iss`` and ``aud`` that tokens must have, compared byte for byte."""

    issuer: str
    resource: str


def read_header(token: str) -> str:
    """The ``kid`` of a compact JWS with an acceptable ``at+jwt`` header; raises InvalidToken for anything else."""
    segments = token.split(".")
    if len(token) > MAX_TOKEN_CHARACTERS or len(segments) != 3:
        raise InvalidToken("not a compact JWS")
    if len(_decode(segments[2])) != ES256_SIGNATURE_BYTES:
        raise InvalidToken("the signature has not the length of ES256")
    header = _object(segments[0])
    if header.get("alg") != "ES256":
        raise InvalidToken("alg is not ES256")
    typ = header.get("typ")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") != "at+jwt":
        raise InvalidToken("typ is not at+jwt")  # an ID token, for example, must not work as an access token
    if refused := _REFUSED_HEADERS.intersection(header):
        raise InvalidToken(f"the header has {', '.join(sorted(refused))}")
    return _text(header, "kid")


def read_claims(token: str, expected: Identifiers, now: float) -> BearerToken:
    """The claims of a token whose header ``read_header`` accepted; ``now``: seconds since the epoch.

    Raises InvalidToken, or ExpiredToken when expiry is the only fault. The result is untrusted until the
    signature is verified; claims are read first so that a token refused anyway causes no key fetch.
    """
    claims = _object(token.split(".")[1])
    if claims.get("iss") != expected.issuer:
        raise InvalidToken("iss is not OAUTH_ISSUER")
    found = _read(claims, expected)
    _text(claims, "jti")
    _check_times(claims, found, now)
    return found


def read_told(told: Mapping[str, Any], expected: Identifiers, now: float) -> BearerToken:
    """The token that an active introspection response describes (RFC 7662, section 2.2).

    ``iss`` and ``iat`` may be missing: the response comes from the issuer itself. ``now``: seconds since the
    epoch. Raises InvalidToken, or ExpiredToken when expiry is the only fault.
    """
    if told.get("iss", expected.issuer) != expected.issuer:
        raise InvalidToken("iss is not OAUTH_ISSUER")
    found = _read(told, expected)
    if found.expires_at <= now - LEEWAY_SECONDS:
        raise ExpiredToken("exp is past")
    return found


def _read(claims: Mapping[str, Any], expected: Identifiers) -> BearerToken:
    audience = claims.get("aud")
    if expected.resource not in (audience if isinstance(audience, list) else [audience]):
        raise InvalidToken("aud does not hold MCP_RESOURCE_URL")
    return BearerToken(
        subject=_text(claims, "sub"),
        client_id=_text(claims, "client_id"),
        scopes=_scopes(claims.get("scope", "")),
        entitlements=_entitlements(claims.get("entitlements", [])),
        expires_at=_instant(claims, "exp"),
        email=_display(claims, "email"),
        client_name=_display(claims, "client_name"),
    )


def _check_times(claims: Mapping[str, Any], token: BearerToken, now: float) -> None:
    if _instant(claims, "iat") > now + LEEWAY_SECONDS:
        raise InvalidToken("iat is in the future")
    if "nbf" in claims and _instant(claims, "nbf") > now + LEEWAY_SECONDS:
        raise InvalidToken("nbf is in the future")
    if token.expires_at <= now - LEEWAY_SECONDS:
        raise ExpiredToken("exp is past")


def _decode(segment: str) -> bytes:
    try:
        decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except (ValueError, binascii.Error):
        raise InvalidToken("not base64url") from None
    # A token has exactly one encoding: padding and non-zero trailing bits are refused.
    if not _SEGMENT.fullmatch(segment) or base64.urlsafe_b64encode(decoded).rstrip(b"=") != segment.encode():
        raise InvalidToken("not base64url")
    return decoded


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a member stands twice")  # RFC 7515, section 4: two parsers may pick different ones
    return names


def _object(segment: str) -> dict[str, Any]:
    try:
        found = json.loads(_decode(segment), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise InvalidToken("not JSON") from None
    if not isinstance(found, dict):
        raise InvalidToken("not a JSON object")
    return found


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT_CHARACTERS:
        raise InvalidToken(f"{name} is missing or no short text")
    return value


def _display(claims: Mapping[str, Any], name: str) -> str | None:
    return _text(claims, name) if claims.get(name) else None  # a client may have registered no name


def _instant(claims: Mapping[str, Any], name: str) -> int:
    """A NumericDate (RFC 7519, section 2) in whole seconds; refuses NaN and infinity, which defeat comparisons."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidToken(f"{name} is missing or no number")
    if not math.isfinite(value) or not 0 <= value <= END_OF_TIME:
        raise InvalidToken(f"{name} is no instant")
    return int(value)


def _scopes(value: object) -> tuple[str, ...]:
    if not isinstance(value, str) or not _SCOPES.fullmatch(value):
        raise InvalidToken("scope is not a list of scopes separated by spaces")
    return tuple(dict.fromkeys(value.split()))


def _entitlements(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InvalidToken("entitlements is not an array of scopes")
    return frozenset(value)
