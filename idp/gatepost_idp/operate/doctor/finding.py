"""The types that all checks share: possible faults, findings, checks, and their outcomes."""

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
    """A fault that was found: what was seen and expected, the setting to change, and an example of a right value."""

    fault: str
    level: Level
    seen: str
    expected: str
    setting: str
    example: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that can be wrong. ``symptom`` is what people notice; a finding may replace the other texts."""

    name: str
    symptom: str
    expected: str
    setting: str
    example: str
    level: Level = "failure"

    def seen(self, seen: str, *, expected: str = "", setting: str = "", example: str = "") -> Finding:
        """A finding of this fault; empty arguments default to the fault's texts. Control characters are removed."""
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
    """A check of an ``S`` and the faults it may find. ``needs``: checks that must not have failed."""

    name: str
    title: str
    run: Callable[[S], Awaitable[list[Finding]]]
    faults: tuple[Fault, ...]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a check. ``left_out`` names the failed check because of which it was skipped."""

    check: str
    title: str
    findings: tuple[Finding, ...] = ()
    left_out: str = ""

    @property
    def failed(self) -> bool:
        """Whether any finding is a failure."""
        return any(finding.level == "failure" for finding in self.findings)


def plain(text: str) -> str:
    """``text`` in one printable line of at most MAX_SEEN characters."""
    line = _UNPRINTABLE.sub(" ", text).strip()
    return line if len(line) <= MAX_SEEN else f"{line[:MAX_SEEN]}…"
