"""What the inside checks look at: the settings as loaded or refused, and the database, read and never written."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from gatepost_idp import catalogue as catalogues
from gatepost_idp.catalogue import Backends, Catalogue
from gatepost_idp.database import Database
from gatepost_idp.protocol import Clock
from gatepost_idp.settings import Settings, SettingsError
from gatepost_idp.transaction import DatabaseUnavailable, Transaction

T = TypeVar("T")
PATIENCE_SECONDS = 10


@dataclass
class Installation:
    """This machine's side. ``email``: whose account to look at; ``tools``: the scope that each tool needs, if any."""

    load: Callable[[], Settings]
    now: Clock
    email: str = ""
    tools: Mapping[str, str | None] = field(default_factory=dict)
    survey: Callable[[], Mapping[str, object]] | None = None
    """What ``gatepost tools list --json`` says, or ``refused`` and why; it is another program, which takes seconds."""
    database: Database | None = None
    """A server's own; without it one is opened at the first question."""
    _opened: Database | None = None

    @cached_property
    def settings(self) -> Settings:
        """The settings; raises SettingsError, which the first check reports."""
        return self.load()

    @cached_property
    def catalogue(self) -> Catalogue:
        """The catalogue; raises SettingsError, which its check reports."""
        return catalogues.load(self.settings)

    async def backend_tools(self) -> Mapping[str, object] | None:
        """What becomes of the backends' tools; None where there is no backend, or nobody to ask."""
        try:
            backends = Backends(self.settings, self.catalogue).current()
        except SettingsError:
            return None  # a check of its own says so
        if self.survey is None or not backends:
            return None
        return await asyncio.to_thread(self.survey)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Asks the database; raises DatabaseUnavailable, also where it does not answer in time."""
        database = self.database or self._opened
        if database is None:
            database = self._opened = Database(_bounded(self.settings))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS * 2):
                return await database.read(work)
        except TimeoutError:
            raise DatabaseUnavailable("it does not answer in time") from None

    def close(self) -> None:
        """Closes what was opened here."""
        if self._opened is not None:
            self._opened.close()


def _bounded(settings: Settings) -> str:
    """The database's URL with an end to the waiting: a thread that waits for a network cannot be called back."""
    url = settings.database_url
    if settings.is_sqlite or "connect_timeout" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}connect_timeout={PATIENCE_SECONDS}"
