"""The pages below /account: whoever is not signed in signs in first and comes back."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import redirects, traces
from gatepost_idp.account.access import Access, App
from gatepost_idp.database import Database
from gatepost_idp.pages import Pages
from gatepost_idp.protocol import Clock
from gatepost_idp.settings import Settings
from gatepost_idp.signin import own_pages
from gatepost_idp.store import accounts
from gatepost_idp.store.accounts import Session
from gatepost_idp.visitors import Visitor, Visitors

Door = Callable[..., Any]
Field = Annotated[str, Form()]
ACCESS = "/account/access"


class AccountPages:
    """What the doors need to answer."""

    def __init__(
        self, access: Access, database: Database, pages: Pages, visitors: Visitors, settings: Settings, clock: Clock
    ) -> None:
        self.access = access
        self.pages = pages
        self.visitors = visitors
        self.settings = settings
        self._database = database
        self._clock = clock

    async def person(self, visitor: Visitor) -> Session | None:
        """Who is signed in in this browser."""
        session_hash, now = visitor.session_hash, self._clock()
        if session_hash is None:
            return None
        found = await self._database.read(partial(accounts.session, token_hash=session_hash, now=now))
        if found is not None:
            await self._database.write(partial(accounts.mark_seen, token_hash=session_hash, now=now))
        return found

    async def sign_in(self, request: Request, visitor: Visitor, path: str) -> Response:
        """To the sign-in, which ends at ``path``."""
        browser, now = visitor.browser or "", self._clock()
        request_id = await self._database.write(partial(own_pages.begin, path=path, browser=browser, now=now))
        traces.current().belongs_to(traces.id_of(request_id))
        response = RedirectResponse(f"{self.settings.root}/sign-in/{request_id}", 303, {"cache-control": "no-store"})
        return self.visitors.keep(response, visitor)

    def access_page(self, visitor: Visitor, person: Session, apps: list[App], saved: str) -> Response:
        """Every app with its tick boxes; ``saved``: the grant that was just changed."""
        page = self.pages.response(
            "account/access.html",
            csrf=self.visitors.csrf(visitor),
            action=f"{self.settings.root}{ACCESS}",
            switch_action=f"{self.settings.root}{ACCESS}/switch",
            email=person.email,
            apps=[shown(app) for app in apps],
            saved=saved,
            minutes=self.settings.access_token_minutes,
        )
        return self.visitors.keep(page, visitor)

    async def sign_out(self, visitor: Visitor) -> None:
        """Ends the session of this browser."""
        if visitor.session_hash is not None:
            session_hash, now = visitor.session_hash, self._clock()
            await self._database.write(partial(accounts.end_session, token_hash=session_hash, now=now))


def shown(app: App) -> dict[str, Any]:
    """An app as the page shows it."""
    connection = app.connection
    hosts = dict.fromkeys(redirects.host_shown(uri) for uri in connection.redirect_uris)
    return {
        "grant": connection.grant_id,
        "name": redirects.plain_name(connection.client_name),
        "host": " or ".join(list(hosts)[:2]),
        "resource": app.resource_name,
        "since": _date(connection.created_at),
        "used": _date(connection.used_at),
        "held": [choice for choice in app.choices if choice.held],
        "not_held": [choice for choice in app.choices if not choice.held],
    }


def router(own: AccountPages, brake: Callable[[Door], Door]) -> APIRouter:
    """The pages below /account; ``brake`` stands where a stranger can make a request be stored."""
    doors = APIRouter(prefix="/account", include_in_schema=False)

    @doors.get("/access")
    @brake
    async def show_access(request: Request, saved: str = "") -> Response:
        visitor = own.visitors.welcome(request)
        person = await own.person(visitor)
        if person is None:
            return await own.sign_in(request, visitor, ACCESS)
        return own.access_page(visitor, person, await own.access.apps(person), saved)

    @doors.post("/access")
    async def change_access(
        request: Request, csrf: Field = "", grant: Field = "", scope: Annotated[list[str] | None, Form()] = None
    ) -> Response:
        visitor = own.visitors.of_own_form(request, csrf)
        person = await own.person(visitor)
        if person is None:
            return await own.sign_in(request, visitor, ACCESS)
        changed = await own.access.choose(person, grant, scope or [], traces.current().id)
        saved = f"?saved={changed.connection.grant_id}" if changed else ""
        return RedirectResponse(f"{own.settings.root}{ACCESS}{saved}", 303)

    @doors.post("/access/switch")
    async def switch_account(request: Request, csrf: Field = "") -> Response:
        visitor = own.visitors.of_own_form(request, csrf)
        await own.sign_out(visitor)
        response = await own.sign_in(request, visitor, ACCESS)
        response.headers.append("set-cookie", own.visitors.cookies.ended_session_header())
        return response

    return doors


def _date(at: datetime) -> str:
    return f"{at.day} {at:%B %Y}"
