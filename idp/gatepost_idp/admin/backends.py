"""The catalogue's backends, and how many tokens were issued for each in the last hour."""

from dataclasses import dataclass
from datetime import timedelta

from gatepost_idp.admin.acts import Acts
from gatepost_idp.catalogue import Backend, Catalogue
from gatepost_idp.catalogue import Backends as Listed
from gatepost_idp.store import exchanges

LATELY = timedelta(hours=1)
"""The period in which events are counted when the page is opened; a busy server writes thousands an hour."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A backend; ``behind``: its resource's name; ``exchanges``: tokens issued for people within LATELY."""

    backend: Backend
    behind: str
    scopes: tuple[str, ...]
    exchanges: int


class Backends:
    """The backends that the catalogue file has now."""

    def __init__(self, acts: Acts, catalogue: Catalogue, listed: Listed) -> None:
        self._acts = acts
        self._catalogue = catalogue
        self._listed = listed

    async def shown(self) -> list[Shown]:
        """Every backend, in the file's order."""
        found = self._listed.current()
        if not found:
            return []
        counts = await self._acts.see(lambda tx, now: exchanges.counted(tx, now - LATELY, now))
        return [self._shown(one, counts.get(one.name, 0)) for one in found]

    def _shown(self, backend: Backend, number: int) -> Shown:
        known = self._catalogue.find(backend.resource)
        scopes = tuple(name for name in (known.scope_names if known else ()) if name in backend.scopes)
        return Shown(backend, self._catalogue.name_of(backend.resource), scopes, number)
