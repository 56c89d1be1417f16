"""The catalogue's backends, and how often somebody called each lately."""

from dataclasses import dataclass
from datetime import timedelta

from gatepost_idp.admin.acts import Acts
from gatepost_idp.catalogue import Backend, Catalogue
from gatepost_idp.catalogue import Backends as Listed
from gatepost_idp.store import exchanges

LATELY = timedelta(hours=1)
"""As far as the events are counted while somebody looks; a server with many connections writes thousands an hour."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A backend; ``scopes`` in the catalogue's order, ``exchanges`` the tokens for people within LATELY."""

    backend: Backend
    behind: str
    scopes: tuple[str, ...]
    exchanges: int


class Backends:
    """As the file has them at this moment."""

    def __init__(self, acts: Acts, catalogue: Catalogue, listed: Listed) -> None:
        self._acts = acts
        self._catalogue = catalogue
        self._listed = listed

    async def shown(self) -> list[Shown]:
        """Every one, in the file's order."""
        found = self._listed.current()
        if not found:
            return []
        counts = await self._acts.see(lambda tx, now: exchanges.counted(tx, now - LATELY, now))
        return [self._shown(one, counts.get(one.name, 0)) for one in found]

    def _shown(self, backend: Backend, number: int) -> Shown:
        known = self._catalogue.find(backend.resource)
        scopes = tuple(name for name in (known.scope_names if known else ()) if name in backend.scopes)
        return Shown(backend, self._catalogue.name_of(backend.resource), scopes, number)
