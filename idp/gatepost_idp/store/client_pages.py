"""Clients for the admin pages: lists by origin, each client with its use."""

import json
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import bindparam
from sqlmodel import col

from gatepost_idp.models import AuthorizationGrant, Client, ClientDocument
from gatepost_idp.protocol import instant
from gatepost_idp.store import paging
from gatepost_idp.store.paging import Page
from gatepost_idp.transaction import Query, Row, Transaction, columns

LOOKED_AT = 1000
"""The most connections of one client that are counted."""


@dataclass(frozen=True, slots=True)
class Use:
    """A client's standing ``connections``, and when one was ``last`` used. ``more``: only LOOKED_AT were counted, and
    there may be others."""

    connections: int
    last: datetime | None
    more: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """A client in a list. ``id`` is its row's id, or the URL of its metadata document."""

    id: str
    origin: str
    name: str
    description: str
    redirect_uris: tuple[str, ...]
    scope: str
    confidential: bool
    created_at: datetime
    disabled: bool
    use: Use


_CLIENT = (
    Client.origin, Client.name, Client.registration, Client.secret_hash, Client.created_at, Client.disabled_at,
)  # fmt: skip  # a list of names
_FIND = Query(columns(Client.id, *_CLIENT).where(col(Client.id) == bindparam("of")))
_PIECE = Query(
    columns(Client.id, *_CLIENT)
    .where(col(Client.id) >= bindparam("start"), col(Client.id) < bindparam("end"))
    .order_by(col(Client.id))
    .limit(paging.PIECE)
)
_DOCUMENT = (ClientDocument.url, ClientDocument.disabled_at, ClientDocument.fetched_at)
_URL = columns(*_DOCUMENT, Client.id, *_CLIENT).join(
    Client, col(Client.id) == col(ClientDocument.client_row), isouter=True
)
_FIND_URL = Query(_URL.where(col(ClientDocument.url) == bindparam("of")))
_URL_PIECE = Query(
    _URL.where(col(ClientDocument.url) >= bindparam("start")).order_by(col(ClientDocument.url)).limit(paging.PIECE)
)
# The last use is taken from a sample: an index on it would have to be written at every refresh.
_USE = Query(
    columns(AuthorizationGrant.used_at, AuthorizationGrant.ended_at)
    .where(col(AuthorizationGrant.client_row) == bindparam("client_row"))
    .limit(LOOKED_AT)
)


def find(tx: Transaction, client_id: str) -> Listed | None:
    """One client, by the id of its row or the URL of its document, or None."""
    found = tx.one(_FIND, of=client_id)
    if found is not None:
        return _listed(tx, found)
    document = tx.one(_FIND_URL, of=client_id)
    return None if document is None else _document(tx, document)


def page(tx: Transaction, prefix: str, start: str) -> Page[Listed]:
    """Clients whose row id begins with ``prefix``, which tells their origin, from ``start`` on."""
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)

    def piece(start: str) -> list[tuple[str, Row]]:
        return [(row[0], row) for row in tx.all(_PIECE, start=start, end=end)]

    found = paging.collected(piece, start if start.startswith(prefix) else prefix)
    return Page(tuple(_listed(tx, row) for row in found.rows), found.following)


def documents(tx: Transaction, start: str) -> Page[Listed]:
    """Clients that are metadata documents, by URL, from ``start`` on."""

    def piece(start: str) -> list[tuple[str, Row]]:
        return [(row[0], row) for row in tx.all(_URL_PIECE, start=start)]

    found = paging.collected(piece, start)
    return Page(tuple(_document(tx, row) for row in found.rows), found.following)


def _listed(tx: Transaction, row: Row) -> Listed:
    client_id, origin, name, registration, secret_hash, created_at, disabled_at = row
    said = json.loads(registration)
    return Listed(
        id=client_id,
        origin=origin,
        name=name,
        description=said.get("description", ""),
        redirect_uris=tuple(said["redirect_uris"]),
        scope=said.get("scope", ""),
        confidential=secret_hash is not None,
        created_at=instant(created_at),
        disabled=disabled_at is not None,
        use=_use(tx, client_id),
    )


def _document(tx: Transaction, row: Row) -> Listed:
    url, disabled_at, fetched_at, *client = row
    if client[0] is None:  # the operator has set something for it, but it was never fetched
        return Listed(
            url,
            "document",
            "",
            "",
            (),
            "",
            False,
            instant(fetched_at),
            disabled_at is not None,
            Use(0, None, more=False),
        )
    return replace(_listed(tx, tuple(client)), id=url, disabled=disabled_at is not None)


def _use(tx: Transaction, row: str) -> Use:
    found = tx.all(_USE, client_row=row)
    last = max((used_at for used_at, _ in found), default=None)
    standing = sum(ended_at is None for _, ended_at in found)
    return Use(standing, None if last is None else instant(last), more=len(found) == LOOKED_AT)
