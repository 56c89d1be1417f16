"""/admin/clients: all clients by kind; each has a page with the values that a set-up dialog asks for."""

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp import redirects
from gatepost_idp.admin.clients import KINDS
from gatepost_idp.admin.doors import AdminPages, act_of, moment, place_of
from gatepost_idp.admin.people_doors import nobody
from gatepost_idp.clients.by_hand import DESCRIPTION_LENGTH, NAME_LENGTH, Made, Wrong
from gatepost_idp.protocol import OIDC_SCOPES
from gatepost_idp.signin.guests import Door, Field, Guest
from gatepost_idp.store.client_pages import Listed

CLIENTS = "/admin/clients"
ADD = "/admin/clients/add"
ONE = "/admin/clients/one"
SECTION = "/clients"
Ticks = Annotated[list[str] | None, Form()]
_UNTYPED = {"name": "", "description": "", "redirect": "", "claude": "", "confidential": "yes", "scope": []}


async def clients_page(own: AdminPages, guest: Guest, kind: str, start: str) -> Response:
    """A page of clients of one kind, with links to the other kinds."""
    shown = kind if kind in KINDS else KINDS[0]
    found = await own.steps.clients.page(shown, start)
    return own.show(
        guest,
        SECTION,
        "clients",
        kind=shown,
        kinds=KINDS,
        clients=[_shown(own, client) for client in found.rows],
        next=own.more(CLIENTS, found.following, kind=shown),
    )


def _shown(own: AdminPages, client: Listed) -> dict[str, Any]:
    hosts = dict.fromkeys(redirects.host_shown(uri) for uri in client.redirect_uris)
    count, last = client.use.connections, client.use.last
    return {
        "id": client.id,
        "page": f"{own.url(ONE)}?{urlencode({'client': client.id})}",
        "name": redirects.plain_name(client.name, NAME_LENGTH),
        "description": client.description,
        "hosts": ", ".join(hosts),
        "disabled": client.disabled,
        "made": moment(client.created_at),
        "connections": f"{count} or more" if client.use.more else str(count),
        "used": moment(last) if last else "never",
    }


def client_page(own: AdminPages, guest: Guest, client: Listed, done: str = "", secret: str = "") -> Response:
    """The page of one client; ``secret``: a new one, shown only now."""
    return own.show(
        guest,
        SECTION,
        "client",
        client=client,
        shown=_shown(own, client),
        done=done,
        secret=secret,
        asked=_asked_for(own, client),
    )


def _asked_for(own: AdminPages, client: Listed) -> list[tuple[str, str]]:
    """Labels and values for the set-up dialogs of Claude and others, in their words."""
    resources = own.catalogue.resource
    mcp = [(f"MCP URL of {one.name}" if len(resources) > 1 else "MCP URL", one.url) for one in resources]
    names = client.scope.split() or own.catalogue.scope_names
    return [
        *mcp,
        ("Authorization URL", f"{own.settings.oauth_issuer}/authorize"),
        ("Token URL", f"{own.settings.oauth_issuer}/token"),
        ("Client ID", client.id),
        ("Scopes", " ".join((*OIDC_SCOPES, *names))),
    ]


def add_page(own: AdminPages, guest: Guest, typed: dict[str, Any], problem: str = "") -> Response:
    """The form, with what was typed and the ``problem`` if it was wrong."""
    return own.show(
        guest,
        SECTION,
        "client_add",
        400 if problem else 200,
        resources=own.catalogue.resource,
        typed=typed,
        problem=problem,
        lengths=(NAME_LENGTH, DESCRIPTION_LENGTH),
    )


def client_doors(own: AdminPages, doors: APIRouter, brake: Callable[[Door], Door]) -> None:
    """Adds the lists, the page of one client, and the forms that change it."""

    @doors.get("/clients")
    @brake
    async def list_clients(request: Request, kind: str = "", start: str = "") -> Response:
        guest = await own.enter(request, CLIENTS)
        return guest if isinstance(guest, Response) else await clients_page(own, guest, kind, start)

    @doors.get("/clients/one")
    @brake
    async def show_client(request: Request, client: str = "", done: str = "") -> Response:
        guest = await own.enter(request, _place(client))
        if isinstance(guest, Response):
            return guest
        found = await own.steps.clients.see(client)
        if found is None:
            raise nobody("client")
        return client_page(own, guest, found, done)

    _add_doors(own, doors, brake)
    _change_doors(own, doors)


def _add_doors(own: AdminPages, doors: APIRouter, brake: Callable[[Door], Door]) -> None:
    @doors.get("/clients/add")
    @brake
    async def show_form(request: Request) -> Response:
        guest = await own.enter(request, ADD, fresh=True)
        return guest if isinstance(guest, Response) else add_page(own, guest, _UNTYPED)

    @doors.post("/clients/add")
    async def add_client(
        request: Request,
        csrf: Field = "",
        name: Field = "",
        description: Field = "",
        redirect: Field = "",
        claude: Field = "",
        confidential: Field = "",
        scope: Ticks = None,
    ) -> Response:
        guest = await own.enter_by_form(request, csrf, ADD, fresh=True)
        if isinstance(guest, Response):
            return guest
        made = await own.steps.clients.add(
            act_of(guest), name, description, redirect.split(), scope or [],
            claude=claude == "yes", confidential=confidential == "yes",
        )  # fmt: skip  # one form
        if isinstance(made, Wrong):
            typed = {"name": name, "description": description, "redirect": redirect, "claude": claude,
                     "confidential": confidential, "scope": scope or []}  # fmt: skip  # one form
            return add_page(own, guest, typed, made.words)
        return await _made(own, guest, made, "made")


async def _made(own: AdminPages, guest: Guest, made: Made | None, done: str) -> Response:
    """The client's page with its new secret."""
    found = await own.steps.clients.see(made.client_id) if made else None
    if made is None or found is None:
        raise nobody("client")
    return client_page(own, guest, found, done, made.secret)


def _change_doors(own: AdminPages, doors: APIRouter) -> None:
    @doors.post("/clients/secret")
    async def renew_secret(request: Request, csrf: Field = "", client: Field = "") -> Response:
        guest = await own.enter_by_form(request, csrf, _place(client), fresh=True)
        if isinstance(guest, Response):
            return guest
        return await _made(own, guest, await own.steps.clients.renew_secret(act_of(guest), client), "renewed")

    @doors.post("/clients/switch")
    async def switch_client(request: Request, csrf: Field = "", client: Field = "", off: Field = "") -> Response:
        is_off = off == "yes"
        guest = await own.enter_by_form(request, csrf, _place(client), fresh=not is_off)
        if isinstance(guest, Response):
            return guest
        if not await own.steps.clients.switch(act_of(guest), client, off=is_off):
            return own.see(CLIENTS)
        return own.see(f"{ONE}?{urlencode({'client': client, 'done': 'off' if is_off else 'on'})}")


def _place(client: str) -> str:
    return place_of(f"{ONE}?client=", client)
