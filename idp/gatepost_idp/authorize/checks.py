"""Checks a request at /authorize: first what decides whether anything may be sent back, then all the rest."""

from dataclasses import dataclass
from datetime import datetime

from gatepost_idp import crypto, pkce, redirects
from gatepost_idp.catalogue import Catalogue, Resource
from gatepost_idp.clients.metadata_document import NoDocument
from gatepost_idp.parameters import Parameters
from gatepost_idp.protocol import OIDC_SCOPES, Refused, scope_set
from gatepost_idp.store.clients import Client
from gatepost_idp.store.requests import Request

_PROMPTS = ("none", "login", "consent", "select_account")
MAX_STATE = 4096


@dataclass(frozen=True, slots=True)
class NoReturn:
    """The request cannot be answered by a redirect, for it is not sure who asks or where an answer may go."""

    happened: str
    action: str
    details: tuple[tuple[str, str], ...]
    reason: str


def redirect_of(parameters: Parameters, client: Client | None) -> str | NoReturn:
    """Where answers go, checked before anything else (RFC 9700 section 4.11: never become an open redirector)."""
    if parameters.repeats_who_asks:
        return NoReturn(
            "The app named itself, or where to return to, more than once.",
            "Report this to the makers of the app.",
            tuple(("Repeated", name) for name in parameters.repeated[:5]),
            "client_id or redirect_uri repeated",
        )
    client_id = parameters.get("client_id")
    if client is None or client.disabled:
        return NoReturn(
            "The app that sent you here is not known to this server.",
            "Remove the connection in your app and add it again: then it registers anew.",
            (("App id received", shown(client_id)),),
            "client disabled" if client else "unknown client_id",
        )
    asked = parameters.get("redirect_uri")
    if asked is None and len(client.redirect_uris) == 1 and not redirects.is_loopback(client.redirect_uris[0]):
        return client.redirect_uris[0]  # RFC 6749 section 3.1.2.3
    if asked is None or not redirects.matches(client.redirect_uris, asked):
        registered = tuple(("Return address registered", uri) for uri in client.redirect_uris[:5])
        return NoReturn(
            "The app wants you to return to an address that it did not register.",
            "Remove the connection in your app and add it again. If that does not help, report this to its makers.",
            (("Return address received", shown(asked)), *registered),
            "redirect_uri not registered",
        )
    return asked


def no_document(client_id: str, missing: NoDocument) -> NoReturn:
    """What a person reads where an app names itself by an address, and there is no usable document behind it."""
    received = (("What is there instead", shown(missing.received)),) if missing.received else ()
    return NoReturn(
        "The app that sent you here names itself by an address, and what should stand there cannot be used.",
        "Try again in a minute. If that does not help, report this to the makers of the app.",
        (("Address received", shown(client_id)), ("What is wrong with it", missing.words), *received),
        f"client metadata document: {missing.reason}",
    )


def request_of(
    parameters: Parameters, client: Client, redirect_uri: str, catalogue: Catalogue, trace_id: str, now: datetime
) -> Request | Refused:
    """The checked request, or what the client is told at its redirect address (OAuth 2.1 section 4.1.2.1)."""
    refused = _refused(parameters)
    if refused is not None:
        return refused
    resource = catalogue.find(parameters.resource) if parameters.resource else catalogue.default
    if resource is None:
        allowed = ", ".join(r.url for r in catalogue.resource)
        return Refused(
            "invalid_target",
            "This server does not know that resource.",
            f"resource received {shown(parameters.resource)}, allowed {allowed}; see MCP_RESOURCE_URL",
        )
    return Request(
        id=crypto.random_id(),
        trace_id=trace_id,
        client_id=client.id,
        client_row=client.row,
        redirect_uri=redirect_uri,
        state=parameters.get("state"),
        scope=_scope(parameters.get("scope") or "", resource, client.scope),
        resource=resource.url,
        resource_named=parameters.resource is not None,
        code_challenge=parameters.values["code_challenge"],
        nonce=parameters.get("nonce"),
        prompt=scope_set(parameters.get("prompt") or ""),
        max_age=_max_age(parameters),
        created_at=now,
    )


def _refused(parameters: Parameters) -> Refused | None:
    """Every reason to send an error back, in the order in which a client developer can mend them."""
    single = parameters.check_single()
    if single is not None:
        return single
    if parameters.get("request") or parameters.get("request_uri"):
        return Refused("invalid_request", "Request objects are not supported; send plain parameters.", "request object")
    if parameters.get("response_type") != "code":
        return Refused("unsupported_response_type", "Use response_type=code.", "response_type is not code")
    if parameters.get("response_mode") not in (None, "query"):
        return Refused("invalid_request", "Use response_mode=query.", "response_mode is not query")
    if len(parameters.get("state") or "") > MAX_STATE:
        return Refused("invalid_request", "The state is longer than 4096 characters.", "state too long")
    challenge = parameters.get("code_challenge")
    if challenge is None or parameters.get("code_challenge_method") != "S256":
        return Refused("invalid_request", "PKCE is required: code_challenge_method=S256.", "no S256 code_challenge")
    if not pkce.is_challenge(challenge):
        return Refused("invalid_request", "The code_challenge is no SHA-256 in base64url.", "malformed code_challenge")
    prompts = scope_set(parameters.get("prompt") or "")
    if ("none" in prompts and len(prompts) > 1) or not set(prompts) <= set(_PROMPTS):
        return Refused("invalid_request", "The prompt is not one that this server knows.", "bad prompt")
    max_age = parameters.get("max_age")
    if max_age is not None and not (max_age.isascii() and max_age.isdigit() and len(max_age) < 10):
        return Refused("invalid_request", "max_age is no number of seconds.", "bad max_age")
    return None


def _scope(asked: str, resource: Resource, own: tuple[str, ...]) -> tuple[str, ...]:
    """The scopes that exist, and the default set where none of the resource's was named.

    Unknown ones are left out, not refused: clients ask for what other servers had. ``own`` are those that the operator
    gave to a client made by hand: they cap what it gets, and are its default set.
    """
    names = scope_set(asked)
    allowed = tuple(name for name in resource.scope_names if not own or name in own)
    named = tuple(name for name in names if name in allowed)
    default = allowed if own else resource.default_scopes
    return (named or default) + tuple(name for name in names if name in OIDC_SCOPES)


def _max_age(parameters: Parameters) -> int | None:
    value = parameters.get("max_age")
    return None if value is None else int(value)


def shown(value: str | None) -> str:
    """A received value as an error page may show it."""
    return "nothing" if value is None else value[:200]
