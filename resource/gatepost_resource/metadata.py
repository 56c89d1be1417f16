"""RFC 9728: what this resource is called, who issues its tokens and which scopes it knows."""

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
    """Where a client that got a 401 finds the metadata (section 3.1)."""
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
        """``settings``: the operator's text of each URL, for a parsed URL gains a slash and fits nothing."""
        self._body = Kept(catalogue, lambda latest: _document(settings, latest))

    async def answer(self, request: Request) -> Response:
        """The document for any origin, without credentials."""
        shared = {"Access-Control-Allow-Origin": "*"}
        if request.method == "OPTIONS":
            answer = preflight(request.headers, methods=("GET", "HEAD", "OPTIONS"))
            answer.headers.update(shared)
            return answer
        shared["Cache-Control"] = "public, max-age=300"
        return Response(self._body.current(), media_type="application/json", headers=shared)
