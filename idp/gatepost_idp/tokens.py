"""Access tokens (RFC 9068), id tokens (OIDC Core), codes and refresh tokens: made here and nowhere else."""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import JoseError

from gatepost_idp import crypto
from gatepost_idp.crypto import SecretKeys
from gatepost_idp.keys import ACCESS_TOKEN_ALGORITHM, Keys
from gatepost_idp.protocol import OIDC_SCOPES, scope_text
from gatepost_idp.store.attempts import Attempt
from gatepost_idp.store.clients import Client
from gatepost_idp.store.exchanges import Subject
from gatepost_idp.store.grants import Granted

CODE_PREFIX = "gp_ac_"
REFRESH_PREFIX = "gp_rt_"
PERSONAL_PREFIX = "gp_pt_"
CODE_LIFE = timedelta(seconds=60)
BACKEND_TOKEN_LIFE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Scopes:
    """What a token may do: ``granted`` is approved and held; ``open`` is what the person holds besides."""

    granted: tuple[str, ...]
    open: tuple[str, ...]


def scopes_of(granted: Granted, asked: tuple[str, ...] | None) -> Scopes:
    """Approved ∩ held, narrowed to ``asked`` for this one token (RFC 6749 section 6)."""
    names = tuple(s for s in granted.approved if s in granted.held or s in OIDC_SCOPES)
    if asked is not None:
        names = tuple(s for s in names if s in asked)
    return Scopes(granted=names, open=tuple(sorted(granted.held.difference(names))))


def access_token(
    keys: Keys, issuer: str, granted: Granted, scopes: Scopes, client: Client, now: datetime, life: timedelta
) -> str:
    """A JWT of type ``at+jwt`` (RFC 9068 section 2). ``entitlements`` are scopes that step-up could add.

    ``jti`` begins with the grant's id, by which introspection knows whether the grant still stands.
    """
    key = keys.signing()
    claims = {
        "iss": issuer,
        "sub": granted.account_id,
        "aud": granted.resource,
        "exp": int((now + life).timestamp()),
        "iat": int(now.timestamp()),
        "jti": f"{granted.grant_id}.{crypto.random_id(12)}",
        "client_id": client.id,
        "client_name": client.name,
        "scope": scope_text(scopes.granted),
        "entitlements": list(scopes.open),
        "email": granted.email,
        "auth_time": granted.auth_time_ms // 1000,
    }
    return key.signed("at+jwt", claims)


@dataclass(frozen=True, slots=True)
class ForBackend:
    """What a token for the backend at ``audience`` is made from; without ``subject`` it is the client's own."""

    audience: str
    scope: tuple[str, ...]
    subject: Subject | None

    @property
    def trace_id(self) -> str:
        """The authorization that it goes back to."""
        return self.subject.trace_id if self.subject else ""

    def ends_at(self, now: datetime, life: timedelta) -> datetime:
        """Five minutes at the most, no longer than ``life`` or than the subject token."""
        ends_at = now + min(life, BACKEND_TOKEN_LIFE)
        return min(ends_at, self.subject.ends_at) if self.subject else ends_at


def backend_token(
    keys: Keys, issuer: str, granted: ForBackend, client_id: str, now: datetime, ends_at: datetime
) -> str:
    """A JWT of type ``at+jwt`` (RFC 9068 section 2); ``act`` says who calls for the person (RFC 8693 section 4.1)."""
    key, subject = keys.signing(), granted.subject
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": subject.account_id if subject else client_id,
        "aud": granted.audience,
        "exp": int(ends_at.timestamp()),
        "iat": int(now.timestamp()),
        "jti": crypto.random_id(),
        "client_id": client_id,
        "scope": scope_text(granted.scope),
    }
    if subject is not None:
        claims |= {"email": subject.email, "act": {"sub": client_id}}
        claims |= {"auth_time": subject.auth_time} if subject.auth_time is not None else {}
    return key.signed("at+jwt", claims)


def is_for_backend(claims: dict[str, Any]) -> bool:
    """Whether an access token was made for a backend: then it is good there, and nowhere here."""
    return "act" in claims or claims["sub"] == claims["client_id"]


