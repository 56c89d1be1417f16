"""/account: connections, remembered consents, tokens, sessions and data export, and the forms that revoke each."""

import json
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import redirects
from gatepost_idp.account.doors import ACCESS, AccountPages
from gatepost_idp.account.overview import Everything
from gatepost_idp.catalogue import Catalogue
from gatepost_idp.pages import date
from gatepost_idp.signin.guests import Door, Field, Guest
from gatepost_idp.store.connections import Connection
from gatepost_idp.store.personal_tokens import Shown

ACCOUNT = "/account"
DELETE = "/account/delete"


def overview_page(own: AccountPages, guest: Guest, found: Everything, done: str) -> Response:
    """The account page; ``done``: what was just changed."""
    here = guest.visitor.session_hash
    return own.page(
        guest,
        "account/overview.html",
        url=own.url(ACCOUNT),
        access_url=own.url(ACCESS),
        done=done,
        groups=_groups(own.catalogue, found.connections),
        remembered=[
            {"client": one.client_id, "host": one.redirect_host, "resource": own.catalogue.name_of(one.resource),
             "until": date(one.until)}
            for one in found.remembered
        ],
        tokens=[_token(own.catalogue, one) for one in found.tokens],
        sessions=[
            {"id": one.id, "browser": one.browser, "network": one.network, "since": date(one.since),
             "seen": date(one.seen), "here": here is not None and one.id == here.hex()}
            for one in found.sessions
        ],
    )  # fmt: skip  # one line a thing


def _groups(catalogue: Catalogue, connections: Iterable[Connection]) -> list[dict[str, Any]]:
    """Connections grouped by client and host, most recently used group first."""

    def key(connection: Connection) -> tuple[str, str]:
        return connection.client_row, redirects.host_shown(connection.redirect_uri)

    found = [list(group) for _, group in groupby(sorted(connections, key=key), key)]
    found.sort(key=lambda group: max(connection.used_at for connection in group), reverse=True)
    return [
        {
            "host": redirects.host_shown(group[0].redirect_uri),
            "local": redirects.is_private(group[0].redirect_uri),
            "name": redirects.plain_name(group[0].client_name),
            "connections": [_connection(catalogue, connection) for connection in group],
        }
        for group in found
    ]


def _connection(catalogue: Catalogue, connection: Connection) -> dict[str, Any]:
    return {
        "grant": connection.grant_id,
        "resource": catalogue.name_of(connection.resource),
        "scopes": catalogue.titles(connection.resource, connection.scope),
        "since": date(connection.created_at),
        "used": date(connection.used_at),
        "until": date(connection.ends_at),
        "browser": connection.browser,
        "network": connection.network,
    }


def _token(catalogue: Catalogue, token: Shown) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "resource": catalogue.name_of(token.resource),
        "scopes": catalogue.titles(token.resource, token.scope),
        "since": date(token.created_at),
        "used": date(token.used_at) if token.used_at else "",
        "until": date(token.expires_at),
    }


def overview_doors(own: AccountPages, doors: APIRouter, brake: Callable[[Door], Door]) -> None:
    """Adds the account page and its forms."""

    @doors.get("")
    @brake
    async def show_account(request: Request, done: str = "") -> Response:
        guest = await own.enter(request, ACCOUNT)
        if isinstance(guest, Response):
            return guest
        return overview_page(own, guest, await own.steps.overview.see(guest.person), done)

    @doors.post("/disconnect")
    async def disconnect(
        request: Request, csrf: Field = "", grant: Annotated[list[str] | None, Form()] = None
    ) -> Response:
        guest = await own.enter_by_form(request, csrf, ACCOUNT)
        if isinstance(guest, Response):
            return guest
        ended = await own.steps.overview.disconnect(guest.person, grant or [], guest.source)
        return own.see(f"{ACCOUNT}?done=disconnected" if ended else ACCOUNT)

    @doors.post("/forget")
    async def forget(request: Request, csrf: Field = "", client: Field = "") -> Response:
        guest = await own.enter_by_form(request, csrf, ACCOUNT)
        if isinstance(guest, Response):
            return guest
        await own.steps.overview.forget(guest.person, client, guest.source)
        return own.see(f"{ACCOUNT}?done=forgotten")

    _session_doors(own, doors)
    _data_doors(own, doors)


def _session_doors(own: AccountPages, doors: APIRouter) -> None:
    @doors.post("/sign-out")
    async def sign_out(request: Request, csrf: Field = "", session: Field = "") -> Response:
        guest = await own.enter_by_form(request, csrf, ACCOUNT)
        if isinstance(guest, Response):
            return guest
        is_one = len(session) == 64 and all(digit in "0123456789abcdef" for digit in session)
        here = guest.visitor.session_hash
        await own.steps.overview.end_session(guest.person, session if is_one else None, guest.source)
        if is_one and here is not None and session != here.hex():
            return own.see(f"{ACCOUNT}?done=signed-out")
        response = own.open_page(guest.visitor, "account/gone.html", deleted=False)
        response.headers.append("set-cookie", own.visitors.cookies.ended_session_header())
        return response


def _data_doors(own: AccountPages, doors: APIRouter) -> None:
    @doors.get("/export")
    async def export(request: Request) -> Response:
        guest = await own.enter(request, ACCOUNT)
        if isinstance(guest, Response):
            return guest
        body = json.dumps(await own.steps.overview.export(guest.person), indent=2)
        headers = {"cache-control": "no-store", "content-disposition": 'attachment; filename="my-data.json"'}
        return Response(body, 200, headers, "application/json")

    @doors.get("/delete")
    async def ask_to_delete(request: Request) -> Response:
        guest = await own.enter(request, DELETE, fresh=True)
        if isinstance(guest, Response):
            return guest
        return own.page(guest, "account/delete.html", action=own.url(DELETE), account_url=own.url(ACCOUNT))

    @doors.post("/delete")
    async def delete(request: Request, csrf: Field = "", sure: Field = "") -> Response:
        guest = await own.enter_by_form(request, csrf, DELETE, fresh=True)
        if isinstance(guest, Response):
            return guest
        if sure != "yes":
            return own.see(DELETE)
        await own.steps.overview.delete(guest.person, guest.source)
        response = own.open_page(guest.visitor, "account/gone.html", deleted=True)
        response.headers.append("set-cookie", own.visitors.cookies.ended_session_header())
        return response
