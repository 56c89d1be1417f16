"""Every refusal that an HTTP answer can carry: status and RFC 6750 code for the wire, reason for the log."""

from collections.abc import Sequence
from typing import ClassVar, Literal

ErrorCode = Literal["invalid_request", "invalid_token", "insufficient_scope", "temporarily_unavailable"]


class Refusal(Exception):
    """An answer other than the one that was asked for.

    ``reason`` goes to the log only. ``description`` goes out in a header, so it is constant ASCII without
    quotes (RFC 6750, section 3).
    """

    status: ClassVar[int] = 400
    error: ClassVar[ErrorCode | None] = None
    description: ClassVar[str] = ""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InvalidRequest(Refusal):
    """The Authorization header cannot be read in one way only (RFC 6750, section 3.1)."""

    status = 400
    error = "invalid_request"
    description = "Send exactly one Authorization header"


class NoToken(Refusal):
    """No token came: the challenge then names no error (RFC 6750, section 3.1)."""

    status = 401


class InvalidToken(Refusal):
    """A token came and is not taken; which check it failed is in the log alone."""

    status = 401
    error = "invalid_token"
    description = "The access token is not valid for this resource"


class ExpiredToken(InvalidToken):
    """The token was good once: its client refreshes rather than starting over."""

    description = "The access token expired"


class IssuerUnavailable(Refusal):
    """Nobody can say whether the token is good, so it is not called bad: 503, not 401."""

    status = 503
    error = "temporarily_unavailable"
    description = "The authorization server cannot be asked about the token at the moment"


class KeysUnavailable(IssuerUnavailable):
    """The keys of the issuer cannot be had."""

    description = "The signing keys of the authorization server cannot be fetched at the moment"


class InsufficientScope(Refusal):
    """The person holds the scope, the token does not: the client can ask for more (RFC 6750, section 3.1)."""

    status = 403
    error = "insufficient_scope"
    description = "This call needs a scope that the access token does not have"

    def __init__(self, reason: str, scopes: Sequence[str]) -> None:
        """``scopes``: every scope the client has to ask for, those it already has included."""
        super().__init__(reason)
        self.scopes = tuple(scopes)
