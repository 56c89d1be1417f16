"""Reads this resource's scopes and backends from the operator's TOML file (CATALOGUE)."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatepost_resource.backends import rules
from gatepost_resource.backends.rules import Backend
from gatepost_resource.settings import SettingsError, explain

PACKAGED = Path(__file__).with_name("catalogue.toml")
_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")  # RFC 6749, section 3.3
_PLACEHOLDER = "MCP_RESOURCE_URL"


@dataclass(frozen=True, slots=True)
class Scope:
    """A scope that a person can grant; ``new_accounts``: whether every new account holds it."""

    name: str
    title: str
    description: str
    new_accounts: bool


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A resource's name, its scopes and the backends behind it, both in file order."""

    name: str
    scopes: tuple[Scope, ...]
    backends: tuple[Backend, ...] = ()

    @property
    def new_account_scopes(self) -> tuple[str, ...]:
        """The scopes a 401 asks for: all at once, as clients' step-up is unreliable; the person narrows them."""
        return tuple(scope.name for scope in self.scopes if scope.new_accounts)

    @property
    def all_scopes(self) -> tuple[str, ...]:
        """Every scope, those of new accounts first."""
        others = tuple(scope.name for scope in self.scopes if not scope.new_accounts)
        return self.new_account_scopes + others

    def in_order(self, wanted: set[str]) -> tuple[str, ...]:
        """The wanted scopes in the order of ``all_scopes``, then unknown ones sorted by name."""
        known = tuple(name for name in self.all_scopes if name in wanted)
        return known + tuple(sorted(wanted.difference(known)))


def _wrong(problem: str) -> SettingsError:
    return SettingsError(explain("CATALOGUE", problem))


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise _wrong(f"{where} has no `{key}`")
    return value


def _scope(table: Mapping[str, Any]) -> Scope:
    name = _text(table, "name", "a [[resource.scope]]")
    if not _SCOPE.fullmatch(name):
        raise _wrong("a scope's `name` must be ASCII without spaces, quotes and backslashes")
    new_accounts = table.get("new_accounts", False)
    if not isinstance(new_accounts, bool):
        raise _wrong(f"`new_accounts` of {name} must be true or false")
    description = table.get("description", "")
    if not isinstance(description, str):
        raise _wrong(f"`description` of {name} must be a text")
    return Scope(name, _text(table, "title", f"the scope {name}"), description, new_accounts)


def _tables(table: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise _wrong(f"`{key}` must be written as [[{key}]]")
    return found


def _own(resources: list[Mapping[str, Any]], resource_url: str) -> Mapping[str, Any]:
    for entry in resources:
        if (entry.get("url") or _PLACEHOLDER) in (resource_url, _PLACEHOLDER):
            return entry
    raise _wrong("has no [[resource]] whose `url` is MCP_RESOURCE_URL byte for byte")


def _backends(document: Mapping[str, Any], own: Mapping[str, Any], scopes: tuple[Scope, ...]) -> tuple[Backend, ...]:
    resources = _tables(document, "resource")
    places = [str(entry.get("url") or _PLACEHOLDER) for entry in resources]
    try:
        found = rules.read(_tables(document, "backend"), places, places[resources.index(own)], {s.name for s in scopes})
    except ValueError as problem:
        raise _wrong(str(problem)) from None
    return tuple(found)


def load(path: Path | None, resource_url: str) -> Catalogue:
    """The catalogue of ``resource_url``; ``path`` None: the packaged file. Raises SettingsError saying what to fix."""
    try:
        document = tomllib.loads((path or PACKAGED).read_text(encoding="utf-8"))
    except OSError as problem:
        raise _wrong(f"the file cannot be read ({problem.strerror})") from None
    except ValueError as problem:  # broken UTF-8 and broken TOML alike
        raise _wrong(f"the file is not TOML ({problem})") from None
    except RecursionError:
        raise _wrong("the file is not TOML (too deep)") from None
    table = _own(_tables(document, "resource"), resource_url)
    scopes = tuple(_scope(entry) for entry in _tables(table, "scope"))
    if len({scope.name for scope in scopes}) < len(scopes):
        raise _wrong("names a scope twice")
    return Catalogue(_text(table, "name", "a [[resource]]"), scopes, _backends(document, table, scopes))
