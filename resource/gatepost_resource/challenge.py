"""Verifies the bearer token in front of MCP; the one place that writes bearer refusals (RFC 6750, RFC 9728)."""

import json
import re

import structlog
from starlette.authentication import AuthCredentials
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost_resource import errors
from gatepost_resource.catalogue import Catalogue
from gatepost_resource.counts import Counts
from gatepost_resource.errors import InsufficientScope, IssuerUnavailable, Refusal
from gatepost_resource.exchange import called_with
from gatepost_resource.latest import Latest
from gatepost_resource.mcp_server import Caller
from gatepost_resource.verifier import Verifier

log = structlog.get_logger("gatepost_resource.challenge")

RETRY_AFTER_SECONDS = "2"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # b64token of RFC 6750, section 2.1


class Challenge:
    """Passes a request on with its verified caller, or refuses it.

    The SDK's own middleware sends no ``scope`` in its 401, reports every failure alike and allows no leeway
    after ``exp``; so the header is read here, and the caller is passed on in the SDK's classes.
    """

    def __init__(
        self, app: ASGIApp, verifier: Verifier, metadata_url: str, catalogue: Latest[Catalogue], counts: Counts
    ) -> None:
        """``catalogue``: a 401 tells clients to ask for its new-account scopes."""
        self._app = app
        self._verifier = verifier
        self._metadata_url = metadata_url
        self._catalogue = catalogue
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request to the MCP endpoint; answers every Refusal raised here or further in."""
        try:
            bearer = read_bearer(Headers(scope=scope))
            token = await self._verifier.verify(bearer)
            scope["user"] = Caller(token)
            scope["auth"] = AuthCredentials(token.scopes)
            scope["headers"] = _without_bearer(scope)
            with called_with(bearer):
                await self._app(scope, receive, send)
        except Refusal as refusal:
            level = "warning" if isinstance(refusal, IssuerUnavailable) else "info"
            getattr(log, level)("refused", status=refusal.status, error=refusal.error, reason=refusal.reason)
            self._counts.refused(refusal.error or "no_token")
            await self._answer(refusal)(scope, receive, send)

    def _answer(self, refusal: Refusal) -> Response:
        headers = {"Cache-Control": "no-store"}
        if refusal.status == IssuerUnavailable.status:
            headers["Retry-After"] = RETRY_AFTER_SECONDS
        else:
            headers["WWW-Authenticate"] = self._header(refusal)
        body = {"error": refusal.error, "error_description": refusal.description}
        if refusal.error is None:
            body = {"message": "This server needs an access token; WWW-Authenticate says where to get one."}
        return Response(json.dumps(body), refusal.status, headers, media_type="application/json")

    def _header(self, refusal: Refusal) -> str:
        first = self._catalogue.current().new_account_scopes
        scopes = refusal.scopes if isinstance(refusal, InsufficientScope) else first
        parameters = {
            "error": refusal.error,
            "error_description": refusal.description if refusal.error else None,
            "resource_metadata": self._metadata_url,
            "scope": " ".join(scopes),
        }
        return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parameters.items() if value)


def _without_bearer(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The headers without Authorization: a tool can read its request's headers, and must not find the bearer there."""
    return [(name, value) for name, value in scope["headers"] if name != b"authorization"]


def read_bearer(headers: Headers) -> str:
    """The token of the Authorization header; never one from the query or the body (RFC 6750, section 5.3).

    Raises NoToken without a bearer, InvalidRequest for several headers, InvalidToken for one no token can look like.
    """
    found = headers.getlist("authorization")
    if not found:
        raise errors.NoToken("no Authorization header")
    if len(found) > 1:
        raise errors.InvalidRequest("several Authorization headers")
    scheme, _, token = found[0].partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise errors.NoToken("Authorization is not a bearer")
    if not _TOKEN.fullmatch(token.strip()):
        raise errors.InvalidToken("the bearer has characters that no token has")
    return token.strip()
