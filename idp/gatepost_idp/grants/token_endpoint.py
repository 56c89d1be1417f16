"""POST /token (OAuth 2.1 section 3.2): one pipeline, in phases, for every grant.

1. Read the form: each parameter once.
2. Authenticate the client.
3. Find the grant by ``grant_type``; it reads its own parameters.
4. Redeem, in one transaction; a refusal is raised only after its commit.
5. Make the tokens.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import tokens, traces
from gatepost_idp.database import Database, Transaction
from gatepost_idp.errors import OAuthRefusal
from gatepost_idp.grants.client_authentication import ClientAuthentication, read_form
from gatepost_idp.keys import Keys
from gatepost_idp.limits import Callers
from gatepost_idp.parameters import Parameters
from gatepost_idp.protocol import Clock, Refused, scope_set, scope_text
from gatepost_idp.settings import Settings
from gatepost_idp.store.clients import Client
from gatepost_idp.store.grants import Granted

NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
_GRANTS = "authorization_code or refresh_token"
Redeem = Callable[[Transaction], Granted | Refused]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What a grant gets to see."""

    parameters: Parameters
    client: Client
    now: datetime
    settings: Settings
    keys: Keys
    network: str


class Grant(Protocol):
    """A grant type: reads its parameters and answers with the function that redeems it."""

    def __call__(self, asked: TokenRequest) -> Redeem | Refused: ...


class TokenEndpoint:
    """The pipeline; ``grants`` maps each ``grant_type`` to its file."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        keys: Keys,
        authentication: ClientAuthentication,
        grants: dict[str, Grant],
        callers: Callers,
        clock: Clock,
    ) -> None:
        self._database = database
        self._settings = settings
        self._keys = keys
        self._authentication = authentication
        self._grants = grants
        self._callers = callers
        self._clock = clock

    async def post(self, request: Request) -> Response:
        """Answers with tokens, or raises OAuthRefusal (RFC 6749 section 5)."""
        parameters = await read_form(request)
        client = await self._authentication.client(request, parameters)
        network = self._callers.network(request)
        redeem = self._redeem_of(TokenRequest(parameters, client, self._clock(), self._settings, self._keys, network))
        granted = await self._database.write(redeem)
        if isinstance(granted, Refused):
            raise OAuthRefusal(granted)
        traces.current().belongs_to(granted.trace_id)
        return Response(self._answer(parameters, client, granted), 200, NO_STORE, "application/json")

    def _redeem_of(self, asked: TokenRequest) -> Redeem:
        grant_type = asked.parameters.get("grant_type")
        if grant_type is None:
            raise OAuthRefusal(
                Refused("invalid_request", "The grant_type is missing.", "no grant_type", "none", _GRANTS)
            )
        grant = self._grants.get(grant_type)
        if asked.client.resource:
            received, expected = "the credentials of a resource server", "those of a client; these are for /introspect"
            description = "A resource server gets no tokens."
            raise OAuthRefusal(Refused("unauthorized_client", description, "resource server", received, expected))
        if grant is None:
            description, reason = "Use authorization_code or refresh_token.", "unknown grant_type"
            raise OAuthRefusal(Refused("unsupported_grant_type", description, reason, grant_type, _GRANTS))
        redeem = grant(asked)
        if isinstance(redeem, Refused):
            raise OAuthRefusal(redeem)
        return redeem

    def _answer(self, parameters: Parameters, client: Client, granted: Granted) -> bytes:
        """RFC 6749 section 5.1; ``scope`` always, since it may be less than was asked."""
        now, life = self._clock(), timedelta(minutes=self._settings.access_token_minutes)
        issuer = self._settings.oauth_issuer
        narrowed = parameters.get("scope") if parameters.get("grant_type") == "refresh_token" else None
        scopes = tokens.scopes_of(granted, scope_set(narrowed) if narrowed else None)
        traces.current().tell(granted_scope=scope_text(scopes.granted))
        body: dict[str, Any] = {
            "access_token": tokens.access_token(self._keys, issuer, granted, scopes, client, now, life),
            "token_type": "Bearer",
            "expires_in": int(life.total_seconds()),
            "scope": scope_text(scopes.granted),
        }
        if granted.refresh_token is not None:
            body["refresh_token"] = granted.refresh_token
        if "openid" in scopes.granted:
            body["id_token"] = tokens.id_token(self._keys, issuer, granted, scopes, client, now, life)
        return json.dumps(body).encode()
