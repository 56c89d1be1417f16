"""The catalogue's ``[[backend]]`` tables: the MCP servers behind this one, and the scope each tool needs."""

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

DEFAULT_SECONDS = 30.0
MAX_SECONDS = 600.0
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_MEMBERS = frozenset({"name", "url", "resource", "timeout", "tools"})


@dataclass(frozen=True, slots=True)
class Rule:
    """The scope of the tools whose name matches ``pattern``, in which ``*`` and ``?`` are wildcards."""

    pattern: str
    scope: str

    def fits(self, tool: str) -> bool:
        """Whether it matches a tool's name at the backend."""
        return tool == self.pattern or fnmatchcase(tool, self.pattern)


@dataclass(frozen=True, slots=True)
class Backend:
    """An MCP server behind this one. ``url``: also the audience of its tokens, byte for byte. ``timeout``: seconds."""

    name: str
    url: str
    timeout: float
    rules: tuple[Rule, ...]

    @property
    def scopes(self) -> frozenset[str]:
        """Every scope that a rule names; no token for this backend has another."""
        return frozenset(rule.scope for rule in self.rules)

    def scope_of(self, tool: str) -> str | None:
        """The scope the tool needs: an exact name wins, then the first pattern that matches; with None it is hidden."""
        exact = next((rule.scope for rule in self.rules if rule.pattern == tool), None)
        return exact or next((rule.scope for rule in self.rules if rule.fits(tool)), None)


def read(entries: list[Mapping[str, Any]], resources: list[str], own: str, scopes: Collection[str]) -> list[Backend]:
    """The backends of the resource ``own``, in file order; raises ValueError saying what is wrong where.

    ``resources``: the URL of each ``[[resource]]``; a backend that names none belongs to the first.
    ``scopes``: those of ``own``.
    """
    for entry in entries:
        _check_names(entry, resources)
    names = [entry["name"] for entry in entries]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two backends have the name {repeated}")
    ours = [entry for entry in entries if entry.get("resource", resources[0]) == own]
    found = [_backend(entry, scopes) for entry in ours]
    urls = [backend.url for backend in found]
    if shared := next((url for url in urls if urls.count(url) > 1), None):
        # A token for one would be valid at the other too, whose scopes differ.
        raise ValueError(f"two backends have the url {shared}")
    return found


def _check_names(entry: Mapping[str, Any], resources: list[str]) -> None:
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"a [[backend]] needs a `name` that matches {_NAME.pattern}")
    if unknown := sorted(set(entry).difference(_MEMBERS)):
        raise ValueError(f"backend {name}: there is no such key: {unknown[0]!r}")
    if entry.get("resource", resources[0]) not in resources:
        raise ValueError(f"backend {name}: `resource` matches the url of no [[resource]], byte for byte")


def _backend(entry: Mapping[str, Any], scopes: Collection[str]) -> Backend:
    name = entry["name"]
    try:
        rules = tuple(_rules(entry.get("tools", {}), scopes))
        return Backend(name, _url(entry.get("url")), _seconds(entry.get("timeout", DEFAULT_SECONDS)), rules)
    except ValueError as problem:
        raise ValueError(f"backend {name}: {problem}") from None


def _rules(table: object, scopes: Collection[str]) -> Iterator[Rule]:
    if not isinstance(table, dict):
        raise ValueError('`tools` must be a table, written as [backend.tools] with lines like "find_*" = "crm:read"')  # noqa: TRY004 (a wrong file, in one kind)
    for pattern, scope in table.items():
        if not isinstance(scope, str):
            raise ValueError(f'the rule for {pattern!r} must be the name of a scope, as in "find_*" = "crm:read"')  # noqa: TRY004 (a wrong file, in one kind)
        if scope not in scopes:
            raise ValueError(f"the rule for {pattern!r} names a scope that the resource has no [[resource.scope]] for")
        yield Rule(pattern, scope)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("`timeout` must be a number of seconds")  # noqa: TRY004 (a wrong file, in one kind)
    if not 0 < value <= MAX_SECONDS:  # refuses nan too
        raise ValueError(f"`timeout` must be above 0 and at most {MAX_SECONDS:.0f} seconds")
    return float(value)


def _url(value: object) -> str:
    """A URL that can be an audience; tokens are sent there, so plain http is only for a near host."""
    if not isinstance(value, str) or not value.isascii() or any(sign <= " " for sign in value):
        raise ValueError("`url` must be an https URL in plain ASCII")
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("`url` must be an https URL")
    if "@" in parts.netloc or "?" in value or "#" in value:
        raise ValueError("`url` must have no user name, query or fragment, for it is the audience of tokens")
    if parts.scheme == "http" and not _is_near(parts.hostname):
        raise ValueError("`url` is plain http, which is accepted only for this machine and private networks")
    return value


def _is_near(host: str) -> bool:
    """Whether a host is a private address, a bare name as in container networks, or ends in .internal or .local."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".internal", ".local"))
