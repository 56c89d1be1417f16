"""The one seam to the database: ``await db.read(fn)`` and ``await db.write(fn)``.

One request is one transaction and one hop to another thread. ``fn`` gets a `Transaction`, is the only place that
touches the database, and can be run again. SQLite has one writer thread, which commits whatever waits as a group
(each function in its own SAVEPOINT) at ``synchronous=FULL``; PostgreSQL has a pool of connections.
"""

import asyncio
import queue
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from functools import cached_property
from importlib import import_module
from pathlib import Path
from time import sleep
from typing import Any, Protocol, TypeVar, cast

import sqlalchemy
from sqlalchemy import Engine, bindparam, event
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.base import Executable
from sqlmodel import Session, SQLModel

T = TypeVar("T")
Row = tuple[Any, ...]
# Serialization failure, deadlock, a row that another transaction added meanwhile: the next run sees how things stand.
_RETRIED = ("40001", "40P01", "23505")
_TRIES = 5
_BEGIN_READING, _BEGIN_WRITING = "BEGIN", "BEGIN IMMEDIATE"
_READ_ONLY = "25006"  # a standby that we reached in a failover, or an operator's hand: somebody may mend it


class DatabaseUnavailable(Exception):
    """The database did not take or keep this transaction; nothing of it holds. Answer 503."""


class Unstorable(Exception):
    """A value that no column takes, such as a text with NUL on PostgreSQL. Answer 400: the caller sent it."""


class Query:
    """A statement of the hot path: written in SQLModel, compiled once for each dialect, run on the driver's cursor."""

    def __init__(self, statement: Executable | Callable[[str], Executable]) -> None:
        """``statement``: itself or, where they differ, from the dialect's name to it."""
        self._statement = statement
        self._compiled: dict[str, tuple[str, dict[str, Any]]] = {}

    def sql(self, dialect: Dialect) -> tuple[str, dict[str, Any]]:
        """The SQL text with named parameters, and the values of those that the statement itself sets."""
        if dialect.name not in self._compiled:
            compiled = cast(Any, self.statement(dialect.name)).compile(dialect=dialect)
            preset = {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required}
            self._compiled[dialect.name] = (str(compiled), preset)
        return self._compiled[dialect.name]

    def statement(self, dialect: str) -> Executable:
        """What is compiled for that dialect."""
        return self._statement if isinstance(self._statement, Executable) else self._statement(dialect)


_PING = Query(sqlalchemy.select(sqlalchemy.literal(1)))


def columns(*attributes: Any) -> "sqlalchemy.Select[Any]":
    """A SELECT of any number of columns; SQLModel's own ``select`` is typed for four at the most."""
    return sqlalchemy.select(*attributes)


def insert_query(table: type[SQLModel]) -> Query:
    """An INSERT of one whole row; its parameters are the columns' names."""
    columns = cast(Any, table).__table__.columns
    return Query(sqlalchemy.insert(table).values({c.name: bindparam(c.name, type_=c.type) for c in columns}))


def upsert_query(
    table: type[SQLModel],
    keys: Sequence[str],
    values: Mapping[str, Any],
    changes: Callable[[Any], Mapping[str, Any]],
    returning: Sequence[Any] = (),
) -> Query:
    """An INSERT of ``values`` or, where the row of ``keys`` is there, an UPDATE: one statement, so that all who come at
    once are answered. ``changes``: from the row that was not inserted to what the columns become."""

    def statement(dialect: str) -> Executable:
        # Loaded here: the module of the dialect that is not spoken would be 2 MiB and 25 ms of every start.
        insert = cast(Any, import_module(f"sqlalchemy.dialects.{dialect}")).insert
        inserted = insert(table).values(dict(values))
        changed = inserted.on_conflict_do_update(index_elements=list(keys), set_=dict(changes(inserted.excluded)))
        return cast(Executable, changed.returning(*returning) if returning else changed)

    return Query(statement)


