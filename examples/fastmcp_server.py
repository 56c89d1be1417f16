"""Notes behind Gatepost, with FastMCP: pip install "fastmcp>=4.1"."""

import os
from urllib.parse import urlsplit

from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.server.auth import AccessToken, RemoteAuthProvider
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.server.dependencies import get_access_token
from joserfc.jws import extract_compact

ISSUER = os.environ["OAUTH_ISSUER"]  # https://auth.example.com
RESOURCE = os.environ["MCP_RESOURCE_URL"]  # https://notes.example.com/mcp, as people paste it
public = urlsplit(RESOURCE)


class GatepostTokens(JWTVerifier):
    """FastMCP checks signature, issuer, audience, expiry and scopes; this checks that it is an access token."""

    async def load_access_token(self, token: str) -> AccessToken | None:
        """None means a 401. An id token is signed by the same keys (RFC 9068, section 4)."""
        found = await super().load_access_token(token)
        if found is None or found.subject is None or found.expires_at is None:
            return None
        return found if extract_compact(token.encode()).headers().get("typ") == "at+jwt" else None


server = FastMCP(
    "Notes",
    auth=RemoteAuthProvider(
        GatepostTokens(
            jwks_uri=f"{ISSUER}/jwks.json",
            issuer=ISSUER,
            audience=RESOURCE,  # else a token for another server would be accepted here
            algorithm="ES256",
            required_scopes=["notes:read"],
        ),
        authorization_servers=[ISSUER],
        base_url=f"{public.scheme}://{public.netloc}",
        scopes_supported=["notes:read", "notes:write"],
    ),
)
notes: dict[str, list[str]] = {}


def caller(scope: str) -> str:
    """The caller's id; a tool that needs more than `required_scopes` asks for it here."""
    token = get_access_token()
    if token is None or token.subject is None or scope not in token.scopes:
        raise ToolError(f"This needs the scope {scope}.")
    return token.subject


@server.tool
async def read_notes() -> list[str]:
    """The caller's own notes."""
    return notes.get(caller("notes:read"), [])


@server.tool
async def write_note(text: str) -> str:
    """Adds a note."""
    notes.setdefault(caller("notes:write"), []).append(text)
    return "written"


if __name__ == "__main__":
    server.run(
        "http",
        port=int(os.environ.get("PORT", "9001")),
        path=public.path,
        stateless_http=True,
        allowed_hosts=[public.netloc],
    )