def id_token(
    keys: Keys, issuer: str, granted: Granted, scopes: Scopes, client: Client, now: datetime, life: timedelta
) -> str:
    """Who signed in, for the client itself (OIDC Core section 2)."""
    key = keys.signing(client.id_token_algorithm)
    claims: dict[str, str | int | bool] = {
        "iss": issuer,
        "sub": granted.account_id,
        "aud": client.id,
        "exp": int((now + life).timestamp()),
        "iat": int(now.timestamp()),
        "auth_time": granted.auth_time_ms // 1000,
    }
    if granted.nonce is not None:
        claims["nonce"] = granted.nonce
    if "email" in scopes.granted:
        claims |= {"email": granted.email, "email_verified": True}
    return key.signed("JWT", claims)


def read_access_token(keys: Keys, issuer: str, token: str, now: datetime) -> dict[str, Any] | None:
    """The claims of an access token of ours that has not expired, else None (RFC 9068 section 4)."""
    try:
        header = jws.extract_compact(token.encode()).headers()
        key = keys.verifying(str(header.get("kid")))
        if key is None or key.algorithm != ACCESS_TOKEN_ALGORITHM or header.get("typ") != "at+jwt":
            return None
        claims = jwt.decode(token, key.private, [ACCESS_TOKEN_ALGORITHM]).claims
    except (JoseError, ValueError, RecursionError):  # whatever a stranger can make of a token
        return None
    return claims if claims["iss"] == issuer and claims["exp"] > now.timestamp() else None


def grant_of(claims: dict[str, Any]) -> str:
    """The id of the grant that an access token belongs to."""
    return str(claims["jti"]).partition(".")[0]


def successor(refresh_key: bytes, token: str, salt: bytes) -> tuple[str, bytes]:
    """The one refresh token that follows ``token``, and its hash: the same for each repeat with this salt."""
    following = REFRESH_PREFIX + crypto.base64url(crypto.keyed_digest(refresh_key, token.encode(), salt))
    return following, crypto.token_hash(following)


def link_token(secret_keys: SecretKeys, attempt: Attempt) -> str:
    """What the mailed link carries: the attempt's id and a MAC that only its seed and SECRET_KEY can make."""
    return f"{attempt.id}.{crypto.base64url(_attempt_mac(secret_keys, 'sign-in link', attempt))}"


def sign_in_code(secret_keys: SecretKeys, attempt: Attempt) -> str:
    """The eight digits of the same mail; nothing at rest alone can tell them."""
    number = int.from_bytes(_attempt_mac(secret_keys, "sign-in code", attempt)[:8], "big") % 10**8
    return f"{number:08d}"


def cut_off_token(secret_keys: SecretKeys, grant_id: str) -> str:
    """What the link carries that ends a connection without signing in: it names the grant, and serves nothing else."""
    return f"{grant_id}.{secret_keys.newest}.{_cut_off_mac(secret_keys, grant_id, secret_keys.newest)}"


def grant_of_cut_off(secret_keys: SecretKeys, token: str) -> str | None:
    """The id of the grant that a link ends; None where it is not ours, or SECRET_KEY lost the key that signed it."""
    grant_id, _, rest = token.partition(".")
    key_id, _, mac = rest.partition(".")
    if not secret_keys.knows(key_id):
        return None
    expected = _cut_off_mac(secret_keys, grant_id, key_id)
    return grant_id if hmac.compare_digest(expected.encode(), mac.encode("utf-8", "replace")) else None


def _cut_off_mac(secret_keys: SecretKeys, grant_id: str, key_id: str) -> str:
    return crypto.base64url(crypto.keyed_digest(secret_keys.derived("cut-off link", key_id), grant_id.encode()))


def _attempt_mac(secret_keys: SecretKeys, purpose: str, attempt: Attempt) -> bytes:
    return crypto.keyed_digest(secret_keys.derived(purpose, attempt.key_id), attempt.id.encode(), attempt.seed)
