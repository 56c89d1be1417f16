"""Checks that a client_id which is a URL, and the metadata document found there, are valid.

Implements the parts of draft-ietf-oauth-client-id-metadata-document that need no network.
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
    """There is no usable document at a URL: ``words`` say why on a page, ``reason`` in the log."""

    def __init__(self, words: str, reason: str = "", received: str = "") -> None:
        super().__init__(reason or words)
        self.words = words
        self.reason = reason or words
        self.received = received


@dataclass(frozen=True, slots=True)
class Fetched:
    """A fetched document, its entity tag, and how long it stays fresh; ``body`` is None if it has not changed."""

    body: bytes | None
    etag: str
    fresh_for: timedelta


@dataclass(frozen=True, slots=True)
class DocumentUrl:
    """A client's URL in the parts that a request needs; ``target`` is path and query, unchanged."""

    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The Host header (RFC 9110 section 7.2)."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == 443 else f"{name}:{self.port}"


def is_url(client_id: str) -> bool:
    """Whether a client_id is meant as a URL; no id that this server issues is."""
    return "://" in client_id


def parse(client_id: str) -> DocumentUrl:
    """The URL's parts; raises NoDocument if it is not valid (section "Client Identifier" of the draft)."""
    if not client_id.startswith("https://"):
        raise NoDocument("It does not begin with https://.")
    if len(client_id) > MAX_URL:
        raise NoDocument(f"It is longer than {MAX_URL} characters.")
    found = _URL.fullmatch(client_id)
    if found is None:
        raise NoDocument(
            "It has a part that such an address may not have: a user name, a fragment or an invalid character."
        )
    path, port = found["path"], int(found["port"] or 443)
    if path == "/":
        raise NoDocument("It has no path.")
    if any(segment in (".", "..") for segment in re.split(r"[/\\]", unquote(path))):  # percent-encoded ones too
        raise NoDocument("Its path has a dot segment.")
    if not 0 < port < 65536:
        raise NoDocument("Its port is not valid.")
    return DocumentUrl(found["host"].strip("[]").lower(), port, path + (found["query"] or ""))


class MetadataDocument(ClientMetadata):
    """A metadata document: a registration's members, plus those that only a document has or must not have."""

    client_id: str
    client_secret: Any = None
    client_secret_expires_at: Any = None
    token_endpoint_auth_methods_supported: list[str] = Field(default_factory=list, max_length=100)


def read(url: str, text: bytes) -> Registration:
    """The effective metadata of the document ``text`` found at ``url``; raises NoDocument."""
    try:
        document = MetadataDocument.model_validate_json(text)
    except ValidationError as invalid:
        place = ".".join(str(part) for part in invalid.errors()[0]["loc"])
        words = f"In the document, {place} is missing or of the wrong type." if place else "It is not a JSON object."
        raise NoDocument(words, f"{words} {invalid.errors()[0]['msg']}") from None
    return registration_of(url, document)


def registration_of(url: str, document: MetadataDocument) -> Registration:
    """The effective metadata; raises NoDocument if the document is not valid for ``url``."""
    if document.client_id != url:  # byte for byte, or one URL could speak for another
        raise NoDocument("The client_id in the document is not this address.", received=document.client_id)
    if {"client_secret", "client_secret_expires_at"} & document.model_fields_set:
        raise NoDocument("The document contains a client_secret, which anyone can read.")
    _check_public(document)
    accepted = document.accepted_redirects()
    if not accepted:
        raise NoDocument("None of the document's redirect_uris can be used.", received=" ".join(document.redirect_uris))
    return document.effective(accepted, "none")


def _check_public(document: MetadataDocument) -> None:
    """Requires a public client: a document cannot share a secret, and key-based authentication is not supported yet.

    ChatGPT prefers ``private_key_jwt`` but also lists ``none``, for servers that do not advertise the former.
    """
    method = document.token_endpoint_auth_method or "none"
    if method.startswith("client_secret"):
        raise NoDocument("The document wants to authenticate with a shared secret.", received=method)
    if method != "none" and "none" not in document.token_endpoint_auth_methods_supported:
        raise NoDocument(
            "The document wants to authenticate in a way that this server does not support.", received=method
        )
