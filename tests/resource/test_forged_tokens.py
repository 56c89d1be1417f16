"""R3: forged, altered and foreign tokens are refused, and not one of them makes the server fetch anything."""

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
import structlog.testing
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey

from tests.resource.issuer import new_key
from tests.resource.running import LIST, Running

STRANGER = new_key("first")
ELSEWHERE = "http://127.0.0.1:9/keys.json"


def encode(value: Any) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(resource: Running, header: dict[str, Any], key: ECKey | None = None, **changes: Any) -> str:
    """A token signed with the real key, with header members replaced; None leaves one out."""
    signing = key or resource.issuer.keys[0]
    full = {"typ": "at+jwt", "alg": "ES256", "kid": "first", **header}
    full = {name: value for name, value in full.items() if value is not None}
    message = f"{encode(full)}.{encode(resource.issuer.claims(resource.mcp, **changes))}"
    # Signed here, since no library signs some of these headers.
    signature = jws.JWSRegistry.algorithms["ES256"].sign(message.encode(), signing)
    return f"{message}.{encode(signature)}"


def unsigned(resource: Running, alg: str) -> str:
    header = {"typ": "at+jwt", "alg": alg, "kid": "first"}
    return f"{encode(header)}.{encode(resource.issuer.claims(resource.mcp))}."


def hmac_with_the_public_key(resource: Running) -> str:
    """The classic attack: the public key as an HMAC secret, with a signature of the right length."""
    secret = resource.issuer.keys[0].as_pem(private=False)
    header = {"typ": "at+jwt", "alg": "HS512", "kid": "first"}
    message = f"{encode(header)}.{encode(resource.issuer.claims(resource.mcp))}"
    return f"{message}.{encode(hmac.digest(secret, message.encode(), 'sha512'))}"


def rsa(resource: Running) -> str:
    header = {"typ": "at+jwt", "alg": "RS256", "kid": "first"}
    key = RSAKey.generate_key(2048, {"kid": "first"})
    return jwt.encode(header, resource.issuer.claims(resource.mcp), key, ["RS256"])


def altered(resource: Running) -> str:
    """A valid token whose claims were widened after signing."""
    header, _, signature = resource.token().split(".")
    claims = resource.issuer.claims(resource.mcp, scope="demo:read demo:echo demo:ops")
    return f"{header}.{encode(claims)}.{signature}"


def raw_header(resource: Running, text: bytes) -> str:
    """A token with any bytes as its header, correctly signed."""
    message = f"{encode(text)}.{encode(resource.issuer.claims(resource.mcp))}"
    signature = jws.JWSRegistry.algorithms["ES256"].sign(message.encode(), resource.issuer.keys[0])
    return f"{message}.{encode(signature)}"


def raw_claims(resource: Running, text: bytes) -> str:
    """A token with any bytes as its claims, correctly signed."""
    header = {"typ": "at+jwt", "alg": "ES256", "kid": "first"}
    message = f"{encode(header)}.{encode(text)}"
    signature = jws.JWSRegistry.algorithms["ES256"].sign(message.encode(), resource.issuer.keys[0])
    return f"{message}.{encode(signature)}"


def swapped(resource: Running, change: Callable[[list[str]], list[str]]) -> str:
    return ".".join(change(resource.token().split(".")))