class Transaction:
    """What a function may do inside its transaction."""

    def __init__(self, connection: Connection, cursor: Any) -> None:
        self._connection = connection
        self._cursor = cursor

    @cached_property
    def session(self) -> Session:
        """A SQLModel session inside this transaction, for everything off the hot path."""
        if not self._connection.in_transaction():
            self._connection.begin()  # SQLAlchemy learns of the one that runs, which is not the session's to end
        # A savepoint of its own: a flush that fails rolls back no further, and leaves the group's neighbours alone.
        return Session(self._connection, join_transaction_mode="create_savepoint", expire_on_commit=False)

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``, for the few statements that differ."""
        return self._connection.dialect.name

    def run(self, query: Query, **values: Any) -> int:
        """Runs ``query``; answers how many rows it changed."""
        self._execute(query, values)
        return cast(int, self._cursor.rowcount)

    def one(self, query: Query, **values: Any) -> Row | None:
        """The first row of ``query``, or None."""
        self._execute(query, values)
        return cast("Row | None", self._cursor.fetchone())

    def all(self, query: Query, **values: Any) -> list[Row]:
        """Every row of ``query``."""
        self._execute(query, values)
        return cast("list[Row]", self._cursor.fetchall())

    def each(self, query: Query, rows: Iterable[Mapping[str, Any]]) -> None:
        """Runs ``query`` once for each of ``rows``, its parameters by name."""
        text, preset = query.sql(self._connection.dialect)
        self._cursor.executemany(text, [{**preset, **row} for row in rows])

    def lock(self, table: type[SQLModel]) -> None:
        """Lets one transaction at a time pass from here on. SQLite writes one at a time anyway."""
        if self.dialect == "postgresql":
            name = cast(Any, table).__table__.name
            self._cursor.execute(f'LOCK TABLE "{name}" IN SHARE ROW EXCLUSIVE MODE')

    def finish(self) -> None:
        """Sends what the session still holds; called before the commit."""
        if "session" in self.__dict__:
            self.session.commit()
            self.session.close()

    def _execute(self, query: Query, values: Mapping[str, Any]) -> None:
        text, preset = query.sql(self._connection.dialect)
        self._cursor.execute(text, {**preset, **values} if preset else values)


Work = Callable[[Transaction], T]


class _Backend(Protocol):
    """SQLite or PostgreSQL behind the seam."""

    engine: Engine

    def submit(self, work: Work[T]) -> "asyncio.Future[T]": ...

    def close(self) -> None: ...


class Database:
    """A database, opened; close it at the end."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self._backend: _Backend
        self._readers: _Backend
        if url.startswith("sqlite"):
            self._backend = _SqliteWriter(url)
            self._readers = _SqliteReaders(url, size=2)
        else:
            pool = _Pool(_postgres_engine(url, pool_size), size=pool_size, retried=_RETRIED)
            self._backend, self._readers = pool, pool.reading()

    @property
    def engine(self) -> Engine:
        """For migrations and checks at the start; requests go through ``read`` and ``write``."""
        return self._backend.engine

    def directly(self, work: Callable[[Engine], T]) -> T:
        """What ``work`` makes of the engine, for commands; raises what it raises, or DatabaseUnavailable."""
        try:
            return work(self.engine)
        except DBAPIError as problem:
            raise _translated(self.engine, problem) from problem

    async def read(self, work: Work[T]) -> T:
        """Runs ``work`` in a transaction that changes nothing; raises DatabaseUnavailable."""
        return await self._readers.submit(work)

    async def write(self, work: Work[T]) -> T:
        """Runs ``work`` and answers after the commit; raises what it raised, undone, or DatabaseUnavailable."""
        return await self._backend.submit(work)

    async def ping(self) -> None:
        """Asks the database something; raises DatabaseUnavailable where it does not answer."""
        await self.read(lambda tx: tx.one(_PING))

    def close(self) -> None:
        """Ends the threads and connections after what waits is done."""
        self._backend.close()
        if self._readers is not self._backend:
            self._readers.close()


