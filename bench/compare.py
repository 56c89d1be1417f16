"""``make bench``: our servers, a peer and the floor in one run, as a table, a chart and the raw rows.

Servers are on one core and the load on another; the order is A B C, then C B A, and so on. What counts is CPU time of
the server's process an operation and the ratios within one run: docs/performance.md says how to read it.
"""

import argparse
import asyncio
import contextlib
import csv
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "idp"), str(ROOT / "resource")]

from bench import chart, subjects  # noqa: E402 (after the path)
from bench.load import line_to, measure  # noqa: E402 (as above)
from bench.subjects import Connected, Subject  # noqa: E402 (as above)
from tests.support.smtp import receiving  # noqa: E402 (as above)

SERVERS = (
    "gatepost", "oidc-provider", "floor", "gatepost resource", "plain MCP, Python", "plain MCP, TypeScript",
)  # fmt: skip  # names
PEERS = {"gatepost": "oidc-provider", "gatepost resource": "plain MCP, Python"}
NODE = {"oidc-provider", "plain MCP, TypeScript"}


@dataclass(frozen=True, slots=True)
class Row:
    """One round of one operation at one server."""

    operation: str
    at_once: int
    server: str
    round: int
    operations: int
    rate: float
    """Operations a second."""
    cpu_ms: float
    """CPU time of the server's process, an operation."""
    p50_ms: float
    p99_ms: float
    busy: float
    """The server's CPU time by the clock: below 0.9 the load was the limit, or the machine had other work."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round")
    parser.add_argument("--warm-up", type=float, default=4.0, help="seconds before each round that do not count")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=lambda text: [int(one) for one in text.split(",")], default=[1, 32])
    parser.add_argument("--servers", type=lambda text: set(text.split(";")), default=set(SERVERS), metavar="NAME;NAME")
    parser.add_argument("--operations", type=lambda text: set(text.split(";")), default=set(), metavar="NAME;NAME")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "bench")
    given = parser.parse_args()
    if unknown := given.servers - set(SERVERS):
        parser.error(f"no such server: {', '.join(unknown)}; there are {'; '.join(SERVERS)}")
    return given


def _cores() -> tuple[int | None, int | None]:
    """A core for servers and another one for the load; none where there is one, or where processes cannot be bound."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (available[0], available[-1]) if len(available) > 1 else (None, None)


@contextlib.contextmanager
def _running(names: set[str], core: int | None) -> Iterator[list[Subject]]:
    """The servers, in this order; an idle one costs the others nothing."""
    with tempfile.TemporaryDirectory() as made, receiving() as postbox, contextlib.ExitStack() as stack:
        folder = Path(made)
        own, environment, connected = stack.enter_context(subjects.gatepost(folder, postbox, core))
        found = [own] if "gatepost" in names else []
        if "oidc-provider" in names:
            found.append(stack.enter_context(subjects.oidc_provider(folder, core)))
        if "floor" in names:
            found.append(stack.enter_context(subjects.floor(folder, core)))
        token = asyncio.run(_token(connected))
        found += stack.enter_context(subjects.resource_servers(folder, environment, token, core, names))
        yield found


async def _token(connected: Connected) -> str:
    line = await line_to(connected.at.base)
    try:
        return (await connected.tokens(line))["access_token"]
    finally:
        line.close()


def _rows(found: list[Subject], given: argparse.Namespace) -> Iterator[Row]:
    """Every round, interleaved."""
    named = dict.fromkeys(name for subject in found for name in subject.operations)
    for operation in (name for name in named if not given.operations or name in given.operations):
        those = [subject for subject in found if operation in subject.operations]
        for at_once in given.at_once:
            for number in range(given.rounds):
                for subject in reversed(those) if number % 2 else those:
                    yield _round(subject, operation, at_once, number, given)


def _round(subject: Subject, operation: str, at_once: int, number: int, given: argparse.Namespace) -> Row:
    slots = [subject.operations[operation](slot) for slot in range(at_once)]
    made = asyncio.run(measure(subject.base, subject.pid, slots, given.warm_up, given.seconds))
    count = max(1, len(made.took))
    took = sorted(made.took) or [0.0]
    return Row(
        operation, at_once, subject.name, number, len(made.took),
        rate=round(len(made.took) / made.seconds, 1),
        cpu_ms=round(made.cpu_seconds / count * 1000, 4),
        p50_ms=round(statistics.median(took) * 1000, 3),
        p99_ms=round(took[int(len(took) * 0.99)] * 1000, 3),
        busy=round(made.cpu_seconds / made.seconds, 3),
    )  # fmt: skip  # a row


def medians(rows: list[Row]) -> list[Row]:
    """One row for each operation, load and server: the medians of its rounds."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.operation, row.at_once, row.server), []).append(row)
    return [
        Row(*key, len(group), sum(row.operations for row in group), *_middle(group)) for key, group in groups.items()
    ]


def _middle(group: list[Row]) -> Iterator[float]:
    for name in ("rate", "cpu_ms", "p50_ms", "p99_ms", "busy"):
        yield statistics.median(getattr(row, name) for row in group)


def table(rows: list[Row], found: list[Subject]) -> str:
    """The medians as Markdown; a ratio is of CPU time, above 1 where ours costs more."""
    costs = {(row.operation, row.at_once, row.server): row.cpu_ms for row in rows}
    lines = [
        "| operation | at once | server | a second | CPU ms | p50 ms | p99 ms | busy | CPU to peer | CPU to floor |",
        "| --- | --: | --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        others = [costs.get((row.operation, row.at_once, name)) for name in (PEERS.get(row.server), "floor")]
        ratios = [f"{row.cpu_ms / other:.2f}" if other and row.server in PEERS else "" for other in others]
        cells = [row.operation, row.at_once, row.server, f"{row.rate:.0f}", f"{row.cpu_ms:.3f}", f"{row.p50_ms:.1f}",
                 f"{row.p99_ms:.1f}", f"{row.busy:.2f}", *ratios]  # fmt: skip  # cells
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    lines += ["", "| server | start to first answer, s | idle MiB |", "| --- | --: | --: |"]
    lines += [f"| {one.name} | {one.start_seconds:.2f} | {one.idle_mib:.0f} |" for one in found]
    return "\n".join(lines) + "\n"


def _heading(given: argparse.Namespace) -> str:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of {platform.machine()}, "
        f"Python {platform.python_version()}, load average {load:.1f}; "
        f"{given.rounds} rounds of {given.seconds:g} s after {given.warm_up:g} s\n"
    )


def main() -> None:
    """Measures, prints the table, and writes what it found into ``--out``."""
    given = _arguments()
    if given.servers & NODE and (why := subjects.install_peer()):
        sys.stderr.write(f"left out, for npm cannot fetch them: {', '.join(sorted(given.servers & NODE))} ({why})\n")
        given.servers -= NODE
    of_servers, of_load = _cores()
    with _running(given.servers, of_servers) as found:
        if of_load is not None:
            os.sched_setaffinity(0, {of_load})
        rows = []
        for row in _rows(found, given):
            rows.append(row)
            sys.stderr.write(
                f"{row.operation}, {row.at_once} at once, {row.server}: {row.rate:.0f}/s, {row.cpu_ms:.3f} ms\n"
            )
        text = f"{_heading(given)}\n{table(medians(rows), found)}"
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "table.md").write_text(text, encoding="utf-8")
    (given.out / "chart.svg").write_text(chart.drawn(medians(rows), max(given.at_once)), encoding="utf-8")
    with (given.out / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