FORGED: dict[str, Callable[[Running], str]] = {
    "alg none": lambda r: unsigned(r, "none"),
    "alg None": lambda r: unsigned(r, "None"),
    "alg ES256 without a signature": lambda r: unsigned(r, "ES256"),
    "hmac with the public key": hmac_with_the_public_key,
    "another algorithm": rsa,
    "alg as a list": lambda r: signed(r, {"alg": ["ES256"]}),
    "alg missing": lambda r: signed(r, {"alg": None}),
    "a stranger's key under a known kid": lambda r: r.token(key=STRANGER),
    "claims altered": altered,
    "signature cut": lambda r: r.token()[:-4],
    "signature of another token": lambda r: swapped(r, lambda p: [p[0], p[1], r.token().split(".")[2]]),
    "signature of zeros": lambda r: swapped(r, lambda p: [p[0], p[1], encode(bytes(64))]),
    "signature in DER": lambda r: swapped(r, lambda p: [p[0], p[1], encode(bytes(70))]),
    "two segments": lambda r: swapped(r, lambda p: p[:2]),
    "four segments": lambda r: swapped(r, lambda p: [*p, "x"]),
    "five segments, a JWE": lambda r: swapped(r, lambda p: [*p, "x", "y"]),
    "empty segments": lambda r: "..",
    "a header that is no JSON": lambda r: swapped(r, lambda p: [encode(b"{"), p[1], p[2]]),
    "a header that is a list": lambda r: swapped(r, lambda p: [encode([]), p[1], p[2]]),
    "a header that is deep": lambda r: swapped(r, lambda p: [encode(b"[" * 5000), p[1], p[2]]),
    "a header with alg twice": lambda r: raw_header(r, b'{"alg":"none","typ":"at+jwt","kid":"first","alg":"ES256"}'),
    "typ JWT": lambda r: signed(r, {"typ": "JWT"}),
    "typ missing, an id_token": lambda r: signed(r, {"typ": None}),
    "typ logout+jwt": lambda r: signed(r, {"typ": "logout+jwt"}),
    "kid missing": lambda r: signed(r, {"kid": None}),
    "kid empty": lambda r: signed(r, {"kid": ""}),
    "kid as a number": lambda r: signed(r, {"kid": 1}),
    "kid as long as a book": lambda r: signed(r, {"kid": "k" * 3000}),
    "jku": lambda r: signed(r, {"jku": ELSEWHERE}, STRANGER),
    "jku with the real key": lambda r: signed(r, {"jku": ELSEWHERE}),
    "x5u": lambda r: signed(r, {"x5u": ELSEWHERE}),
    "x5c": lambda r: signed(r, {"x5c": ["MIIB"]}),
    "jwk, its own key brought along": lambda r: signed(r, {"jwk": STRANGER.as_dict(private=False)}, STRANGER),
    "crit with something unknown": lambda r: signed(r, {"crit": ["exp2"], "exp2": 1}),
    "crit, empty": lambda r: signed(r, {"crit": []}),
    "b64 false": lambda r: signed(r, {"b64": False, "crit": ["b64"]}),
    "zip": lambda r: signed(r, {"zip": "DEF"}),
    "iss of another": lambda r: r.token(iss="https://evil.example"),
    "iss with a slash": lambda r: r.token(iss=r.issuer.url + "/"),
    "iss missing": lambda r: r.token(iss=None),
    "iss as a list": lambda r: r.token(iss=[r.issuer.url]),
    "aud of another resource": lambda r: r.token(aud="https://other.example/mcp"),
    "aud with a slash": lambda r: r.token(aud=r.mcp + "/"),
    "aud that begins alike": lambda r: r.token(aud=r.mcp + ".evil.example"),
    "aud that is our origin": lambda r: r.token(aud=r.base),
    "aud missing": lambda r: r.token(aud=None),
    "aud empty": lambda r: r.token(aud=[]),
    "aud as an object": lambda r: r.token(aud={r.mcp: True}),
    "expired": lambda r: r.token(exp=1_700_000_000),
    "exp missing": lambda r: r.token(exp=None),
    "exp as a text": lambda r: r.token(exp="4102444800"),
    "exp true": lambda r: r.token(exp=True),
    "exp beyond the calendar": lambda r: r.token(exp=10**15),
    "exp NaN": lambda r: raw_claims(r, json.dumps(r.issuer.claims(r.mcp, exp=float("nan"))).encode()),
    "exp infinite": lambda r: raw_claims(r, json.dumps(r.issuer.claims(r.mcp, exp=float("inf"))).encode()),
    "iat missing": lambda r: r.token(iat=None),
    "iat in the future": lambda r: r.token(iat=4_102_444_800),
    "nbf in the future": lambda r: r.token(nbf=4_102_444_800),
    "nbf as a text": lambda r: r.token(nbf="now"),
    "sub missing": lambda r: r.token(sub=None),
    "sub as a number": lambda r: r.token(sub=7),
    "client_id missing": lambda r: r.token(client_id=None),
    "jti missing": lambda r: r.token(jti=None),
    "scope as a list": lambda r: r.token(scope=["demo:ops"]),
    "scope with a quote": lambda r: r.token(scope='demo:read" error="x'),
    "scope with a line break": lambda r: r.token(scope="demo:read\r\nx: y"),
    "entitlements as a text": lambda r: r.token(entitlements="demo:ops"),
    "entitlements of numbers": lambda r: r.token(entitlements=[1]),
    "claims that are a list": lambda r: raw_claims(r, b"[]"),
    "claims that are deep": lambda r: raw_claims(r, b"[" * 5000),
    "claims that are no UTF-8": lambda r: raw_claims(r, b'{"iss":"\xff"}'),
    "claims with aud twice": lambda r: raw_claims(
        r, b'{"aud":"https://other.example",' + json.dumps(r.issuer.claims(r.mcp)).encode()[1:]
    ),
    "nine kilobytes": lambda r: r.token(padding="x" * 9000),
    "an opaque token": lambda r: "gp_pt_0123456789abcdef",
    "alg none, an unknown kid": lambda r: signed(r, {"alg": "none", "kid": "unknown"}),
    "alg ES512, an unknown kid": lambda r: signed(r, {"alg": "ES512", "kid": "unknown"}),
    "typ JWT, an unknown kid": lambda r: signed(r, {"typ": "JWT", "kid": "unknown"}),
    "jku, an unknown kid": lambda r: signed(r, {"jku": ELSEWHERE, "kid": "unknown"}),
    "crit, an unknown kid": lambda r: signed(r, {"crit": ["b64"], "b64": False, "kid": "unknown"}),
    "iss of another, an unknown kid": lambda r: signed(r, {"kid": "unknown"}, iss="https://evil.example"),
    "aud of another, an unknown kid": lambda r: signed(r, {"kid": "unknown"}, aud="https://other.example/mcp"),
    "expired, an unknown kid": lambda r: signed(r, {"kid": "unknown"}, exp=1_700_000_000),
    "a short signature, an unknown kid": lambda r: signed(r, {"kid": "unknown"})[:-4],
    "not ASCII": lambda r: "tök.ën.x".encode().decode("latin-1"),
    "padding in the middle": lambda r: swapped(r, lambda p: [p[0] + "==", p[1], p[2]]),
}


