"""A server shared by the protocol tests, and a separate one for a test that moves the clock."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.idp.oauth.wire import Server, running
from tests.support.oauth import TestClient, registered
from tests.support.person import Person

_numbers = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Shared by the tests of one file: none of them moves its clock or changes its settings."""
    with running(tmp_path_factory.mktemp("server")) as served:
        yield served


@pytest.fixture
def idp(tmp_path: Path) -> Iterator[Server]:
    """A separate server for the test."""
    with running(tmp_path) as served:
        yield served


@pytest.fixture
def client(server: Server) -> TestClient:
    """A public client of the shared server."""
    return registered(server)


@pytest.fixture(scope="module")
def alice(server: Server) -> Iterator[Person]:
    """A person who stays signed in at the shared server after her first flow; her consents may be remembered."""
    with Person("alice@example.com", server.postbox) as person:
        yield person


@pytest.fixture
def newcomer(server: Server) -> Iterator[Callable[[], Person]]:
    """Makes people who are new to the shared server."""
    made: list[Person] = []

    def person() -> Person:
        made.append(Person(f"newcomer-{next(_numbers)}@example.com", server.postbox))
        return made[-1]

    yield person
    for one in made:
        one.close()
