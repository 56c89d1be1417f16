"""A run of doctor: the server's own side first, then the deployment as a client sees it, then the costly checks."""

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
    """What to examine. ``url``: the MCP URL, empty to check only this machine; ``tools``: each tool's scope.

    ``survey``: the state of the backends' tools, as in ``Installation``.
    """

    url: str = ""
    email: str = ""
    token: str = field(default="", repr=False)
    tools: Mapping[str, str | None] = field(default_factory=dict)
    survey: Callable[[], Mapping[str, object]] | None = None


class Doctor:
    """Runs the checks, which change nothing. ``network``: resolves names and connects; replaced in tests."""

    def __init__(self, now: Clock, network: Network | None = None, settings: Callable[[], Settings] = load) -> None:
        self._now = now
        self._network = network
        self._settings = settings

    async def outcomes(self, case: Case, begin: Callable[[str], None]) -> AsyncIterator[Outcome]:
        """Yields each check's outcome; ``begin`` is called with the title of each check that starts.

        The inside checks are skipped if this machine is not part of the deployment: no issuer is set here.
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
        """The deployment's settings, if this machine has them, and whether it is part of the deployment."""
        try:
            settings = self._settings()
        except SettingsError:
            return None, True  # something is set, although it is invalid
        is_here = "oauth_issuer" in settings.model_fields_set
        return (settings if is_here else None), is_here
