"""POST /introspect (RFC 7662): tells a resource server about tokens for its own resource, and about no others."""

import json
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import crypto, tokens
from gatepost_idp.database import Database
from gatepost_idp.errors import OAuthRefusal
from gatepost_idp.grants.client_authentication import ClientAuthentication, read_form, read_token
from gatepost_idp.grants.token_endpoint import NO_STORE
from gatepost_idp.keys import Keys
from gatepost_idp.protocol import Clock, Refused, scope_text
from gatepost_idp.settings import Settings
from gatepost_idp.store import accounts, grants, personal_tokens
from gatepost_idp.transaction import Transaction

_INACTIVE: dict[str, Any] = {"active": False}
_TOLD = ("iss", "sub", "aud", "exp", "iat", "jti", "client_id", "client_name", "scope", "entitlements", "auth_time")


class IntrospectionEndpoint:
    """An access token is active while it has not expired, its grant stands, and its account and client are enabled."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        keys: Keys,
        authentication: ClientAuthentication,
        clock: Clock,
    ) -> None:
        self._database = database
        self._issuer = settings.oauth_issuer
        self._keys = keys
        self._authentication = authentication
        self._clock = clock

    async def post(self, request: Request) -> Response:
        """``active`` and, if true, the token's claims (RFC 7662 section 2.2); raises OAuthRefusal for other clients."""
        parameters = await read_form(request)
        caller = await self._authentication.client(request, parameters)
        if not caller.resource:
            raise OAuthRefusal(_NO_RESOURCE_SERVER, 403)
        token = read_token(parameters)
        found = await self._about(token, caller.resource, self._clock())
        return Response(json.dumps(found), 200, NO_STORE, "application/json")

    async def _about(self, token: str, resource: str, now: datetime) -> dict[str, Any]:
        """The answer for ``token``; one for another resource is inactive, like a forged one (RFC 7662 section 4)."""
        if token.startswith(tokens.PERSONAL_PREFIX):
            return await self._about_personal(token, resource, now)
        claims = tokens.read_access_token(self._keys, self._issuer, token, now)
        if claims is None or claims["aud"] != resource or tokens.is_for_backend(claims):
            return _INACTIVE
        grant_id = tokens.grant_of(claims)
        grant = await self._database.read(lambda tx: grants.standing(tx, grant_id, now))
        if grant is None:
            return _INACTIVE
        told = {name: claims[name] for name in _TOLD}
        return {"active": True, "token_type": "Bearer", "username": grant.email, "email": grant.email, **told}

    async def _about_personal(self, token: str, resource: str, now: datetime) -> dict[str, Any]:
        """The answer for a personal token, with the scopes its person holds now, since it is never refreshed."""
        token_hash = crypto.token_hash(token)

        def work(tx: Transaction) -> tuple[personal_tokens.Standing, frozenset[str]] | None:
            found = personal_tokens.standing(tx, token_hash, now)
            if found is None or found.resource != resource:
                return None
            personal_tokens.mark_used(tx, token_hash, now)
            return found, accounts.held_scopes(tx, found.account_id, resource)

        told = await self._database.write(work)
        if told is None:
            return _INACTIVE
        found, held = told
        return {
            "active": True,
            "token_type": "Bearer",
            "iss": self._issuer,
            "sub": found.account_id,
            "aud": found.resource,
            "exp": int(found.expires_at.timestamp()),
            "iat": int(found.created_at.timestamp()),
            "jti": found.id,
            "client_id": "personal-token",
            "client_name": found.name,
            "scope": scope_text(name for name in found.scope if name in held),
            "username": found.email,
            "email": found.email,
        }


_NO_RESOURCE_SERVER = Refused(
    "unauthorized_client",
    "Only a resource server may introspect. Make its credentials with: gatepost clients add NAME --resource-server",
    "introspection by a client that is no resource server",
    "the credentials of a client",
    "those of: gatepost clients add NAME --resource-server",
)