def _sqlite_engine(url: str, *, read_only: bool) -> Engine:
    Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    engine = sqlalchemy.create_engine(
        url, paramstyle="named", connect_args={"check_same_thread": False, "timeout": 5}, pool_size=4
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: IMMEDIATE for the writer
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=5000",
            "temp_store=MEMORY",  # what a SAVEPOINT may have to put back: a file would be made for each large one
            f"query_only={'ON' if read_only else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if not cast(Any, connection.connection).in_transaction:  # else it is a session's, inside one of _Held's
            connection.exec_driver_sql(_BEGIN_READING if read_only else _BEGIN_WRITING)

    return engine


class _Held:
    """A connection to SQLite that one thread keeps; BEGIN and COMMIT go straight to its cursor.

    SQLAlchemy's way into a transaction and out of it costs as much as the six statements of a refresh.
    """

    def __init__(self, engine: Engine, begin: str) -> None:
        self._engine = engine
        self._begin = begin
        self._connection: Connection | None = None
        self._cursor: Any = None

    @contextmanager
    def transaction(self) -> Iterator[tuple[Connection, Any]]:
        """Committed at its end; what is raised undoes it, and the next one finds a fresh connection."""
        try:
            connection = self._opened()
            self._cursor.execute(self._begin)
            yield connection, self._cursor
            self._commit(connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the connection, if there is one; SQLite undoes what it had not committed."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _commit(self, connection: Connection) -> None:
        if connection.in_transaction():  # a session's: SQLAlchemy must know that it is over
            connection.commit()
        else:
            self._cursor.execute("COMMIT")

    def _opened(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._cursor = self._connection.connection.cursor()
        return self._connection


def _postgres_engine(url: str, pool_size: int) -> Engine:
    return sqlalchemy.create_engine(url, pool_size=pool_size, max_overflow=0, pool_timeout=10, pool_recycle=1800)


class _SqliteReaders:
    """Threads that read, with a connection each."""

    def __init__(self, url: str, size: int) -> None:
        self.engine = _sqlite_engine(url, read_only=True)
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
            raise _translated(self.engine, problem) from problem
        return result

    def _of_this_thread(self) -> _Held:
        if not hasattr(self._own, "held"):
            self._own.held = _Held(self.engine, _BEGIN_READING)
            self._held.append(self._own.held)
        return cast(_Held, self._own.held)


class _Pool:
    """Threads with a connection each: everything on PostgreSQL."""

    def __init__(self, engine: Engine, size: int, retried: Sequence[str]) -> None:
        self.engine = engine
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="gatepost-db")
        self._retried = retried
        self._errors: tuple[type[Exception], ...] = (DBAPIError, cast(Any, engine.dialect.dbapi).Error)

    def submit(self, work: Work[T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads, self._run, work)

    def reading(self) -> "_Pool":
        """The same threads and connections, in transactions that PostgreSQL lets change nothing (no statement more)."""
        reader = copy(self)
        reader.engine = self.engine.execution_options(postgresql_readonly=True)
        return reader

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        self.engine.dispose()

    def _run(self, work: Work[T]) -> T:
        for attempt in range(1, _TRIES + 1):
            try:
                return self._once(work)
            except self._errors as problem:
                if _sqlstate(problem) not in self._retried or attempt == _TRIES:
                    raise _translated(self.engine, problem) from problem
            # Apart from the others that were refused at the same moment, or they would meet again.
            sleep(0.01 * 2**attempt * (0.5 + secrets.randbelow(100) / 100))
        raise AssertionError  # the last try returned or raised

    def _once(self, work: Work[T]) -> T:
        with self.engine.begin() as connection:
            transaction = Transaction(connection, connection.connection.cursor())
            result = work(transaction)
            transaction.finish()
        return result


class _SqliteWriter:
    """The one thread that writes: takes all that waits, commits it as a group, then answers everybody."""

    def __init__(self, url: str) -> None:
        self.engine = _sqlite_engine(url, read_only=False)
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
        """Everything that waits, after waiting for the first; and whether to go on."""
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
        """Runs the group in one transaction; where that fails, the whole group is told so."""
        try:
            with self._held.transaction() as (connection, cursor):
                for job in group:
                    job.run(connection, cursor)
        except Exception as problem:  # noqa: BLE001 (the boundary of the thread: everybody gets an answer)
            unavailable = DatabaseUnavailable(str(problem))  # a COMMIT that failed says nothing of any one job
            for job in group:
                job.result, job.problem = None, unavailable


class _Job:
    """One function that waits for the writer, and its answer."""

    def __init__(self, work: Work[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.problem: Exception | None = None

    def run(self, connection: Connection, cursor: Any) -> None:
        """Runs inside a SAVEPOINT: an exception undoes this function alone, not its neighbours in the group."""
        cursor.execute("SAVEPOINT job")
        try:
            transaction = Transaction(connection, cursor)
            self.result = self.work(transaction)
            transaction.finish()
        except Exception as problem:  # noqa: BLE001 (whatever it was, it belongs to whoever waits for this job)
            # A full disk ends the whole transaction; then this raises, and the group fails together.
            cursor.execute("ROLLBACK TO job")
            self.problem = _translated(connection.engine, problem)
        cursor.execute("RELEASE job")

    def settle(self) -> None:
        """Answers whoever waits, unless they went away."""
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
        except RuntimeError:  # that loop was closed: nobody waits there any more
            continue


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        job.settle()


def _sqlstate(problem: BaseException) -> str | None:
    return getattr(getattr(problem, "orig", problem), "sqlstate", None)


def _translated(engine: Engine, problem: Exception) -> Exception:
    """A database that fails is unavailable; a fault of our own stays what it is."""
    driver = cast(Any, engine.dialect.dbapi)
    original = getattr(problem, "orig", problem)
    is_theirs = isinstance(original, (driver.OperationalError, driver.InterfaceError))
    if is_theirs or isinstance(problem, sqlalchemy.exc.TimeoutError) or _sqlstate(problem) == _READ_ONLY:
        return DatabaseUnavailable(str(original))
    if isinstance(original, driver.DataError):
        return Unstorable(str(original))
    return problem
