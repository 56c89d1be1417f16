"""One issuer and one resource server for the tests that change neither."""

from collections.abc import Iterator

import pytest

from tests.resource.issuer import Issuer, issuing
from tests.resource.running import Running, serving


@pytest.fixture(scope="session")
def shared_issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


@pytest.fixture(scope="session")
def resource(shared_issuer: Issuer) -> Iterator[Running]:
    with serving(shared_issuer) as running:
        yield running


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An issuer that the test may change and stop."""
    with issuing() as own:
        yield own
