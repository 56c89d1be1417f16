"""Every endpoint of both servers, described once: as OpenAPI for schemathesis, and by kind for the judge."""

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["tokens", "document", "page", "script", "probe", "mcp"]
"""tokens: OAuth for programs, never stored. document: public metadata. script: JSON for a page of ours."""

Fields = dict[str, list[str]]
"""Each field with plausible values."""

JSON = {
    "redirect_uris": {"type": "array", "items": {"type": "string", "format": "uri"}, "minItems": 1},
    "client_name": {"type": "string"},
    "token_endpoint_auth_method": {"enum": ["none", "client_secret_basic", "client_secret_post"]},
    "grant_types": {"type": "array", "items": {"enum": ["authorization_code", "refresh_token"]}},
    "response_types": {"type": "array", "items": {"enum": ["code"]}},
    "client_uri": {"type": "string", "format": "uri"},
    "logo_uri": {"type": "string", "format": "uri"},
    "scope": {"type": "string"},
}
RPC_METHODS = ["initialize", "ping", "tools/list", "tools/call", "server/discover"]
RPC = {
    "jsonrpc": {"enum": ["2.0"]},
    "id": {"type": "integer"},
    "method": {"enum": RPC_METHODS},
    "params": {"type": "object"},
}


@dataclass(frozen=True)
class Door:
    """One endpoint, with its methods and their parameters."""

    path: str
    kind: Kind
    methods: tuple[str, ...] = ("GET", "HEAD")
    query: tuple[str, ...] = ()
    form: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    json: dict[str, Any] = field(default_factory=dict)
    bearer: bool = False


_CLIENT = ("client_id", "client_secret")
_ASKED = ("response_type", "client_id", "redirect_uri", "code_challenge", "code_challenge_method", "scope", "state",
          "resource", "prompt", "max_age", "nonce")  # fmt: skip  # a list of names
_GRANT = ("grant_type", "code", "code_verifier", "redirect_uri", "refresh_token", "scope", "resource", "subject_token",
          "subject_token_type", "actor_token", "requested_token_type", "audience")  # fmt: skip  # a list of names
_REQUEST = "/sign-in/{request_id}"
_ATTEMPT = _REQUEST + "/{attempt_id}"
_CONSENT = "/consent/{request_id}"
_PERSON = "/admin/people/{account_id}"
_NEW_CLIENT = ("csrf", "name", "description", "redirect", "claude", "confidential", "scope")
_POST = ("POST",)
_URN = "urn:ietf:params:oauth"

IDP = (
    Door("/token", "tokens", _POST, form=(*_CLIENT, *_GRANT), required=("grant_type", "client_id")),
    Door("/register", "tokens", _POST, json=JSON, required=("redirect_uris",)),
    Door("/revoke", "tokens", _POST, form=(*_CLIENT, "token", "token_type_hint"), required=("token", "client_id")),
    Door("/introspect", "tokens", _POST, form=(*_CLIENT, "token", "token_type_hint"), required=("token", "client_id")),
    Door("/userinfo", "tokens", ("GET", "HEAD", "POST"), bearer=True),
    Door("/.well-known/oauth-authorization-server", "document"),
    Door("/.well-known/openid-configuration", "document"),
    Door("/jwks.json", "document"),
    Door("/authorize", "page", ("GET",), query=_ASKED, required=_ASKED[:5]),
    Door("/", "page"),
    Door("/account", "page", ("GET",)),
    Door("/account/disconnect", "page", _POST, form=("csrf", "grant")),
    Door("/account/forget", "page", _POST, form=("csrf", "client")),
    Door("/account/sign-out", "page", _POST, form=("csrf", "session")),
    Door("/account/export", "script", ("GET",)),
    Door("/account/delete", "page", ("GET",)),
    Door("/account/delete", "page", _POST, form=("csrf", "sure")),
    Door("/account/tokens", "page", ("GET",)),
    Door("/account/tokens", "page", _POST, form=("csrf", "name", "resource", "days", "scope")),
    Door("/account/tokens/end", "page", _POST, form=("csrf", "token")),
    Door("/account/cut-off", "page", query=("t",)),
    Door("/account/cut-off", "page", _POST, form=("csrf", "token")),
    Door("/connect", "page"),
    Door("/account/access", "page", ("GET",)),
    Door("/account/access", "page", _POST, form=("csrf", "grant", "scope"), required=("csrf", "grant")),
    Door("/account/access/switch", "page", _POST, form=("csrf",)),
    Door("/account/switch", "page", _POST, form=("csrf",)),
    Door("/admin", "page", ("GET",)),
    Door("/admin/state", "page", ("GET",)),
    Door("/admin/switch", "page", _POST, form=("csrf",)),
    Door("/admin/audit", "page", ("GET",), query=("event", "person", "client", "trace", "start")),
    Door("/admin/people", "page", ("GET",), query=("q", "start")),
    Door("/admin/people/invite", "page", _POST, form=("csrf", "email")),
    Door(_PERSON, "page", ("GET",), query=("done",)),
    Door(_PERSON + "/scopes", "page", _POST, form=("csrf", "resource", "scope")),
    Door(_PERSON + "/switch", "page", _POST, form=("csrf", "off")),
    Door("/admin/clients", "page", ("GET",), query=("kind", "start")),
    Door("/admin/clients/one", "page", ("GET",), query=("client", "done")),
    Door("/admin/clients/add", "page", ("GET",)),
    Door("/admin/clients/add", "page", _POST, form=_NEW_CLIENT),
    Door("/admin/clients/secret", "page", _POST, form=("csrf", "client")),
    Door("/admin/clients/switch", "page", _POST, form=("csrf", "client", "off")),
    Door("/admin/connections", "page", ("GET",), query=("start", "done")),
    Door("/admin/backends", "page", ("GET",)),
    Door("/admin/connections/cut", "page", _POST, form=("csrf", "grant", "person")),
    Door("/sign-in/link", "page", query=("t",)),
    Door("/sign-in/link", "page", _POST, form=("csrf", "token"), required=("csrf", "token")),
    Door("/sign-in/link/not-me", "page", _POST, form=("csrf", "token"), required=("csrf", "token")),
    Door(_REQUEST, "page", ("GET",)),
    Door(_REQUEST, "page", _POST, form=("csrf", "email", "website", "form_time"), required=("csrf", "email")),
    Door(_REQUEST + "/deny", "page", _POST, form=("csrf",)),
    Door(_ATTEMPT, "page", ("GET",)),
    Door(_ATTEMPT + "/state", "script", ("GET",)),
    Door(_ATTEMPT + "/code", "page", _POST, form=("csrf", "code"), required=("csrf", "code")),
    Door(_ATTEMPT + "/resend", "page", _POST, form=("csrf",)),
    Door(_ATTEMPT + "/change", "page", _POST, form=("csrf",)),
    Door(_CONSENT, "page", ("GET",), query=("review",)),
    Door(_CONSENT, "page", _POST, form=("csrf", "decision", "remember", "scope"), required=("csrf", "decision")),
    Door(_CONSENT + "/again", "page", _POST, form=("csrf", "decision"), required=("csrf", "decision")),
    Door(_CONSENT + "/switch", "page", _POST, form=("csrf",)),
    Door("/healthz", "probe"),
    Door("/readyz", "probe"),
    Door("/favicon.ico", "probe", ("GET",)),
)
"""The authorization server, below the issuer's path."""

