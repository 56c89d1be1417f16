"""Renders pages from templates, with an inlined stylesheet and scripts, and a Content-Security-Policy by hash."""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from gatepost_idp import assets, redirects, traces
from gatepost_idp.settings import Settings


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, as pages and mails show it: ``host`` is verified, ``name`` only what the client calls itself.

    ``vouched_by`` is the domain of the client's metadata document, which states the name; ``verified`` if answers go to
    that same domain. ``own``: this server itself asks, for its own pages, named by ``resource``.
    """

    name: str
    host: str
    local: bool
    resource: str
    vouched_by: str = ""
    verified: bool = False
    own: bool = False


def asker(client_id: str, client_name: str, redirect_uri: str, resource_name: str) -> Asker:
    """Who asks with this redirect URI. The name is cut to 40 characters, without control or bidi characters."""
    if redirect_uri.startswith("/"):
        place = "the admin pages" if redirect_uri.startswith("/admin") else "your account page"
        return Asker(name="", host="this site", local=False, resource=place, own=True)
    local, domain = redirects.is_private(redirect_uri), urlsplit(client_id if client_id.startswith("https://") else "")
    return Asker(
        name=redirects.plain_name(client_name),
        host=redirects.host_shown(redirect_uri) + (" on this computer" if redirects.is_loopback(redirect_uri) else ""),
        local=local,
        resource=resource_name,
        vouched_by=domain.netloc.lower(),
        # Many hosts publish what strangers write, so a document vouches only for redirects to its own host.
        verified=bool(domain.hostname) and not local and urlsplit(redirect_uri).hostname == domain.hostname,
    )


def date(at: datetime) -> str:
    """``at`` as a date such as ``5 March 2026``."""
    return f"{at.day} {at:%B %Y}"


class Pages:
    """Renders every page of the server."""

    def __init__(self, settings: Settings) -> None:
        templates = assets.folder("templates")
        self._environment = Environment(
            loader=FileSystemLoader(templates), autoescape=True, undefined=StrictUndefined, auto_reload=False
        )
        stylesheet = (templates / "gatepost.css").read_text(encoding="utf-8")
        if settings.accent:
            stylesheet += f"\n:root{{--accent:{settings.accent}}}\n"
        scripts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(templates.glob("*.js"))}
        self._environment.globals |= {
            "service_name": settings.service_name,
            "support_email": settings.support_email,
            "privacy_url": settings.privacy_url,
            "terms_url": settings.terms_url,
            "root": settings.root,
            "stylesheet": Markup(stylesheet),  # noqa: S704 (a file of the package, not input)
            "scripts": {name: Markup(text) for name, text in scripts.items()},  # noqa: S704 (files of the package, not input)
        }
        self._headers = {
            "content-security-policy": _policy(stylesheet, list(scripts.values())),
            "referrer-policy": "same-origin",
            "x-frame-options": "DENY",
            "x-content-type-options": "nosniff",
            "x-robots-tag": "noindex",
            "cache-control": "no-store",
        }

    def html(self, template: str, **context: Any) -> str:
        """The page as text; raises if a variable of the template is missing."""
        trace = traces.current()
        trace_id = trace.id if trace.step else ""  # other pages have no trace to look up
        return self._environment.get_template(template).render({"trace_id": trace_id, **context})

    def lost(self, lives: bool, retry_url: str) -> HTMLResponse:
        """The page for a request that this browser does not have: expired or, if it ``lives``, without its cookie."""
        if lives:
            return self.response("signin/cookies.html", 400, retry_url=retry_url)
        return self.response(
            "authorize/error.html",
            410,
            title="This took too long",
            happened="This sign-in was started more than 30 minutes ago, or the address is incomplete.",
            meaning="Nothing was done.",
            action="Go back to your app and connect again.",
            details=[],
            hint="",
            way=None,
        )

    def response(self, template: str, status: int = 200, **context: Any) -> HTMLResponse:
        """The page as a response that may not be cached or framed."""
        return HTMLResponse(self.html(template, **context), status, self._headers)


def _policy(stylesheet: str, scripts: list[str]) -> str:
    """A policy that allows only our own style and scripts, by hash (CSP Level 3 section 6.7.3)."""
    allowed = " ".join(_source(script) for script in scripts) or "'none'"
    return (
        f"default-src 'none'; style-src {_source(stylesheet)}; script-src {allowed}; connect-src 'self'; "
        "img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
