"""The mailbox of ``demo``: an SMTP server on loopback, and pages that show the mail that arrived."""

import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gatepost_idp import crypto
from gatepost_idp.operate.hosts import OwnNames
from gatepost_idp.pages import Pages
from gatepost_idp.protocol import system_clock

KEPT = 200
_LINK = re.compile(r"https?://[^\s<>\"]+")
_MAIL_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A mail in the mailbox."""

    id: str
    to: str
    message: EmailMessage
    at: datetime

    @property
    def subject(self) -> str:
        """The subject line."""
        return str(self.message["Subject"] or "(no subject)")

    @property
    def received(self) -> str:
        """The time of arrival, as text."""
        return f"{self.at:%H:%M:%S} UTC"

    @property
    def from_(self) -> str:
        """The sender."""
        return str(self.message["From"] or "")

    def body(self, kind: str) -> str:
        """The ``plain`` or ``html`` part, empty if there is none."""
        part = self.message.get_body((kind,))
        return str(part.get_content()) if part is not None else ""

    @property
    def parts(self) -> list[tuple[str, str]]:
        """The plain text, split into pairs of kind (``text`` or ``link``) and text."""
        text = self.body("plain")
        found, start = [], 0
        for match in _LINK.finditer(text):
            found += [("text", text[start : match.start()]), ("link", match.group())]
            start = match.end()
        return [*found, ("text", text[start:])]

    @property
    def has_html(self) -> bool:
        """Whether it has an HTML part."""
        return bool(self.body("html"))

    @property
    def html_url(self) -> str:
        """The path of the HTML part, for the frame."""
        return f"/messages/{self.id}/html"


class Mailbox:
    """Accepts mail for any address, keeps the newest KEPT in memory, and relays nothing."""

    def __init__(self, pages: Pages, smtp_port: int) -> None:
        self._pages = pages
        self._arrived: deque[Arrived] = deque(maxlen=KEPT)
        self._smtp = Controller(self, hostname="127.0.0.1", port=smtp_port)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        """Stores a received mail, once for each recipient."""
        message = message_from_bytes(bytes(envelope.original_content or b""), policy=policy.default)
        for recipient in envelope.rcpt_tos:
            self._arrived.appendleft(Arrived(crypto.random_id(8), recipient, message, system_clock()))
        return "250 Message accepted for delivery"

    def application(self) -> ASGIApp:
        """The pages, for this machine only; their lifespan starts and stops the SMTP server."""

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            self._smtp.start()
            try:
                yield
            finally:
                self._smtp.stop()

        routes = [
            Route("/", self._list),
            Route("/messages/{id}", self._show),
            Route("/messages/{id}/html", self._show_html),
        ]
        return OwnNames(Starlette(lifespan=lifespan, routes=routes))

    async def _list(self, _request: Request) -> Response:
        return self._pages.response("mailbox/list.html", messages=list(self._arrived))

    async def _show(self, request: Request) -> Response:
        response = self._pages.response("mailbox/message.html", message=self._find(request))
        response.headers["content-security-policy"] += "; frame-src 'self'"
        return response

    async def _show_html(self, request: Request) -> Response:
        return HTMLResponse(self._find(request).body("html"), headers={"content-security-policy": _MAIL_POLICY})

    def _find(self, request: Request) -> Arrived:
        wanted = request.path_params["id"]
        for arrived in self._arrived:
            if arrived.id == wanted:
                return arrived
        raise HTTPException(404)
