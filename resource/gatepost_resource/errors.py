"""Every refusal that an HTTP answer can carry: status and RFC 6750 code for the wire, reason for the log."""

from collections.abc import Sequence
from typing import ClassVar, Literal

ErrorCode = Literal["invalid_request", "invalid_token", "insufficient_scope", "temporarily_unavailable"]


class Refusal(Exception):
    """A refused request.

    ``reason`` goes to the log only. ``description`` is sent in a header, so it is constant ASCII without
    quotes (RFC 6750, section 3).
    """

    status: ClassVar[int] = 400
    error: ClassVar[ErrorCode | None] = None
    description: ClassVar[str] = ""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InvalidRequest(Refusal):
    """There are several Authorization headers (RFC 6750, section 3.1)."""

    status = 400
    error = "invalid_request"
    description = "Send exactly one Authorization header"


class NoToken(Refusal):
    """No token was sent: the challenge then names no error (RFC 6750, section 3.1)."""

    status = 401


class InvalidToken(Refusal):
    """A token was sent and refused; only the log says which check it failed."""

    status = 401
    error = "invalid_token"
    description = "The access token is not valid for this resource"


class ExpiredToken(InvalidToken):
    """The token was valid once: its client should refresh rather than start over."""

    description = "The access token expired"


class IssuerUnavailable(Refusal):
    """Whether the token is valid cannot be determined, so it is not called invalid: 503, not 401."""

    status = 503
    error = "temporarily_unavailable"
    description = "The token cannot be checked with the authorization server at the moment"


class KeysUnavailable(IssuerUnavailable):
    """The issuer's keys cannot be fetched."""

    description = "The signing keys of the authorization server cannot be fetched at the moment"


class InsufficientScope(Refusal):
    """The person holds the scope, the token does not: the client can ask for more (RFC 6750, section 3.1)."""

    status = 403
    error = "insufficient_scope"
    description = "This call needs a scope that the access token does not have"

    def __init__(self, reason: str, scopes: Sequence[str]) -> None:
        """``scopes``: every scope the client has to ask for, including those it already has."""
        super().__init__(reason)
        self.scopes = tuple(scopes)
