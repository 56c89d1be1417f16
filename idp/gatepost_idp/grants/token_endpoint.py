"""POST /token (OAuth 2.1 section 3.2): one pipeline for every grant type.

1. Read the form; each parameter may occur once.
2. Authenticate the client.
3. Find the grant by ``grant_type``; it reads its own parameters.
4. Redeem in one transaction. A refusal is raised only after the commit, so what it ended or counted stays.
5. Make the tokens.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import tokens, traces
from gatepost_idp.database import Database
from gatepost_idp.errors import OAuthRefusal
from gatepost_idp.grants.client_authentication import ClientAuthentication, read_form
from gatepost_idp.keys import Keys
from gatepost_idp.limits import Callers
from gatepost_idp.parameters import Parameters
from gatepost_idp.protocol import ACCESS_TOKEN_TYPE, TOKEN_EXCHANGE, Clock, Refused, scope_set, scope_text
from gatepost_idp.settings import Settings
from gatepost_idp.store.clients import Client
from gatepost_idp.store.grants import Granted
from gatepost_idp.tokens import ForBackend
from gatepost_idp.transaction import Transaction

NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
Redeem = Callable[[Transaction], Granted | ForBackend | Refused]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """An authenticated token request, as a grant sees it. ``network``: the caller's, for the audit log."""

    parameters: Parameters
    client: Client
    now: datetime
    settings: Settings
    keys: Keys
    network: str


class Grant(Protocol):
    """A grant type: reads its parameters and returns the function that redeems them in a transaction, or a refusal."""

    def __call__(self, asked: TokenRequest) -> Redeem | Refused: ...


@dataclass(frozen=True, slots=True)
class Grants:
    """Grants by ``grant_type``. Clients may not use those of resource servers, nor the other way round."""

    of_clients: Mapping[str, Grant]
    of_resource_servers: Mapping[str, Grant]

    def find(self, grant_type: str, client: Client) -> Grant | Refused:
        """The grant that ``client`` asks for, else ``unauthorized_client`` or ``unsupported_grant_type``."""
        own, others = self.of_clients, self.of_resource_servers
        if client.resource:
            own, others = others, own
        if grant_type in own:
            return own[grant_type]
        expected = " or ".join(own)
        if grant_type in others:
            description, reason = "This client may not use this grant_type.", "grant_type of others"
            received = f"{grant_type} by {'the credentials of a resource server' if client.resource else 'a client'}"
            return Refused("unauthorized_client", description, reason, received, expected)
        return Refused("unsupported_grant_type", f"Use {expected}.", "unknown grant_type", grant_type, expected)


class TokenEndpoint:
    """Runs the pipeline described above."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        keys: Keys,
        authentication: ClientAuthentication,
        grants: Grants,
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
        if isinstance(granted, ForBackend):
            body = self._for_backend(parameters, client, granted)
        else:
            body = self._answer(parameters, client, granted)
        return Response(body, 200, NO_STORE, "application/json")

    def _redeem_of(self, asked: TokenRequest) -> Redeem:
        grant_type = asked.parameters.get("grant_type")
        if grant_type is None:
            expected = " or ".join(self._grants.of_clients)
            raise OAuthRefusal(
                Refused("invalid_request", "The grant_type is missing.", "no grant_type", "none", expected)
            )
        grant = self._grants.find(grant_type, asked.client)
        if isinstance(grant, Refused):
            raise OAuthRefusal(grant)
        redeem = grant(asked)
        if isinstance(redeem, Refused):
            raise OAuthRefusal(redeem)
        return redeem

    def _answer(self, parameters: Parameters, client: Client, granted: Granted) -> bytes:
        """The response (RFC 6749 section 5.1); it always has ``scope``, which may be less than was requested."""
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

    def _for_backend(self, parameters: Parameters, client: Client, granted: ForBackend) -> bytes:
        """The response for a backend token (RFC 8693 section 2.2.1, RFC 6749 section 4.4.3); never a refresh token."""
        now, life = self._clock(), timedelta(minutes=self._settings.access_token_minutes)
        ends_at = granted.ends_at(now, life)
        issuer = self._settings.oauth_issuer
        body: dict[str, Any] = {
            "access_token": tokens.backend_token(self._keys, issuer, granted, client.id, now, ends_at),
            "token_type": "Bearer",
            "expires_in": int(ends_at.timestamp()) - int(now.timestamp()),
            "scope": scope_text(granted.scope),
        }
        if parameters.get("grant_type") == TOKEN_EXCHANGE:
            body["issued_token_type"] = ACCESS_TOKEN_TYPE
        return json.dumps(body).encode()
