"""Runs rounds of each operation at each server, in the order A B C, then C B A; and stores the raw rows."""

import argparse
import asyncio
import csv
import json
import os
import platform
import re
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bench.load import measure
from bench.running import Subject

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)
else:
    Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Row:
    """One round of one operation at one server. CPU times are milliseconds per operation."""

    operation: str
    at_once: int
    server: str
    round: int
    operations: int
    rate: float
    """Operations per second."""
    cpu_ms: float
    """CPU of the server's processes."""
    database_ms: float
    """CPU of PostgreSQL's processes."""
    load_ms: float
    p50_ms: float
    p99_ms: float
    busy: float
    """The server's CPU time divided by wall time: below 0.9 the load, the disk or other work was the bottleneck."""


@dataclass(frozen=True, slots=True)
class About:
    """The date, machine and command of a run."""

    date: str
    cores: int
    machine: str
    python: str
    load_average: float
    """Load average before the run: other work on the machine."""
    command: str


def about() -> About:
    """About this run."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0
    asked = re.sub(r"--(out|keep) \S+", "", " ".join(sys.argv[1:]))  # paths on this machine are not recorded
    command = " ".join(["python", f"bench/{Path(sys.argv[0]).name}", *asked.split()])
    return About(
        f"{datetime.now(UTC):%Y-%m-%d}", os.cpu_count() or 1, _processor(), platform.python_version(), round(load, 1),
        command,
    )  # fmt: skip  # a row


def _processor() -> str:
    """The processor's name on Linux, else its architecture."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def timing(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments for duration, rounds and concurrency."""
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round")
    parser.add_argument("--warm-up", type=float, default=4.0, help="seconds before each round that do not count")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=lambda text: [int(one) for one in text.split(",")], default=[1, 32])
    parser.add_argument("--operations", type=lambda text: set(text.split(";")), default=set(), metavar="NAME;NAME")


def cores() -> tuple[int | None, int | None]:
    """A core for the servers and another for the load; None for both with one core or without CPU affinity."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (available[0], available[-1]) if len(available) > 1 else (None, None)


def measured(found: Sequence[Subject], given: argparse.Namespace) -> list[Row]:
    """Runs all rounds, interleaved, and reports each on stderr as it ends."""
    rows = []
    for row in _rounds(found, given):
        rows.append(row)
        told(f"{row.operation}, {row.at_once} at once, {row.server}: {row.rate:.0f}/s, {row.cpu_ms:.3f} ms")
    return rows


def told(line: str) -> None:
    """Writes a line of progress to stderr."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
    sys.stderr.flush()


def _rounds(found: Sequence[Subject], given: argparse.Namespace) -> Iterator[Row]:
    named = dict.fromkeys(name for subject in found for name in subject.operations)
    for operation in (name for name in named if not given.operations or name in given.operations):
        those = [subject for subject in found if operation in subject.operations]
        for at_once in given.at_once:
            for number in range(given.rounds):
                for subject in reversed(those) if number % 2 else those:
                    yield _round(subject, operation, at_once, number, given)


def _round(subject: Subject, operation: str, at_once: int, number: int, given: argparse.Namespace) -> Row:
    slots = [subject.operations[operation](slot) for slot in range(at_once)]
    made = asyncio.run(measure(subject.base, subject.pid, subject.database_pid, slots, given.warm_up, given.seconds))
    count, took = max(1, len(made.took)), sorted(made.took) or [0.0]
    return Row(
        operation, at_once, subject.name, number, len(made.took),
        rate=round(len(made.took) / made.seconds, 1),
        cpu_ms=round(made.server / count * 1000, 4),
        database_ms=round(made.database / count * 1000, 4),
        load_ms=round(made.load / count * 1000, 4),
        p50_ms=round(statistics.median(took) * 1000, 3),
        p99_ms=round(took[int(len(took) * 0.99)] * 1000, 3),
        busy=round(made.server / made.seconds, 3),
    )  # fmt: skip  # a row


_MEASURES = ("rate", "cpu_ms", "database_ms", "load_ms", "p50_ms", "p99_ms", "busy")


def medians(rows: Iterable[Row]) -> list[Row]:
    """One row per operation, concurrency and server, with the medians of its rounds; ``round`` is their number."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.operation, row.at_once, row.server), []).append(row)
    return [
        Row(*key, len(group), sum(row.operations for row in group), *_middle(group)) for key, group in groups.items()
    ]


def _middle(group: list[Row]) -> Iterator[float]:
    for name in _MEASURES:
        yield statistics.median(getattr(row, name) for row in group)


def keep(folder: Path, name: str, records: "Sequence[DataclassInstance]") -> None:
    """Writes raw rows as ``name``.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(records[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(record) for record in records)


def keep_about(folder: Path, found: About) -> None:
    """Writes a run's date, machine and command as about.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "about.json").write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")


def kept_about(folder: Path) -> About:
    """Reads about.json back."""
    return About(**json.loads((folder / "about.json").read_text(encoding="utf-8")))


def kept(folder: Path, name: str, record: "type[Record]") -> "list[Record]":
    """Reads raw rows back; none if there is no such file."""
    path = folder / f"{name}.csv"
    if not path.exists():
        return []
    kinds: dict[str, Any] = {"str": str, "int": int, "float": float}
    readers = {field.name: kinds[getattr(field.type, "__name__", str(field.type))] for field in fields(record)}
    with path.open(encoding="utf-8") as file:
        return [record(**{name: readers[name](value) for name, value in row.items()}) for row in csv.DictReader(file)]
