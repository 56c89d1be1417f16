"""Which tools of a backend's list are shown, under which name, and why the others are not."""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcp.shared.inbound import find_invalid_x_mcp_header
from mcp_types import Tool
from pydantic import ValidationError

from gatepost_resource.backends.arguments import remote_references
from gatepost_resource.backends.rules import Backend
from gatepost_resource.tools import Origin, ToolEntry

MAX_NAME = 64
MAX_DEFINITION_BYTES = 64 * 1024
_OUTSIDE = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(frozen=True, slots=True)
class Definition:
    """A backend's definition of a tool. ``text``: all of it as canonical JSON, which is what is approved."""

    name: str
    tool: Tool = field(compare=False)
    text: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A tool that is shown to nobody, and why, in one line that names it."""

    tool: str
    reason: str


@dataclass(frozen=True, slots=True)
class Offering:
    """What one backend's list gives: entries for the table, tools that no rule names, tools that cannot be shown."""

    entries: tuple[ToolEntry, ...] = ()
    unruled: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def read(listed: Sequence[Mapping[str, Any]]) -> tuple[list[Definition], list[LeftOut]]:
    """The valid definitions in a backend's raw list, and the entries that are not valid."""
    found: list[Definition] = []
    unfit: list[LeftOut] = []
    for entry in listed:
        name = str(entry.get("name", ""))[:MAX_DEFINITION_BYTES]
        try:
            found.append(_definition(name, entry))
        except ValueError as problem:
            unfit.append(LeftOut(name, str(problem)))
    return found, unfit


def _definition(name: str, entry: Mapping[str, Any]) -> Definition:
    try:
        tool = Tool.model_validate(entry)
    except ValidationError:
        raise ValueError(f"{name!r} is not described as MCP describes a tool") from None
    said = tool.model_dump(by_alias=True, mode="json", exclude_none=True)
    text = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    if len(text) > MAX_DEFINITION_BYTES:
        raise ValueError(f"{name!r} is described in more than {MAX_DEFINITION_BYTES} characters")
    if target := next(remote_references([tool.input_schema, tool.output_schema]), None):
        raise ValueError(f"the schema of {name!r} refers to {target[:100]!r}, which is never fetched")
    if problem := find_invalid_x_mcp_header(tool.input_schema):
        raise ValueError(f"the schema of {name!r}: {problem}")
    return Definition(name, tool, text)


def offer(backend: Backend, definitions: Sequence[Definition], taken: Collection[str]) -> Offering:
    """One backend's part of the table, in the backend's order. ``taken``: our own tools' names, which stay ours."""
    shown: dict[str, list[Definition]] = defaultdict(list)
    for definition in definitions:
        shown[shown_name(backend.name, definition.name)].append(definition)
    entries, unruled, left_out = [], [], []
    for name, claimants in shown.items():
        if problem := _problem(name, claimants, taken):
            left_out += [LeftOut(one.name, problem) for one in claimants]
            continue
        scope = backend.scope_of(claimants[0].name)
        if scope is None:
            unruled.append(claimants[0].name)
            continue
        entries.append(_entry(backend, name, scope, claimants[0]))
    return Offering(tuple(entries), tuple(unruled), tuple(left_out))


def shown_name(backend: str, tool: str) -> str:
    """The name under which a tool is listed; only the table maps it back."""
    return f"{backend}_{_OUTSIDE.sub('_', tool)}"


def _problem(name: str, claimants: Sequence[Definition], taken: Collection[str]) -> str | None:
    """Why no tool gets that name, or None; of two claimants neither does, for a caller could not tell them apart."""
    if len(claimants) > 1:
        return f"{' and '.join(sorted(repr(one.name) for one in claimants))} would both be {name}"
    if name in taken:
        return f"{claimants[0].name!r} would be {name}, which is a tool of this server's own"
    if len(name) > MAX_NAME or not claimants[0].name:
        return f"{claimants[0].name!r} would be {name}, which is longer than {MAX_NAME} characters"
    return None


def _entry(backend: Backend, name: str, scope: str, definition: Definition) -> ToolEntry:
    tool = definition.tool
    annotated = tool.annotations.title if tool.annotations else None
    origin = Origin(backend.name, definition.name, tool.model_copy(update={"name": name}))
    return ToolEntry(name, scope, tool.title or annotated or name, tool.description or "", origin)
