"""What the routes below /admin share; they admit only people who hold the admin role at that moment."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from gatepost_idp.admin.acts import Act, Acts, not_theirs
from gatepost_idp.admin.backends import Backends
from gatepost_idp.admin.clients import Clients
from gatepost_idp.admin.connections import Connections
from gatepost_idp.admin.events import Events
from gatepost_idp.admin.figures import Figures
from gatepost_idp.admin.people import People
from gatepost_idp.admin.state import Health
from gatepost_idp.catalogue import Catalogue
from gatepost_idp.clients import metadata_document
from gatepost_idp.database import Database
from gatepost_idp.pages import Pages
from gatepost_idp.protocol import Clock
from gatepost_idp.settings import Settings
from gatepost_idp.signin.guests import Guest, OwnPages
from gatepost_idp.store import people
from gatepost_idp.visitors import Visitors

ADMIN = "/admin"
SECTIONS = (
    ("", "Overview"),
    ("/people", "People"),
    ("/clients", "Clients"),
    ("/connections", "Connections"),
    ("/backends", "Backends"),
    ("/audit", "Audit log"),
    ("/state", "State"),
)
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps that the routes call."""

    people: People
    clients: Clients
    connections: Connections
    backends: Backends
    events: Events
    figures: Figures
    health: Health


class AdminPages(OwnPages):
    """OwnPages for administrators, with the steps of the admin pages."""

    def __init__(
        self,
        steps: Steps,
        acts: Acts,
        database: Database,
        pages: Pages,
        visitors: Visitors,
        settings: Settings,
        catalogue: Catalogue,
        clock: Clock,
    ) -> None:
        super().__init__(database, pages, visitors, settings, catalogue, clock)
        self.steps = steps
        self._acts = acts

    async def admit(self, guest: Guest) -> None:
        """Raises PageProblem unless the person is an administrator; checked at every request."""
        person = guest.person
        if not await self._acts.see(lambda tx, _now: people.is_admin(tx, person.account_id)):
            raise not_theirs(person.email, self.visitors.csrf(guest.visitor))

    def show(self, guest: Guest, section: str, template: str, status: int = 200, **context: Any) -> Response:
        """A page of a section, with links to the other sections."""
        sections = [(self.url(f"{ADMIN}{path}"), name, path == section) for path, name in SECTIONS]
        session = (guest.visitor.session_hash or b"").hex()
        return self.page(
            guest, f"admin/{template}.html", status, sections=sections, url=self.url(ADMIN), session=session, **context
        )

    def more(self, path: str, following: str, **query: str) -> str:
        """The URL of a list's next page; empty if there is none."""
        given = {name: value for name, value in query.items() if value}
        return f"{self.url(path)}?{urlencode({**given, 'start': following})}" if following else ""


def act_of(guest: Guest) -> Act:
    """The guest as an acting administrator, for the audit log."""
    return Act(guest.person, guest.source)


def place_of(path: str, row_id: str) -> str:
    """``path`` with ``row_id`` if that is a plain id, else the list's path: a sign-in must not end at foreign text."""
    return f"{path}{row_id}" if _PLAIN_ID.fullmatch(row_id) else path.partition("?")[0].removesuffix("/one").rstrip("/")


def page_of_client(client_id: str, row: str) -> str:
    """The id of a connection's client in the admin pages: the URL of its document, else its row."""
    return client_id if metadata_document.is_url(client_id) else row


def moment(at: datetime) -> str:
    """``at`` in UTC, such as ``2026-03-05 14:02``."""
    return f"{at:%Y-%m-%d %H:%M}"
