"""``make bench``: our servers, two peers, the plain MCP servers and the floor in one run: raw rows, a table, a chart.

Servers are on one core and the load on another; the order is A B C, then C B A, and so on. What counts is CPU time of
the server's process an operation and the ratios within one run: docs/performance.md says how to read it.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "idp"), str(ROOT / "resource")]

from bench import chart, figures, peers, rounds, subjects, tools  # noqa: E402 (needs sys.path)
from bench.journeys import JOURNEY, journeys  # noqa: E402 (needs sys.path)
from bench.load import line_to  # noqa: E402 (needs sys.path)
from bench.rounds import Row  # noqa: E402 (needs sys.path)
from bench.running import Subject  # noqa: E402 (needs sys.path)
from bench.subjects import Connected  # noqa: E402 (needs sys.path)
from tests.support.smtp import Postbox, receiving  # noqa: E402 (needs sys.path)

SERVERS = (
    "gatepost", "oidc-provider", "better-auth", "floor", tools.OURS, tools.PYTHON, tools.TYPESCRIPT,
)  # fmt: skip  # names
NODE = {"oidc-provider", "better-auth", tools.TYPESCRIPT}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    rounds.timing(parser)
    parser.add_argument("--servers", type=lambda text: set(text.split(";")), default=set(SERVERS), metavar="NAME;NAME")
    parser.add_argument("--journeys", type=int, default=15, help="people in each round who sign in by mail")
    parser.add_argument("--starts", type=int, default=3, help="of each server; the median counts")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "bench" / "run")
    given = parser.parse_args()
    if unknown := given.servers - set(SERVERS):
        parser.error(f"no such server: {', '.join(unknown)}; there are {'; '.join(SERVERS)}")
    return given


@contextlib.contextmanager
def _running(
    given: argparse.Namespace, core: int | None, postbox: Postbox
) -> Iterator[tuple[list[Subject], Connected]]:
    """The running servers, in order, and the client connected to ours; idle servers do not affect the others."""
    names, starts = given.servers, given.starts
    with tempfile.TemporaryDirectory() as made, contextlib.ExitStack() as stack:
        folder = Path(made)
        own, environment, connected = stack.enter_context(subjects.gatepost(folder, postbox, core, starts))
        found = [own] if "gatepost" in names else []
        others = {"oidc-provider": peers.oidc_provider, "better-auth": peers.better_auth, "floor": subjects.floor}
        for name, other in others.items():
            if name in names:
                found.append(stack.enter_context(other(folder, core, starts)))
        token = asyncio.run(_token(connected))
        found += stack.enter_context(tools.resource_servers(folder, environment, token, core, names, starts))
        yield found, connected


async def _token(connected: Connected) -> str:
    line = await line_to(connected.at.base)
    try:
        return (await connected.tokens(line))["access_token"]
    finally:
        line.close()


def _whole_journeys(
    found: list[Subject], connected: Connected, postbox: Postbox, given: argparse.Namespace
) -> Iterator[Row]:
    """Whole journeys at our server only, since no other sends mail. The limit of 300 mails an hour applies."""
    if not given.journeys or "gatepost" not in given.servers or JOURNEY not in (given.operations or {JOURNEY}):
        return
    for number in range(given.rounds):
        row = journeys(found[0], connected.at, postbox, number, given.journeys)
        rounds.told(f"{row.operation}: {row.cpu_ms:.1f} ms")
        yield row


def main() -> None:
    """Measures, prints the table, and writes the results into ``--out``."""
    given, about = _arguments(), rounds.about()
    if given.servers & NODE and (why := peers.install()):
        rounds.told(f"left out, for npm cannot fetch them: {', '.join(sorted(given.servers & NODE))} ({why})")
        given.servers -= NODE
    of_servers, of_load = rounds.cores()
    with receiving() as postbox, _running(given, of_servers, postbox) as (found, connected):
        if of_load is not None:
            os.sched_setaffinity(0, {of_load})
        rows = rounds.measured(found, given)
        rows += _whole_journeys(found, connected, postbox, given)
        starts = [subject.start for subject in found]
    rounds.keep_about(given.out, about)
    rounds.keep(given.out, "rows", rows)
    rounds.keep(given.out, "starts", starts)
    text = f"{figures.heading(about)}\n\n{figures.table(rounds.medians(rows))}\n{figures.starts_table(starts)}"
    (given.out / "table.md").write_text(text, encoding="utf-8")
    (given.out / "chart.svg").write_text(chart.drawn(rounds.medians(rows), about), encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
