"""The page a browser gets at the MCP URL: what the address is for and where to paste it."""

import base64
import hashlib
from html import escape
from pathlib import Path
from string import Template

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost_resource.catalogue import Catalogue
from gatepost_resource.latest import Kept, Latest
from gatepost_resource.settings import Settings
from gatepost_resource.urls import below, hostname, is_loopback

_HERE = Path(__file__)
_IN_CLAUDE = """<h2>In Claude</h2>
<p>Open Settings, then Connectors, then “Add custom connector”, and paste the address.</p>
"""


def _scope_items(catalogue: Catalogue) -> str:
    shown = [scope for scope in catalogue.scopes if scope.new_accounts]
    lines = [(escape(scope.title), escape(scope.description)) for scope in shown]
    return "".join(f"<li>{title}<br><span>{description}</span></li>" for title, description in lines)


def _support(address: str | None) -> str:
    if address is None:
        return ""
    return f'Questions? <a href="mailto:{escape(address)}">{escape(address)}</a>'


def _body(template: Template, settings: Settings, catalogue: Catalogue, style: str) -> bytes:
    """The template filled; every value is escaped."""
    # Claude connects from its own servers, which cannot reach a loopback URL.
    local = is_loopback(hostname(settings.mcp_resource_url))
    return template.substitute(
        service=escape(settings.service_name),
        style=style,
        url=escape(settings.mcp_resource_url),
        claude="" if local else _IN_CLAUDE,
        steps=escape(below(settings.oauth_issuer, "/connect")),
        scopes=_scope_items(catalogue),
        home=escape(below(settings.oauth_issuer, "/")),
        support=_support(settings.support_email),
    ).encode()


class ConnectPage:
    """The page, rendered once per catalogue; it holds nothing about the visitor."""

    def __init__(self, settings: Settings, catalogue: Latest[Catalogue]) -> None:
        """``settings``: what the page says besides the catalogue's scopes."""
        style = _HERE.with_name("page.css").read_text(encoding="utf-8")
        template = Template(_HERE.with_name("page.html").read_text(encoding="utf-8"))
        self._body = Kept(catalogue, lambda latest: _body(template, settings, latest, style))
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self._headers = {
            "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none';"
            " form-action 'none'; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
            "Vary": "Accept",
        }

    async def answer(self, request: Request) -> Response:
        """The page, for GET and HEAD."""
        return Response(self._body.current(), media_type="text/html", headers=self._headers)


class PageForBrowsers:
    """Shows the page to browsers that open the MCP URL; MCP clients are passed on."""

    def __init__(self, app: ASGIApp, page: ConnectPage) -> None:
        """``app``: the MCP endpoint."""
        self._app = app
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Decides by method, Accept and Authorization: mcp-remote and the SDKs also send GET, never for text/html."""
        if scope["method"] not in ("GET", "HEAD") or not _wants_page(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        answer = await self._page.answer(Request(scope))
        await answer(scope, receive, send)


def _wants_page(headers: Headers) -> bool:
    accept = headers.get("accept", "").lower()
    return "text/html" in accept and "text/event-stream" not in accept and "authorization" not in headers
