"""Checks a request at /authorize: first whether its redirect_uri may get an answer at all, then all the rest."""

from dataclasses import dataclass
from datetime import datetime

from gatepost_idp import crypto, pkce, redirects, traces
from gatepost_idp.catalogue import Catalogue, Resource
from gatepost_idp.clients import registry
from gatepost_idp.clients.metadata_document import NoDocument
from gatepost_idp.parameters import Parameters
from gatepost_idp.protocol import OIDC_SCOPES, Refused, scope_set
from gatepost_idp.store.clients import Client
from gatepost_idp.store.requests import Request

_PROMPTS = ("none", "login", "consent", "select_account")
MAX_STATE = 4096
MAX_NONCE = 512  # bounded because it is stored before anybody has signed in


@dataclass(frozen=True, slots=True)
class NoReturn:
    """Why a request gets an error page, not a redirect: its client or its redirect_uri cannot be trusted."""

    happened: str
    action: str
    details: tuple[tuple[str, str], ...]
    reason: str
    received: str
    expected: str
    event: str = ""


def redirect_of(parameters: Parameters, client: Client | None) -> str | NoReturn:
    """The redirect_uri for answers, checked before all else (RFC 9700 section 4.11: never be an open redirector)."""
    if parameters.repeats_who_asks:
        return NoReturn(
            "The app sent its id, or its return address, more than once.",
            "Report this to the makers of the app.",
            tuple(("Repeated", name) for name in parameters.repeated[:5]),
            "client_id or redirect_uri repeated",
            f"more than once: {', '.join(parameters.repeated[:5])}",
            "client_id and redirect_uri once each",
        )
    client_id = parameters.get("client_id")
    if client is None or client.disabled:
        return NoReturn(
            "The app that sent you here is not known to this server.",
            "Remove the connection in your app and add it again, so that it registers anew.",
            (("App id received", shown(client_id)),),
            "client disabled" if client else "unknown client_id",
            f"client_id {shown(client_id)}",
            "a client that is enabled: gatepost clients enable" if client else registry.why_unknown(client_id or ""),
            "refused.client_disabled" if client else "",
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
            redirects.shown(asked),
            f"one of: {', '.join(redirects.shown(uri) for uri in client.redirect_uris[:5])}",
            "refused.foreign_redirect",
        )
    return asked


def returns_unseen(parameters: Parameters, client: Client, redirect_uri: str) -> bool:
    """Whether an error may redirect a browser in which nobody is signed in (RFC 9700 section 4.11.2).

    Anybody may register an address, and a link to this server, whose name people trust, would then lead there unseen.
    So only these redirect: clients that the operator vouched for, clients on the person's own computer, and requests
    with ``prompt=none``, which never show a page (OpenID Connect Core section 3.1.2.6).
    """
    is_known = client.origin == "manual" or client.checks_iss
    return is_known or redirects.is_private(redirect_uri) or "none" in scope_set(parameters.get("prompt") or "")


def no_document(client_id: str, missing: NoDocument) -> NoReturn:
    """The error page for a client_id that is a URL without a usable metadata document."""
    received = (("What is there instead", shown(missing.received)),) if missing.received else ()
    return NoReturn(
        "The app that sent you here goes by a web address, and its description at that address cannot be used.",
        "Try again in a minute. If that does not help, report this to the makers of the app.",
        (("Address received", shown(client_id)), ("What is wrong with it", missing.words), *received),
        f"client metadata document: {missing.reason}",
        f"client_id={shown(client_id)}" + (f"; {shown(missing.received)}" if missing.received else ""),
        missing.words,
    )


