"""POST /revoke (RFC 7009): ends the grant of a refresh token."""

from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import crypto, tokens
from gatepost_idp.database import Database
from gatepost_idp.errors import OAuthRefusal
from gatepost_idp.grants.client_authentication import ClientAuthentication, read_form, read_token
from gatepost_idp.keys import Keys
from gatepost_idp.limits import Callers
from gatepost_idp.protocol import Clock, Refused
from gatepost_idp.settings import Settings
from gatepost_idp.store import refresh_tokens

_ENDS_BY_ITSELF = Refused(
    "unsupported_token_type", "Access tokens expire by themselves. Revoke the refresh token.", "an access token"
)


class RevocationEndpoint:
    """Revokes refresh tokens only. Access tokens expire within minutes; a 200 for one would be a false promise."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        keys: Keys,
        authentication: ClientAuthentication,
        callers: Callers,
        clock: Clock,
    ) -> None:
        self._database = database
        self._issuer = settings.oauth_issuer
        self._keys = keys
        self._authentication = authentication
        self._callers = callers
        self._clock = clock

    async def post(self, request: Request) -> Response:
        """200 whether or not the token was known (RFC 7009 section 2.2).

        Raises OAuthRefusal: ``unsupported_token_type`` for an access token of this client.
        """
        parameters = await read_form(request)
        client = await self._authentication.client(request, parameters)
        token = read_token(parameters)
        now = self._clock()
        claims = tokens.read_access_token(self._keys, self._issuer, token, now)
        if claims is not None and claims["client_id"] == client.id:
            raise OAuthRefusal(_ENDS_BY_ITSELF)
        token_hash, network = crypto.token_hash(token), self._callers.network(request)
        await self._database.write(lambda tx: refresh_tokens.revoke(tx, token_hash, client.id, now, network))
        return Response(status_code=200, headers={"cache-control": "no-store"})
