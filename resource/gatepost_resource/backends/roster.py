"""Keeps the table of tools current: rereads the operator's files when they change, and asks the backends for lists."""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING

import structlog
from mcp_types import CallToolResult

from gatepost_resource import catalogue as catalogues
from gatepost_resource.backends.call import Call, NotDone
from gatepost_resource.backends.rules import Backend
from gatepost_resource.backends.watched import POLL_SECONDS, Watched
from gatepost_resource.catalogue import Catalogue
from gatepost_resource.chores import steadily
from gatepost_resource.counts import Counts
from gatepost_resource.exchange import BackendTokens
from gatepost_resource.latest import Latest
from gatepost_resource.settings import Settings, SettingsError, explain
from gatepost_resource.tools import Absent, Toolbox, ToolEntry

if TYPE_CHECKING:
    from gatepost_resource.backends.line import Line
    from gatepost_resource.backends.vetting import Standing, Vetting

log = structlog.get_logger("gatepost_resource.backends")

READY_SECONDS = 5.0
"""How long the start waits for the first lists; a slower backend is added later."""
GATHER_SECONDS = 0.05


class Roster:
    """The current backends, and the one table of their tools and ours.

    The code that talks to backends is imported only if there is one: a server without any pays nothing for it.
    """

    def __init__(
        self,
        settings: Settings,
        ours: Collection[ToolEntry],
        catalogue: Latest[Catalogue],
        tools: Latest[Toolbox],
        tokens: BackendTokens,
        counts: Counts,
        monotonic: Callable[[], float],
    ) -> None:
        """``ours``: the entries that every table begins with. ``monotonic``: seconds, from any origin.

        Raises SettingsError if there are backends but no credentials to get tokens for them.
        """
        self._settings = settings
        self._ours = tuple(ours)
        self._catalogue = catalogue
        self._tools = tools
        self._news = asyncio.Event()
        self._make = partial(_line, tokens, counts, monotonic, self._news.set)
        self._lines: dict[str, Line] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._file = Watched(settings.catalogue) if settings.catalogue else None
        # Here, not while serving, when reading the file would block the event loop.
        self._vetting: Vetting | None = _vetting(settings) if catalogue.current().backends else None
        self._put_together = asyncio.Event()
        self.problem = ""
        _check(catalogue.current(), settings)

    @property
    def approvals_problem(self) -> str:
        """What is wrong with TOOL_APPROVALS; empty if nothing is."""
        return self._vetting.problem if self._vetting else ""

    @property
    def standings(self) -> "list[Standing]":
        """The state of every backend, in the catalogue's order."""
        vetted = self._vetting
        return [vetted.standing(line) for line in self._lines.values()] if vetted else []

    async def run(self) -> None:
        """Keeps the table current until cancelled."""
        try:
            await steadily("backends", self._keep)
        finally:
            await self._stop(self._lines.keys())

    async def _keep(self) -> None:
        await self._follow()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._news.wait()
                    await asyncio.sleep(GATHER_SECONDS)  # at a start many backends answer at once: one table for all
            try:
                await self._look()
            except Exception:
                self._news.set()  # what was new is not in the table yet
                raise

    async def ready(self) -> None:
        """Returns when every backend was asked once, or after READY_SECONDS."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                await self._put_together.wait()

    async def call(self, call: Call) -> CallToolResult:
        """Passes a call on to its backend; raises NotDone and MCPError."""
        line = self._lines.get(call.origin.backend)
        if line is None:  # the backend is being stopped, but its tools are still in the table
            what = "is being removed or replaced. List the tools again in a moment."
            raise NotDone(f"{call.origin.backend}, the server behind this tool, {what}")
        return await line.call(call)

    async def _look(self) -> None:
        """Brings what changed since the last look into the table. Files are read in threads: a disk may hang."""
        anew = self._news.is_set()
        self._news.clear()
        if self._file is not None and await asyncio.to_thread(self._file.changed):
            await self._read_catalogue()
            await self._follow()
            anew = True
        if self._vetting is not None and (await asyncio.to_thread(self._vetting.look) or anew):
            await self._build(self._vetting)

    async def _read_catalogue(self) -> None:
        settings = self._settings
        try:
            catalogue = await asyncio.to_thread(catalogues.load, settings.catalogue, settings.mcp_resource_url)
            _check(catalogue, settings)
        except SettingsError as problem:
            self.problem = str(problem)
            log.error("catalogue_kept", reason=self.problem, setting="CATALOGUE")  # noqa: TRY400 (the reason says it)
            return
        self.problem = ""
        self._catalogue.replace(catalogue)
        log.info("catalogue_read", scopes=len(catalogue.scopes), backends=len(catalogue.backends))

    async def _follow(self) -> None:
        """Keeps a line per backend of the catalogue, in its order; a backend with a new URL gets a new line."""
        wanted = {backend.name: backend for backend in self._catalogue.current().backends}
        await self._stop([n for n, line in self._lines.items() if n not in wanted or line.backend.url != wanted[n].url])
        lines = {name: self._lines.get(name) or self._make(backend) for name, backend in wanted.items()}
        for name, line in lines.items():
            line.backend = wanted[name]
            if name not in self._tasks:
                self._tasks[name] = asyncio.create_task(line.keep_fresh())
        self._lines = lines
        if self._vetting is None and lines:
            self._vetting = await asyncio.to_thread(_vetting, self._settings)
        if not lines:
            self._put_together.set()

    async def _stop(self, names: Collection[str]) -> None:
        tasks = [self._tasks.pop(name) for name in list(names) if name in self._tasks]
        for name in list(names):
            del self._lines[name]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _build(self, vetting: "Vetting") -> None:
        lines = list(self._lines.values())
        taken = {entry.name for entry in self._ours}
        offerings = [await vetting.offering(line, taken) for line in lines]
        absent = [Absent(line.backend.name, line.backend.scopes) for line in lines if line.problem]
        entries = [*self._ours, *(entry for offering in offerings for entry in offering.entries)]
        self._tools.replace(Toolbox(entries, absent))
        if all(line.asked.is_set() for line in lines):
            self._put_together.set()


def _check(catalogue: Catalogue, settings: Settings) -> None:
    if catalogue.backends and settings.introspection_credentials is None:
        problem = "is not set, but the catalogue has a [[backend]]: its tokens are obtained with these credentials"
        raise SettingsError(explain("INTROSPECTION_CLIENT_ID", problem))


def _line(
    tokens: BackendTokens,
    counts: Counts,
    monotonic: Callable[[], float],
    changed: Callable[[], None],
    backend: Backend,
) -> "Line":
    """Imported for the first backend (jsonschema, httptools): a start without one does not pay its 30 ms."""
    from gatepost_resource.backends.line import Line  # noqa: PLC0415 (why: the line above)

    return Line(backend, tokens, counts, monotonic, changed)


def _vetting(settings: Settings) -> "Vetting":
    """Imported for the first backend, like ``_line``."""
    from gatepost_resource.backends.vetting import Vetting  # noqa: PLC0415 (why: the line above)

    return Vetting(settings.tool_approvals, settings.tool_changes)
