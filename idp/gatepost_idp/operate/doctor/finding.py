"""The words that every check shares: what can be wrong, what was found, and what became of a check."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Level = Literal["failure", "warning", "information"]
S = TypeVar("S")

MAX_SEEN = 300
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault as it was met: what was seen, what was expected, the setting to change, how it looks when right."""

    fault: str
    level: Level
    seen: str
    expected: str
    setting: str
    example: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that can be wrong. ``symptom`` is what people notice; the texts may be told apart where it is met."""

    name: str
    symptom: str
    expected: str
    setting: str
    example: str
    level: Level = "failure"

    def seen(self, seen: str, *, expected: str = "", setting: str = "", example: str = "") -> Finding:
        """The finding; an empty text means the fault's own. What a stranger said cannot steer a terminal."""
        return Finding(
            self.name,
            self.level,
            plain(seen),
            plain(expected or self.expected),
            plain(setting or self.setting),
            plain(example or self.example),
        )


@dataclass(frozen=True, slots=True)
class Check(Generic[S]):
    """One question about ``S``, and all the faults that may answer it. ``needs``: what must have gone well before."""

    name: str
    title: str
    run: Callable[[S], Awaitable[list[Finding]]]
    faults: tuple[Fault, ...]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a check. ``left_out`` names the failed check without which it makes no sense."""

    check: str
    title: str
    findings: tuple[Finding, ...] = ()
    left_out: str = ""

    @property
    def failed(self) -> bool:
        """Whether something keeps people out."""
        return any(finding.level == "failure" for finding in self.findings)


def plain(text: str) -> str:
    """One line of printable text, no longer than a reader wants it."""
    line = _UNPRINTABLE.sub(" ", text).strip()
    return line if len(line) <= MAX_SEEN else f"{line[:MAX_SEEN]}…"
