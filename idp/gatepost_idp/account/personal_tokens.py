"""Personal tokens, for clients that cannot do OAuth: limited to scopes that the person holds, and shown once."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from gatepost_idp import crypto, redirects, tokens
from gatepost_idp.catalogue import Catalogue, Resource, Scope
from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock
from gatepost_idp.store import accounts, audit
from gatepost_idp.store import personal_tokens as store
from gatepost_idp.store.accounts import Session
from gatepost_idp.store.audit import Source
from gatepost_idp.transaction import Transaction

DAYS = (7, 30, 90, 365)
MOST = 50
"""How many valid tokens a person may have."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A resource, and those of its scopes that the person holds."""

    resource: Resource
    scopes: tuple[Scope, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """The form as sent; ``days`` is 0 if it was not a number."""

    name: str
    resource: str
    ticked: tuple[str, ...]
    days: int


@dataclass(frozen=True, slots=True)
class Made:
    """A new token, which is shown only now."""

    token: str
    name: str
    resource: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why no token was made, in words for the form, and the field concerned."""

    words: str
    about: Literal["", "name", "scope", "days"] = ""


class PersonalTokens:
    """Makes and ends personal tokens."""

    def __init__(self, database: Database, catalogue: Catalogue, clock: Clock) -> None:
        self._database = database
        self._catalogue = catalogue
        self._clock = clock

    async def offers(self, person: Session) -> list[Offer]:
        """What a token may be made for."""
        return await self._database.read(lambda tx: self._offers(tx, person))

    async def make(self, person: Session, asked: Asked, source: Source) -> Made | Wrong:
        """Makes a token for ``asked.days`` days with the scopes that are ticked and held."""
        name = redirects.plain_name(asked.name, 60)
        if not name:
            return Wrong("Give it a name that you will recognise.", "name")
        if asked.days not in DAYS:
            return Wrong("Choose for how long.", "days")
        return await self._database.write(lambda tx: self._make(tx, person, replace(asked, name=name), source))

    async def end(self, person: Session, token_id: str, source: Source) -> None:
        """Ends a token of this person; resource servers refuse it within a minute."""
        now = self._clock()

        def work(tx: Transaction) -> None:
            if store.end(tx, person.account_id, now, token_id):
                audit.record(
                    tx,
                    "token.ended",
                    now,
                    account_id=person.account_id,
                    network=source.network,
                    trace_id=source.trace_id,
                    detail=token_id,
                )

        await self._database.write(work)

    def _offers(self, tx: Transaction, person: Session) -> list[Offer]:
        held = {r.url: accounts.held_scopes(tx, person.account_id, r.url) for r in self._catalogue.resource}
        return [
            Offer(resource, tuple(scope for scope in resource.scope if scope.name in held[resource.url]))
            for resource in self._catalogue.resource
        ]

    def _make(self, tx: Transaction, person: Session, asked: Asked, source: Source) -> Made | Wrong:
        now = self._clock()
        offer = next((one for one in self._offers(tx, person) if one.resource.url == asked.resource), None)
        if offer is None:
            return Wrong("Choose what it is for.")
        if len(store.living(tx, person.account_id, now)) >= MOST:
            return Wrong(f"You have {MOST} tokens, the most there can be. End one first.")
        scope = tuple(one.name for one in offer.scopes if one.name in asked.ticked)
        if not scope:
            return Wrong("Tick at least one thing that it may do.", "scope")
        token, token_id = crypto.opaque_token(tokens.PERSONAL_PREFIX), crypto.random_id(9)
        until = now + timedelta(days=asked.days)
        new = store.NewToken(
            token_id, crypto.token_hash(token), person.account_id, asked.name, asked.resource, scope, until
        )
        store.add(tx, new, now)
        detail = f"{token_id}: {' '.join(scope)}"
        audit.record(
            tx,
            "token.made",
            now,
            account_id=person.account_id,
            network=source.network,
            trace_id=source.trace_id,
            detail=detail,
        )
        return Made(token, asked.name, asked.resource)
