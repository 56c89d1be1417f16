"""Makes access tokens (RFC 9068), id tokens (OIDC Core), refresh token successors, and mailed links and codes."""

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
    """``granted``: scopes in the token, both approved and held. ``open``: the others that the person holds."""

    granted: tuple[str, ...]
    open: tuple[str, ...]


def scopes_of(granted: Granted, asked: tuple[str, ...] | None) -> Scopes:
    """Approved scopes that are held or of OIDC, narrowed for this one token to ``asked`` (RFC 6749 section 6)."""
    names = tuple(s for s in granted.approved if s in granted.held or s in OIDC_SCOPES)
    if asked is not None:
        names = tuple(s for s in names if s in asked)
    return Scopes(granted=names, open=tuple(sorted(granted.held.difference(names))))


def access_token(
    keys: Keys, issuer: str, granted: Granted, scopes: Scopes, client: Client, now: datetime, life: timedelta
) -> str:
    """A JWT of type ``at+jwt`` (RFC 9068 section 2). ``entitlements`` are the scopes that step-up could add.

    ``jti`` begins with the grant's id, from which introspection finds out whether the grant still stands.
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
    """What a token for the backend at ``audience`` is made from; with no ``subject`` it is for the client itself."""

    audience: str
    scope: tuple[str, ...]
    subject: Subject | None

    @property
    def trace_id(self) -> str:
        """The trace id of the authorization it derives from; empty without a subject."""
        return self.subject.trace_id if self.subject else ""

    def ends_at(self, now: datetime, life: timedelta) -> datetime:
        """When the token expires: after five minutes, ``life`` or the subject token's end, whichever comes first."""
        ends_at = now + min(life, BACKEND_TOKEN_LIFE)
        return min(ends_at, self.subject.ends_at) if self.subject else ends_at


def backend_token(
    keys: Keys, issuer: str, granted: ForBackend, client_id: str, now: datetime, ends_at: datetime
) -> str:
    """A JWT of type ``at+jwt`` (RFC 9068 section 2); ``act`` names the resource server (RFC 8693 section 4.1)."""
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
    """Whether an access token was issued for a backend; this server's own endpoints then refuse it."""
    return "act" in claims or claims["sub"] == claims["client_id"]


def id_token(
    keys: Keys, issuer: str, granted: Granted, scopes: Scopes, client: Client, now: datetime, life: timedelta
) -> str:
    """An id token: tells the client who signed in (OIDC Core section 2)."""
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
    """The claims of an unexpired access token of this issuer, else None (RFC 9068 section 4).

    Does not check ``aud`` or whether the grant still stands; the caller must.
    """
    try:
        header = jws.extract_compact(token.encode()).headers()
        key = keys.verifying(str(header.get("kid")))
        if key is None or key.algorithm != ACCESS_TOKEN_ALGORITHM or header.get("typ") != "at+jwt":
            return None
        claims = jwt.decode(token, key.private, [ACCESS_TOKEN_ALGORITHM]).claims
    except (JoseError, ValueError, RecursionError):  # anything that an attacker may send as a token
        return None
    return claims if claims["iss"] == issuer and claims["exp"] > now.timestamp() else None


def grant_of(claims: dict[str, Any]) -> str:
    """The id of the grant that an access token belongs to, from its ``jti``."""
    return str(claims["jti"]).partition(".")[0]


def successor(refresh_key: bytes, token: str, salt: bytes) -> tuple[str, bytes]:
    """The refresh token that follows ``token``, and its hash; deterministic for a given salt, so repeats agree."""
    following = REFRESH_PREFIX + crypto.base64url(crypto.keyed_digest(refresh_key, token.encode(), salt))
    return following, crypto.token_hash(following)


def link_token(secret_keys: SecretKeys, attempt: Attempt) -> str:
    """The token in a sign-in link: the attempt's id and a MAC that needs both its seed and SECRET_KEY."""
    return f"{attempt.id}.{crypto.base64url(_attempt_mac(secret_keys, 'sign-in link', attempt))}"


def sign_in_code(secret_keys: SecretKeys, attempt: Attempt) -> str:
    """The eight-digit code of the same mail; it cannot be computed from the database without SECRET_KEY."""
    number = int.from_bytes(_attempt_mac(secret_keys, "sign-in code", attempt)[:8], "big") % 10**8
    return f"{number:08d}"


def cut_off_token(secret_keys: SecretKeys, grant_id: str) -> str:
    """The token in the link that ends a connection without a sign-in; it names the grant and opens nothing else."""
    return f"{grant_id}.{secret_keys.newest}.{_cut_off_mac(secret_keys, grant_id, secret_keys.newest)}"


def grant_of_cut_off(secret_keys: SecretKeys, token: str) -> str | None:
    """The id of the grant that a link ends; None if its MAC is wrong or its key is no longer in SECRET_KEY."""
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
