"""RFC 9728: what this resource is called, who issues its tokens and which scopes it knows."""

import json

from starlette.requests import Request
from starlette.responses import Response

from gatepost_resource.catalogue import Catalogue
from gatepost_resource.origins import preflight
from gatepost_resource.settings import Settings
from gatepost_resource.urls import well_known

NAME = "oauth-protected-resource"
ROOT_PATH = f"/.well-known/{NAME}"


def metadata_url(resource_url: str) -> str:
    """Where a client that got a 401 finds the metadata (section 3.1)."""
    return well_known(resource_url, NAME)


class ProtectedResourceMetadata:
    """Answers GET, HEAD and preflights with the document, which is the same for everybody."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        """Writes the document once, with the operator's text: a parsed URL gains a slash and fits nothing."""
        document = {
            "resource": settings.mcp_resource_url,
            "authorization_servers": [settings.oauth_issuer],
            "scopes_supported": list(catalogue.all_scopes),
            "bearer_methods_supported": ["header"],
            "resource_name": catalogue.name,
        }
        document = {name: value for name, value in document.items() if value}  # section 3.2: no empty array
        self._body = json.dumps(document, separators=(",", ":")).encode()

    async def answer(self, request: Request) -> Response:
        """The document for any origin, without credentials."""
        shared = {"Access-Control-Allow-Origin": "*"}
        if request.method == "OPTIONS":
            answer = preflight(request.headers, methods=("GET", "HEAD", "OPTIONS"))
            answer.headers.update(shared)
            return answer
        shared["Cache-Control"] = "public, max-age=300"
        return Response(self._body, media_type="application/json", headers=shared)
