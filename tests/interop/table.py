"""Writes docs/clients.md after every test that it reports on has passed (``make clients``)."""

import os
import subprocess
import sys
from collections.abc import Sequence

from tests.interop.programs import HERE, PROGRAMS, ROOT, Program
from tests.interop.ways import Way, known_ways

FILE = ROOT / "docs" / "clients.md"
INTRODUCTION = """# Clients

Which clients connect, and how that is known. `make clients` writes this page: it runs the tests of `tests/interop`,
and writes nothing unless all of them pass. A test fails if the page and its sources differ.

## Run as they are published

Each client runs unmodified, in the version named, against both servers as processes, and starts from the MCP URL
alone. The tests play the person, who signs in by mail and consents. No client gets a challenge for a scope that its
person does not hold.
"""

REPLAYED = """
## Replayed

Hosted, closed and graphical clients cannot run in a test. What they send is kept as data in `tests/interop/clients`
and replayed request by request: discovery in the client's order, registration, authorize, token and refresh, with the
client's own parameters and authentication. Each way below reaches the consent page, a token, a tool call, and a call
with a refreshed token.

A replay is as good as what is known about its client: *recorded* on the wire; read in its *source*; stated by its
*vendor*; *inferred*, mostly from the library that it embeds; or a *guess*. If parts differ, the commonest is first.
"""
REACHED = "consent, token, call, refresh"


def render() -> str:
    """The page, as it is once all its tests pass."""
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
    """One row for each way; the first has the client's name."""
    rows: list[tuple[str, ...]] = []
    for way in [way for way in known_ways() if way.key == key]:
        client = ("", "") if rows else (way.name, f"{way.version} {way.date}".strip())
        rows.append((*client, way.registers, way.title, _known(way), REACHED))
    return rows


def _known(way: Way) -> str:
    """How each part is known, the most common source first."""
    sources = list(way.sure.values())
    ordered = sorted(set(sources), key=lambda word: (-sources.count(word), word))
    rest = (f"{', '.join(part for part in way.sure if way.sure[part] == word)}: {word}" for word in ordered[1:])
    return "; ".join((ordered[0], *rest))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(cell or '″' for cell in line)} |\n" for line in lines)


def main() -> int:
    """Runs the tests and, if all pass, writes the page; returns pytest's exit code."""
    tests = [sys.executable, "-m", "pytest", "-q", str(HERE), "--deselect", "tests/interop/test_table.py"]
    ended = subprocess.run(tests, cwd=ROOT, env={**os.environ, "GATEPOST_NO_SKIPS": "1"}, check=False).returncode
    if ended == 0:
        FILE.write_text(render(), encoding="utf-8")
    return ended


if __name__ == "__main__":
    sys.exit(main())
