"""``make bench-growth``: what an operation costs as the store grows, what memory does, and what a second worker adds.

Three parts, each to be left out by --parts: the same operations with few connections stored and with very many, on
SQLite and on PostgreSQL; memory after 100,000 code flows; refreshes at one and at two workers on PostgreSQL. It writes
raw rows; bench/figures.py makes the tables. --keep FOLDER fills SQLite files there once and finds them there again.
"""

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "idp"), str(ROOT / "resource")]

from bench import fill, rounds, subjects  # noqa: E402 (needs sys.path)
from bench.fill import Holder, Stored  # noqa: E402 (needs sys.path)
from bench.load import Line, Operation, expect, line_to, repeat  # noqa: E402 (needs sys.path)
from bench.rounds import Row, told  # noqa: E402 (needs sys.path)
from bench.running import Memory, Start, Subject, resident_mib, started  # noqa: E402 (needs sys.path)
from bench.subjects import CODE, FORM, INTROSPECTION, REFRESH, Connected  # noqa: E402 (needs sys.path)
from tests.store.servers import Postgres, running  # noqa: E402 (needs sys.path)
from tests.support.processes import run_gatepost  # noqa: E402 (needs sys.path)
from tests.support.smtp import Postbox, receiving  # noqa: E402 (needs sys.path)

RESOURCE = "http://localhost:9001/mcp"  # the same in every run, since stored rows contain it
HOLDERS = 10_000
CLIENTS, KINDS = 1_000, 10
LIVE_TOKENS = 1_000
PARTS = ("sqlite", "postgres", "memory", "workers")


@dataclass(frozen=True)
class Place:
    """A store of ``grants`` connections, and how its server is run."""

    name: str
    url: str
    grants: int
    folder: Path
    core: int | None = None
    workers: int = 1
    database_pid: int | None = None


class Crowd:
    """Stored connections whose tokens the load knows; they refresh in turn, so that none is used twice in a row."""

    def __init__(self, connected: Connected, holders: list[Holder]) -> None:
        self._connected = connected
        self._waiting = deque(holders)
        self._live: deque[str] = deque(maxlen=LIVE_TOKENS)

    async def come(self, base: str) -> None:
        """Refreshes the first of them, so that there are access tokens to introspect."""
        await repeat(base, [self._refresh], min(LIVE_TOKENS, len(self._waiting)))

    def operations(self) -> dict[str, Callable[[int], Operation]]:
        """The operations that use stored connections."""
        return {REFRESH: lambda _slot: self._refresh, INTROSPECTION: lambda _slot: self._introspect}

    async def _refresh(self, line: Line) -> None:
        holder = self._waiting.popleft()
        token = {"grant_type": "refresh_token", "refresh_token": holder.refresh_token}
        found = await self._connected.redeem(line, client_id=holder.client_id, **token)
        self._live.append(found["access_token"])
        self._waiting.append(replace(holder, refresh_token=found["refresh_token"]))

    async def _introspect(self, line: Line) -> None:
        self._live.rotate()
        own = self._connected
        body = f"token={self._live[0]}"
        answer = await line.ask("POST", own.at.introspect, body, content_type=FORM, **own.credentials)
        if not json.loads(expect(answer, 200).body)["active"]:
            raise SystemExit("a token that stands was called inactive")


@contextlib.contextmanager
def serving(place: Place, postbox: Postbox, kept: list[Stored]) -> Iterator[Subject]:
    """A server on that store, which is filled first if needed; its sizes are added to ``kept``."""
    place.folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **subjects.gatepost_environment(place.folder, postbox.port),
        "DATABASE_URL": place.url, "MCP_RESOURCE_URL": RESOURCE, "WORKERS": str(place.workers),
    }  # fmt: skip  # an environment
    if not place.url.startswith("sqlite"):
        environment["SECRET_KEY"] = secrets.token_urlsafe(32)
    if place.database_pid is None:
        run_gatepost(environment, "db", "upgrade")
    command = subjects.command_of(place.name, environment, place.folder, place.core)
    if not fill.is_filled(place.url, place.grants):
        with started(command) as subject:
            clients = asyncio.run(_registered(subject.base))
        rounds.keep(place.folder, "stored", fill.filled(place.url, place.grants, clients, RESOURCE, told))
    kept += rounds.kept(place.folder, "stored", Stored)
    holders = fill.taken_up(place.url, place.grants, HOLDERS)
    with started(command) as subject:
        connected = subjects.connect(subject.base, environment, postbox)
        crowd = Crowd(connected, holders)
        asyncio.run(crowd.come(subject.base))
        subject.operations = connected.operations() | crowd.operations()
        subject.database_pid = place.database_pid
        yield subject


async def _registered(base: str) -> list[str]:
    """Registers CLIENTS clients of KINDS kinds; returns their ids."""
    line, found = await line_to(base), []
    for number in range(CLIENTS):
        body = json.dumps({**subjects.REGISTRATION, "client_name": f"Client {number % KINDS}"})
        answer = expect(await line.ask("POST", "/register", body, content_type="application/json"), 201)
        found.append(json.loads(answer.body)["client_id"])
    line.close()
    return found