_ANY = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")

RESOURCE = (
    Door("/mcp", "mcp", _ANY, json=RPC, required=("jsonrpc", "method")),
    Door("/mcp/", "mcp", _ANY, json=RPC, required=("jsonrpc", "method")),
    Door("/.well-known/oauth-protected-resource", "document", ("GET", "HEAD", "OPTIONS")),
    Door("/.well-known/oauth-protected-resource/mcp", "document", ("GET", "HEAD", "OPTIONS")),
    Door("/.well-known/oauth-protected-resource/mcp/", "document", ("GET", "HEAD", "OPTIONS")),
    Door("/", "page"),
    Door("/healthz", "probe"),
    Door("/readyz", "probe"),
)
"""The resource server at its usual path."""

MEANT: Fields = {
    "response_type": ["code"],
    "code_challenge_method": ["S256"],
    "scope": ["demo:read", "openid demo:ops", "openid profile email offline_access"],
    "state": ["s", "a state/with=signs&more"],
    "prompt": ["login", "none", "consent"],
    "max_age": ["0", "10"],
    "nonce": ["n"],
    "request_uri": [""],
    "grant_type": ["authorization_code", "refresh_token", f"{_URN}:grant-type:token-exchange", "client_credentials"],
    "subject_token_type": [f"{_URN}:token-type:access_token"],
    "requested_token_type": [f"{_URN}:token-type:access_token"],
    "token_type_hint": ["access_token", "refresh_token"],
    "decision": ["allow", "deny"],
    "remember": ["0", "1", "30"],
    "email": ["fuzz@example.com", "Fuzz@Example.com", "fuzz+tag@example.com"],
    "website": [""],
    "code": ["12345678", "1234 5678"],
    "review": ["yes"],
}
"""The values that do not depend on the run; ``Known`` has the others."""


def openapi(doors: tuple[Door, ...]) -> dict[str, Any]:
    """The doors as an OpenAPI 3.1 description."""
    paths: dict[str, dict[str, Any]] = {}
    for door in doors:
        for method in door.methods:
            paths.setdefault(door.path, {})[method.lower()] = _operation(door, method)
    return {"openapi": "3.1.0", "info": {"title": "Gatepost", "version": "1"}, "paths": paths}


def _operation(door: Door, method: str) -> dict[str, Any]:
    places = [part[1:-1] for part in door.path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in places]
    parameters += [
        {"name": name, "in": "query", "required": name in door.required, "schema": _schema(name)} for name in door.query
    ]
    described: dict[str, Any] = {"parameters": parameters, "responses": {"default": {"description": "see judge.py"}}}
    if method == "POST" and (door.form or door.json):
        kind = "application/json" if door.json else "application/x-www-form-urlencoded"
        body = {
            "type": "object",
            "properties": door.json or {name: _schema(name) for name in door.form},
            "required": list(door.required),
            "additionalProperties": bool(door.json),
        }
        described["requestBody"] = {"required": True, "content": {kind: {"schema": body}}}
    return described


_TEXT = {"type": "string"}


def _schema(name: str) -> dict[str, Any]:
    return {"anyOf": [{"enum": MEANT[name]}, _TEXT]} if name in MEANT else _TEXT
