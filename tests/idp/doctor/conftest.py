"""The deployments that several tests share, one for each pair of addresses; each test has its own front."""

import contextlib
from collections.abc import Iterator

import pytest
import trustme

from tests.idp.doctor.deployment import ISSUERS, Names, Servers, servers


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """The authority that signs the fronts' certificates."""
    return trustme.CA()


@pytest.fixture
def network(authority: trustme.CA) -> Names:
    """The names and connections of one test."""
    return Names(authority)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Servers]]:
    """Servers by shape; shapes with the same addresses share them, since only the front differs."""
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
