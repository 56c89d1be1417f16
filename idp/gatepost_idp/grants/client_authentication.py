"""Reads a form and authenticates the client that sent it (RFC 6749 section 2.3)."""

import base64
from dataclasses import dataclass
from urllib.parse import unquote_plus

from starlette.requests import Request

from gatepost_idp import parameters, traces
from gatepost_idp.clients.metadata_document import NoDocument
from gatepost_idp.clients.registry import Registry, is_secret_of, why_unknown
from gatepost_idp.errors import OAuthRefusal
from gatepost_idp.limits import Callers
from gatepost_idp.parameters import Parameters
from gatepost_idp.protocol import Refused
from gatepost_idp.store.clients import Client

_FORM = "application/x-www-form-urlencoded"


async def read_form(request: Request) -> Parameters:
    """The parameters of a POST; raises OAuthRefusal for another content type, or a repeated or unreadable parameter."""
    sent = request.headers.get("content-type", "")
    if sent.partition(";")[0].strip().lower() != _FORM:
        raise OAuthRefusal(Refused("invalid_request", f"Send {_FORM}.", "content type", sent or "none", _FORM))
    body = await request.body()
    found = parameters.parse(body.decode("latin-1"))
    if not isinstance(found, Refused):
        traces.current().asked = found
    refused = found if isinstance(found, Refused) else found.check_single()
    if refused is not None or isinstance(found, Refused):
        raise OAuthRefusal(refused or _UNREADABLE)
    return found


def read_token(asked: Parameters) -> str:
    """The ``token`` of a revocation (RFC 7009 section 2.1) or introspection (RFC 7662 section 2.1).

    Raises OAuthRefusal when it is missing.
    """
    token = asked.get("token")
    if token is None:
        raise OAuthRefusal(Refused("invalid_request", "The token is missing.", "no token", "none", "a token"))
    return token


_UNREADABLE = Refused("invalid_request", "The form cannot be read.", "unreadable form")


@dataclass(frozen=True, slots=True)
class _Credentials:
    client_id: str
    secret: str | None
    basic: bool

    @property
    def shown(self) -> str:
        """How the client tried to authenticate, for the trace; never the secret itself."""
        way = "HTTP Basic" if self.basic else "client_secret in the form" if self.secret else "no client_secret"
        return f"client_id {self.client_id or 'missing'}, {way}"


class ClientAuthentication:
    """Accepts Basic, post or none, whichever is used: real clients do not keep to the method they registered."""

    def __init__(self, registry: Registry, callers: Callers) -> None:
        self._registry = registry
        self._callers = callers

    async def client(self, request: Request, asked: Parameters) -> Client:
        """The client, authenticated if it has a secret; raises OAuthRefusal: ``invalid_client`` with 401."""
        credentials = _credentials(request, asked)
        traces.current().client_id = credentials.client_id
        try:
            client = await self._registry.find(credentials.client_id, self._callers.network(request))
        except NoDocument as missing:
            raise _refused(
                "The metadata document of this client cannot be used.", missing.reason, credentials, missing.words
            ) from None
        if client is None:
            expected = why_unknown(credentials.client_id)
            raise _refused(
                "This client is not registered here. Register again.", "unknown client", credentials, expected
            )
        if client.disabled:
            expected = "a client that is enabled: gatepost clients enable"
            event = "refused.client_disabled"
            raise _refused("This client is disabled.", "disabled client", credentials, expected, event)
        if client.secret_hash is not None and not is_secret_of(client, credentials.secret or ""):
            reason = "wrong client secret" if credentials.secret else "no client secret"
            expected = "the client_secret that this client was given, by HTTP Basic or in the form"
            event = "refused.wrong_secret" if credentials.secret else ""
            raise _refused("The client secret is missing or wrong.", reason, credentials, expected, event)
        return client


def _credentials(request: Request, asked: Parameters) -> _Credentials:
    """The id and secret that were sent; two methods at once are refused (RFC 6749 section 2.3)."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        client_id = asked.get("client_id")
        if client_id is None:
            nothing = _Credentials("", asked.get("client_secret"), basic=False)
            raise _refused("The client_id is missing.", "no client_id", nothing, "a client_id in the form or in Basic")
        return _Credentials(client_id, asked.get("client_secret"), basic=False)
    if asked.get("client_secret"):
        received, expected = "HTTP Basic and client_secret in the form", "one of them"
        refused = Refused("invalid_request", "Authenticate in one way, not two.", "two ways", received, expected)
        raise OAuthRefusal(refused)
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except ValueError:  # not ASCII, not base64 or not UTF-8
        name, colon, secret = "", "", ""
    client_id, secret = unquote_plus(name), unquote_plus(secret)
    if not colon or asked.get("client_id") not in (None, client_id):
        expected = "base64 of client_id:client_secret, each form-encoded; the same client_id in the form, or none"
        nothing = _Credentials("", None, basic=True)
        raise _refused("The Basic credentials cannot be read.", "bad Basic header", nothing, expected)
    return _Credentials(client_id, secret, basic=True)


def _refused(description: str, reason: str, credentials: _Credentials, expected: str, event: str = "") -> OAuthRefusal:
    challenge = 'Basic realm="gatepost"' if credentials.basic else ""  # RFC 6749 section 5.2: only if Basic was tried
    refused = Refused("invalid_client", description, reason, credentials.shown, expected, event=event)
    return OAuthRefusal(refused, challenge=challenge)
