"""A client's metadata (RFC 7591 section 2): what is read of it, and what takes effect."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gatepost_idp import redirects
from gatepost_idp.keys import ID_TOKEN_ALGORITHMS
from gatepost_idp.protocol import AUTH_METHODS, GRANT_TYPES, AuthMethod

MAX_REDIRECTS = 20


@dataclass(frozen=True, slots=True)
class Registration:
    """A client's effective metadata in canonical form; registrations with equal metadata are of one kind.

    ``scope`` and ``description`` are set only by the operator; those in a registration request are ignored.
    """

    client_name: str
    redirect_uris: tuple[str, ...]
    token_endpoint_auth_method: AuthMethod
    grant_types: tuple[str, ...]
    response_types: tuple[str, ...] = ("code",)
    client_uri: str = ""
    logo_uri: str = ""
    id_token_signed_response_alg: str = ID_TOKEN_ALGORITHMS[0]
    scope: str = ""
    description: str = ""

    def canonical_json(self) -> str:
        """The JSON that is stored and hashed; empty ``scope`` and ``description`` are omitted, as in older versions."""
        own = ("scope", "description")
        members = {name: getattr(self, name) for name in self.__slots__ if name not in own or getattr(self, name)}
        return json.dumps(members, sort_keys=True, separators=(",", ":"))


class ClientMetadata(BaseModel):
    """The members of a registration that matter here (RFC 7591 section 2); all others are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    redirect_uris: list[str] = Field(default_factory=list, max_length=100)
    client_name: str = Field(default="", max_length=1000)
    token_endpoint_auth_method: str | None = None
    grant_types: list[str] = Field(default_factory=lambda: list(GRANT_TYPES), max_length=100)
    client_uri: Any = None
    logo_uri: Any = None
    id_token_signed_response_alg: Any = None

    def accepted_redirects(self) -> list[str]:
        """The redirect URIs that may be registered, as sent; invalid ones are dropped, at most MAX_REDIRECTS kept."""
        return [uri for uri in dict.fromkeys(self.redirect_uris) if redirects.split(uri)][:MAX_REDIRECTS]

    def effective(self, accepted: list[str], auth_method: str) -> Registration:
        """The metadata that takes effect. An unsupported ``auth_method`` makes a public client."""
        # Every client uses the code grant, whatever it registered; refresh tokens can only come from that.
        refreshes = "refresh_token" in self.grant_types or "authorization_code" not in self.grant_types
        algorithm = self.id_token_signed_response_alg
        return Registration(
            client_name=redirects.plain_name(self.client_name, 100),
            redirect_uris=tuple(sorted({redirects.canonical(uri) for uri in accepted})),
            token_endpoint_auth_method=AUTH_METHODS.get(auth_method, "none"),
            grant_types=GRANT_TYPES if refreshes else ("authorization_code",),
            client_uri=_https(self.client_uri),
            logo_uri=_https(self.logo_uri),
            id_token_signed_response_alg=algorithm if algorithm in ID_TOKEN_ALGORITHMS else ID_TOKEN_ALGORITHMS[0],
        )


def _https(value: object) -> str:
    """``value`` if it is an https URL, else empty, so that no page ever shows a bad link."""
    parts = redirects.split(value) if isinstance(value, str) else None
    return str(value) if parts is not None and parts.scheme == "https" else ""
