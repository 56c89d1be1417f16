"""Notes behind Gatepost, with the MCP Python SDK: pip install "mcp>=2.3" "joserfc>=1.8" httpx2."""

import asyncio
import os
import time
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
RESOURCE = os.environ["MCP_RESOURCE_URL"]  # https://notes.example.com/mcp, as people paste it
CLAIMS = jwt.JWTClaimsRegistry(
    iss={"essential": True, "value": ISSUER},
    aud={"essential": True, "value": RESOURCE},  # else a token for another server would be accepted here
    exp={"essential": True},
    sub={"essential": True},
    client_id={"essential": True},
)


class GatepostTokens:
    """Checks access tokens (RFC 9068) against the issuer's published keys, without asking the issuer each time."""

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
        claims = found.claims
        return AccessToken(
            token=token,
            client_id=claims["client_id"],
            scopes=claims.get("scope", "").split(),
            expires_at=claims["exp"],
            subject=claims["sub"],
            claims=claims,
        )

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
    "Notes",
    token_verifier=GatepostTokens(),
    auth=AuthSettings(
        issuer_url=ISSUER,
        resource_server_url=RESOURCE,
        required_scopes=["notes:read"],
        validate_token_resource=False,  # CLAIMS does that
    ),
)
notes: dict[str, list[str]] = {}


def caller(scope: str) -> str:
    """The caller's id; a tool that needs more than `required_scopes` asks for it here."""
    token = get_access_token()
    if token is None or token.subject is None or scope not in token.scopes:
        raise ToolError(f"This needs the scope {scope}.")
    return token.subject


@server.tool()
async def read_notes() -> list[str]:
    """The caller's own notes."""
    return notes.get(caller("notes:read"), [])


@server.tool()
async def write_note(text: str) -> str:
    """Adds a note."""
    notes.setdefault(caller("notes:write"), []).append(text)
    return "written"


if __name__ == "__main__":
    public = urlsplit(RESOURCE)
    server.run(
        "streamable-http",
        port=int(os.environ.get("PORT", "9001")),
        streamable_http_path=public.path,
        stateless_http=True,
        transport_security=TransportSecuritySettings(allowed_hosts=[public.netloc]),
    )
