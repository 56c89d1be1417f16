"""What a function does in its transaction: queries, compiled once and run on the driver's cursor; and how it fails."""

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


def sqlstate(problem: BaseException) -> str | None:
    """PostgreSQL's code of what went wrong, wrapped by SQLAlchemy or not; None where there is none, as on SQLite."""
    return getattr(getattr(problem, "orig", problem), "sqlstate", None)


def translated(engine: Engine, problem: Exception) -> Exception:
    """A database that fails is unavailable; a fault of our own stays what it is."""
    driver = cast(Any, engine.dialect.dbapi)
    original = getattr(problem, "orig", problem)
    is_theirs = isinstance(original, (driver.OperationalError, driver.InterfaceError))
    if is_theirs or isinstance(problem, NoConnection) or sqlstate(problem) == _READ_ONLY:
        return DatabaseUnavailable(str(original))
    if isinstance(original, driver.DataError):
        return Unstorable(str(original))
    return problem
