"""Both databases: each test of the store runs on an empty SQLite file and an empty, real PostgreSQL database."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatepost_idp.database import Database
from gatepost_idp.store import schema
from tests.store.servers import Postgres, running

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for the session."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file at this version's schema, to be copied."""
    path = tmp_path_factory.mktemp("template") / "gatepost.db"
    database = Database(f"sqlite:///{path}")
    schema.upgrade(database.engine)
    database.close()
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A separate SQLite file for the test."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'gatepost.db')}"


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """An empty PostgreSQL database."""
    return postgres.emptied()


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A database at this version's schema, of each kind in turn."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new' / 'gatepost.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.empty()
    yield url
    server.drop(url)


@pytest.fixture
def opened() -> Iterator[Callable[[str], Database]]:
    """Opens databases as a server does, as often as the test wants, and closes them at its end."""
    databases: list[Database] = []

    def open_database(url: str) -> Database:
        databases.append(Database(url))
        return databases[-1]

    yield open_database
    for database in databases:
        database.close()


@pytest.fixture
def database(database_url: str, opened: Callable[[str], Database]) -> Database:
    """The database under test, of each kind in turn."""
    return opened(database_url)


@pytest.fixture
def replicas(database_url: str, opened: Callable[[str], Database]) -> tuple[Database, Database]:
    """One database opened twice, as two processes do."""
    return opened(database_url), opened(database_url)


@pytest.fixture
def sqlite_database(sqlite_url: str, opened: Callable[[str], Database]) -> Database:
    """For behaviour of SQLite only."""
    return opened(sqlite_url)


@pytest.fixture
def postgres_database(postgres_url: str, opened: Callable[[str], Database]) -> Database:
    """For behaviour of PostgreSQL only."""
    return opened(postgres_url)


@pytest.fixture(scope="module")
def shared_sqlite(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One SQLite file for tests that change nothing."""
    database = Database(f"sqlite:///{shutil.copy(sqlite_template, tmp_path_factory.mktemp('shared') / 'gatepost.db')}")
    yield database
    database.close()
