"""Protected resource metadata (RFC 9728): this resource's identifier, name, issuer and scopes."""

import json

from starlette.requests import Request
from starlette.responses import Response

from gatepost_resource.catalogue import Catalogue
from gatepost_resource.latest import Kept, Latest
from gatepost_resource.origins import preflight
from gatepost_resource.settings import Settings
from gatepost_resource.urls import well_known

NAME = "oauth-protected-resource"
ROOT_PATH = f"/.well-known/{NAME}"


def metadata_url(resource_url: str) -> str:
    """The URL of the metadata, which a 401 names (section 3.1)."""
    return well_known(resource_url, NAME)


def _document(settings: Settings, catalogue: Catalogue) -> bytes:
    document = {
        "resource": settings.mcp_resource_url,
        "authorization_servers": [settings.oauth_issuer],
        "scopes_supported": list(catalogue.all_scopes),
        "bearer_methods_supported": ["header"],
        "resource_name": catalogue.name,
    }
    document = {name: value for name, value in document.items() if value}  # section 3.2: no empty array
    return json.dumps(document, separators=(",", ":")).encode()


class ProtectedResourceMetadata:
    """Answers GET, HEAD and preflights with the document, which is the same for everybody."""

    def __init__(self, settings: Settings, catalogue: Latest[Catalogue]) -> None:
        """``settings``: its URLs are used as written, for a parsed URL can gain a slash and match nothing."""
        self._body = Kept(catalogue, lambda latest: _document(settings, latest))

    async def answer(self, request: Request) -> Response:
        """The document, readable from any origin without credentials."""
        shared = {"Access-Control-Allow-Origin": "*"}
        if request.method == "OPTIONS":
            answer = preflight(request.headers, methods=("GET", "HEAD", "OPTIONS"))
            answer.headers.update(shared)
            return answer
        shared["Cache-Control"] = "public, max-age=300"
        return Response(self._body.current(), media_type="application/json", headers=shared)
