"""Proof Key for Code Exchange, only with S256 (RFC 7636, OAuth 2.1 section 4.1.1)."""

import hmac

from authlib.oauth2.rfc7636.challenge import (
    CODE_CHALLENGE_PATTERN,
    CODE_VERIFIER_PATTERN,
    create_s256_code_challenge,
)


def is_challenge(value: str) -> bool:
    """Whether ``value`` can be an S256 challenge: a SHA-256 in base64url is 43 characters (RFC 7636 section 4.2)."""
    return len(value) == 43 and CODE_CHALLENGE_PATTERN.fullmatch(value) is not None


def proves(verifier: str, challenge: str) -> bool:
    """Whether ``verifier`` is well-formed and hashes to ``challenge`` (RFC 7636 section 4.6)."""
    if CODE_VERIFIER_PATTERN.fullmatch(verifier) is None:
        return False
    return hmac.compare_digest(create_s256_code_challenge(verifier), challenge)
