"""Guards this server's own pages: sends people who are not signed in to the sign-in, which leads them back."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import Form
from fastapi.responses import RedirectResponse
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import traces
from gatepost_idp.catalogue import Catalogue
from gatepost_idp.database import Database
from gatepost_idp.pages import Pages
from gatepost_idp.protocol import Clock
from gatepost_idp.settings import Settings
from gatepost_idp.signin import own_pages
from gatepost_idp.store import accounts, audit
from gatepost_idp.store.accounts import Session
from gatepost_idp.store.audit import Source
from gatepost_idp.transaction import Transaction
from gatepost_idp.visitors import Visitor, Visitors

Door = Callable[..., Any]
Field = Annotated[str, Form()]
FRESH = timedelta(hours=1)
"""The oldest sign-in with which a token or client secret is made, access is given, or an account is deleted."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A browser and the session of the person signed in there."""

    visitor: Visitor
    person: Session

    @property
    def source(self) -> Source:
        """The network and trace id for the audit log."""
        return Source(self.visitor.network, traces.current().id)


class OwnPages:
    """What the routes of this server's own pages share: admission, redirects and rendering."""

    def __init__(
        self,
        database: Database,
        pages: Pages,
        visitors: Visitors,
        settings: Settings,
        catalogue: Catalogue,
        clock: Clock,
    ) -> None:
        self.visitors = visitors
        self.settings = settings
        self.catalogue = catalogue
        self.clock = clock
        self._pages = pages
        self._database = database

    async def enter(self, request: Request, path: str, *, fresh: bool = False) -> Guest | Response:
        """The signed-in guest, else a redirect to a sign-in that ends at ``path``; ``fresh``: no older than FRESH."""
        return await self._guest(self.visitors.welcome(request), path, fresh)

    async def enter_by_form(self, request: Request, csrf: str, path: str, *, fresh: bool = False) -> Guest | Response:
        """``enter`` for a POST; raises PageProblem unless the CSRF token is this browser's."""
        return await self._guest(self.visitors.of_own_form(request, csrf), path, fresh)

    async def _guest(self, visitor: Visitor, path: str, fresh: bool) -> Guest | Response:
        person = await self._person(visitor)
        if person is not None:
            await self.admit(Guest(visitor, person))
        if person is None or (fresh and self.clock() - person.auth_time > FRESH):
            return await self.sign_in(visitor, path)
        return Guest(visitor, person)

    async def admit(self, guest: Guest) -> None:
        """Raises PageProblem if the person may not see these pages; here everybody may."""

    async def _person(self, visitor: Visitor) -> Session | None:
        session_hash, now = visitor.session_hash, self.clock()
        if session_hash is None:
            return None
        found = await self._database.read(partial(accounts.session, token_hash=session_hash, now=now))
        if found is not None and not found.seen_lately:
            await self._database.write(partial(accounts.mark_seen, token_hash=session_hash, now=now))
        return found

    async def sign_in(self, visitor: Visitor, path: str) -> Response:
        """Redirects to a new sign-in that ends at ``path``."""
        browser, now = visitor.browser or "", self.clock()
        request_id = await self._database.write(partial(own_pages.begin, path=path, browser=browser, now=now))
        traces.current().belongs_to(traces.id_of(request_id))
        return self.visitors.keep(self.see(f"/sign-in/{request_id}"), visitor)

    async def sign_out(self, visitor: Visitor) -> None:
        """Ends the session of this browser."""
        session_hash, now, trace_id = visitor.session_hash, self.clock(), traces.current().id
        if session_hash is None:
            return

        def work(tx: Transaction) -> None:
            person = accounts.session(tx, session_hash, now)
            accounts.end_session(tx, session_hash, now)
            if person is not None:
                own, network = person.account_id, visitor.network
                audit.record(tx, "signed_out", now, account_id=own, network=network, trace_id=trace_id)

        await self._database.write(work)

    async def switch(self, visitor: Visitor, path: str) -> Response:
        """Signs this browser out and redirects to a new sign-in that ends at ``path``."""
        await self.sign_out(visitor)
        response = await self.sign_in(visitor, path)
        response.headers.append("set-cookie", self.visitors.cookies.ended_session_header())
        return response

    def see(self, path: str) -> RedirectResponse:
        """Redirects (303) to ``path`` on this server."""
        return RedirectResponse(self.url(path), 303, {"cache-control": "no-store"})

    def url(self, path: str) -> str:
        """``path`` below the issuer's path."""
        return f"{self.settings.root}{path}"

    def page(self, guest: Guest, template: str, status: int = 200, **context: Any) -> Response:
        """A page for a signed-in guest, with their address and CSRF token."""
        csrf, email = self.visitors.csrf(guest.visitor), guest.person.email
        page = self._pages.response(template, status, csrf=csrf, email=email, **context)
        return self.visitors.keep(page, guest.visitor)

    def open_page(self, visitor: Visitor, template: str, status: int = 200, **context: Any) -> Response:
        """A page for any visitor, with a CSRF token."""
        page = self._pages.response(template, status, csrf=self.visitors.csrf(visitor), **context)
        return self.visitors.keep(page, visitor)
