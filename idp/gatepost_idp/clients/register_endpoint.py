"""POST /register (RFC 7591), open to any client; unsupported metadata is dropped or replaced, not refused."""

import json

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import traces
from gatepost_idp.clients.metadata import ClientMetadata, Registration
from gatepost_idp.clients.registry import Registry
from gatepost_idp.errors import OAuthRefusal
from gatepost_idp.limits import Callers
from gatepost_idp.protocol import Clock, Refused
from gatepost_idp.store.audit import Source

MAX_BYTES = 64 * 1024


class RegisterEndpoint:
    """Registers clients and answers with the metadata that took effect."""

    def __init__(self, registry: Registry, callers: Callers, clock: Clock) -> None:
        self._registry = registry
        self._callers = callers
        self._clock = clock

    async def post(self, request: Request) -> Response:
        """201 with the client information response, or raises OAuthRefusal (RFC 7591 section 3.2)."""
        body = await request.body()
        trace = traces.current()
        trace.tell(**traces.registration(body))
        metadata = _metadata(body)
        accepted = metadata.accepted_redirects()
        if not accepted:
            raise OAuthRefusal(_NO_REDIRECT)
        registration = metadata.effective(accepted, metadata.token_endpoint_auth_method or "none")
        information = {
            "client_id_issued_at": int(self._clock().timestamp()),
            "client_name": registration.client_name,
            "redirect_uris": accepted,
            "grant_types": registration.grant_types,
            "response_types": registration.response_types,
            "token_endpoint_auth_method": registration.token_endpoint_auth_method,
            "id_token_signed_response_alg": registration.id_token_signed_response_alg,
        }
        for name in ("client_uri", "logo_uri"):
            if getattr(registration, name):
                information[name] = getattr(registration, name)
        source = Source(self._callers.network(request), trace.id)
        information |= await self._credentials(registration, source)
        trace.client_id = str(information["client_id"])
        if left_out := len(metadata.redirect_uris) - len(accepted):
            trace.tell(left_out=f"{left_out} redirect_uris that may not be registered")
        return Response(json.dumps(information), 201, {"cache-control": "no-store"}, "application/json")

    async def _credentials(self, registration: Registration, source: Source) -> dict[str, object]:
        if registration.token_endpoint_auth_method == "none":
            client_id = await self._registry.register_public(registration, source)
            if client_id is None:
                description, event = "Clients of this kind are switched off here.", "refused.client_disabled"
                raise OAuthRefusal(Refused("invalid_client_metadata", description, "disabled kind", event=event))
            return {"client_id": client_id}
        client_id, secret = await self._registry.register_confidential(registration, "registered", source)
        return {"client_id": client_id, "client_secret": secret, "client_secret_expires_at": 0}


_NO_REDIRECT = Refused(
    "invalid_redirect_uri",
    "Register at least one redirect_uri: https, http on loopback, or a private scheme, without a fragment.",
    "no acceptable redirect_uri",
    "see redirect_uris",
    "a list of https, loopback or private addresses",
)


def _metadata(body: bytes) -> ClientMetadata:
    if len(body) > MAX_BYTES:
        raise OAuthRefusal(
            Refused(
                "invalid_client_metadata", "The metadata is too large.", "metadata too large", f"{len(body)} bytes",
                f"at most {MAX_BYTES}",
            )
        )  # fmt: skip
    try:
        return ClientMetadata.model_validate_json(body)
    except ValidationError as invalid:
        place = ".".join(str(part) for part in invalid.errors()[0]["loc"]) or "body"
        if place.startswith("redirect_uris"):
            raise OAuthRefusal(_NO_REDIRECT) from None
        raise OAuthRefusal(
            Refused(
                "invalid_client_metadata",
                "The metadata is not a JSON object with the members of RFC 7591.",
                "unreadable metadata",
                f"{place}: {invalid.errors()[0]['type']}",
                "a JSON object with the members of RFC 7591 section 2",
            )
        ) from None