def request_of(
    parameters: Parameters, client: Client, redirect_uri: str, catalogue: Catalogue, now: datetime
) -> Request | Refused:
    """The checked request, or the error to send to ``redirect_uri`` (OAuth 2.1 section 4.1.2.1)."""
    refused = _refused(parameters)
    if refused is not None:
        return refused
    resource = catalogue.find(parameters.resource) if parameters.resource else catalogue.default
    if resource is None:
        return Refused(
            "invalid_target",
            "This server does not know that resource.",
            "unknown resource; see MCP_RESOURCE_URL",
            redirects.shown(parameters.resource),
            f"one of: {', '.join(known.url for known in catalogue.resource)}",
        )
    request_id = crypto.random_id()
    return Request(
        id=request_id,
        trace_id=traces.id_of(request_id),
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
    """The first error in the parameters, in the order in which a client developer would fix them, or None."""
    single = parameters.check_single()
    if single is not None:
        return single
    if parameters.get("request") or parameters.get("request_uri"):
        return _invalid(
            "Request objects are not supported; send plain parameters.", "request object", "request or request_uri",
            "plain parameters",
        )  # fmt: skip
    if parameters.get("response_type") != "code":
        received = _named(parameters, "response_type")
        return Refused(
            "unsupported_response_type", "Use response_type=code.", "response_type is not code", received, "code"
        )
    if parameters.get("response_mode") not in (None, "query"):
        received = _named(parameters, "response_mode")
        return _invalid("Use response_mode=query.", "response_mode is not query", received, "query, or none")
    for name, most in (("state", MAX_STATE), ("nonce", MAX_NONCE)):
        if len(parameters.get(name) or "") > most:
            received = traces.shown_length(name, parameters.get(name))
            return _invalid(
                f"The {name} is longer than {most} characters.", f"{name} too long", received, f"at most {most}"
            )
    return _refused_pkce(parameters) or _refused_prompt(parameters)


def _refused_pkce(parameters: Parameters) -> Refused | None:
    """Requires PKCE with S256 (OAuth 2.1 section 4.1.1)."""
    challenge = parameters.get("code_challenge")
    if challenge is None or parameters.get("code_challenge_method") != "S256":
        method = _named(parameters, "code_challenge_method")
        received = f"{method}, {traces.shown_length('code_challenge', challenge)}"
        expected = "code_challenge_method=S256 and a code_challenge"
        return _invalid("PKCE is required: code_challenge_method=S256.", "no S256 code_challenge", received, expected)
    if not pkce.is_challenge(challenge):
        received = traces.shown_length("code_challenge", challenge)
        expected = "43 characters of base64url without padding"
        return _invalid(
            "The code_challenge is not a SHA-256 hash in base64url.", "malformed code_challenge", received, expected
        )
    return None


def _refused_prompt(parameters: Parameters) -> Refused | None:
    """Checks ``prompt`` and ``max_age`` (OpenID Connect Core section 3.1.2.1)."""
    prompts = scope_set(parameters.get("prompt") or "")
    if ("none" in prompts and len(prompts) > 1) or not set(prompts) <= set(_PROMPTS):
        received, expected = _named(parameters, "prompt"), f"none alone, or any of: {', '.join(_PROMPTS[1:])}"
        return _invalid("This server does not support that prompt.", "bad prompt", received, expected)
    max_age = parameters.get("max_age")
    if max_age is not None and not (max_age.isascii() and max_age.isdigit() and len(max_age) < 10):
        return _invalid("max_age is not a number of seconds.", "bad max_age", _named(parameters, "max_age"), "digits")
    return None


def _invalid(description: str, reason: str, received: str, expected: str) -> Refused:
    return Refused("invalid_request", description, reason, received, expected)


def _named(parameters: Parameters, name: str) -> str:
    """``name=value`` for the trace; only for parameters that hold no secret."""
    return f"{name}={shown(parameters.get(name))}"


def _scope(asked: str, resource: Resource, own: tuple[str, ...]) -> tuple[str, ...]:
    """The requested scopes that exist, or the default set if none of the resource's was requested; then OIDC scopes.

    Unknown ones are dropped, not refused: clients ask for scopes of other servers. ``own`` is the operator's list for
    a manually added client: both its cap and its default set.
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
    """A received value for an error page, cut to 200 characters."""
    return "nothing" if value is None else value[:200]
