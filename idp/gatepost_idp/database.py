"""The only interface to the database: ``await db.read(fn)`` and ``await db.write(fn)``.

Each call is one transaction in another thread. ``fn`` gets a `Transaction` and must be repeatable, since it may be
retried. SQLite has one writer thread, which commits all waiting functions as a group (each in its own SAVEPOINT) at
``synchronous=FULL``; PostgreSQL has a pool of connections.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import sqlalchemy
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from gatepost_idp import postgres, sqlite
from gatepost_idp.transaction import Query, T, Work, columns, translated

_PING = Query(columns(sqlalchemy.literal(1)))


class _Backend(Protocol):
    """The implementation for SQLite or PostgreSQL."""

    engine: Engine

    def submit(self, work: Work[T]) -> "asyncio.Future[T]": ...

    def close(self) -> None: ...


class Database:
    """An open database; close it at the end."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self._backend: _Backend
        self._readers: _Backend
        if url.startswith("sqlite"):
            self._backend = sqlite.Writer(url)
            self._readers = sqlite.Readers(url, size=2)
        else:
            pool = postgres.Pool(url, size=pool_size)
            self._backend, self._readers = pool, pool.reading()

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine, for migrations and checks at the start; requests use ``read`` and ``write``."""
        return self._backend.engine

    def directly(self, work: Callable[[Engine], T]) -> T:
        """Runs ``work`` on the engine in this thread, for commands; raises what it raises, or DatabaseUnavailable."""
        try:
            return work(self.engine)
        except DBAPIError as problem:
            raise translated(self.engine, problem) from problem

    async def read(self, work: Work[T]) -> T:
        """Runs ``work`` in a read-only transaction; raises what it raised, or DatabaseUnavailable."""
        return await self._readers.submit(work)

    async def write(self, work: Work[T]) -> T:
        """Runs ``work`` and returns after the commit; rolls back and raises what it raised, or DatabaseUnavailable."""
        return await self._backend.submit(work)

    async def ping(self) -> None:
        """Runs a trivial query; raises DatabaseUnavailable if the database does not answer."""
        await self.read(lambda tx: tx.one(_PING))

    def close(self) -> None:
        """Finishes waiting work, then ends the threads and connections."""
        self._backend.close()
        if self._readers is not self._backend:
            self._readers.close()
