"""/admin/backends: the MCP servers behind the resource server, and the scopes of tokens for them."""

from collections.abc import Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp.admin.doors import AdminPages
from gatepost_idp.signin.guests import Door

BACKENDS = "/admin/backends"


def backend_doors(own: AdminPages, doors: APIRouter, brake: Callable[[Door], Door]) -> None:
    """Adds the page, which is read-only: backends are configured in the catalogue file."""

    @doors.get("/backends")
    @brake
    async def list_backends(request: Request) -> Response:
        guest = await own.enter(request, BACKENDS)
        if isinstance(guest, Response):
            return guest
        return own.show(guest, "/backends", "backends", backends=await own.steps.backends.shown())
