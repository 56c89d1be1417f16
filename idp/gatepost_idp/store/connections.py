"""What a person sees of the grants they gave: one connection each, and the scopes that it has."""

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam
from sqlmodel import col, select, update

from gatepost_idp.database import Query, Transaction, columns
from gatepost_idp.models import AuthorizationGrant, Client, Consent
from gatepost_idp.protocol import instant, milliseconds, scope_set, scope_text

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
    """A grant that stands, with what its client says of itself; ``cap`` is the operator's, where there is one."""

    grant_id: str
    client_id: str
    client_name: str
    redirect_uris: tuple[str, ...]
    resource: str
    scope: tuple[str, ...]
    cap: tuple[str, ...]
    created_at: datetime
    used_at: datetime


def living(tx: Transaction, account_id: str, now: datetime) -> list[Connection]:
    """A person's connections, the one used last first; 100 at the most."""
    statement = (
        select(AuthorizationGrant, Client)
        .join(Client, col(Client.id) == col(AuthorizationGrant.client_row))
        .where(
            col(AuthorizationGrant.account_id) == account_id,
            col(AuthorizationGrant.ended_at).is_(None),
            col(AuthorizationGrant.ends_at) > milliseconds(now),
        )
        .order_by(col(AuthorizationGrant.used_at).desc(), col(AuthorizationGrant.id))
        .limit(100)
    )
    return [_connection(grant, client) for grant, client in tx.session.exec(statement)]


def _connection(grant: AuthorizationGrant, client: Client) -> Connection:
    registration = json.loads(client.registration)
    return Connection(
        grant_id=grant.id,
        client_id=grant.client_id,
        client_name=client.name,
        redirect_uris=tuple(registration["redirect_uris"]),
        resource=grant.resource,
        scope=scope_set(grant.scope),
        cap=scope_set(registration.get("scope", "")),
        created_at=instant(grant.created_at),
        used_at=instant(grant.used_at),
    )


def has_been(tx: Transaction, account_id: str, client_row: str) -> bool:
    """Whether a person ever connected a client of that kind, as far as is remembered."""
    return tx.one(_ANY, account_id=account_id, client_row=client_row) is not None


def set_scope(tx: Transaction, account_id: str, connection: Connection, scope: tuple[str, ...]) -> None:
    """Gives a connection other scopes, from its next refresh on, and remembers them where its consent is remembered."""
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
