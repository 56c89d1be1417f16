"""Clients' metadata documents: what was last fetched from each URL, and the operator's settings for it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, exists
from sqlmodel import col, delete, select, update

from gatepost_idp.models import AuthorizationGrant, AuthorizationRequest, ClientDocument, Consent
from gatepost_idp.models import Client as ClientRow
from gatepost_idp.protocol import instant, milliseconds
from gatepost_idp.store import audit, clients
from gatepost_idp.store.clients import Client
from gatepost_idp.transaction import Query, Transaction, columns, upsert_query


@dataclass(frozen=True, slots=True)
class Document:
    """A known URL. ``client`` is None if the operator has set something for it before it was ever fetched."""

    url: str
    client: Client | None
    etag: str
    checks_iss: bool
    fetched_at: datetime
    fresh_until: datetime
    used_at: datetime
    disabled: bool


@dataclass(frozen=True, slots=True)
class Copy:
    """A document's content: ``row`` is derived from its URL and ``registration``, which is canonical JSON."""

    url: str
    row: str
    registration: str
    etag: str
    fetched_at: datetime
    fresh_until: datetime


_FIND = Query(
    columns(
        ClientDocument.client_row,
        ClientDocument.etag,
        ClientDocument.checks_iss,
        ClientDocument.fetched_at,
        ClientDocument.fresh_until,
        ClientDocument.used_at,
        ClientDocument.disabled_at,
    ).where(col(ClientDocument.url) == bindparam("url"))
)
_EXTEND = Query(
    update(ClientDocument)
    .where(col(ClientDocument.url) == bindparam("of"))
    .values(fetched_at=bindparam("new_fetched_at"), fresh_until=bindparam("new_fresh_until"))
)
_TOUCH = Query(
    update(ClientDocument).where(col(ClientDocument.url) == bindparam("of")).values(used_at=bindparam("now"))
)
_COLUMNS = tuple(ClientDocument.model_fields)


def _keeping(*changed: str) -> Query:
    """An upsert that updates only ``changed``, so that replicas may store the same URL concurrently."""
    values: dict[str, Any] = {name: bindparam(name) for name in _COLUMNS}
    return upsert_query(ClientDocument, ("url",), values, lambda new: {name: new[name] for name in changed})


_KEEP = _keeping("client_row", "etag", "fetched_at", "fresh_until", "used_at")
_SWITCH = _keeping("disabled_at")
_MARK = _keeping("checks_iss")
_NEVER = {
    "client_row": "",
    "etag": "",
    "checks_iss": False,
    "fetched_at": 0,
    "fresh_until": 0,
    "used_at": 0,
    "disabled_at": None,
}


def find(tx: Transaction, url: str) -> Document | None:
    """The document stored for ``url``, or None."""
    found = tx.one(_FIND, url=url)
    if found is None:
        return None
    row, etag, checks_iss, fetched_at, fresh_until, used_at, disabled_at = found
    return Document(
        url=url,
        client=clients.find(tx, url, row) if row else None,
        etag=etag,
        checks_iss=bool(checks_iss),
        fetched_at=instant(fetched_at),
        fresh_until=instant(fresh_until),
        used_at=instant(used_at),
        disabled=disabled_at is not None,
    )


def keep(tx: Transaction, copy: Copy, now: datetime) -> Document | None:
    """Stores a document's content, and its client if new; keeps the operator's settings for the URL."""
    if clients.add(tx, copy.row, "document", copy.registration, now):
        audit.record(tx, "client.made", now, client_id=copy.url, detail=f"document {copy.row}")
    values = {
        "url": copy.url,
        "client_row": copy.row,
        "etag": copy.etag,
        "fetched_at": milliseconds(copy.fetched_at),
        "fresh_until": milliseconds(copy.fresh_until),
        "used_at": milliseconds(now),
    }
    tx.run(_KEEP, **{**_NEVER, **values})
    return find(tx, copy.url)


def extend(tx: Transaction, url: str, fetched_at: datetime, fresh_until: datetime) -> Document | None:
    """Makes the stored copy fresh until ``fresh_until``."""
    tx.run(_EXTEND, of=url, new_fetched_at=milliseconds(fetched_at), new_fresh_until=milliseconds(fresh_until))
    return find(tx, url)


def touch(tx: Transaction, url: str, now: datetime) -> None:
    """Records that the client was used now."""
    tx.run(_TOUCH, of=url, now=milliseconds(now))


def set_disabled(tx: Transaction, url: str, disabled_at: datetime | None) -> None:
    """Disables or enables (None) a URL, whatever its document says; it need not have been used yet."""
    value = milliseconds(disabled_at) if disabled_at else None
    tx.run(_SWITCH, **{**_NEVER, "url": url, "disabled_at": value})


def mark(tx: Transaction, url: str, checks_iss: bool) -> None:
    """Sets whether the client at ``url`` checks ``iss`` (RFC 9207); it need not have been used yet."""
    tx.run(_MARK, **{**_NEVER, "url": url, "checks_iss": checks_iss})


def listed(tx: Transaction, after: str = "", limit: int = 500) -> list[Document]:
    """The next known URLs after ``after``, in order."""
    url = col(ClientDocument.url)
    urls = tx.session.exec(select(ClientDocument.url).where(url > after).order_by(url).limit(limit)).all()
    return [document for url in urls if (document := find(tx, url)) is not None]


def forget(tx: Transaction, unused_since: datetime) -> None:
    """Deletes copies unused since then, and the client rows to which nothing refers any more.

    Keeps documents for which the operator has set something.
    """
    tx.session.exec(
        delete(ClientDocument).where(
            col(ClientDocument.used_at) < milliseconds(unused_since),
            col(ClientDocument.disabled_at).is_(None),
            col(ClientDocument.checks_iss).is_(False),
        )
    )
    # Documents are few; the other tables may have millions of rows, so each is probed by its index. A code is covered
    # by its request.
    naming = (Consent, AuthorizationGrant, AuthorizationRequest)
    tx.session.exec(
        delete(ClientRow).where(
            col(ClientRow.origin) == "document",
            col(ClientRow.created_at) < milliseconds(unused_since),
            col(ClientRow.id).not_in(select(ClientDocument.client_row)),
            *(~exists().where(col(table.client_row) == col(ClientRow.id)) for table in naming),
        )
    )
