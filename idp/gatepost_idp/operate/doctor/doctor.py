"""Puts the checks of a run in order: first what the servers themselves stand on, then as a client sees it."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from gatepost_idp.operate.doctor import inside, outside
from gatepost_idp.operate.doctor.examination import examine
from gatepost_idp.operate.doctor.finding import Outcome
from gatepost_idp.operate.doctor.inside.installation import Installation
from gatepost_idp.operate.doctor.outside.network import Internet, Network
from gatepost_idp.operate.doctor.outside.visit import Visit
from gatepost_idp.operate.doctor.outside.wire import Wire
from gatepost_idp.protocol import Clock
from gatepost_idp.settings import Settings, SettingsError, load


@dataclass(frozen=True)
class Case:
    """What to look at. ``url``: what people paste, empty for this machine alone; ``tools``: tool to scope.

    ``survey``: what becomes of the backends' tools, as ``Installation`` says.
    """

    url: str = ""
    email: str = ""
    token: str = field(default="", repr=False)
    tools: Mapping[str, str | None] = field(default_factory=dict)
    survey: Callable[[], Mapping[str, object]] | None = None


class Doctor:
    """A run changes nothing. ``network`` is where names and connections come from."""

    def __init__(self, now: Clock, network: Network | None = None, settings: Callable[[], Settings] = load) -> None:
        self._now = now
        self._network = network
        self._settings = settings

    async def outcomes(self, case: Case, begin: Callable[[str], None]) -> AsyncIterator[Outcome]:
        """Each outcome as it comes; ``begin`` is told what is being looked at.

        This machine's side is left out where it is none of the deployment's: no issuer is set here.
        """
        configured, is_here = self._configured()
        looks_inside = is_here or not case.url or bool(case.email)
        installation = Installation(self._settings, self._now, case.email, case.tools, case.survey)
        lost: dict[str, str] = {}
        try:
            async for outcome in examine(inside.CHEAP if looks_inside else (), installation, begin, lost):
                yield outcome
            async for outcome in self._outside(case, configured, begin):
                yield outcome
            async for outcome in examine(inside.REST if looks_inside else (), installation, begin, lost):
                yield outcome
        finally:
            installation.close()

    async def _outside(
        self, case: Case, configured: Settings | None, begin: Callable[[str], None]
    ) -> AsyncIterator[Outcome]:
        if not case.url:
            return
        network = self._network or Internet()
        wire = Wire(network)
        visit = Visit(case.url, network, wire, self._now, configured, case.token)
        try:
            async for outcome in examine(outside.CHECKS, visit, begin):
                yield outcome
        finally:
            await wire.aclose()

    def _configured(self) -> tuple[Settings | None, bool]:
        """The deployment's settings where this machine has them, and whether it is a part of the deployment."""
        try:
            settings = self._settings()
        except SettingsError:
            return None, True  # somebody set something
        is_here = "oauth_issuer" in settings.model_fields_set
        return (settings if is_here else None), is_here
