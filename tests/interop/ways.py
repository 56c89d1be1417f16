"""What clients are known to send, read from ``clients/*.toml``: one file per client, in this project's terms.

A file describes the default way in which its client connects; each ``[[way]]`` says how another differs. Parameters
are listed in the order in which the client sends them. The replay fills in ``{port}`` and the like.
"""

import copy
import datetime
import functools
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent / "clients"
FIRST = "by default"

Sure = Literal["recorded", "source", "vendor", "inferred", "guess"]


@dataclass(frozen=True)
class Way:
    """One way in which one client connects.

    ``sure``: whether each part was recorded on the wire, read in the client's source, stated by its vendor, inferred
    (mostly from the library that it embeds) or guessed. ``discovery``, ``before_token``, ``before_refresh``: requests
    as ``METHOD place``, with a question mark if a 404 is fine. ``scope``: the source of its scopes: the challenge, the
    resource's or the server's metadata; ``empty``: an empty scope is sent. ``document``: its metadata document, if
    that document's URL is its id. ``hand``: the arguments of ``clients add``, if an operator adds the client.
    ``secret``: how it is sent, whatever was registered. ``refreshes``: how many in a row. ``offline_access``: whether
    it asks for that scope, with ``prompt=consent``, if the server lists it.
    """

    key: str
    title: str
    name: str
    date: datetime.date
    protocol: str
    sure: dict[str, Sure]
    headers: dict[str, str]
    discovery: list[str]
    authorize: list[str]
    token: list[str]
    refresh: list[str]
    verifier: int
    registration: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    scope: Literal["challenge", "resource", "server", "empty"] = "challenge"
    state: str = ""
    redirect: str = ""
    version: str = ""
    before_token: list[str] = field(default_factory=list)
    before_refresh: list[str] = field(default_factory=list)
    hand: list[str] = field(default_factory=list)
    secret: Literal["", "basic", "post"] = ""
    registrations: int = 1
    refreshes: int = 1
    offline_access: bool = False

    @property
    def registers(self) -> str:
        """How the server learns of it, in a word for the table."""
        if self.document:
            return "metadata URL"
        return "an operator" if self.hand else "RFC 7591"


@functools.cache
def known_ways() -> tuple[Way, ...]:
    """Every way of every client, in the order of the file names."""
    return tuple(way for path in sorted(FOLDER.glob("*.toml")) for way in _ways(path))


def _ways(path: Path) -> list[Way]:
    first = tomllib.loads(path.read_text(encoding="utf-8"))
    others = first.pop("way", [])
    return [Way(**{"key": path.stem, "title": FIRST, **_merged(first, other)}) for other in ({}, *others)]


def _merged(first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """``first``, with the values of ``other`` in place of its own; tables are merged member by member."""
    merged = copy.deepcopy(first)
    for name, value in other.items():
        merged[name] = _merged(merged.get(name, {}), value) if isinstance(value, dict) else value
    return merged
