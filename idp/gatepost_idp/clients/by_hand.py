"""Clients that an operator adds, for connector dialogs that ask for a client id and perhaps a secret."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gatepost_idp import crypto, redirects
from gatepost_idp.clients.metadata import MAX_REDIRECTS, Registration
from gatepost_idp.clients.registry import MANUAL_PREFIX, SECRET_PREFIX
from gatepost_idp.store import clients as store
from gatepost_idp.transaction import Transaction

NAME_LENGTH = 100
DESCRIPTION_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Made:
    """A new client, or a client's new secret; the secret is shown only now, and is empty for a public client."""

    client_id: str
    secret: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why no client was made, in words for the form."""

    words: str


def registration(
    name: str, uris: Sequence[str], scopes: Sequence[str], *, confidential: bool, description: str = ""
) -> Registration | Wrong:
    """The effective metadata of a form, or what is wrong with it; ``scopes`` caps the client, empty means no cap."""
    bad = [uri for uri in uris if redirects.split(uri) is None]
    if bad:
        return Wrong(f"{bad[0][:200]} cannot be a return address. Use https, or http on this computer, without #.")
    if not uris or len(uris) > MAX_REDIRECTS:
        return Wrong(f"Give at least one return address, and at most {MAX_REDIRECTS}.")
    plain = redirects.plain_name(name, NAME_LENGTH)
    if not plain:
        return Wrong("Give it a name. People see it on the consent page.")
    return Registration(
        client_name=plain,
        redirect_uris=tuple(sorted({redirects.canonical(uri) for uri in uris})),
        token_endpoint_auth_method="client_secret_basic" if confidential else "none",
        grant_types=("authorization_code", "refresh_token"),
        scope=" ".join(scopes),
        description=redirects.plain_name(description, DESCRIPTION_LENGTH),
    )


def add(tx: Transaction, asked: Registration, now: datetime) -> Made:
    """Stores a new client; of its secret, if it has one, only the hash."""
    client_id = MANUAL_PREFIX + crypto.random_id()
    has_secret = asked.token_endpoint_auth_method != "none"
    secret = crypto.opaque_token(SECRET_PREFIX) if has_secret else ""
    secret_hash = crypto.token_hash(secret) if has_secret else None
    store.add(tx, client_id, "manual", asked.canonical_json(), now, secret_hash)
    return Made(client_id, secret)


def renew_secret(tx: Transaction, client_id: str) -> Made:
    """Gives a client a new secret; every process refuses the old one within ten seconds."""
    secret = crypto.opaque_token(SECRET_PREFIX)
    store.set_secret(tx, client_id, crypto.token_hash(secret))
    return Made(client_id, secret)
