"""What a person sees of their account and can revoke: apps, remembered consents, tokens, sessions, the account."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock
from gatepost_idp.store import accounts, audit, connections, consents, grants, personal_data, personal_tokens
from gatepost_idp.store.accounts import Session, SignedIn
from gatepost_idp.store.audit import Source
from gatepost_idp.store.connections import Connection
from gatepost_idp.store.consents import Remembered
from gatepost_idp.store.personal_tokens import Shown
from gatepost_idp.transaction import Transaction

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Everything:
    """What the account page shows."""

    connections: tuple[Connection, ...]
    remembered: tuple[Remembered, ...]
    tokens: tuple[Shown, ...]
    sessions: tuple[SignedIn, ...]


class Overview:
    """The steps of the account page, each one transaction that touches only the person's own rows."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def see(self, person: Session) -> Everything:
        """Everything on the account page."""
        own, now = person.account_id, self._clock()
        return await self._database.read(
            lambda tx: Everything(
                tuple(connections.living(tx, own, now)),
                tuple(consents.remembered(tx, own, now)),
                tuple(personal_tokens.living(tx, own, now)),
                tuple(accounts.sessions(tx, own, now)),
            )
        )

    async def disconnect(self, person: Session, grant_ids: list[str], source: Source) -> int:
        """Ends these connections and forgets their consents, so that apps must ask again; returns how many ended."""

        def work(tx: Transaction, now: datetime) -> int:
            living = connections.living(tx, person.account_id, now)
            chosen = [connection for connection in living if connection.grant_id in grant_ids]
            for connection in chosen:
                grants.end(tx, connection.grant_id, "disconnected by the person", now, network=source.network)
                consents.forget(tx, person.account_id, connection.client_id)
            return len(chosen)

        return await self._change(work)

    async def forget(self, person: Session, client_id: str, source: Source) -> None:
        """Forgets the remembered consents of one client id; its connections stay."""

        def work(tx: Transaction, now: datetime) -> None:
            consents.forget(tx, person.account_id, client_id)
            self._note(tx, person, now, "consent.forgotten", source, client_id=client_id)

        await self._change(work)

    async def end_session(self, person: Session, session_id: str | None, source: Source) -> None:
        """Signs the person out of one browser, or of all with ``session_id`` None."""

        def work(tx: Transaction, now: datetime) -> None:
            accounts.end_sessions(tx, person.account_id, now, session_id)
            self._note(tx, person, now, "signed_out", source)

        await self._change(work)

    async def export(self, person: Session) -> dict[str, Any]:
        """Everything stored about the person, as one JSON object."""
        return await self._database.read(lambda tx: personal_data.exported(tx, person.account_id))

    async def delete(self, person: Session, source: Source) -> None:
        """Deletes the account and everything that refers to it."""

        def work(tx: Transaction, now: datetime) -> None:
            personal_data.delete_account(tx, person.account_id)
            audit.record(tx, "account.deleted", now, detail="by the person", trace_id=source.trace_id)

        await self._change(work)

    async def _change(self, work: Callable[[Transaction, datetime], T]) -> T:
        now = self._clock()
        return await self._database.write(lambda tx: work(tx, now))

    @staticmethod
    def _note(tx: Transaction, person: Session, now: datetime, event: str, source: Source, **more: str) -> None:
        audit.record(
            tx, event, now, account_id=person.account_id, network=source.network, trace_id=source.trace_id, **more
        )
