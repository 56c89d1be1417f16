"""The pages ``/`` and ``/connect``, public and without cookies."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from gatepost_idp.connect import guide
from gatepost_idp.pages import Pages
from gatepost_idp.settings import Settings

_READ = ["GET", "HEAD"]


def router(pages: Pages, settings: Settings) -> APIRouter:
    """Both routes. Their content is the same for everybody and is made once, here; raises ValueError."""
    account_url = f"{settings.oauth_issuer}/account"
    mcp_url = settings.mcp_resource_url
    clients = guide.fill(guide.read(guide.FILE.read_text(encoding="utf-8")), mcp_url, account_url)
    addresses: dict[str, Any] = {
        "mcp_url": mcp_url,
        "account_url": account_url,
        "connect_url": f"{settings.oauth_issuer}/connect",
    }
    reach: dict[str, Any] = {"public": guide.is_public(mcp_url), "local": settings.is_local}
    doors = APIRouter(include_in_schema=False)

    @doors.api_route("/", methods=_READ)
    async def home() -> Response:
        return pages.response("connect/home.html", **addresses)

    @doors.api_route("/connect", methods=_READ)
    async def connect() -> Response:
        return pages.response("connect/connect.html", clients=clients, **reach, **addresses)

    return doors
