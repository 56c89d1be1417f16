"""GET and POST /userinfo (OIDC Core section 5.3): who the person behind an access token is."""

import json

from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import tokens
from gatepost_idp.database import Database
from gatepost_idp.errors import OAuthRefusal
from gatepost_idp.grants.token_endpoint import NO_STORE
from gatepost_idp.keys import Keys
from gatepost_idp.protocol import Clock, Refused, scope_set
from gatepost_idp.settings import Settings
from gatepost_idp.store import grants


class UserinfoEndpoint:
    """Requires the scope ``openid``; the address is included with the scope ``email``."""

    def __init__(self, database: Database, settings: Settings, keys: Keys, clock: Clock) -> None:
        self._database = database
        self._issuer = settings.oauth_issuer
        self._keys = keys
        self._clock = clock

    async def answer(self, request: Request) -> Response:
        """The claims as JSON, or raises OAuthRefusal with a Bearer challenge (RFC 6750 section 3)."""
        claims = tokens.read_access_token(self._keys, self._issuer, _bearer(request), self._clock())
        if claims is None or tokens.is_for_backend(claims):
            raise _invalid()
        scopes, now = scope_set(claims["scope"]), self._clock()
        if "openid" not in scopes:
            raise OAuthRefusal(_NO_OPENID, challenge='Bearer error="insufficient_scope", scope="openid"')
        grant = await self._database.read(lambda tx: grants.standing(tx, tokens.grant_of(claims), now))
        if grant is None:
            raise _invalid()
        told = {"sub": claims["sub"]} | ({"email": grant.email, "email_verified": True} if "email" in scopes else {})
        return Response(json.dumps(told), 200, NO_STORE, "application/json")


def _bearer(request: Request) -> str:
    """The token in the Authorization header; one in the query is ignored (RFC 6750 section 5.3)."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        # A header without a scheme may be a bare token, so the trace names only these known schemes.
        received = scheme.lower() if scheme.lower() in ("", "basic", "bearer", "dpop") else "another scheme, or none"
        expected = "Authorization: Bearer and an access token"
        refused = Refused("invalid_token", "Send an access token as Bearer.", "no token", received or "none", expected)
        raise OAuthRefusal(refused, challenge=_BARE)
    return token.strip()


def _invalid() -> OAuthRefusal:
    description = "The access token has expired, has ended or is not from this server."
    received, expected = "a token that is not active", "the access token in the last answer, while its grant stands"
    refused = Refused("invalid_token", description, "inactive token", received, expected)
    return OAuthRefusal(refused, challenge='Bearer error="invalid_token"')


_BARE = 'Bearer realm="gatepost"'  # no error code without a token, but at least one attribute (RFC 6750 section 3)
_NO_OPENID = Refused(
    "insufficient_scope", "The access token lacks the scope openid.", "no openid", "a token without openid",
    "scope=openid at /authorize",
)  # fmt: skip  # one row
