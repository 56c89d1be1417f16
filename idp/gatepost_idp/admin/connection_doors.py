"""/admin/connections: all people's connections, newest first, each with a button that ends it."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import redirects
from gatepost_idp.admin.doors import AdminPages, act_of, moment, page_of_client, place_of
from gatepost_idp.signin.guests import Door, Field
from gatepost_idp.store.connection_pages import Standing

CONNECTIONS = "/admin/connections"


def _shown(one: Standing) -> dict[str, Any]:
    return {
        "grant": one.grant_id,
        "account": one.account_id,
        "email": one.email,
        "client": page_of_client(one.client_id, one.client_row),
        "name": redirects.plain_name(one.client_name),
        "host": redirects.host_shown(one.redirect_uri),
        "scope": " ".join(one.scope),
        "network": one.network,
        "since": moment(one.created_at),
        "used": moment(one.used_at),
    }


def connection_doors(own: AdminPages, doors: APIRouter, brake: Callable[[Door], Door]) -> None:
    """Adds the list and the form of its buttons."""

    @doors.get("/connections")
    @brake
    async def list_connections(request: Request, start: str = "", done: str = "") -> Response:
        guest = await own.enter(request, CONNECTIONS)
        if isinstance(guest, Response):
            return guest
        found = await own.steps.connections.page(start)
        shown = [_shown(one) for one in found.rows]
        following = own.more(CONNECTIONS, found.following)
        return own.show(guest, "/connections", "connections", connections=shown, next=following, done=done)

    @doors.post("/connections/cut")
    async def cut(request: Request, csrf: Field = "", grant: Field = "", person: Field = "") -> Response:
        page = place_of("/admin/people/", person) if person else CONNECTIONS
        guest = await own.enter_by_form(request, csrf, page)
        if isinstance(guest, Response):
            return guest
        is_cut = await own.steps.connections.cut(act_of(guest), grant)
        return own.see(f"{page}?done=cut" if is_cut else page)
