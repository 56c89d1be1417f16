"""All people's connections for the admin pages: those that still stand, newest first."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import bindparam, or_
from sqlmodel import col

from gatepost_idp.models import Account, AuthorizationGrant, Client
from gatepost_idp.protocol import instant, scope_set
from gatepost_idp.store import paging
from gatepost_idp.store.paging import Page
from gatepost_idp.transaction import Query, Transaction, columns


@dataclass(frozen=True, slots=True)
class Standing:
    """A connection with its account and client; ``client_name`` is empty if the client is gone."""

    grant_id: str
    account_id: str
    email: str
    client_id: str
    client_row: str
    client_name: str
    redirect_uri: str
    scope: tuple[str, ...]
    network: str
    created_at: datetime
    used_at: datetime


_PIECE = Query(
    columns(
        AuthorizationGrant.ends_at,
        AuthorizationGrant.ended_at,
        AuthorizationGrant.id,
        AuthorizationGrant.account_id,
        Account.email,
        AuthorizationGrant.client_id,
        AuthorizationGrant.client_row,
        Client.name,
        AuthorizationGrant.redirect_uri,
        AuthorizationGrant.scope,
        AuthorizationGrant.network,
        AuthorizationGrant.created_at,
        AuthorizationGrant.used_at,
    )
    .join(Account, col(Account.id) == col(AuthorizationGrant.account_id))
    .join(Client, col(Client.id) == col(AuthorizationGrant.client_row), isouter=True)
    # A connection ends a year after it began, so ``ends_at``, which has an index, gives the order in which they began.
    .where(
        col(AuthorizationGrant.ends_at) <= bindparam("at"),
        or_(col(AuthorizationGrant.ends_at) < bindparam("at"), col(AuthorizationGrant.id) <= bindparam("row_id")),
    )
    .order_by(col(AuthorizationGrant.ends_at).desc(), col(AuthorizationGrant.id).desc())
    .limit(paging.PIECE)
)


def page(tx: Transaction, start: str) -> Page[Standing]:
    """Connections that have not been ended, newest first, from ``start`` on."""
    found = paging.collected(partial(_piece, tx), start, lambda row: row is not None)
    return Page(tuple(row for row in found.rows if row is not None), found.following)


def _piece(tx: Transaction, start: str) -> list[tuple[str, Standing | None]]:
    at, row_id = paging.placed(start)
    return [
        (paging.place(ends_at, row[0]), _standing(*row) if ended_at is None else None)
        for ends_at, ended_at, *row in tx.all(_PIECE, at=at, row_id=row_id)
    ]


def _standing(
    grant_id: str,
    account_id: str,
    email: str,
    client_id: str,
    client_row: str,
    client_name: str | None,
    redirect_uri: str,
    scope: str,
    network: str,
    created_at: int,
    used_at: int,
) -> Standing:
    return Standing(
        grant_id, account_id, email, client_id, client_row, client_name or "", redirect_uri, scope_set(scope), network,
        instant(created_at), instant(used_at),
    )  # fmt: skip  # one row