@pytest.mark.clause(
    "R3", "R2.invalid-token", "R3.signature", "R3.algorithm", "R3.type", "R3.issuer", "R3.audience", "R3.time"
)
@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_token_is_refused_without_a_fetch(resource: Running, kind: str) -> None:
    """401 invalid_token, and no request to the issuer: a stranger's token costs only this server."""
    resource.monotonic.offset += 11  # an unknown kid could cause a fetch now
    before = len(resource.issuer.asked)
    token = FORGED[kind](resource)
    authorization = f"Bearer {token}".encode()
    headers = [(b"authorization", authorization), (b"content-type", b"application/json"), (b"accept", b"*/*")]
    response = resource.request("POST", json=LIST, headers=headers)
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
    assert len(resource.issuer.asked) == before


def test_there_are_more_than_thirty(resource: Running) -> None:
    """And the same helpers, without the forgery, make tokens that are accepted."""
    assert len(FORGED) > 30
    good = [
        resource.token(),
        signed(resource, {}),
        raw_claims(resource, json.dumps(resource.issuer.claims(resource.mcp)).encode()),
    ]
    for token in good:
        assert resource.post(LIST, token).status_code == 200


@pytest.mark.clause("R3", "R3.type", "R3.audience")
@pytest.mark.parametrize(
    ("header", "changes"),
    [
        ({"typ": "application/at+jwt"}, {}),
        ({"typ": "AT+JWT"}, {}),
        ({"x5t": "abc", "vendor": 1}, {}),
        ({}, {"aud": ["https://other.example", "RESOURCE"]}),
        ({}, {"nbf": 1_700_000_000}),
        ({}, {"scope": None}),
        ({}, {"client_name": "", "email": ""}),
        ({}, {"exp": 4_102_444_800.5}),
        ({}, {"email": None, "client_name": None, "entitlements": None, "extra": {"a": 1}}),
    ],
)
def test_what_the_standards_allow_is_taken(resource: Running, header: dict[str, Any], changes: dict[str, Any]) -> None:
    """RFC 9068's other typ, an audience list, unknown members, no scope: other issuers may send them."""
    if "aud" in changes:
        changes = {**changes, "aud": [resource.mcp if name == "RESOURCE" else name for name in changes["aud"]]}
    assert resource.post(LIST, signed(resource, header, **changes)).status_code == 200


@pytest.mark.clause("R3", "R3.time")
@pytest.mark.parametrize(("seconds", "status"), [(899, 200), (930, 200), (955, 200), (961, 401)])
def test_clocks_may_differ_by_a_minute(resource: Running, seconds: int, status: int) -> None:
    """A token of 15 minutes is accepted for one more, cached or not, and no longer."""
    token = resource.token()
    resource.post(LIST, token)
    try:
        resource.clock.offset = seconds
        assert resource.post(LIST, token).status_code == status
    finally:
        resource.clock.offset = 0


@pytest.mark.clause("R3", "R3.time")
@pytest.mark.parametrize(("seconds", "status"), [(-50, 200), (-70, 401), (-3600, 401)])
def test_a_clock_that_goes_back_trusts_nothing_for_being_remembered(
    resource: Running, seconds: int, status: int
) -> None:
    """A token from the future is refused, cached or not; otherwise an expired one would be accepted again."""
    token = resource.token()
    assert resource.post(LIST, token).status_code == 200
    try:
        resource.clock.offset = seconds
        assert resource.post(LIST, token).status_code == status
    finally:
        resource.clock.offset = 0
    assert resource.post(LIST, token).status_code == 200


@pytest.mark.clause("R3", "R3.signature")
@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (FORGED["a stranger's key under a known kid"], "the signature does not verify"),
        (lambda r: signed(r, {"kid": "unknown"}), "the issuer has no key of that kid"),
        (lambda _: "gp_pt_" + "a" * 43, "an opaque token, and INTROSPECTION_CLIENT_ID is not set"),
    ],
)
def test_the_log_says_which_check_failed(resource: Running, token: Callable[[Running], str], reason: str) -> None:
    """The caller is told none of it."""
    with structlog.testing.capture_logs() as logged:
        answer = resource.post(LIST, token(resource))
    assert reason in [line.get("reason") for line in logged]
    assert (answer.status_code, reason in answer.text) == (401, False)
