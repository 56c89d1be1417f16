"""``make bench-docs``: writes the tables of docs/performance.md and the README's chart anew from bench/results.

A folder ``run-N`` there is what bench/compare.py wrote, a folder ``growth-N`` what bench/growth.py did. Prose between
the tables stays as somebody wrote it.
"""

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "idp"), str(ROOT / "resource")]

from bench import chart, rounds, sums  # noqa: E402 (needs sys.path)
from bench.fill import Stored  # noqa: E402 (needs sys.path)
from bench.rounds import About, Row  # noqa: E402 (needs sys.path)
from bench.running import Memory, Start  # noqa: E402 (needs sys.path)

PEERS = {"gatepost": "oidc-provider", "gatepost resource": "plain MCP, Python"}
BUSY = 0.9
ENOUGH = 100
"""The operations that a round needs at least to count for a verdict."""
LARGE = {"SQLite": 10_000_000, "PostgreSQL": 1_000_000}
CODE_FLOWS = 100_000
NOTHING = "Not measured in these runs."
BUSY_WORDS = (
    "**The machine was busy with other work in at least one run**: rates, latencies and start times mean little, and"
    " CPU times are higher than on an idle machine. Treat them as a first look."
)
WIRES = ("2025 wire", "2026 wire")


class Run:
    """The raw rows of one run's folder."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.about = rounds.kept_about(folder)
        self.rows = rounds.kept(folder, "rows", Row)
        self.starts = {one.server: one for one in rounds.kept(folder, "starts", Start)}
        self.stored = rounds.kept(folder, "stored", Stored)
        self.memory = rounds.kept(folder, "memory", Memory)
        enough = rounds.medians(row for row in self.rows if row.operations >= ENOUGH)
        self._medians = {(row.operation, row.at_once, row.server): row for row in enough}

    def row(self, operation: str, server: str, at_once: int = chart.AT_ONCE) -> Row | None:
        """The medians of the rounds with at least ENOUGH operations, or None."""
        return self._medians.get((operation, at_once, server))


Measure = Callable[[Run], "float | None"]


@dataclass(frozen=True)
class Aim:
    """A requirement. ``most``: the figure must be at most ``must``, else at least. ``go_for``: the target."""

    words: str
    must: float
    go_for: float
    most: bool
    unit: str
    of: Measure

    def holds(self, found: float) -> bool:
        """Whether the figure ``found`` meets the requirement."""
        return found <= self.must if self.most else found >= self.must


def _cpu(operation: str) -> Measure:
    def found(run: Run) -> float | None:
        row = run.row(operation, "gatepost")
        return row.cpu_ms if row else None

    return found


def _faster(operation: str) -> Measure:
    """Our rate relative to oidc-provider's; by CPU time if the CPU of one was not the bottleneck."""

    def found(run: Run) -> float | None:
        ours, theirs = run.row(operation, "gatepost"), run.row(operation, "oidc-provider")
        if not ours or not theirs or not ours.cpu_ms or not theirs.rate:
            return None
        both_busy = min(ours.busy, theirs.busy) >= BUSY
        return ours.rate / theirs.rate if both_busy else theirs.cpu_ms / ours.cpu_ms

    return found


def _ratio(operations: Sequence[str], ours: str, theirs: str) -> Measure:
    """The worst ratio of our CPU time to theirs."""

    def found(run: Run) -> float | None:
        pairs = [(run.row(name, ours), run.row(name, theirs)) for name in operations]
        return max((own.cpu_ms / other.cpu_ms for own, other in pairs if own and other and other.cpu_ms), default=None)

    return found


def _p99(run: Run) -> float | None:
    row = run.row("refresh", "gatepost")
    return row.p99_ms if row else None


def _start(server: str, name: str) -> Measure:
    return lambda run: getattr(run.starts[server], name) if server in run.starts else None


def growth_of(run: Run, database: str, operation: str, at_once: int = chart.AT_ONCE) -> float | None:
    """Ratio of CPU time (with PostgreSQL's) at the largest store to the smallest; None if no store is large enough."""
    stores = sorted({one.grants for one in run.stored if one.database == database})
    if len(stores) < 2 or stores[-1] < LARGE[database]:
        return None
    small, large = (run.row(operation, f"{database}, {grants:,} grants", at_once) for grants in (stores[0], stores[-1]))
    return (large.cpu_ms + large.database_ms) / (small.cpu_ms + small.database_ms) if small and large else None


