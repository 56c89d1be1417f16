"""Clients: lists all of them, adds them, disables and enables them, and renews secrets."""

from collections.abc import Sequence
from datetime import datetime

from gatepost_idp.admin.acts import Act, Acts, note
from gatepost_idp.catalogue import Catalogue
from gatepost_idp.clients import by_hand, metadata_document
from gatepost_idp.clients.by_hand import Made, Wrong
from gatepost_idp.clients.metadata import Registration
from gatepost_idp.clients.registry import (
    CLAUDE_CALLBACKS,
    CONFIDENTIAL_PREFIX,
    MANUAL_PREFIX,
    PUBLIC_PREFIX,
    RESOURCE_SERVER_PREFIX,
)
from gatepost_idp.store import client_pages, clients, documents
from gatepost_idp.store.client_pages import Listed
from gatepost_idp.store.paging import Page
from gatepost_idp.transaction import Transaction

_LETTERS = {
    "manual": MANUAL_PREFIX.rstrip("_"),
    "registered": PUBLIC_PREFIX.rstrip("_"),
    "confidential": CONFIDENTIAL_PREFIX.rstrip("_"),
    "resource_server": RESOURCE_SERVER_PREFIX.rstrip("_"),
}
KINDS = ("manual", "registered", "confidential", "document", "resource_server")
"""Clients by origin. A confidential registration has its own row; public ones with equal metadata share a row."""


class Clients:
    """The steps of the client pages, each one transaction."""

    def __init__(self, acts: Acts, catalogue: Catalogue) -> None:
        self._acts = acts
        self._catalogue = catalogue

    async def page(self, kind: str, start: str) -> Page[Listed]:
        """A page of clients of ``kind``, one of KINDS."""
        if kind == "document":
            return await self._acts.see(lambda tx, _now: client_pages.documents(tx, start))
        return await self._acts.see(lambda tx, _now: client_pages.page(tx, _LETTERS[kind], start))

    async def see(self, client_id: str) -> Listed | None:
        """One client, by row id or document URL, or None."""
        return await self._acts.see(lambda tx, _now: client_pages.find(tx, client_id))

    async def add(
        self,
        act: Act,
        name: str,
        description: str,
        uris: Sequence[str],
        scopes: Sequence[str],
        *,
        claude: bool,
        confidential: bool,
    ) -> Made | Wrong:
        """Adds a client; ticked scopes that are not in the catalogue are ignored."""
        known = [scope for scope in self._catalogue.scope_names if scope in scopes]
        wanted = [*uris, *(CLAUDE_CALLBACKS if claude else ())]
        asked = by_hand.registration(name, wanted, known, confidential=confidential, description=description)
        if isinstance(asked, Wrong):
            return asked
        return await self._acts.do(act, lambda tx, now: _add(tx, act, asked, now))

    async def renew_secret(self, act: Act, client_id: str) -> Made | None:
        """Gives a confidential client a new secret; None if there is no such client."""

        def work(tx: Transaction, now: datetime) -> Made | None:
            found = client_pages.find(tx, client_id)
            if found is None or not found.confidential:
                return None
            note(tx, act, "client.secret_renewed", now, client_id=found.id)
            return by_hand.renew_secret(tx, found.id)

        return await self._acts.do(act, work)

    async def switch(self, act: Act, client_id: str, *, off: bool) -> bool:
        """Disables or enables a client, all registrations of a kind, or a URL; False if nothing changed."""

        def work(tx: Transaction, now: datetime) -> bool:
            found = client_pages.find(tx, client_id)
            if found is None or found.disabled == off:
                return False
            switch = documents.set_disabled if metadata_document.is_url(found.id) else clients.set_disabled
            switch(tx, found.id, now if off else None)
            note(tx, act, "client.disabled" if off else "client.enabled", now, client_id=found.id)
            return True

        return await self._acts.do(act, work)


def _add(tx: Transaction, act: Act, asked: Registration, now: datetime) -> Made:
    made = by_hand.add(tx, asked, now)
    note(tx, act, "client.made", now, client_id=made.client_id, detail="manual")
    return made
