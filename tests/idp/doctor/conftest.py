"""The deployments that several tests visit, one for each pair of addresses; a test has a front of its own."""

import contextlib
from collections.abc import Iterator

import pytest
import trustme

from tests.idp.doctor.deployment import ISSUERS, Names, Servers, servers


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who signs the fronts' certificates."""
    return trustme.CA()


@pytest.fixture
def network(authority: trustme.CA) -> Names:
    """The names and connections of one test."""
    return Names(authority)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Servers]]:
    """Servers by shape; shapes of the same addresses share theirs, since they differ in the front alone."""
    with contextlib.ExitStack() as stack:
        made = {
            pair: stack.enter_context(servers(tmp_path_factory.mktemp("public"), *pair)) for pair in {*ISSUERS.values()}
        }
        yield {shape: made[pair] for shape, pair in ISSUERS.items()}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Both servers on loopback, as `gatepost demo` runs them."""
    with servers(tmp_path_factory.mktemp("local")) as both:
        yield both
