"""Routes of the metadata and keys: in root, path-inserted and appended form, for GET and HEAD, from any origin."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gatepost_idp.discovery.documents import WELL_KNOWN
from gatepost_idp.keys import Keys


class DiscoveryDoors:
    """Serves responses made in advance, the same for everybody and independent of the request."""

    def __init__(self, metadata: bytes, keys: Keys) -> None:
        self._metadata = _ready(metadata, 300)
        self._jwks = _ready(keys.jwks, 30)
        self._keys = keys

    async def metadata(self, _request: Request) -> Response:
        """The authorization server metadata (RFC 8414 section 3, OIDC Discovery section 4)."""
        return self._metadata

    async def jwks(self, _request: Request) -> Response:
        """The public keys (RFC 7517 section 5). A new key is published 60 s before it signs."""
        if self._jwks.body is not self._keys.jwks:
            self._jwks = _ready(self._keys.jwks, 30)
        return self._jwks

    def routes(self, root: str) -> list[Route]:
        """All routes. The guard has stripped the issuer's path, so the appended form is the root form here."""
        inserted = [f"/.well-known/{name}{root}" for name in WELL_KNOWN] if root else []
        paths = [f"/.well-known/{name}" for name in WELL_KNOWN] + inserted
        methods = ["GET", "HEAD"]
        return [
            *(Route(path, self.metadata, methods=methods) for path in paths),
            Route("/jwks.json", self.jwks, methods=methods),
        ]


def _ready(document: bytes, seconds: int) -> Response:
    return Response(document, 200, {"cache-control": f"public, max-age={seconds}"}, "application/json")
