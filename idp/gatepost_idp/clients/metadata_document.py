"""A client that is the URL of its metadata document: what such a URL and such a document must be.

After draft-ietf-oauth-client-id-metadata-document, as far as that can be judged without the network.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from pydantic import Field, ValidationError

from gatepost_idp.clients.metadata import ClientMetadata, Registration

MAX_URL = 512
_CHARACTER = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})"
_URL = re.compile(
    r"https://(?P<host>(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
    rf"(?P<path>/{_CHARACTER}*)(?P<query>\?(?:{_CHARACTER}|\?)*)?"
)


class NoDocument(Exception):
    """There is no client behind a URL: ``words`` tell a person what is wrong with it, ``reason`` the log."""

    def __init__(self, words: str, reason: str = "", received: str = "") -> None:
        super().__init__(reason or words)
        self.words = words
        self.reason = reason or words
        self.received = received


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document's bytes, how long they stay fresh, and the tag by which to ask whether they changed.

    ``body`` is None where they did not change.
    """

    body: bytes | None
    etag: str
    fresh_for: timedelta


@dataclass(frozen=True, slots=True)
class DocumentUrl:
    """A URL that may name a client, in the parts that a request needs; ``target`` is path and query as they came."""

    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The Host header (RFC 9110 section 7.2)."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == 443 else f"{name}:{self.port}"


def is_url(client_id: str) -> bool:
    """Whether a client id is meant as an address: no id that this server hands out is."""
    return "://" in client_id


def parse(client_id: str) -> DocumentUrl:
    """The URL's parts; raises NoDocument (section "Client Identifier" of the draft)."""
    if not client_id.startswith("https://"):
        raise NoDocument("It does not begin with https://.")
    if len(client_id) > MAX_URL:
        raise NoDocument(f"It is longer than {MAX_URL} characters.")
    found = _URL.fullmatch(client_id)
    if found is None:
        raise NoDocument("It has a part that such an address may not have: a user, a fragment or an odd character.")
    path, port = found["path"], int(found["port"] or 443)
    if path == "/":
        raise NoDocument("It has no path.")
    if any(segment in (".", "..") for segment in re.split(r"[/\\]", unquote(path))):  # encoded ones too
        raise NoDocument("Its path has dots for a segment.")
    if not 0 < port < 65536:
        raise NoDocument("Its port is none.")
    return DocumentUrl(found["host"].strip("[]").lower(), port, path + (found["query"] or ""))


class MetadataDocument(ClientMetadata):
    """A document's members that a registration does not have, or must not have here."""

    client_id: str
    client_secret: Any = None
    client_secret_expires_at: Any = None
    token_endpoint_auth_methods_supported: list[str] = Field(default_factory=list, max_length=100)


def read(url: str, text: bytes) -> Registration:
    """What a document says that was found at ``url``; raises NoDocument."""
    try:
        document = MetadataDocument.model_validate_json(text)
    except ValidationError as invalid:
        place = ".".join(str(part) for part in invalid.errors()[0]["loc"])
        words = f"In the document, {place} is missing or of another kind." if place else "It is no JSON object."
        raise NoDocument(words, f"{words} {invalid.errors()[0]['msg']}") from None
    return registration_of(url, document)


def registration_of(url: str, document: MetadataDocument) -> Registration:
    """The effective metadata; raises NoDocument where the document may not stand for ``url``."""
    if document.client_id != url:  # byte for byte: else one address could speak for another
        raise NoDocument("The client_id in the document is not this address.", received=document.client_id)
    if {"client_secret", "client_secret_expires_at"} & document.model_fields_set:
        raise NoDocument("The document has a client_secret in it, which everybody can read.")
    _check_public(document)
    accepted = document.accepted_redirects()
    if not accepted:
        raise NoDocument("None of the document's redirect_uris may be used.", received=" ".join(document.redirect_uris))
    return document.effective(accepted, "none")


def _check_public(document: MetadataDocument) -> None:
    """No secret can be shared with a document, and keys are not taken yet; so it must do with PKCE alone.

    ChatGPT prefers ``private_key_jwt`` and lists ``none`` beside it, for servers that do not advertise the first.
    """
    method = document.token_endpoint_auth_method or "none"
    if method.startswith("client_secret"):
        raise NoDocument("The document wants to authenticate with a shared secret.", received=method)
    if method != "none" and "none" not in document.token_endpoint_auth_methods_supported:
        raise NoDocument("The document wants to authenticate in a way that this server does not take.", received=method)
