"""A PostgreSQL for servers that share one database."""

from collections.abc import Iterator

import pytest

from tests.store.servers import Postgres, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for the session."""
    with running() as server:
        yield server