def _growth(database: str) -> Measure:
    def found(run: Run) -> float | None:
        ratios = [growth_of(run, database, operation) for operation in _operations(run.rows)]
        known = [one for one in ratios if one is not None]
        return max(known) if known and len(known) == len(ratios) else None  # an unknown one may grow most

    return found


def _more_memory(run: Run) -> float | None:
    own = [one for one in run.memory if one.server == "gatepost"]
    return own[-1].mib - own[0].mib if own and own[-1].grants >= CODE_FLOWS else None


def _two_workers(run: Run) -> float | None:
    one, two = (run.row("refresh", f"PostgreSQL, {name}") for name in ("1 worker", "2 workers"))
    return two.rate / one.rate if one and two and one.rate else None


_TIMES, _MS = " x", " ms"
AIMS = (
    Aim("refresh: rate, relative to oidc-provider", 3, 4, False, _TIMES, _faster("refresh")),
    Aim("refresh: CPU time", 0.40, 0.32, True, _MS, _cpu("refresh")),
    Aim("code flow: rate, relative to oidc-provider", 3, 5, False, _TIMES, _faster("code flow")),
    Aim("code flow: CPU time", 0.9, 0.65, True, _MS, _cpu("code flow")),
    Aim("register: rate, relative to oidc-provider", 2.5, 3.4, False, _TIMES, _faster("register")),
    Aim("register: CPU time", 0.25, 0.16, True, _MS, _cpu("register")),
    Aim("metadata: rate, relative to oidc-provider", 1, 1.2, False, _TIMES, _faster("metadata")),
    Aim("JWKS: rate, relative to oidc-provider", 1, 1.2, False, _TIMES, _faster("JWKS")),
    Aim("refresh: CPU time, relative to the floor", 2.5, 1.8, True, _TIMES, _ratio(["refresh"], "gatepost", "floor")),
    Aim("refresh: p99", 30, 20, True, _MS, _p99),
    *(
        Aim(f"{method}: CPU time, relative to the plain Python server, worse wire", 0.5, 0.1, True, _TIMES,
            _ratio([f"{method}, {wire}" for wire in WIRES], "gatepost resource", "plain MCP, Python"))
        for method in ("tools/list", "tools/call")
    ),
    *(
        Aim(f"{server}: {words}", must, go_for, True, unit, _start(server, name))
        for server in PEERS
        for words, must, go_for, unit, name in (
            ("start to first answer", 1.2, 0.8, " s", "seconds"), ("idle memory", 80, 65, " MiB", "idle_mib"),
        )
    ),
    Aim("growth on SQLite: the operation whose CPU time grows most", 1.3, 1.1, True, _TIMES, _growth("SQLite")),
    Aim("growth on PostgreSQL: the same, PostgreSQL's own CPU included", 1.3, 1.1, True, _TIMES, _growth("PostgreSQL")),
    Aim("memory after 100,000 code flows: growth over idle", 20, 5, True, " MiB", _more_memory),
    Aim("PostgreSQL, 2 workers: refresh rate, relative to 1 worker", 1.6, 1.9, False, _TIMES, _two_workers),
)  # fmt: skip  # a table


# --- Tables ---

_KEYS = ("operation", "at a time", "server")


