"""Where the documents are found: root, path-inserted and appended forms, GET and HEAD, from any origin."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gatepost_idp.discovery.documents import WELL_KNOWN
from gatepost_idp.keys import Keys


class DiscoveryDoors:
    """Answers with bytes that are ready."""

    def __init__(self, metadata: bytes, keys: Keys) -> None:
        self._metadata = metadata
        self._keys = keys

    async def metadata(self, _request: Request) -> Response:
        """RFC 8414 section 3, OIDC Discovery section 4."""
        return Response(self._metadata, 200, {"cache-control": "public, max-age=300"}, "application/json")

    async def jwks(self, _request: Request) -> Response:
        """RFC 7517 section 5. A new key stands here 60 s before it signs."""
        return Response(self._keys.jwks, 200, {"cache-control": "public, max-age=30"}, "application/json")

    def routes(self, root: str) -> list[BaseRoute]:
        """Every form. The guard took the issuer's path off the front already, so the appended form is a root one."""
        inserted = [f"/.well-known/{name}{root}" for name in WELL_KNOWN] if root else []
        paths = [f"/.well-known/{name}" for name in WELL_KNOWN] + inserted
        methods = ["GET", "HEAD"]
        return [
            *(Route(path, self.metadata, methods=methods) for path in paths),
            Route("/jwks.json", self.jwks, methods=methods),
        ]
