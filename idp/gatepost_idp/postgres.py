"""The PostgreSQL backend: a pool of threads and connections, and retries when transactions conflict."""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from time import sleep
from typing import Any, cast

import sqlalchemy
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection

from gatepost_idp.transaction import T, Transaction, Work, sqlstate, translated

# Serialization failure, deadlock, and unique violation by a concurrent transaction: a retry sees the new state.
_RETRIED = ("40001", "40P01", "23505")
_TRIES = 5


class Pool:
    """Threads with one connection each, for reads and writes."""

    def __init__(self, url: str, size: int) -> None:
        self.engine = sqlalchemy.create_engine(url, pool_size=size, max_overflow=0, pool_timeout=10, pool_recycle=1800)
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="gatepost-db")
        driver = cast(Any, self.engine.dialect.dbapi)
        self._errors: tuple[type[Exception], ...] = (DBAPIError, NoConnection, driver.Error)

    def submit(self, work: Work[T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads, self._run, work)

    def reading(self) -> "Pool":
        """The same threads and connections, with read-only transactions (which cost no extra statement)."""
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
                if sqlstate(problem) not in _RETRIED or attempt == _TRIES:
                    raise translated(self.engine, problem) from problem
            # With jitter, or transactions that conflicted would conflict again.
            sleep(0.01 * 2**attempt * (0.5 + secrets.randbelow(100) / 100))
        raise AssertionError  # unreachable: the last try returned or raised

    def _once(self, work: Work[T]) -> T:
        with self.engine.begin() as connection:
            transaction = Transaction(connection, connection.connection.cursor())
            result = work(transaction)
            transaction.finish()
        return result
