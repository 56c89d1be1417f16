"""A plain MCP server on the Python SDK, with six tools: ``python bench/plain_mcp.py PORT ISSUER RESOURCE``.

Built as the SDK's documentation shows, with its bearer check; each token's signature is verified.
"""

import sys
import time

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer

PORT, ISSUER, RESOURCE = int(sys.argv[1]), sys.argv[2], sys.argv[3]


class Verifier(TokenVerifier):
    """Verifies tokens: signature, expiry and audience."""

    def __init__(self) -> None:
        self._keys = KeySet.import_key_set(httpx2.get(f"{ISSUER}/jwks.json", trust_env=False).json())

    async def verify_token(self, token: str) -> AccessToken | None:
        """The token, or None if it is not valid."""
        try:
            claims = jwt.decode(token, self._keys, algorithms=["ES256"]).claims
        except (JoseError, ValueError):
            return None
        if claims["exp"] < time.time() or claims["aud"] != RESOURCE:
            return None
        return AccessToken(token=token, client_id=claims["client_id"], scopes=claims["scope"].split())


server = MCPServer(
    "plain",
    log_level="ERROR",
    token_verifier=Verifier(),
    auth=AuthSettings.model_validate(
        {"issuer_url": ISSUER, "resource_server_url": RESOURCE, "validate_token_resource": False}  # Verifier does
    ),
)


@server.tool()
def demo_echo(text: str) -> str:
    """Answers with what it was sent."""
    return text


for _number in range(5):
    server.add_tool(lambda text: text, name=f"tool_{_number}", description="Another tool, with one text to pass.")

if __name__ == "__main__":
    server.run("streamable-http", host="127.0.0.1", port=PORT, stateless_http=True, json_response=True)
