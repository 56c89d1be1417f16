"""Stored clients: their metadata, redirect URIs, secrets, and whether they are disabled."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import bindparam, func, tuple_
from sqlmodel import col, select, update

from gatepost_idp import models
from gatepost_idp.protocol import AuthMethod, instant, milliseconds, scope_set
from gatepost_idp.transaction import Query, Transaction, columns, insert_query

Origin = Literal["registered", "manual", "document", "resource_server"]


@dataclass(frozen=True, slots=True)
class Client:
    """A client as the protocol sees it (RFC 6749 section 2).

    ``id`` is the client_id that this registration sends; ``row`` is the id of the stored row, which all registrations
    with the same metadata share. ``scope`` is the operator's cap for a manually added client; empty means none.
    ``resource`` is set only for a resource server, which may introspect tokens for that resource and get tokens for
    its backends.
    """

    id: str
    row: str
    origin: Origin
    name: str
    redirect_uris: tuple[str, ...]
    auth_method: AuthMethod
    grant_types: tuple[str, ...]
    id_token_algorithm: str
    secret_hash: bytes | None
    resource: str
    disabled: bool
    scope: tuple[str, ...] = ()
    checks_iss: bool = False

    @property
    def unguessable(self) -> bool:
        """Whether a response to this id is useless to anybody else.

        True for a registration with a random id, a client with a secret, and one known to check ``iss`` (RFC 9207).
        """
        return self.origin == "registered" or self.secret_hash is not None or self.checks_iss

    @property
    def refreshes(self) -> bool:
        """Whether the client gets refresh tokens."""
        return "refresh_token" in self.grant_types


OWN = Client(
    id="",
    row="",
    origin="manual",
    name="",
    redirect_uris=(),
    auth_method="none",
    grant_types=(),
    id_token_algorithm="",
    secret_hash=None,
    resource="",
    disabled=False,
)
"""Stands for this server's own pages, which people sign in to as to a client; no request from outside can name it."""

_FIND = Query(
    columns(
        models.Client.origin,
        models.Client.name,
        models.Client.registration,
        models.Client.secret_hash,
        models.Client.resource,
        models.Client.disabled_at,
        models.ClientDocument.checks_iss,
        models.ClientDocument.disabled_at,
    )
    .join(models.ClientDocument, col(models.ClientDocument.url) == bindparam("client_id"), isouter=True)
    .where(col(models.Client.id) == bindparam("row"))
)
_INSERT = insert_query(models.Client)
_EXISTS = Query(columns(func.count()).select_from(models.Client).where(col(models.Client.id) == bindparam("row")))
_KIND = Query(
    columns(models.Client.created_at, models.Client.disabled_at).where(col(models.Client.id) == bindparam("row"))
)
_REGISTERED = Query(
    update(models.Client).where(col(models.Client.id) == bindparam("of")).values(created_at=bindparam("now"))
)


def find(tx: Transaction, client_id: str, row: str) -> Client | None:
    """The client ``client_id`` stored in ``row``, disabled or not, or None; OWN if ``row`` is empty."""
    if row == OWN.row:
        return OWN
    found = tx.one(_FIND, client_id=client_id, row=row)
    if found is None:
        return None
    origin, name, registration, secret_hash, resource, disabled_at, checks_iss, url_disabled_at = found
    metadata = json.loads(registration)
    return Client(
        id=client_id,
        row=row,
        origin=origin,
        name=name,
        redirect_uris=tuple(metadata["redirect_uris"]),
        auth_method=metadata["token_endpoint_auth_method"],
        grant_types=tuple(metadata["grant_types"]),
        id_token_algorithm=metadata["id_token_signed_response_alg"],
        secret_hash=secret_hash,
        resource=resource,
        disabled=disabled_at is not None or url_disabled_at is not None,
        scope=scope_set(metadata.get("scope", "")),
        checks_iss=origin == "document" and bool(checks_iss),
    )


def add(
    tx: Transaction,
    row: str,
    origin: Origin,
    registration: str,
    now: datetime,
    secret_hash: bytes | None = None,
    resource: str = "",
) -> bool:
    """Stores a client; False if the row exists, which then stays unchanged. ``registration`` is canonical JSON."""
    if tx.one(_EXISTS, row=row) != (0,):
        return False
    tx.run(
        _INSERT,
        id=row,
        origin=origin,
        name=json.loads(registration)["client_name"],
        registration=registration,
        secret_hash=secret_hash,
        resource=resource,
        created_at=milliseconds(now),
        disabled_at=None,
    )
    return True


@dataclass(frozen=True, slots=True)
class Kind:
    """A row that many registrations share; ``registered_at`` is that of the latest, accurate to a day."""

    registered_at: datetime
    disabled: bool


def kind(tx: Transaction, row: str) -> Kind | None:
    """The kind stored in ``row``, or None."""
    found = tx.one(_KIND, row=row)
    return None if found is None else Kind(instant(found[0]), found[1] is not None)


def register_again(tx: Transaction, row: str, now: datetime) -> None:
    """Records a registration of that kind now, which keeps the row from being purged as long as a new one."""
    tx.run(_REGISTERED, of=row, now=milliseconds(now))


def listed(tx: Transaction, after: str = "", limit: int = 500) -> list[models.Client]:
    """The next clients after the one with the id ``after``, newest first, without metadata documents."""
    newest = (col(models.Client.created_at).desc(), col(models.Client.id).desc())
    query = select(models.Client).where(col(models.Client.origin) != "document").order_by(*newest).limit(limit)
    last = tx.session.get(models.Client, after) if after else None
    if last is not None:
        behind = tuple_(col(models.Client.created_at), col(models.Client.id)) < (last.created_at, last.id)
        query = query.where(behind)
    rows = tx.session.exec(query).all()
    for row in rows:
        tx.session.expunge(row)
    return list(rows)


def set_disabled(tx: Transaction, row: str, disabled_at: datetime | None) -> bool:
    """Disables a client, or enables it with None; False if there is none."""
    value = milliseconds(disabled_at) if disabled_at else None
    changed = tx.session.exec(update(models.Client).where(col(models.Client.id) == row).values(disabled_at=value))
    return changed.rowcount == 1


def set_secret(tx: Transaction, row: str, secret_hash: bytes) -> bool:
    """Sets a client's secret; False if there is no such client."""
    changed = tx.session.exec(update(models.Client).where(col(models.Client.id) == row).values(secret_hash=secret_hash))
    return changed.rowcount == 1
