"""People: lists them by address, changes their scopes, disables and enables accounts, and invites addresses."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gatepost_idp.admin.acts import Act, Acts, note
from gatepost_idp.catalogue import Catalogue, Resource, Scope
from gatepost_idp.signin import addresses
from gatepost_idp.store import accounts, connections, people
from gatepost_idp.store.connections import Connection
from gatepost_idp.store.paging import Page
from gatepost_idp.store.people import Person
from gatepost_idp.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Held:
    """A resource, and each of its scopes with whether the person holds it."""

    resource: Resource
    scopes: tuple[tuple[Scope, bool], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """One person with everything that their page shows."""

    person: Person
    held: tuple[Held, ...]
    connections: tuple[Connection, ...]


class People:
    """The steps of the people pages, each one transaction."""

    def __init__(self, acts: Acts, catalogue: Catalogue) -> None:
        self._acts = acts
        self._catalogue = catalogue

    async def page(self, beginning: str, start: str) -> Page[Person]:
        """A page of people whose address begins with ``beginning``."""
        typed = beginning.strip().lower()
        return await self._acts.see(lambda tx, _now: people.page(tx, typed, start))

    async def see(self, account_id: str) -> Seen | None:
        """One person, or None."""
        return await self._acts.see(lambda tx, now: self._seen(tx, account_id, now))

    def _seen(self, tx: Transaction, account_id: str, now: datetime) -> Seen | None:
        person = people.find(tx, account_id)
        if person is None:
            return None
        pairs = set(people.held(tx, account_id))
        held = tuple(
            Held(resource, tuple((scope, (resource.url, scope.name) in pairs) for scope in resource.scope))
            for resource in self._catalogue.resource
        )
        return Seen(person, held, tuple(connections.living(tx, account_id, now)))

    async def set_scopes(self, act: Act, account_id: str, url: str, ticked: Sequence[str]) -> bool:
        """Sets a person's scopes at one resource, from the next refresh on; False if person or resource is unknown."""
        resource = next((one for one in self._catalogue.resource if one.url == url), None)

        def work(tx: Transaction, now: datetime) -> bool:
            if resource is None or people.find(tx, account_id) is None:
                return False
            before = accounts.held_scopes(tx, account_id, url)
            for name in resource.scope_names:
                if name in ticked and name not in before:
                    accounts.grant_scope(tx, account_id, url, name, now)
                    note(tx, act, "scope.granted", now, account_id=account_id, detail=f"{name} at {url}")
                if name not in ticked and name in before:
                    accounts.revoke_scope(tx, account_id, url, name)
                    note(tx, act, "scope.revoked", now, account_id=account_id, detail=f"{name} at {url}")
            return True

        return await self._acts.do(act, work)

    async def switch(self, act: Act, account_id: str, *, off: bool) -> bool:
        """Disables or enables an account; False if nothing changed.

        Not for administrators: with one stolen session, all the others could be locked out.
        """

        def work(tx: Transaction, now: datetime) -> bool:
            person = people.find(tx, account_id)
            if person is None or person.role or (person.disabled_at is not None) == off:
                return False
            accounts.set_disabled(tx, account_id, now if off else None)
            note(tx, act, "account.disabled" if off else "account.enabled", now, account_id=account_id)
            return True

        return await self._acts.do(act, work)

    async def invite(self, act: Act, typed: str) -> str | None:
        """Lets an address sign up if SIGNUP is invite or domains; returns its key, None if it is not an address."""
        address = addresses.parse(typed)
        if address is None:
            return None

        def work(tx: Transaction, now: datetime) -> str:
            accounts.invite(tx, address.key, now)
            note(tx, act, "account.invited", now, address=address.key)
            return address.key

        return await self._acts.do(act, work)
