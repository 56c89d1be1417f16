"""The subject of the inside checks: this machine's settings, catalogue and database, which is only read."""

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
    """This machine's side. ``email``: the account to check; ``tools``: the scope that each tool needs, if any."""

    load: Callable[[], Settings]
    now: Clock
    email: str = ""
    tools: Mapping[str, str | None] = field(default_factory=dict)
    survey: Callable[[], Mapping[str, object]] | None = None
    """The output of ``gatepost tools list --json``, or ``refused`` and why; runs another program, for seconds."""
    database: Database | None = None
    """A running server's database; if None, one is opened at the first read."""
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
        """The state of the backends' tools; None if there is no backend or no ``survey``."""
        try:
            backends = Backends(self.settings, self.catalogue).current()
        except SettingsError:
            return None  # reported by another check
        if self.survey is None or not backends:
            return None
        return await asyncio.to_thread(self.survey)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Reads from the database; raises DatabaseUnavailable, also if it does not answer in time."""
        database = self.database or self._opened
        if database is None:
            database = self._opened = Database(_bounded(self.settings))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS * 2):
                return await database.read(work)
        except TimeoutError:
            raise DatabaseUnavailable("it does not answer in time") from None

    def close(self) -> None:
        """Closes the database if it was opened here."""
        if self._opened is not None:
            self._opened.close()


def _bounded(settings: Settings) -> str:
    """The database's URL with a connect timeout, since a thread that waits for the network cannot be cancelled."""
    url = settings.database_url
    if settings.is_sqlite or "connect_timeout" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}connect_timeout={PATIENCE_SECONDS}"
