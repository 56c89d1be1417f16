"""Verifies a bearer and reads its access token: shape, claims, key, signature, cheapest check first."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gatepost_resource.access_token import BearerToken, Identifiers, read_claims, read_header
from gatepost_resource.errors import InvalidToken
from gatepost_resource.introspection import Introspection, may_know
from gatepost_resource.jwks import IssuerKeys

MAX_CACHED_TOKENS = 10_000

# This list decides, not the token's own `alg`. Unknown header parameters are ignored, as RFC 7515, section 4
# requires; those that could do harm were refused before.
_REGISTRY = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)


class Verified(NamedTuple):
    """A verified token, the key that verified it, and when (``since``, in seconds since the epoch)."""

    kid: str
    key: ECKey
    token: BearerToken
    since: float


class Verifier:
    """Checks JWT access tokens (RFC 9068, section 4) locally; asks the issuer about personal tokens."""

    def __init__(
        self,
        expected: Identifiers,
        keys: IssuerKeys,
        introspection: Introspection | None,
        clock: Callable[[], float],
    ) -> None:
        """``introspection``: None if this server has no credentials for it. ``clock``: seconds since the epoch."""
        self._expected = expected
        self._keys = keys
        self._introspection = introspection
        self._clock = clock
        self._verified: OrderedDict[bytes, Verified] = OrderedDict()

    async def verify(self, bearer: str) -> BearerToken:
        """The token's content; raises InvalidToken, or IssuerUnavailable when it cannot be checked."""
        if may_know(bearer):
            if self._introspection is None:
                raise InvalidToken("an opaque token, and INTROSPECTION_CLIENT_ID is not set")
            return await self._introspection.verify(bearer)
        digest = hashlib.sha256(bearer.encode()).digest()
        cached = self._recall(digest)
        if cached is not None:
            return cached
        kid = read_header(bearer)
        now = self._clock()
        token = read_claims(bearer, self._expected, now)
        key = await self._keys.find(kid)
        if key is None:
            raise InvalidToken("the issuer has no key of that kid")
        _check_signature(bearer, key)
        self._remember(digest, Verified(kid, key, token, now))
        return token

    def _recall(self, digest: bytes) -> BearerToken | None:
        found = self._verified.get(digest)
        if found is None:
            return None
        # When the issuer withdraws a key, the tokens it verified fall with it, at the next fetch. And if the clock was
        # set back to before `since`, the token may be from the future by that clock, so it is checked anew.
        if not found.since <= self._clock() < found.token.expires_at or not self._keys.holds(found.kid, found.key):
            del self._verified[digest]
            return None
        self._verified.move_to_end(digest)
        return found.token

    def _remember(self, digest: bytes, verified: Verified) -> None:
        self._verified[digest] = verified
        if len(self._verified) > MAX_CACHED_TOKENS:
            self._verified.popitem(last=False)


def _check_signature(bearer: str, key: ECKey) -> None:
    try:
        jws.deserialize_compact(bearer, key, registry=_REGISTRY)
    except (JoseError, ValueError):
        raise InvalidToken("the signature does not verify") from None
