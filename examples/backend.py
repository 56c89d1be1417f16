"""People behind Gatepost's resource server: pip install "mcp>=2.3" "joserfc>=1.8" httpx2.

It trusts only tokens, and only those made for it: no header says who the caller is.
"""

import asyncio
import os
import time
from typing import Any
from urllib.parse import urlsplit

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings

ISSUER = os.environ["OAUTH_ISSUER"]  # https://auth.example.com
OWN = os.environ["BACKEND_URL"]  # the `url` of this [[backend]], byte for byte
GATE = os.environ["INTROSPECTION_CLIENT_ID"]  # the resource server's client_id: only it may call for people
CLAIMS = jwt.JWTClaimsRegistry(
    iss={"essential": True, "value": ISSUER},
    aud={"essential": True, "value": OWN},  # else the client's own token, or another backend's, would be accepted
    client_id={"essential": True, "value": GATE},
    exp={"essential": True},
    sub={"essential": True},
)


class BackendTokens:
    """Checks each token (RFC 9068) against the issuer's published keys, without asking the issuer each time."""

    def __init__(self) -> None:
        self._keys = KeySet([])
        self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def verify_token(self, token: str) -> AccessToken | None:
        """Called by the SDK; None means a 401."""
        try:
            return self._read(token)
        except (JoseError, ValueError):
            await self._refresh()
        try:
            return self._read(token)
        except (JoseError, ValueError):
            return None

    def _read(self, token: str) -> AccessToken:
        found = jwt.decode(token, self._keys, algorithms=["ES256"])  # the token's own `alg` chooses nothing
        if found.header.get("typ") != "at+jwt":
            raise ValueError("not an access token")  # an id token is signed by the same keys
        CLAIMS.validate(found.claims)
        scopes = found.claims.get("scope", "").split()
        return AccessToken(token=token, client_id=GATE, scopes=scopes, subject=found.claims["sub"], claims=found.claims)

    async def _refresh(self) -> None:
        """The key may be new: Gatepost rotates keys. At most every 10 s, since a stranger can invent ids."""
        async with self._fetching:
            if time.monotonic() - self._fetched_at < 10:
                return
            self._fetched_at = time.monotonic()
            async with httpx2.AsyncClient(timeout=5) as client:
                answer = (await client.get(f"{ISSUER}/jwks.json")).raise_for_status()
            self._keys = KeySet.import_key_set(answer.json())


server = MCPServer(
    "People",
    token_verifier=BackendTokens(),
    auth=AuthSettings(issuer_url=ISSUER, resource_server_url=OWN, required_scopes=[], validate_token_resource=False),
)
people = {"ada": "Ada Lovelace", "alan": "Alan Turing"}


def person(scope: str) -> dict[str, Any]:
    """The caller's claims. A token for tool lists is nobody's: it has no `act` and no scope."""
    token = get_access_token()
    if token is None or token.claims is None or token.claims.get("act") != {"sub": GATE}:
        raise ToolError("This is for people.")
    if scope not in token.scopes:
        raise ToolError(f"This needs the scope {scope}.")
    return token.claims


@server.tool()
async def whose_call() -> dict[str, str]:
    """Who the caller is: `sub` is permanent, `email` may change."""
    caller = person("crm:read")
    return {"sub": caller["sub"], "email": caller["email"]}


@server.tool()
async def find_person(name: str) -> str:
    """Looks somebody up."""
    person("crm:read")
    return people.get(name.lower(), "nobody")


@server.tool()
async def delete_person(name: str) -> str:
    """Deletes somebody permanently."""
    person("crm:write")
    return "deleted" if people.pop(name.lower(), None) else "nobody"


if __name__ == "__main__":
    own = urlsplit(OWN)
    server.run(
        "streamable-http",
        port=int(os.environ.get("PORT", "9201")),
        streamable_http_path=own.path,
        stateless_http=True,
        json_response=True,
        transport_security=TransportSecuritySettings(allowed_hosts=[own.netloc]),
    )
