"""What the routes below /account share, and the routes of /account/access."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import redirects
from gatepost_idp.account.access import Access, App
from gatepost_idp.account.cut_off import CutOff
from gatepost_idp.account.overview import Overview
from gatepost_idp.account.personal_tokens import PersonalTokens
from gatepost_idp.catalogue import Catalogue
from gatepost_idp.database import Database
from gatepost_idp.pages import Pages, date
from gatepost_idp.protocol import Clock
from gatepost_idp.settings import Settings
from gatepost_idp.signin.guests import Door, Field, Guest, OwnPages
from gatepost_idp.visitors import Visitors

ACCESS = "/account/access"


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps that the routes call."""

    overview: Overview
    access: Access
    tokens: PersonalTokens
    cut_off: CutOff


class AccountPages(OwnPages):
    """OwnPages with the steps of the account pages."""

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
        super().__init__(database, pages, visitors, settings, catalogue, clock)
        self.steps = steps


def access_page(own: AccountPages, guest: Guest, apps: list[App], saved: str) -> Response:
    """The page of all apps with their tick boxes; ``saved``: the id of the grant that was just changed."""
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
    """Adds the routes of /account/access, and those that switch accounts."""

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

    @doors.post("/switch")
    @doors.post("/access/switch")
    async def switch_account(request: Request, csrf: Field = "") -> Response:
        visitor = own.visitors.of_own_form(request, csrf)
        return await own.switch(visitor, ACCESS if request.url.path.endswith("/access/switch") else "/account")
