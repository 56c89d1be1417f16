"""All people's connections, and ending one."""

from datetime import datetime

from gatepost_idp.admin.acts import Act, Acts, note
from gatepost_idp.store import connection_pages, connections, grants
from gatepost_idp.store.connection_pages import Standing
from gatepost_idp.store.paging import Page
from gatepost_idp.transaction import Transaction


class Connections:
    """The steps of the connection pages, each one transaction."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    async def page(self, start: str) -> Page[Standing]:
        """A page of connections, newest first."""
        return await self._acts.see(lambda tx, _now: connection_pages.page(tx, start))

    async def cut(self, act: Act, grant_id: str) -> bool:
        """Ends a connection and forgets its consent, so that the app has to ask again; False if it had ended."""

        def work(tx: Transaction, now: datetime) -> bool:
            if not grants.end(tx, grant_id, "cut off by an administrator", now):
                return False
            connections.forget_consent(tx, grant_id)
            note(tx, act, "grant.cut_off", now, grant_id=grant_id)
            return True

        return await self._acts.do(act, work)
