"""Asks every backend for its tools, apart from the running server, and reports the state of each, for commands."""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from gatepost_resource.backends import offering
from gatepost_resource.backends.approvals import Approvals, ApprovalsUnusable
from gatepost_resource.backends.line import Line
from gatepost_resource.backends.rules import Backend
from gatepost_resource.counts import Counts
from gatepost_resource.exchange import BackendTokens
from gatepost_resource.issuer import Issuer
from gatepost_resource.settings import Settings

State = Literal["offered", "changed", "new", "unruled", "left out", "down"]


@dataclass(frozen=True, slots=True)
class Row:
    """One tool, or a backend that is down. ``tool``: its name at the backend; ``shown``: its name in our list.

    ``text``: its current definition; ``approved``: the approved one. Each is empty if there is none.
    """

    backend: str
    tool: str
    shown: str
    scope: str
    state: State
    reason: str = ""
    text: str = ""
    approved: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """``unused_rules``: (backend, pattern) of rules that match no tool. ``problem``: of TOOL_APPROVALS, or empty."""

    rows: tuple[Row, ...]
    unused_rules: tuple[tuple[str, str], ...]
    problem: str


async def survey(settings: Settings, backends: Sequence[Backend], taken: Collection[str]) -> Survey:
    """The state of every tool of ``backends``. ``taken``: the names of our own tools."""
    issuer = Issuer(settings.oauth_issuer)
    tokens = BackendTokens(issuer, settings.introspection_credentials, time.time, time.monotonic)
    lines = [Line(backend, tokens, Counts(), time.monotonic, lambda: None) for backend in backends]
    try:
        await asyncio.gather(*(line.refresh() for line in lines))
    finally:
        await asyncio.gather(*(line.aclose() for line in lines))
        await issuer.aclose()
    approved, problem = _approved(settings)
    rows = [row for line in lines for row in _rows(line, approved.get(line.backend.name, {}), taken)]
    return Survey(tuple(rows), tuple(pair for line in lines for pair in _unused(line)), problem)


def _approved(settings: Settings) -> tuple[dict[str, dict[str, str]], str]:
    try:
        return Approvals(settings.tool_approvals).read(), ""
    except ApprovalsUnusable as problem:
        return {}, str(problem)


def _unused(line: Line) -> list[tuple[str, str]]:
    names = [definition.name for definition in line.definitions]
    if not names:
        return []
    rules = line.backend.rules
    return [(line.backend.name, rule.pattern) for rule in rules if not any(rule.fits(name) for name in names)]


def _rows(line: Line, approved: dict[str, str], taken: Collection[str]) -> list[Row]:
    name = line.backend.name
    if line.problem:
        return [Row(name, "", "", "", "down", line.problem)]
    offered = offering.offer(line.backend, line.definitions, taken)
    reasons = {one.tool: one.reason for one in (*line.unfit, *offered.left_out)}
    texts = {definition.name: definition.text for definition in line.definitions}
    rows = [Row(name, tool, "", "", "left out", reason, texts.get(tool, "")) for tool, reason in reasons.items()]
    for tool, text in texts.items():
        if tool not in reasons:
            known = approved.get(tool, "")
            state = _state(tool, text, known, offered.unruled)
            scope = line.backend.scope_of(tool) or ""
            rows.append(Row(name, tool, offering.shown_name(name, tool), scope, state, "", text, known))
    return rows


def _state(tool: str, text: str, approved: str, unruled: Collection[str]) -> State:
    if approved and approved != text:
        return "changed"
    if tool in unruled:
        return "unruled"
    return "offered" if approved else "new"
