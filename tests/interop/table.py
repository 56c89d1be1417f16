"""Writes docs/clients.md, after every test that it speaks of has passed (``make clients``)."""

import os
import subprocess
import sys
from collections.abc import Sequence

from tests.interop.programs import HERE, PROGRAMS, ROOT, Program
from tests.interop.ways import Way, known_ways

FILE = ROOT / "docs" / "clients.md"
INTRODUCTION = """# Clients

Who connects, and how that is known. Written by `make clients`, which runs the tests of `tests/interop` and writes
nothing unless every one of them passes; a test fails when this page is not what they show.

## Run as they are published

Unmodified, in the version named, against both servers as processes. Each starts from the MCP URL alone. A person is
acted by the tests: signs in by mail, agrees. None meets a challenge for a scope that its person does not hold.
"""

REPLAYED = """
## Replayed

Hosted, closed or graphical clients cannot be run in a test. What they send is kept as data in
`tests/interop/clients`, and acted out request by request: discovery in the client's order, registration, authorize,
token and refresh with the parameters and the client authentication that it uses. Each way below reaches the consent
page, a token, a tool call and a call with a refreshed token.

A replay is worth what is known of its client: *recorded* on the wire; read in its *source*; said by its *vendor*;
*inferred*, mostly from the library that it embeds; or a *guess*. Where parts differ, the commonest stands first.
"""
REACHED = "consent, token, call, refresh"


def render() -> str:
    """The page, as it is when all its tests pass."""
    ran = [_program(program) for program in PROGRAMS]
    acted = [row for key in sorted({way.key for way in known_ways()}) for row in _replays(key)]
    return "".join(
        (
            INTRODUCTION,
            _table(("client", "version", "speaks", "registers by", "result"), ran),
            REPLAYED,
            _table(("client", "seen", "registers by", "way", "known from", "result"), acted),
        )
    )


def _program(program: Program) -> tuple[str, ...]:
    return program.name, program.version, program.speaks, program.registers, program.does


def _replays(key: str) -> list[tuple[str, ...]]:
    """One row for each way; the client's name stands in the first."""
    rows: list[tuple[str, ...]] = []
    for way in [way for way in known_ways() if way.key == key]:
        client = ("", "") if rows else (way.name, f"{way.version} {way.date}".strip())
        rows.append((*client, way.registers, way.title, _known(way), REACHED))
    return rows


def _known(way: Way) -> str:
    """From where the parts are known, the commonest source first."""
    sources = list(way.sure.values())
    ordered = sorted(set(sources), key=lambda word: (-sources.count(word), word))
    rest = (f"{', '.join(part for part in way.sure if way.sure[part] == word)} {word}" for word in ordered[1:])
    return "; ".join((ordered[0], *rest))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(cell or '″' for cell in line)} |\n" for line in lines)


def main() -> int:
    """Runs the tests, then writes the page; what pytest answered where one did not pass."""
    tests = [sys.executable, "-m", "pytest", "-q", str(HERE), "--deselect", "tests/interop/test_table.py"]
    ended = subprocess.run(tests, cwd=ROOT, env={**os.environ, "GATEPOST_NO_SKIPS": "1"}, check=False).returncode
    if ended == 0:
        FILE.write_text(render(), encoding="utf-8")
    return ended


if __name__ == "__main__":
    sys.exit(main())