class Run:
    """One run: its arguments and results so far."""

    def __init__(self, given: argparse.Namespace, folder: Path, postbox: Postbox) -> None:
        self._given, self._folder, self._postbox = given, folder, postbox
        self._of_servers, self._of_load = rounds.cores()
        self.rows: list[Row] = []
        self.stored: list[Stored] = []
        self.memory: list[Memory] = []
        self.starts: list[Start] = []

    def sqlite(self) -> None:
        """Measures a small and a very large store on SQLite."""
        kept = self._given.keep or self._folder
        self._grown([
            Place(f"SQLite, {grants:,} grants", f"sqlite:///{kept / f'sqlite-{grants}' / 'gatepost.db'}", grants,
                  kept / f"sqlite-{grants}", self._of_servers)
            for grants in (self._given.small, self._given.sqlite)
        ])  # fmt: skip  # two places

    def postgres(self) -> None:
        """Measures a small and a large store on PostgreSQL."""
        with _durable() as (server, pid):
            self._grown([
                Place(f"PostgreSQL, {grants:,} grants", server.migrated(), grants, self._folder / f"postgres-{grants}",
                      self._of_servers, database_pid=pid)
                for grants in (self._given.small, self._given.postgres)
            ])  # fmt: skip  # two places

    def workers(self) -> None:
        """Measures refreshes with one and two workers, on all cores."""
        with _durable() as (server, pid):
            places = [
                Place(f"PostgreSQL, {workers} {'worker' if workers == 1 else 'workers'}", server.migrated(),
                      self._given.small, self._folder / f"workers-{workers}", None, workers, pid)
                for workers in (1, 2)
            ]  # fmt: skip  # two places
            only = argparse.Namespace(**{**vars(self._given), "operations": {REFRESH}, "at_once": [32]})
            with ExitStack() as stack:
                found = [stack.enter_context(serving(place, self._postbox, [])) for place in places]
                self.rows += rounds.measured(found, only)

    def memory_grows(self) -> None:
        """Measures memory after each tenth of ``--grants`` code flows."""
        count = self._given.grants
        with subjects.gatepost(self._folder, self._postbox, self._of_servers) as (subject, _, connected), self._load():
            self.memory.append(Memory(subject.name, 0, subject.start.idle_mib))
            flow = connected.operations()[CODE]
            for tenth in range(1, 11):
                asyncio.run(repeat(subject.base, [flow(slot) for slot in range(32)], count // 10))
                self.memory.append(Memory(subject.name, count * tenth // 10, round(resident_mib(subject.pid), 1)))
                told(f"{count * tenth // 10:,} code flows: {self.memory[-1].mib:.1f} MiB")

    def _grown(self, places: list[Place]) -> None:
        with ExitStack() as stack:
            found = [stack.enter_context(serving(place, self._postbox, self.stored)) for place in places]
            with self._load():
                self.rows += rounds.measured(found, self._given)
            for subject, place in zip(found, places, strict=True):
                subject.start = replace(subject.start, server=place.name)
                self.starts.append(subject.start)
                self.memory.append(Memory(place.name, 0, subject.start.idle_mib))
                done = sum(row.operations for row in self.rows if row.server == place.name)
                self.memory.append(Memory(place.name, done, round(resident_mib(subject.pid), 1)))

    @contextlib.contextmanager
    def _load(self) -> Iterator[None]:
        """Binds this process, which generates the load, to its own core."""
        if self._of_load is None:
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self._of_load})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _durable() -> Iterator[tuple[Postgres, int]]:
    """A PostgreSQL server with fsync on, unlike that of the tests, and the pid of its main process."""
    with running() as server, server.admin.connect() as connection:
        connection.exec_driver_sql("ALTER SYSTEM RESET fsync")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
        home = Path(str(connection.exec_driver_sql("SHOW data_directory").scalar()))
        yield server, int((home / "postmaster.pid").read_text().split()[0])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    rounds.timing(parser)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), metavar=",".join(PARTS))
    parser.add_argument("--small", type=int, default=10_000, help="connections in the store that others compare with")
    parser.add_argument("--sqlite", type=int, default=10_000_000, help="connections in the large SQLite file: 25 GB")
    parser.add_argument("--postgres", type=int, default=1_000_000, help="in the large PostgreSQL database: 3 GB")
    parser.add_argument("--grants", type=int, default=100_000, help="code flows before memory is looked at")
    parser.add_argument("--keep", type=Path, help="a folder for the SQLite files, which are filled once")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "bench" / "growth")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    return given


def main() -> None:
    """Runs the parts and writes their raw rows into ``--out``, each part as soon as it is done."""
    given = _arguments()
    rounds.keep_about(given.out, rounds.about())
    with tempfile.TemporaryDirectory() as made, receiving() as postbox:
        run = Run(given, Path(made), postbox)
        parts = {"sqlite": run.sqlite, "postgres": run.postgres, "memory": run.memory_grows, "workers": run.workers}
        for part in given.parts:
            parts[part]()
            for name in ("rows", "stored", "memory", "starts"):
                if found := getattr(run, name):
                    rounds.keep(given.out, name, found)
    told(f"raw rows are in {given.out}")


if __name__ == "__main__":
    main()
