"""Decides which tools of a list may be offered, by comparing them with what was approved."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from gatepost_resource.backends import approvals
from gatepost_resource.backends.approvals import Approvals, ApprovalsUnusable, Judgement, judge
from gatepost_resource.backends.line import Line
from gatepost_resource.backends.offering import Definition, LeftOut, Offering, offer
from gatepost_resource.backends.rules import Backend
from gatepost_resource.backends.watched import Watched

log = structlog.get_logger("gatepost_resource.backends")

MAX_NAMED = 20

State = tuple[Backend | None, tuple[Definition, ...], int]


@dataclass(frozen=True, slots=True)
class Standing:
    """The current state of one backend, for the operator.

    ``changed``: tools that differ from what was approved. ``unapproved``: new ones that could not be recorded.
    ``left_out``: tools that cannot be shown. ``unused_rules``: patterns that match no tool of its list.
    """

    name: str
    url: str
    problem: str
    circuit: str
    offered: int
    unruled: tuple[str, ...]
    changed: tuple[str, ...]
    unapproved: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    unused_rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Vetted:
    """The result for one state, ``of``, whose backend and list are compared by identity."""

    of: State
    offering: Offering
    changed: tuple[str, ...]
    first: tuple[str, ...]


class Vetting:
    """Compares each list with TOOL_APPROVALS. A tool seen for the first time is approved, and logged."""

    def __init__(self, path: Path, changes: Literal["report", "block"]) -> None:
        """``changes``: TOOL_CHANGES."""
        self.file = Watched(path)
        self.problem = ""
        self._approvals = Approvals(path)
        self._blocks = changes == "block"
        self._known: dict[str, dict[str, str]] = {}
        self._generation = 0
        self._vetted: dict[str, _Vetted] = {}
        self._told: set[tuple[str, str, str]] = set()
        self.read()

    def look(self) -> bool:
        """Whether the file changed; if so, it is read again."""
        if not self.file.changed():
            return False
        self.read()
        return True

    def read(self) -> None:
        """Reads the file; if that fails, what it said before stays in force."""
        try:
            self._known = self._approvals.read()
            self.problem = ""
        except ApprovalsUnusable as problem:
            self._wrong(problem)
        self._generation += 1

    async def offering(self, line: Line, taken: Collection[str]) -> Offering:
        """One backend's part of the table; ``taken``: the names of our own tools."""
        known = self._vetted.get(line.backend.name)
        if known and _same(known.of, (line.backend, line.definitions, self._generation)):
            return known.offering
        seen = {definition.name: definition.text for definition in line.definitions}
        judgement = await self._judged(line.backend.name, seen)
        self._tell(line.backend.name, judgement)
        withheld = {*judgement.first, *judgement.changed} if self._blocks else set()
        offered = offer(line.backend, [one for one in line.definitions if one.name not in withheld], taken)
        of = line.backend, line.definitions, self._generation
        self._vetted[line.backend.name] = _Vetted(of, offered, tuple(judgement.changed), judgement.first)
        return offered

    def standing(self, line: Line) -> Standing:
        """The current state of a backend."""
        vetted = self._vetted.get(line.backend.name, _NOTHING)
        names = [definition.name for definition in line.definitions]
        unused = [rule.pattern for rule in line.backend.rules if not any(rule.fits(name) for name in names)]
        return Standing(
            name=line.backend.name,
            url=line.backend.url,
            problem=line.problem,
            circuit=line.circuit.state,
            offered=len(vetted.offering.entries),
            unruled=vetted.offering.unruled,
            changed=vetted.changed,
            unapproved=vetted.first,
            left_out=line.unfit + vetted.offering.left_out,
            unused_rules=tuple(unused) if names else (),
        )

    async def _judged(self, backend: str, seen: dict[str, str]) -> Judgement:
        judgement = judge(self._known.get(backend, {}), seen)
        if not judgement.first:
            return judgement
        first = {tool: seen[tool] for tool in judgement.first}
        try:
            await asyncio.to_thread(self._approvals.add, {backend: first}, only_new=True)
            await asyncio.to_thread(self.look)
        except ApprovalsUnusable as problem:
            self._wrong(problem)
            if self._blocks:
                return judgement  # at the next start they would count as new again, whatever they say by then
            if sum(map(len, self._known.values())) + len(first) > approvals.MAX_TOOLS:
                return judgement  # a backend that invents names without end
            self._known.setdefault(backend, {}).update(first)
        named = [*judgement.first[:MAX_NAMED], *(["…"] if len(first) > MAX_NAMED else [])]
        log.warning("tools_approved_at_first_sight", backend=backend, number=len(first), tools=named)
        return judge(self._known.get(backend, {}), seen)

    def _tell(self, backend: str, judgement: Judgement) -> None:
        for tool, text in judgement.changed.items():
            if (backend, tool, text) not in self._told:
                self._told.add((backend, tool, text))
                hint = f"see `gatepost tools list`, then `gatepost tools accept {backend}/{tool}`"
                log.warning("tool_changed", backend=backend, tool=tool, hidden=self._blocks, hint=hint)

    def _wrong(self, problem: ApprovalsUnusable) -> None:
        if str(problem) != self.problem:
            log.warning("approvals_not_used", reason=str(problem), setting="TOOL_APPROVALS")
        self.problem = str(problem)


_NOTHING = _Vetted((None, (), 0), Offering(), (), ())


def _same(one: State, other: State) -> bool:
    """Whether these are the same backend and list objects, and the same reading of the approvals."""
    return one[0] is other[0] and one[1] is other[1] and one[2] == other[2]
