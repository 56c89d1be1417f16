"""PKCE: S256 only, with valid verifiers and challenges."""

import base64
import hashlib

import pytest

from gatepost_idp import pkce

# RFC 7636 appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.clause("A1")
def test_the_example_of_the_standard_proves_itself() -> None:
    """And a verifier is not its own challenge: plain does not pass as S256."""
    assert pkce.proves(VERIFIER, CHALLENGE)
    assert not pkce.proves(VERIFIER, VERIFIER)
    assert not pkce.proves(CHALLENGE, CHALLENGE)


@pytest.mark.clause("A1")
@pytest.mark.parametrize("length", [43, 128])
def test_verifiers_of_either_extreme_are_taken(length: int) -> None:
    """The Python SDK sends 128 characters."""
    verifier = ("aZ09-._~" * 16)[:length]
    digest = hashlib.sha256(verifier.encode()).digest()
    assert pkce.proves(verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode())


@pytest.mark.clause("A1")
@pytest.mark.parametrize(
    "verifier",
    ["", "a" * 42, "a" * 129, "a" * 43 + "\n", "a" * 42 + "+", "a" * 42 + " ", "\N{SNOWMAN}" * 43],
)
def test_what_can_be_no_verifier_proves_nothing(verifier: str) -> None:
    """Even if its hash is the challenge."""
    digest = hashlib.sha256(verifier.encode()).digest()
    assert not pkce.proves(verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode())


@pytest.mark.clause("A1")
@pytest.mark.parametrize(
    ("challenge", "verdict"),
    [
        (CHALLENGE, True),
        (CHALLENGE[:-1], False),
        (CHALLENGE + "A", False),
        (CHALLENGE + "=", False),
        (CHALLENGE[:-1] + "=", False),
        (CHALLENGE[:-1] + "+", False),
        (CHALLENGE[:-1] + "\n", False),
        (CHALLENGE[:-1] + "\N{SNOWMAN}", False),
        ("", False),
    ],
)
def test_a_challenge_has_the_form_of_a_sha256(challenge: str, verdict: bool) -> None:
    """43 characters of base64url."""
    assert pkce.is_challenge(challenge) is verdict
