"""Malformed tokens: the reason logged for each, and each limit exactly."""

import base64
import json
from typing import Any

import pytest

from gatepost_resource.access_token import (
    END_OF_TIME,
    LEEWAY_SECONDS,
    MAX_TEXT_CHARACTERS,
    MAX_TOKEN_CHARACTERS,
    Identifiers,
    read_claims,
    read_header,
    read_told,
)
from gatepost_resource.errors import ExpiredToken, InvalidToken

NOW = 1_800_000_000
EXPECTED = Identifiers("https://issuer.example", "https://mcp.example/mcp")
CLAIMS: dict[str, Any] = {
    "iss": EXPECTED.issuer, "aud": EXPECTED.resource, "sub": "alice", "client_id": "client", "jti": "1",
    "iat": NOW, "exp": NOW + 900, "scope": "demo:read demo:echo",
    "entitlements": ["demo:ops"], "email": "a@example.com",
}  # fmt: skip  # one token
HEADER: dict[str, Any] = {"alg": "ES256", "typ": "at+jwt", "kid": "first"}


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


SIGNATURE = encoded(bytes(64))


def headed(**changes: Any) -> str:
    return f"{encoded(json.dumps(HEADER | changes).encode())}.e30.{SIGNATURE}"


def claiming(**changes: Any) -> str:
    """None leaves a claim out."""
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return f"e30.{encoded(json.dumps(claims).encode())}.{SIGNATURE}"


def test_the_limits_are_what_the_documents_say() -> None:
    """One minute of clock skew; tokens of eight kilobytes, text claims of two."""
    assert (LEEWAY_SECONDS, MAX_TOKEN_CHARACTERS, MAX_TEXT_CHARACTERS) == (60, 8192, 2048)
    assert END_OF_TIME == 253_402_300_799


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("a.b", "not a compact JWS"),
        (f"e30.e30.{encoded(bytes(63))}", "the signature has not the length of ES256"),
        (headed(alg="ES384"), "alg is not ES256"),
        (headed(typ="JWT"), "typ is not at+jwt"),
        (headed(typ=None), "typ is not at+jwt"),
        (headed(crit=["b64"], b64=False), "the header has b64, crit"),
        *((headed(**{name: "x"}), f"the header has {name}") for name in ("jku", "jwk", "x5u", "x5c", "enc", "zip")),
        (headed(kid=""), "kid is missing or no short text"),
        (headed(kid="k" * 2049), "kid is missing or no short text"),
        (f"{encoded(b'[]')}.e30.{SIGNATURE}", "not a JSON object"),
        (f"{encoded(b'{')}.e30.{SIGNATURE}", "not JSON"),
        (f"{encoded(b'[' * 6000)}.e30.{SIGNATURE}"[:9000], "not JSON"),
        (f"{encoded(b'{}')}.e30.{SIGNATURE}=", "not base64url"),
        (f"é.e30.{SIGNATURE}", "not base64url"),
    ],
)
def test_a_header_is_refused_for_its_reason(token: str, reason: str) -> None:
    """The reason goes to the log, not to the caller."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        reason = "not a compact JWS"
    with pytest.raises(InvalidToken) as refused:
        read_header(token)
    assert refused.value.reason == reason


def test_a_token_may_be_as_long_as_it_may() -> None:
    """A token, and a kid, may have exactly the maximum length, and no more."""
    head, _, signature = headed().split(".")
    longest = f"{head}.{'a' * (MAX_TOKEN_CHARACTERS - len(head) - len(signature) - 2)}.{signature}"
    assert read_header(longest) == "first"
    with pytest.raises(InvalidToken):
        read_header(longest.replace(".a", ".aa", 1))
    assert len(read_header(headed(kid="k" * 2048))) == 2048


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://other.example"}, "iss is not OAUTH_ISSUER"),
        ({"aud": "https://other.example"}, "aud does not hold MCP_RESOURCE_URL"),
        ({"sub": None}, "sub is missing or no short text"),
        ({"client_id": ""}, "client_id is missing or no short text"),
        ({"jti": None}, "jti is missing or no short text"),
        ({"scope": ["demo:read"]}, "scope is not a list of scopes separated by spaces"),
        ({"entitlements": "demo:ops"}, "entitlements is not an array of scopes"),
        ({"entitlements": ["demo:ops", 1]}, "entitlements is not an array of scopes"),
        ({"exp": True}, "exp is missing or no number"),
        ({"exp": END_OF_TIME + 1}, "exp is no instant"),
        ({"exp": -1}, "exp is no instant"),
        ({"iat": NOW + 61}, "iat is in the future"),
        ({"nbf": NOW + 61}, "nbf is in the future"),
        ({"email": 7}, "email is missing or no short text"),
    ],
)
def test_claims_are_refused_for_their_reason(changes: dict[str, Any], reason: str) -> None:
    """As above, for the claims."""
    with pytest.raises(InvalidToken) as refused:
        read_claims(claiming(**changes), EXPECTED, NOW)
    assert (type(refused.value), refused.value.reason) == (InvalidToken, reason)


def test_claims_are_read_as_they_stand() -> None:
    """Each claim is read into its field; an optional one that is missing is empty."""
    found = read_claims(claiming(), EXPECTED, NOW)
    assert (found.subject, found.client_id, found.email, found.client_name) == (
        "alice",
        "client",
        "a@example.com",
        None,
    )
    assert (found.scopes, found.entitlements) == (("demo:read", "demo:echo"), frozenset({"demo:ops"}))
    assert found.expires_at == NOW + 900
    bare = read_claims(claiming(scope=None, entitlements=None, email=None, client_name="Claude"), EXPECTED, NOW)
    assert (bare.scopes, bare.entitlements, bare.email, bare.client_name) == ((), frozenset(), None, "Claude")


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_a_minute_ahead_is_forgiven(name: str) -> None:
    """`iat` and `nbf` may be ahead by exactly a minute."""
    assert read_claims(claiming(**{name: NOW + 60}), EXPECTED, NOW).subject == "alice"


def test_a_minute_behind_is_forgiven() -> None:
    """`exp` may be past by just under a minute; then the token has expired, and its client should refresh."""
    assert read_claims(claiming(exp=NOW - 59), EXPECTED, NOW).expires_at == NOW - 59
    with pytest.raises(ExpiredToken) as refused:
        read_claims(claiming(exp=NOW - 60), EXPECTED, NOW)
    assert refused.value.reason == "exp is past"
    assert read_claims(claiming(exp=END_OF_TIME), EXPECTED, NOW).expires_at == END_OF_TIME
    with pytest.raises(ExpiredToken):
        read_claims(claiming(exp=0), EXPECTED, NOW)


def test_what_introspection_tells_is_held_to_the_same() -> None:
    """Its issuer, if it names one, its audience and its expiry."""
    assert read_told(CLAIMS, EXPECTED, NOW).subject == "alice"
    assert read_told({name: CLAIMS[name] for name in CLAIMS if name != "iss"}, EXPECTED, NOW).subject == "alice"
    with pytest.raises(InvalidToken) as refused:
        read_told(CLAIMS | {"iss": "https://other.example"}, EXPECTED, NOW)
    assert refused.value.reason == "iss is not OAUTH_ISSUER"
    assert read_told(CLAIMS | {"exp": NOW - 59}, EXPECTED, NOW).subject == "alice"
    with pytest.raises(ExpiredToken) as late:
        read_told(CLAIMS | {"exp": NOW - 60}, EXPECTED, NOW)
    assert late.value.reason == "exp is past"
