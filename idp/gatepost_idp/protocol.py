"""The protocol's vocabulary: error codes, grant types, refusals, scopes and times, as shared types and functions."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Clock = Callable[[], datetime]
"""Returns the current time as an aware datetime in UTC; passed in, so that tests can control it."""

ErrorCode = Literal[
    "access_denied",
    "invalid_client",
    "invalid_client_metadata",
    "invalid_grant",
    "invalid_redirect_uri",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "invalid_token",
    "insufficient_scope",
    "consent_required",
    "interaction_required",
    "login_required",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
    "unsupported_token_type",
]
"""From RFC 6749 (4.1.2.1, 5.2), 6750 (3.1), 7009 (2.2.1), 7591 (3.2.2), 8707 (2) and OIDC Core (3.1.2.6)."""

AuthMethod = Literal["none", "client_secret_basic", "client_secret_post"]
AUTH_METHODS: dict[str, AuthMethod] = {
    "none": "none",
    "client_secret_basic": "client_secret_basic",
    "client_secret_post": "client_secret_post",
}
"""How clients authenticate (RFC 7591 section 2)."""

GRANT_TYPES = ("authorization_code", "refresh_token")
"""The grant types that POST /token accepts from clients."""

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
RESOURCE_SERVER_GRANT_TYPES = (TOKEN_EXCHANGE, "client_credentials")
"""The grant types that POST /token accepts from resource servers, for backend tokens (RFC 8693, RFC 6749 4.4)."""

ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"
"""The only token type that can be exchanged and is issued by an exchange (RFC 8693 section 3)."""

OIDC_SCOPES = ("openid", "profile", "email", "offline_access")
"""Scopes that any client may request; none of them opens a tool."""

_SCHEME_AND_HOST = re.compile(r"\A[^:/?#]+://[^/?#]*")


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request is refused: ``description`` is sent to the client, ``reason`` only logged.

    ``description`` is constant ASCII without a quote or backslash (RFC 6749 section 5.2). ``received`` and ``expected``
    are for `gatepost trace` and hold no secret; ``trace_id`` is the authorization's, if it is known. ``event`` is the
    name in the audit log, if it is a security event.
    """

    error: ErrorCode
    description: str
    reason: str
    received: str = ""
    expected: str = ""
    trace_id: str = ""
    event: str = ""


def system_clock() -> datetime:
    """The machine's time as an aware datetime in UTC."""
    return datetime.now(UTC)


def milliseconds(instant: datetime) -> int:
    """``instant`` as milliseconds since the epoch, the form in which the database stores times."""
    return int(instant.timestamp() * 1000)


def instant(ms: int) -> datetime:
    """The aware UTC datetime for ``ms`` milliseconds since the epoch."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def scope_set(scope: str) -> tuple[str, ...]:
    """The distinct names in a ``scope`` parameter, in order (RFC 6749 section 3.3)."""
    return tuple(dict.fromkeys(scope.split()))


def scope_text(names: Iterable[str]) -> str:
    """``names`` as a ``scope`` value: separated by spaces."""
    return " ".join(names)


_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def compact_json(value: Any) -> str:
    """JSON without whitespace, for tokens and audit seals; the encoder is made once, for speed."""
    return _COMPACT.encode(value)


def names_the_same_resource(one: str, other: str) -> bool:
    """Whether two resource indicators name the same resource (RFC 8707 section 2).

    Compared byte for byte, except for the case of scheme and host (MCP 2026-07-28, Canonical Server URI) and a trailing
    slash, which some clients add.
    """
    return one == other or _plain_resource(one) == _plain_resource(other)


def _plain_resource(indicator: str) -> str:
    return _SCHEME_AND_HOST.sub(lambda found: found[0].lower(), indicator, count=1).removesuffix("/")
