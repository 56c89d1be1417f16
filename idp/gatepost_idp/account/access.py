"""What each connected app may do; the person can widen or narrow it without disconnecting."""

from dataclasses import dataclass

from gatepost_idp.catalogue import Catalogue, Scope
from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock
from gatepost_idp.store import accounts, audit, connections
from gatepost_idp.store.accounts import Session
from gatepost_idp.store.audit import Source
from gatepost_idp.store.connections import Connection
from gatepost_idp.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Choice:
    """A scope on the page: whether the app may use it (``allowed``) and whether the person holds it."""

    scope: Scope
    allowed: bool
    held: bool


@dataclass(frozen=True, slots=True)
class App:
    """A connection with every scope of its resource that its client may have."""

    connection: Connection
    resource_name: str
    choices: tuple[Choice, ...]


class Access:
    """Reads and changes the scopes of a person's own connections."""

    def __init__(self, database: Database, catalogue: Catalogue, clock: Clock) -> None:
        self._database = database
        self._catalogue = catalogue
        self._clock = clock

    async def apps(self, person: Session) -> list[App]:
        """The person's connected apps with their choices."""
        return await self._database.read(lambda tx: self._apps(tx, person))

    async def choose(self, person: Session, grant_id: str, ticked: list[str], source: Source) -> App | None:
        """Sets an app's scopes to those ticked; returns the app as it was, None if the grant is not this person's."""
        return await self._database.write(lambda tx: self._choose(tx, person, grant_id, ticked, source))

    def _apps(self, tx: Transaction, person: Session) -> list[App]:
        living = connections.living(tx, person.account_id, self._clock())
        held = {c.resource: accounts.held_scopes(tx, person.account_id, c.resource) for c in living}
        return [self._app(connection, held[connection.resource]) for connection in living]

    def _app(self, connection: Connection, held: frozenset[str]) -> App:
        resource = self._catalogue.find(connection.resource)
        offered = [s for s in (resource.scope if resource else ()) if not connection.cap or s.name in connection.cap]
        choices = tuple(Choice(scope, scope.name in connection.scope, scope.name in held) for scope in offered)
        return App(connection, self._catalogue.name_of(connection.resource), choices)

    def _choose(self, tx: Transaction, person: Session, grant_id: str, ticked: list[str], source: Source) -> App | None:
        app = next((app for app in self._apps(tx, person) if app.connection.grant_id == grant_id), None)
        if app is None:
            return None
        offered = tuple(choice.scope.name for choice in app.choices)
        # Scopes without a tick box (openid etc.) stay as they were.
        kept = tuple(name for name in app.connection.scope if name not in offered)
        chosen = tuple(name for name in offered if name in ticked) + kept
        connections.set_scope(tx, person.account_id, app.connection, chosen)
        audit.record(
            tx,
            "grant.scope_changed",
            self._clock(),
            account_id=person.account_id,
            client_id=app.connection.client_id,
            grant_id=grant_id,
            network=source.network,
            trace_id=source.trace_id,
            detail=" ".join(chosen),
        )
        return app
