"""The doors below /account: whoever is not signed in signs in first and comes back."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import redirects, traces
from gatepost_idp.account.access import Access, App
from gatepost_idp.account.cut_off import CutOff
from gatepost_idp.account.overview import Overview
from gatepost_idp.account.personal_tokens import PersonalTokens
from gatepost_idp.catalogue import Catalogue
from gatepost_idp.database import Database, Transaction
from gatepost_idp.pages import Pages
from gatepost_idp.protocol import Clock
from gatepost_idp.settings import Settings
from gatepost_idp.signin import own_pages
from gatepost_idp.store import accounts, audit
from gatepost_idp.store.accounts import Session
from gatepost_idp.store.audit import Source
from gatepost_idp.visitors import Visitor, Visitors

Door = Callable[..., Any]
Field = Annotated[str, Form()]
ACCESS = "/account/access"
FRESH = timedelta(hours=1)
"""How old a sign-in may be before a key is made or an account is deleted."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What the doors call."""

    overview: Overview
    access: Access
    tokens: PersonalTokens
    cut_off: CutOff


@dataclass(frozen=True, slots=True)
class Guest:
    """A browser, and who is signed in in it."""

    visitor: Visitor
    person: Session

    @property
    def source(self) -> Source:
        """For the audit log."""
        return Source(self.visitor.network, traces.current().id)


class AccountPages:
    """What the doors need to answer."""

    def __init__(
        self,
        steps: Steps,
        database: Database,
        pages: Pages,
        visitors: Visitors,
        settings: Settings,
        catalogue: Catalogue,
        clock: Clock,
    ) -> None:
        self.steps = steps
        self.visitors = visitors
        self.settings = settings
        self.catalogue = catalogue
        self._pages = pages
        self._database = database
        self._clock = clock

    async def enter(self, request: Request, path: str, *, fresh: bool = False) -> Guest | Response:
        """Whoever is signed in, else the way to the sign-in, which ends at ``path``; ``fresh``: within the hour."""
        return await self._guest(self.visitors.welcome(request), path, fresh)

    async def enter_by_form(self, request: Request, csrf: str, path: str, *, fresh: bool = False) -> Guest | Response:
        """The same for a POST; raises PageProblem where the form is not ours."""
        return await self._guest(self.visitors.of_own_form(request, csrf), path, fresh)

    async def _guest(self, visitor: Visitor, path: str, fresh: bool) -> Guest | Response:
        person = await self._person(visitor)
        if person is None or (fresh and self._clock() - person.auth_time > FRESH):
            return await self.sign_in(visitor, path)
        return Guest(visitor, person)

    async def _person(self, visitor: Visitor) -> Session | None:
        session_hash, now = visitor.session_hash, self._clock()
        if session_hash is None:
            return None
        found = await self._database.read(partial(accounts.session, token_hash=session_hash, now=now))
        if found is not None:
            await self._database.write(partial(accounts.mark_seen, token_hash=session_hash, now=now))
        return found

    async def sign_in(self, visitor: Visitor, path: str) -> Response:
        """To the sign-in, which ends at ``path``."""
        browser, now = visitor.browser or "", self._clock()
        request_id = await self._database.write(partial(own_pages.begin, path=path, browser=browser, now=now))
        traces.current().belongs_to(traces.id_of(request_id))
        return self.visitors.keep(self.see(f"/sign-in/{request_id}"), visitor)

    async def sign_out(self, visitor: Visitor) -> None:
        """Ends the session of this browser."""
        session_hash, now, trace_id = visitor.session_hash, self._clock(), traces.current().id
        if session_hash is None:
            return

        def work(tx: Transaction) -> None:
            person = accounts.session(tx, session_hash, now)
            accounts.end_session(tx, session_hash, now)
            if person is not None:
                own, network = person.account_id, visitor.network
                audit.record(tx, "signed_out", now, account_id=own, network=network, trace_id=trace_id)

        await self._database.write(work)

    def see(self, path: str) -> RedirectResponse:
        """On to another page of ours."""
        return RedirectResponse(self.url(path), 303, {"cache-control": "no-store"})

    def url(self, path: str) -> str:
        """An address of ours, below the issuer's path."""
        return f"{self.settings.root}{path}"

    def page(self, guest: Guest, template: str, status: int = 200, **context: Any) -> Response:
        """A page for somebody who is signed in."""
        csrf, email = self.visitors.csrf(guest.visitor), guest.person.email
        page = self._pages.response(template, status, csrf=csrf, email=email, **context)
        return self.visitors.keep(page, guest.visitor)

    def open_page(self, visitor: Visitor, template: str, status: int = 200, **context: Any) -> Response:
        """A page for anybody."""
        page = self._pages.response(template, status, csrf=self.visitors.csrf(visitor), **context)
        return self.visitors.keep(page, visitor)


def access_page(own: AccountPages, guest: Guest, apps: list[App], saved: str) -> Response:
    """Every app with its tick boxes; ``saved``: the grant that was just changed."""
    return own.page(
        guest,
        "account/access.html",
        action=own.url(ACCESS),
        switch_action=own.url(f"{ACCESS}/switch"),
        account_url=own.url("/account"),
        apps=[_shown(app) for app in apps],
        saved=saved,
        minutes=own.settings.access_token_minutes,
    )


def _shown(app: App) -> dict[str, Any]:
    connection = app.connection
    return {
        "grant": connection.grant_id,
        "name": redirects.plain_name(connection.client_name),
        "host": redirects.host_shown(connection.redirect_uri),
        "resource": app.resource_name,
        "since": date(connection.created_at),
        "used": date(connection.used_at),
        "held": [choice for choice in app.choices if choice.held],
        "not_held": [choice for choice in app.choices if not choice.held],
    }


def access_doors(own: AccountPages, doors: APIRouter, brake: Callable[[Door], Door]) -> None:
    """What each app may do."""

    @doors.get("/access")
    @brake
    async def show_access(request: Request, saved: str = "") -> Response:
        guest = await own.enter(request, ACCESS)
        if isinstance(guest, Response):
            return guest
        return access_page(own, guest, await own.steps.access.apps(guest.person), saved)

    @doors.post("/access")
    async def change_access(
        request: Request, csrf: Field = "", grant: Field = "", scope: Annotated[list[str] | None, Form()] = None
    ) -> Response:
        guest = await own.enter_by_form(request, csrf, ACCESS)
        if isinstance(guest, Response):
            return guest
        changed = await own.steps.access.choose(guest.person, grant, scope or [], guest.source)
        return own.see(f"{ACCESS}?saved={changed.connection.grant_id}" if changed else ACCESS)

    @doors.post("/access/switch")
    async def switch_account(request: Request, csrf: Field = "") -> Response:
        visitor = own.visitors.of_own_form(request, csrf)
        await own.sign_out(visitor)
        response = await own.sign_in(visitor, ACCESS)
        response.headers.append("set-cookie", own.visitors.cookies.ended_session_header())
        return response


def date(at: datetime) -> str:
    """Such as ``5 March 2026``."""
    return f"{at.day} {at:%B %Y}"
