"""What the standards say, statement by statement: each MUST and SHOULD that binds one of the two servers.

There is one file per document, in our own words. A statement names the clauses of ``tests/requirements.py`` that cover
it (tests cover each clause), or says why we depart from it, or what it rests on outside this code. One that is met in
part says both. ``[aside]`` lists the sections that bind others or describe what we do not offer.

    ["4.1.2.a"]                             section 4.1.2, the first statement of several
    must = "A code expires shortly."        or ``should``; a MUST NOT is a must too
    held = ["A8.short"]                     clauses
    departs = "In part. …"                  why not, or why not all of it
    rests_on = "The operator's proxy …"     what else must be true

``tests/test_requirements.py`` checks both directions; ``python -m tests.standards.page`` writes docs/requirements.md.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent
ORDER = (
    "mcp",
    "mcp-discovery",
    "mcp-registration",
    "mcp-security",
    "oauth21",
    "rfc6749",
    "rfc6750",
    "rfc7009",
    "rfc7591",
    "rfc7636",
    "rfc7662",
    "rfc8252",
    "rfc8414",
    "rfc8693",
    "rfc8707",
    "rfc9068",
    "rfc9207",
    "rfc9700",
    "rfc9728",
)
_MEMBERS = {"must", "should", "held", "departs", "rests_on"}
_LETTER = re.compile(r"\.[a-z]$")


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that a document asks of an authorization server or a resource server."""

    id: str
    section: str
    level: Literal["MUST", "SHOULD"]
    text: str
    held: tuple[str, ...]
    departs: str
    rests_on: str


@dataclass(frozen=True, slots=True)
class Document:
    """A standard. ``aside``: pairs of sections and why they require nothing of us."""

    id: str
    title: str
    about: str
    url: str
    aside: tuple[tuple[str, str], ...]
    statements: tuple[Statement, ...]

    def address(self, section: str) -> str:
        """The URL of that section."""
        return f"{self.url}#section-{section}" if section[0].isdigit() else f"{self.url}#{section}"


@cache
def documents() -> tuple[Document, ...]:
    """Every document, in reading order; raises ValueError for a malformed file."""
    return tuple(_document(FOLDER / f"{name}.toml") for name in ORDER)


def _document(path: Path) -> Document:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    head: dict[str, str] = content.pop("document")
    aside: dict[str, str] = content.pop("aside", {})
    statements = tuple(_statement(head["id"], key, members) for key, members in content.items())
    return Document(head["id"], head["title"], head["about"], head["url"], tuple(aside.items()), statements)


def _statement(document: str, key: str, members: dict[str, Any]) -> Statement:
    if ("must" in members) == ("should" in members) or not _MEMBERS.issuperset(members):
        raise ValueError(f"{document}-{key}: a statement has must or should, and only members of {sorted(_MEMBERS)}")
    return Statement(
        id=f"{document}-{key}",
        section=_LETTER.sub("", key),
        level="MUST" if "must" in members else "SHOULD",
        text=str(members.get("must") or members["should"]),
        held=tuple(members.get("held", ())),
        departs=str(members.get("departs", "")),
        rests_on=str(members.get("rests_on", "")),
    )
