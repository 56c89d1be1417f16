"""A person's connections: their grants as the account page shows them, and the scopes of each."""

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, func
from sqlmodel import col, select, update

from gatepost_idp.models import AuthorizationGrant, Client, Consent, RefreshToken
from gatepost_idp.protocol import instant, milliseconds, scope_set, scope_text
from gatepost_idp.store import consents
from gatepost_idp.transaction import Query, Transaction, columns

_OWNER = Query(
    columns(AuthorizationGrant.account_id, AuthorizationGrant.client_id).where(
        col(AuthorizationGrant.id) == bindparam("grant_id")
    )
)
_ACCESS_TOKEN_MS = 24 * 3_600_000  # longer than any access token of a client that gets no refresh token
_ANY = Query(
    columns(AuthorizationGrant.id)
    .where(
        col(AuthorizationGrant.account_id) == bindparam("account_id"),
        col(AuthorizationGrant.client_row) == bindparam("client_row"),
    )
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Connection:
    """A standing grant with its client; ``cap``: the scopes to which the operator limits the client, if any."""

    grant_id: str
    client_id: str
    client_row: str
    client_name: str
    redirect_uri: str
    resource: str
    scope: tuple[str, ...]
    cap: tuple[str, ...]
    browser: str
    network: str
    created_at: datetime
    used_at: datetime
    ends_at: datetime


def living(tx: Transaction, account_id: str, now: datetime) -> list[Connection]:
    """A person's connections, most recently used first; at most 100."""
    # A connection lives until its newest refresh token expires, and at most a year.
    until = func.coalesce(func.max(RefreshToken.expires_at), AuthorizationGrant.created_at + _ACCESS_TOKEN_MS)
    statement = (
        select(AuthorizationGrant, Client, until)
        .join(Client, col(Client.id) == col(AuthorizationGrant.client_row))
        .outerjoin(RefreshToken, col(RefreshToken.grant_id) == col(AuthorizationGrant.id))
        .where(
            col(AuthorizationGrant.account_id) == account_id,
            col(AuthorizationGrant.ended_at).is_(None),
            col(AuthorizationGrant.ends_at) > milliseconds(now),
        )
        .group_by(col(AuthorizationGrant.id), col(Client.id))
        .having(until > milliseconds(now))
        .order_by(col(AuthorizationGrant.used_at).desc(), col(AuthorizationGrant.id))
        .limit(100)
    )
    return [_connection(*row) for row in tx.session.exec(statement)]


def _connection(grant: AuthorizationGrant, client: Client, ends_at: int) -> Connection:
    return Connection(
        grant_id=grant.id,
        client_id=grant.client_id,
        client_row=grant.client_row,
        client_name=client.name,
        redirect_uri=grant.redirect_uri,
        resource=grant.resource,
        scope=scope_set(grant.scope),
        cap=scope_set(json.loads(client.registration).get("scope", "")),
        browser=grant.browser,
        network=grant.network,
        created_at=instant(grant.created_at),
        used_at=instant(grant.used_at),
        ends_at=instant(ends_at),
    )


def has_been(tx: Transaction, account_id: str, client_row: str) -> bool:
    """Whether the person has, or recently had, a connection of a client with that row."""
    return tx.one(_ANY, account_id=account_id, client_row=client_row) is not None


def forget_consent(tx: Transaction, grant_id: str) -> None:
    """Deletes the consents behind a grant, so that its client has to ask again."""
    row = tx.one(_OWNER, grant_id=grant_id)
    if row is not None:
        consents.forget(tx, account_id=row[0], client_id=row[1])


def set_scope(tx: Transaction, account_id: str, connection: Connection, scope: tuple[str, ...]) -> None:
    """Changes a connection's scopes from its next refresh on, and in its remembered consent if there is one."""
    text = scope_text(scope)
    own_grant = (col(AuthorizationGrant.id) == connection.grant_id, col(AuthorizationGrant.account_id) == account_id)
    tx.session.exec(update(AuthorizationGrant).where(*own_grant).values(scope=text))
    remembered = tx.session.exec(
        select(Consent).where(
            col(Consent.account_id) == account_id,
            col(Consent.client_id) == connection.client_id,
            col(Consent.resource) == connection.resource,
        )
    )
    for consent in remembered:
        consent.scope_approved = text
        consent.scope_asked = scope_text(dict.fromkeys((*scope_set(consent.scope_asked), *scope)))
    tx.session.flush()
