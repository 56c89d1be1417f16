"""Checks the state of each backend's tools, as reported by the resource server's command on this machine."""

from collections.abc import Iterator, Mapping

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.inside.installation import Installation

MAX_NAMED = 5

TOOLS_NOT_LISTED = Fault(
    "tools-not-listed",
    "The catalogue's backends cannot be checked from here.",
    "the resource server's settings in doctor's environment",
    "INTROSPECTION_CLIENT_ID",
    "gatepost tools list",
    "information",
)
BACKEND_UNREACHABLE = Fault(
    "backend-unreachable",
    "Connected, but all tools of one backend are missing; whoami names it as unreachable; the log says backend_down.",
    "an MCP server that answers at the backend's url, from where the resource server runs, and accepts its token",
    "CATALOGUE",
    'url = "https://crm.internal.example/mcp"',
)
TOOL_UNRULED = Fault(
    "tool-unruled",
    "A backend's tool is shown to nobody.",
    "a line for it in [backend.tools], by name or pattern, if it should be used",
    "CATALOGUE",
    '"find_*" = "crm:read"',
    "information",
)
TOOL_LEFT_OUT = Fault(
    "tool-left-out",
    "A backend's tool is missing although a rule names it.",
    "a unique name, at most 64 characters long with the backend's, and a schema that refers to no other address",
    "CATALOGUE",
    "another `name` for the [[backend]], or for the tool at the backend",
    "warning",
)
TOOL_CHANGED = Fault(
    "tool-changed",
    "A tool is not what it was, or is hidden by TOOL_CHANGES=block; the log says tool_changed.",
    "the tool as approved, or your approval of the tool as it is now",
    "gatepost tools accept",
    "gatepost tools list, then gatepost tools accept crm/find_person",
    "warning",
)
RULE_FITS_NOTHING = Fault(
    "rule-fits-nothing",
    "A tool that should be shown is not: its rule is misspelt, or the backend renamed it.",
    "the tool's name as the backend lists it, or a pattern that matches it",
    "CATALOGUE",
    '"find_*" = "crm:read"',
    "warning",
)
APPROVALS_UNUSABLE = Fault(
    "approvals-unusable",
    "Changed tools pass unnoticed, or with TOOL_CHANGES=block no new tool is shown; the log says approvals_not_used.",
    "a file that the resource server can read and write, and that nobody else changes",
    "TOOL_APPROVALS",
    "TOOL_APPROVALS=/var/lib/gatepost/approved-tools.json",
    "warning",
)
_OF_STATES = {
    "down": BACKEND_UNREACHABLE, "unruled": TOOL_UNRULED, "left out": TOOL_LEFT_OUT, "changed": TOOL_CHANGED,
}  # fmt: skip  # a table


async def _tools(installation: Installation) -> list[Finding]:
    told = await installation.backend_tools()
    if told is None:
        return []
    if "refused" in told:
        return [TOOLS_NOT_LISTED.seen(str(told["refused"]))]
    return list(_findings(told))


def _findings(told: Mapping[str, object]) -> Iterator[Finding]:
    """One finding per backend and state, not per tool, since a backend may have a thousand tools."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in _rows(told, "tools"):
        name = row["reason"] if row["state"] in ("down", "left out") else row["tool"]
        found.setdefault((row["state"], row["backend"]), []).append(name)
    for (state, backend), names in found.items():
        if state in _OF_STATES:
            yield _OF_STATES[state].seen(f"{backend}: {_some(names)}")
    for row in _rows(told, "unused_rules"):
        yield RULE_FITS_NOTHING.seen(f"{row['backend']}: {row['rule']!r} matches none of its tools")
    if told.get("problem"):
        yield APPROVALS_UNUSABLE.seen(str(told["problem"]))


def _rows(told: Mapping[str, object], name: str) -> list[dict[str, str]]:
    rows = told.get(name, [])
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


BACKEND_TOOLS = Check(
    "backend-tools",
    "Tools of the backends",
    _tools,
    (TOOLS_NOT_LISTED, *_OF_STATES.values(), RULE_FITS_NOTHING, APPROVALS_UNUSABLE),
    ("catalogue",),  # not "backends": credentials may be set where doctor runs, although this database has none
)