def _lines(head: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> str:
    """A Markdown table whose first ``left`` columns are text; NOTHING if there are no rows."""
    rows = list(rows)
    if not rows:
        return NOTHING
    rule = ["---"] * left + ["--:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in (head, rule, *rows)) + "\n"


def heading(about: About) -> str:
    """A run's date, machine, load and command."""
    return (
        f"{about.date}, {about.cores} cores of {about.machine}, Python {about.python}, load average "
        f"{about.load_average:g} at the start: `{about.command}`"
    )


def runs_list(runs: Sequence[Run]) -> str:
    """The list of runs, with a note if the machine was busy with other work."""
    lines = [f"- {run.name}: {heading(run.about)}" for run in runs]
    if any(run.about.load_average >= run.about.cores for run in runs):
        lines += ["", BUSY_WORDS]
    return "\n".join(lines)


def verdicts(runs: Sequence[Run]) -> str:
    """A table of the requirements: each run's figure, and whether all of them meet it."""
    found = [(aim, [value for run in runs if (value := aim.of(run)) is not None]) for aim in AIMS]
    most = max((len(values) for _, values in found), default=0)
    head = ["aim", "required", "target", *(f"run {number}" for number in range(1, most + 1)), "verdict"]
    rows = []
    for aim, values in found:
        held = sum(aim.holds(value) for value in values)
        word = (
            "not measured"
            if not values
            else "met"
            if held == len(values)
            else f"**not met** (met in {held} of {len(values)})"
        )
        cells = [_number(value) for value in values] + [""] * (most - len(values))
        rows.append([aim.words, f"{aim.must:g}{aim.unit}", f"{aim.go_for:g}", *cells, word])
    return _lines(head, rows)


def table(medians: Sequence[Row]) -> str:
    """A table of medians; ratios are of CPU time, above 1 if ours is higher."""
    costs = {(row.operation, row.at_once, row.server): row.cpu_ms for row in medians}
    head = [*_KEYS, "per second", "CPU ms", "p50 ms", "p99 ms", "busy", "CPU vs peer", "vs floor"]
    rows = []
    for row in medians:
        others = [costs.get((row.operation, row.at_once, name)) for name in (PEERS.get(row.server, ""), "floor")]
        ratios = [f"{row.cpu_ms / other:.2f}" if other and row.server in PEERS else "" for other in others]
        cells = [f"{row.rate:.0f}", f"{row.cpu_ms:.3f}", f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}", f"{row.busy:.2f}"]
        rows.append([row.operation, row.at_once, row.server, *cells, *ratios])
    return _lines(head, rows, left=3)


def starts_table(starts: Iterable[Start]) -> str:
    """A table of each server's start time and idle memory."""
    head = ["server", "start to first answer, s", "CPU s until then", "idle, MiB"]
    return _lines(
        head, [[one.server, f"{one.seconds:.2f}", f"{one.cpu_seconds:.2f}", f"{one.idle_mib:.0f}"] for one in starts]
    )


def growth_table(runs: Sequence[Run]) -> str:
    """A table of CPU time per operation and store, 32 at a time: the server's plus PostgreSQL's."""
    rows = rounds.medians(row for run in runs for row in run.rows)
    stores = list(dict.fromkeys(row.server for row in rows if row.server.endswith(" grants")))
    costs = {(row.operation, row.server): row for row in rows if row.at_once == chart.AT_ONCE}
    lines = []
    for operation in _operations(rows):
        cells = [costs.get((operation, store)) for store in stores]
        lines.append([operation, *(_cost(cell) if cell else "" for cell in cells)])
    return _lines(["CPU ms per operation", *stores], lines)


def _cost(row: Row) -> str:
    if row.operations < ENOUGH:
        return "too few"
    return f"{row.cpu_ms:.3f} + {row.database_ms:.3f}" if row.database_ms else f"{row.cpu_ms:.3f}"


def _operations(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.operation for row in rows if row.server.endswith(" grants")))


def stored_table(stored: Sequence[Stored]) -> str:
    """A table of the stores' sizes, and how long they took to fill."""
    head = ["store", "size, MiB", "bytes per connection", "time to fill, s"]
    return _lines(head, [
        [f"{one.database}, {one.grants:,} grants", f"{one.bytes / 2**20:,.0f}", f"{one.bytes / one.grants:,.0f}",
         f"{one.seconds:.0f}"]
        for one in stored if not one.table
    ])  # fmt: skip  # rows


def memory_table(runs: Sequence[Run]) -> str:
    """A table of memory over the code flows, one line per run."""
    grown = {run.name: [one for one in run.memory if one.server == "gatepost"] for run in runs}
    lines = {name: own for name, own in grown.items() if own}
    head = next(([f"{one.grants:,}" for one in own] for own in lines.values()), [])
    return _lines(["code flows", *head], [[name, *(f"{one.mib:.1f}" for one in own)] for name, own in lines.items()])


def workers_table(runs: Sequence[Run]) -> str:
    """A table of refreshes with one and two workers, with CPU time by process."""
    rows = [row for row in rounds.medians(row for run in runs for row in run.rows) if "worker" in row.server]
    costs = [f"CPU ms: {whose}" for whose in ("workers", "PostgreSQL", "load")]
    head = ["refresh, 32 at a time", "per second", *costs, "p50 ms", "p99 ms"]
    return _lines(head, [
        [row.server, f"{row.rate:.0f}", f"{row.cpu_ms:.3f}", f"{row.database_ms:.3f}", f"{row.load_ms:.3f}",
         f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}"]
        for row in rows
    ])  # fmt: skip  # rows


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# --- The documents ---


def between(text: str, name: str, made: str) -> str:
    """``text`` with its generated part ``name`` replaced by ``made``; exits unless there is exactly one."""
    pattern = re.compile(rf"(<!-- figures: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    replaced, count = pattern.subn(lambda match: f"{match[1]}\n{made.strip()}\n\n{match[2]}", text)
    if count != 1:
        raise SystemExit(f"<!-- figures: {name} --> stands {count} times")
    return replaced


def parts(runs: Sequence[Run], growth: Sequence[Run]) -> dict[str, str]:
    """The generated parts of docs/performance.md, by name."""
    medians = rounds.medians(row for run in runs for row in run.rows)
    starts = [
        Start(name, *(statistics.median(getattr(run.starts[name], field) for run in runs if name in run.starts)
                      for field in ("seconds", "cpu_seconds", "idle_mib")))
        for name in dict.fromkeys(name for run in runs for name in run.starts)
    ]  # fmt: skip  # medians
    # Fill times come from the first run that filled a store; later runs reuse it.
    stored = list({(one.database, one.grants, one.table): one for run in growth[::-1] for one in run.stored}.values())
    return {
        "runs": runs_list([*runs, *growth]),
        "verdicts": verdicts([*runs, *growth]),
        "table": table(medians),
        "starts": starts_table(starts),
        "growth": growth_table(growth),
        "stored": stored_table(sorted(stored, key=lambda one: (one.database != "SQLite", one.grants))),
        "memory": memory_table(growth),
        "workers": workers_table(growth),
        "carries": sums.carries(medians),
        "million": sums.million(growth, stored) or NOTHING,
    }


def main() -> None:
    """Reads the results, and writes the documents and the chart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--into", type=Path, default=ROOT, help="the checkout whose documents are written")
    given = parser.parse_args()
    runs, growth = ([Run(one) for one in sorted(given.results.glob(f"{kind}-*"))] for kind in ("run", "growth"))
    if not runs or not growth:
        parser.error(f"{given.results} needs a folder run-1 and a folder growth-1")
    page = given.into / "docs" / "performance.md"
    text = page.read_text(encoding="utf-8")
    for name, made in parts(runs, growth).items():
        text = between(text, name, made)
    page.write_text(text, encoding="utf-8")
    drawing = chart.drawn(rounds.medians(row for run in runs for row in run.rows), runs[0].about)
    (given.into / "docs" / "images" / "performance.svg").write_text(drawing, encoding="utf-8")
    readme = given.into / "README.md"
    readme.write_text(between(readme.read_text(encoding="utf-8"), "chart", caption(runs)), encoding="utf-8")


def caption(runs: Sequence[Run]) -> str:
    """The README's chart, with date, machine and command."""
    about, busiest = runs[0].about, max(run.about.load_average for run in runs)
    words = "CPU time per operation of Gatepost, its peers and the floor, for the authorization and the resource server"
    return (
        f"![{words}](docs/images/performance.svg)\n\n"
        f"{about.date}, {about.cores} cores of {about.machine}, Python {about.python}, `{about.command}`"
        f" ({len(runs)} {'run' if len(runs) == 1 else 'runs'}, medians)"
        + (f", **on a machine busy with other work**, load average {busiest:g}." if busiest >= about.cores else ".")
    )


if __name__ == "__main__":
    main()
