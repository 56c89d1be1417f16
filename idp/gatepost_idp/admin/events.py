"""Searches of the audit log."""

from gatepost_idp.admin.acts import Acts
from gatepost_idp.store import audit_pages
from gatepost_idp.store.audit_pages import Event, Wanted
from gatepost_idp.store.paging import Page


class Events:
    """The step of the audit log page, one transaction per search."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    async def page(self, wanted: Wanted, start: str) -> Page[Event]:
        """A page of matching events, newest first."""
        return await self._acts.see(lambda tx, _now: audit_pages.page(tx, wanted, start))
