"""Writes docs/security/attacks.md, each attack with the tests that stop it: ``python -m tests.attacks``."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

TABLE = Path(__file__).with_name("attacks.toml")
PAGE = TABLE.parents[1] / "docs" / "security" / "attacks.md"
_INTRODUCTION = """\
# Attacks, and what stops each

Except for tests of a pure rule, every test named here attacks as an attacker would, through HTTP, SMTP or a file; a
note says what the tests cannot stop. [threat-model.md](threat-model.md) says what the servers assume and promise,
[requirements.md](../requirements.md) has the clauses of the standards. `make attacks` generates this page from
[tests/attacks.toml](../../tests/attacks.toml); tests check that each test named exists and no CVE they cite is missing.
"""


@dataclass(frozen=True, slots=True)
class Attack:
    """``tests``: ``path/below/tests.py::name``; if there are none, ``but`` says why it is not stopped."""

    kind: str
    what: str
    source: str = ""
    tests: tuple[str, ...] = ()
    but: str = ""


def attacks() -> tuple[Attack, ...]:
    """The catalogue, in its order; raises TypeError for a malformed entry."""
    entries = tomllib.loads(TABLE.read_text(encoding="utf-8"))["attack"]
    return tuple(Attack(**{**entry, "tests": tuple(entry.get("tests", ()))}) for entry in entries)


def page() -> str:
    """The page; the same catalogue gives the same page."""
    return "\n".join([_INTRODUCTION, *_groups()]) + "\n"


def _groups() -> Iterator[str]:
    for kind, group in groupby(attacks(), key=lambda attack: attack.kind):
        yield f"## {kind}"
        yield ""
        yield "| attack | named in | stopped by |"
        yield "| --- | --- | --- |"
        yield from (f"| {one.what} | {one.source or '–'} | {_stopped(one)} |" for one in group)
        yield ""


def _stopped(attack: Attack) -> str:
    tests = ", ".join(f"[`{_name(test)}`](../../tests/{test.partition('::')[0]})" for test in attack.tests)
    stays = f"*Note:* {attack.but}" if attack.tests else f"**{attack.but}**"
    return "<br>".join(part for part in (tests, stays if attack.but else "") if part)


def _name(test: str) -> str:
    return test.rpartition("::test_")[2]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
