"""What clients are known to send, read from ``clients/*.toml``: one file a client, in the words of this project.

A file says the first way in which its client connects; each ``[[way]]`` in it, what differs in another. Lists of
parameters are in the order in which the client sends them. ``{port}`` and the like are filled in by the replay.
"""

import copy
import datetime
import functools
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent / "clients"
FIRST = "as it comes"

Sure = Literal["recorded", "source", "vendor", "inferred", "guess"]


@dataclass(frozen=True)
class Way:
    """One way in which one client connects.

    ``sure``: for each part, whether it was recorded on the wire, read in the client's source, said by its vendor,
    inferred (mostly from the library it embeds), or guessed. ``discovery``, ``before_token``, ``before_refresh``:
    requests as ``METHOD place``, with a question mark where the client asks only after the one before was not found.
    ``scope``: where its scopes are from: the challenge, the resource's or the server's metadata; empty, sent so.
    ``document``: its metadata document, where that one's URL is its id. ``hand``: what to tell ``clients add`` where
    an operator makes the client. ``secret``: how it is proved, whatever was registered. ``refreshes``: how often, one
    after another. ``offline_access``: asked for, and with it ``prompt=consent``, where the server lists it.
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
        """How the server comes to know it, in a word for the table."""
        if self.document:
            return "its URL"
        return "by hand" if self.hand else "RFC 7591"


@functools.cache
def known_ways() -> tuple[Way, ...]:
    """Every way of every client, in the order of their names."""
    return tuple(way for path in sorted(FOLDER.glob("*.toml")) for way in _ways(path))


def _ways(path: Path) -> list[Way]:
    first = tomllib.loads(path.read_text(encoding="utf-8"))
    others = first.pop("way", [])
    return [Way(**{"key": path.stem, "title": FIRST, **_merged(first, other)}) for other in ({}, *others)]


def _merged(first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """``first`` with what ``other`` says otherwise, tables member by member."""
    merged = copy.deepcopy(first)
    for name, value in other.items():
        merged[name] = _merged(merged.get(name, {}), value) if isinstance(value, dict) else value
    return merged
