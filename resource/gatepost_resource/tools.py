"""The one table of tools and the scope each needs; the list, the call, step-up and whoami all read it."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from mcp_types import Tool

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """A tool as its caller sees it. ``scope``: None if any valid token will do. ``origin``: None for our own."""

    name: str
    scope: str | None
    title: str
    description: str
    origin: "Origin | None" = None

    def __post_init__(self) -> None:
        """Raises ValueError for a name that some client would refuse."""
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a tool's name must match {_NAME.pattern}: {self.name!r}")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Origin:
    """Where a call of the tool goes: the backend, the tool's name there, and the tool as our list shows it.

    Compared by identity, so that caches can be keyed by it.
    """

    backend: str
    name: str
    shown: Tool


@dataclass(frozen=True, slots=True)
class Absent:
    """A backend that is down. ``scopes``: those of its rules; only callers with one of them are told."""

    name: str
    scopes: frozenset[str]


class Toolbox:
    """An immutable table of tools. A tool that is not in it does not exist.

    A change of backends, rules or approvals makes a new table (``latest``).
    """

    def __init__(self, entries: Collection[ToolEntry], absent: Collection[Absent] = ()) -> None:
        """``entries``: in the order of ``tools/list``. ``absent``: the backends that are down."""
        self.entries = tuple(entries)
        self._absent = tuple(absent)
        self._by_name = {entry.name: entry for entry in self.entries}
        self.scopes = frozenset(entry.scope for entry in self.entries if entry.scope is not None)

    def find(self, name: str) -> ToolEntry | None:
        """The entry of that name, hidden or not."""
        return self._by_name.get(name)

    def missing(self, name: str, scopes: Collection[str]) -> str | None:
        """The scope that a call of this tool still needs; None when it needs none or is no tool."""
        entry = self._by_name.get(name)
        if entry is None or entry.scope is None or entry.scope in scopes:
            return None
        return entry.scope

    def absent(self, scopes: Collection[str]) -> tuple[str, ...]:
        """The names of the backends that are down and have tools that these scopes could call."""
        return tuple(one.name for one in self._absent if not one.scopes.isdisjoint(scopes))

    def visible(self, scopes: Collection[str]) -> tuple[ToolEntry, ...]:
        """The tools that these scopes may call."""
        return tuple(entry for entry in self.entries if self.missing(entry.name, scopes) is None)

    def hidden(self, scopes: Collection[str]) -> tuple[ToolEntry, ...]:
        """The tools that these scopes may not call."""
        return tuple(entry for entry in self.entries if self.missing(entry.name, scopes) is not None)


BUILTINS = (
    ToolEntry(
        "whoami",
        None,
        "Who am I",
        "Says who is signed in, which client and scopes the access token has, when it expires, and which"
        " tools are hidden, each with the scope that it needs.",
    ),
    ToolEntry(
        "request_access",
        None,
        "Request access",
        "Gives the link where the person can allow more tools, or ask the operator for them. Use it when"
        " a tool is hidden or refused.",
    ),
)
DEMO = (
    ToolEntry(
        "demo_get_help",
        "demo:read",
        "Get help",
        "Says what this server is for and which of its tools you may use.",
    ),
    ToolEntry("demo_get_time", "demo:read", "Get the time", "Gives the server's time, in UTC."),
    ToolEntry("demo_echo", "demo:echo", "Echo a text", "Sends back the text it is given, unchanged."),
    ToolEntry(
        "demo_get_server_info",
        "demo:ops",
        "Get server information",
        "Gives the server's version, its addresses and how long it has been running.",
    ),
)
OURS = BUILTINS + DEMO
