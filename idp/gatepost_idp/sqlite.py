"""The SQLite backend: reader threads, and one writer thread that commits waiting work in groups."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import sqlalchemy
from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from gatepost_idp.transaction import DatabaseUnavailable, T, Transaction, Work, translated

_BEGIN_READING, _BEGIN_WRITING = "BEGIN", "BEGIN IMMEDIATE"


def _make_for_its_owner_alone(path: Path) -> None:
    """Creates a missing file with mode 0600; SQLite gives -wal and -shm the same mode.

    An existing file is not opened: closing it would release this process's POSIX locks on it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # it exists, or SQLite will report why it cannot
        path.touch(0o600, exist_ok=False)


def _engine(url: str, *, read_only: bool) -> Engine:
    _make_for_its_owner_alone(Path(url.removeprefix("sqlite:///")))
    engine = sqlalchemy.create_engine(
        url, paramstyle="named", connect_args={"check_same_thread": False, "timeout": 5}, pool_size=4
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we issue BEGIN ourselves: IMMEDIATE for the writer
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=5000",
            "temp_store=MEMORY",  # else each large SAVEPOINT would create a temporary file
            f"query_only={'ON' if read_only else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if not cast(Any, connection.connection).in_transaction:  # else a session joins a transaction that _Held began
            connection.exec_driver_sql(_BEGIN_READING if read_only else _BEGIN_WRITING)

    return engine


class _Held:
    """A SQLite connection kept open by one thread; BEGIN and COMMIT are run directly on its cursor.

    Through SQLAlchemy they would cost as much as the six statements of a refresh.
    """

    def __init__(self, engine: Engine, begin: str) -> None:
        self._engine = engine
        self._begin = begin
        self._connection: Connection | None = None
        self._cursor: Any = None

    @contextmanager
    def transaction(self) -> Iterator[tuple[Connection, Any]]:
        """A transaction, committed at its end. An exception rolls back and closes the connection, to be reopened."""
        try:
            connection = self._opened()
            self._cursor.execute(self._begin)
            yield connection, self._cursor
            self._commit(connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the connection, if there is one; SQLite rolls back what was not committed."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _commit(self, connection: Connection) -> None:
        if connection.in_transaction():  # a session took part: SQLAlchemy must be told of the end
            connection.commit()
        else:
            self._cursor.execute("COMMIT")

    def _opened(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._cursor = self._connection.connection.cursor()
        return self._connection


class Readers:
    """Reader threads, with one connection each."""

    def __init__(self, url: str, size: int) -> None:
        self.engine = _engine(url, read_only=True)
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="gatepost-db")
        self._own = threading.local()
        self._held: list[_Held] = []

    def submit(self, work: Work[T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads, self._run, work)

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        for held in self._held:
            held.close()
        self.engine.dispose()

    def _run(self, work: Work[T]) -> T:
        try:
            with self._of_this_thread().transaction() as (connection, cursor):
                transaction = Transaction(connection, cursor)
                result = work(transaction)
                transaction.finish()
        except (DBAPIError, sqlite3.Error) as problem:
            raise translated(self.engine, problem) from problem
        return result

    def _of_this_thread(self) -> _Held:
        if not hasattr(self._own, "held"):
            self._own.held = _Held(self.engine, _BEGIN_READING)
            self._held.append(self._own.held)
        return cast(_Held, self._own.held)


class Writer:
    """The single writer thread: takes all waiting jobs, commits them as a group, then resolves their futures."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url, read_only=False)
        self._held = _Held(self.engine, _BEGIN_WRITING)
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="gatepost-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T]) -> "asyncio.Future[T]":
        job = _Job(work, asyncio.get_running_loop())
        self._waiting.put(job)
        return cast("asyncio.Future[T]", job.future)

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()
        self._held.close()
        self.engine.dispose()

    def _serve(self) -> None:
        running = True
        while running:
            group, running = self._next_group()
            if group:
                self._commit(group)
                _answer(group)

    def _next_group(self) -> tuple[list["_Job"], bool]:
        """Waits for a job, then takes all that are queued; the flag is False once the writer is to stop."""
        group = []
        job = self._waiting.get()
        while job is not None:
            group.append(job)
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _commit(self, group: list["_Job"]) -> None:
        """Runs the group in one transaction; if that fails, every job of the group fails."""
        try:
            with self._held.transaction() as (connection, cursor):
                for job in group:
                    job.run(connection, cursor)
        except Exception as problem:  # noqa: BLE001 (the boundary of the thread: every job gets a result)
            unavailable = DatabaseUnavailable(str(problem))  # a failed COMMIT is not the fault of any one job
            for job in group:
                job.result, job.problem = None, unavailable


class _Job:
    """A function queued for the writer, and its result."""

    def __init__(self, work: Work[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.problem: Exception | None = None

    def run(self, connection: Connection, cursor: Any) -> None:
        """Runs inside a SAVEPOINT: an exception rolls back this job only, not the others of the group."""
        cursor.execute("SAVEPOINT job")
        try:
            transaction = Transaction(connection, cursor)
            self.result = self.work(transaction)
            transaction.finish()
        except Exception as problem:  # noqa: BLE001 (any exception is passed on to the job's caller)
            # A full disk ends the whole transaction; then this raises, and the whole group fails.
            cursor.execute("ROLLBACK TO job")
            self.problem = translated(connection.engine, problem)
        cursor.execute("RELEASE job")

    def settle(self) -> None:
        """Resolves the future with the result or exception, unless it was cancelled."""
        if self.future.cancelled():
            return
        if self.problem is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.problem)


def _answer(group: list[_Job]) -> None:
    """Wakes each event loop once for the whole group."""
    for loop in {job.loop for job in group}:
        mine = [job for job in group if job.loop is loop]
        try:
            loop.call_soon_threadsafe(_settle, mine)
        except RuntimeError:  # that loop is closed, so nobody waits there any more
            continue


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        job.settle()
