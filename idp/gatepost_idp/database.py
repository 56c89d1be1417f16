"""The one seam to the database: ``await db.read(fn)`` and ``await db.write(fn)``.

One request is one transaction and one hop to another thread. ``fn`` gets a `Transaction`, is the only place that
touches the database, and can be run again. SQLite has one writer thread, which commits whatever waits as a group
(each function in its own SAVEPOINT) at ``synchronous=FULL``; PostgreSQL has a pool of connections.
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
            self._backend = sqlite.Writer(url)
            self._readers = sqlite.Readers(url, size=2)
        else:
            pool = postgres.Pool(url, size=pool_size)
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
            raise translated(self.engine, problem) from problem

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
