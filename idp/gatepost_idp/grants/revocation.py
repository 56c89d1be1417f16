"""POST /revoke (RFC 7009): ends the grant of a refresh token."""

from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import crypto
from gatepost_idp.database import Database
from gatepost_idp.errors import OAuthRefusal
from gatepost_idp.grants.client_authentication import ClientAuthentication, read_form
from gatepost_idp.protocol import Clock, Refused
from gatepost_idp.store import grants as store


class RevocationEndpoint:
    """Access tokens are short-lived and end by themselves; revoking one answers 200 like an unknown token."""

    def __init__(self, database: Database, authentication: ClientAuthentication, clock: Clock) -> None:
        self._database = database
        self._authentication = authentication
        self._clock = clock

    async def post(self, request: Request) -> Response:
        """200 whether the token was known or not (RFC 7009 section 2.2)."""
        parameters = await read_form(request)
        client = await self._authentication.client(request, parameters)
        token = parameters.get("token")
        if token is None:
            raise OAuthRefusal(Refused("invalid_request", "The token is missing.", "no token"))
        token_hash, now = crypto.token_hash(token), self._clock()
        await self._database.write(lambda tx: store.revoke(tx, token_hash, client.id, now))
        return Response(status_code=200, headers={"cache-control": "no-store"})
