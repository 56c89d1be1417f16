"""Transactions and queries: statements compiled once and run on the driver's cursor, and the errors they raise."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from typing import Any, TypeVar, cast

import sqlalchemy
from sqlalchemy import Engine, bindparam
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.sql.base import Executable
from sqlmodel import Session, SQLModel

T = TypeVar("T")
Row = tuple[Any, ...]
_READ_ONLY = "25006"  # a standby reached during a failover, or made read-only by an operator: may pass


class DatabaseUnavailable(Exception):
    """The database could not run or commit this transaction, so nothing was changed. Respond with 503."""


class Unstorable(Exception):
    """A value that no column can store, such as text with NUL on PostgreSQL. Respond with 400: the caller sent it."""


class Query:
    """A statement for hot paths: written in SQLModel, compiled once per dialect, run on the driver's cursor."""

    def __init__(self, statement: Executable | Callable[[str], Executable]) -> None:
        """``statement``: the statement or, if dialects differ, a function from the dialect's name to it."""
        self._statement = statement
        self._compiled: dict[str, tuple[str, dict[str, Any]]] = {}

    def sql(self, dialect: Dialect) -> tuple[str, dict[str, Any]]:
        """The SQL text with named parameters, and the values that the statement itself sets."""
        if dialect.name not in self._compiled:
            compiled = cast(Any, self.statement(dialect.name)).compile(dialect=dialect)
            preset = {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required}
            self._compiled[dialect.name] = (str(compiled), preset)
        return self._compiled[dialect.name]

    def statement(self, dialect: str) -> Executable:
        """The statement for that dialect."""
        return self._statement if isinstance(self._statement, Executable) else self._statement(dialect)


def columns(*attributes: Any) -> "sqlalchemy.Select[Any]":
    """A SELECT of any number of columns; SQLModel's own ``select`` is typed for at most four."""
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
    """An INSERT of ``values`` or, if a row with these ``keys`` exists, an UPDATE: one statement, so that concurrent
    callers all succeed. ``changes``: maps the row that was not inserted to the new values of the columns."""

    def statement(dialect: str) -> Executable:
        # Imported here: the module of the unused dialect would cost every start 2 MiB and 25 ms.
        insert = cast(Any, import_module(f"sqlalchemy.dialects.{dialect}")).insert
        inserted = insert(table).values(dict(values))
        changed = inserted.on_conflict_do_update(index_elements=list(keys), set_=dict(changes(inserted.excluded)))
        return cast(Executable, changed.returning(*returning) if returning else changed)

    return Query(statement)


class Transaction:
    """One open transaction, as passed to functions that read or write."""

    def __init__(self, connection: Connection, cursor: Any) -> None:
        self._connection = connection
        self._cursor = cursor

    @cached_property
    def session(self) -> Session:
        """A SQLModel session inside this transaction, for statements off the hot path."""
        if not self._connection.in_transaction():
            self._connection.begin()  # tells SQLAlchemy of the running transaction, so that the session does not end it
        # With its own savepoint: a failed flush rolls back no further, and does not affect other jobs of the group.
        return Session(self._connection, join_transaction_mode="create_savepoint", expire_on_commit=False)

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``, for the few statements that differ."""
        return self._connection.dialect.name

    def run(self, query: Query, **values: Any) -> int:
        """Runs ``query``; returns how many rows it changed."""
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
        """Runs ``query`` once for each of ``rows``, which are its parameters by name."""
        text, preset = query.sql(self._connection.dialect)
        self._cursor.executemany(text, [{**preset, **row} for row in rows])

    def lock(self, table: type[SQLModel]) -> None:
        """Locks ``table`` so that one transaction at a time passes. SQLite has only one writer anyway."""
        if self.dialect == "postgresql":
            name = cast(Any, table).__table__.name
            self._cursor.execute(f'LOCK TABLE "{name}" IN SHARE ROW EXCLUSIVE MODE')

    def finish(self) -> None:
        """Flushes and closes the session, if there is one; called before the commit."""
        if "session" in self.__dict__:
            self.session.commit()
            self.session.close()

    def _execute(self, query: Query, values: Mapping[str, Any]) -> None:
        text, preset = query.sql(self._connection.dialect)
        self._cursor.execute(text, {**preset, **values} if preset else values)


Work = Callable[[Transaction], T]


def sqlstate(problem: BaseException) -> str | None:
    """PostgreSQL's error code, whether or not SQLAlchemy wrapped the error; None if there is none, as on SQLite."""
    return getattr(getattr(problem, "orig", problem), "sqlstate", None)


def translated(engine: Engine, problem: Exception) -> Exception:
    """``problem`` as DatabaseUnavailable or Unstorable if it comes from the database or a value, else unchanged."""
    driver = cast(Any, engine.dialect.dbapi)
    original = getattr(problem, "orig", problem)
    is_theirs = isinstance(original, (driver.OperationalError, driver.InterfaceError))
    if is_theirs or isinstance(problem, NoConnection) or sqlstate(problem) == _READ_ONLY:
        return DatabaseUnavailable(str(original))
    if isinstance(original, driver.DataError):
        return Unstorable(str(original))
    return problem
