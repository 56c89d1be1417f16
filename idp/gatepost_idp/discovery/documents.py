"""The authorization server metadata, made once at the start; nothing in it comes from a request."""

import json
from typing import Any

from authlib.oauth2 import rfc8414, rfc9207

from gatepost_idp.catalogue import Catalogue
from gatepost_idp.keys import ID_TOKEN_ALGORITHMS
from gatepost_idp.protocol import AUTH_METHODS, GRANT_TYPES, RESOURCE_SERVER_GRANT_TYPES
from gatepost_idp.settings import Settings

WELL_KNOWN = ("oauth-authorization-server", "openid-configuration")


def metadata(settings: Settings, catalogue: Catalogue) -> dict[str, Any]:
    """Authorization server metadata (RFC 8414 section 2), which is also the OpenID configuration.

    ``offline_access`` is omitted on purpose, although it is accepted: clients that see it send ``prompt=consent``,
    which bypasses remembered consent.
    """
    issuer = settings.oauth_issuer
    document = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "registration_endpoint": f"{issuer}/register",
        "revocation_endpoint": f"{issuer}/revoke",
        "introspection_endpoint": f"{issuer}/introspect",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "jwks_uri": f"{issuer}/jwks.json",
        "scopes_supported": [*catalogue.scope_names, "openid", "profile", "email"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [*GRANT_TYPES, *RESOURCE_SERVER_GRANT_TYPES],
        "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "revocation_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "introspection_endpoint_auth_methods_supported": [name for name in AUTH_METHODS if name != "none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": True,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(ID_TOKEN_ALGORITHMS),
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "email", "email_verified"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
    }
    _check(document)
    return document


def _check(document: dict[str, Any]) -> None:
    """Validates the document with Authlib as a strict client would, treating http as https; raises ValueError."""
    secure = {
        name: value.replace("http://", "https://", 1) if isinstance(value, str) else value
        for name, value in document.items()
    }
    checked = rfc8414.AuthorizationServerMetadata(secure)
    checked.validate(metadata_classes=[rfc9207.AuthorizationServerMetadata])


def encoded(document: dict[str, Any]) -> bytes:
    """The document as JSON bytes."""
    return json.dumps(document).encode()
