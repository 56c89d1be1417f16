"""The wheel, built and installed once for all tests here, and the demo's ports, for one test at a time."""

from collections.abc import Iterator

import pytest

from tests.packaging.demo import demo_ports
from tests.packaging.installed import Installed, build_and_install


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A fresh environment with the wheel in it."""
    return build_and_install(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def ports() -> Iterator[None]:
    """The demo's fixed ports, reserved until the test ends."""
    with demo_ports():
        yield
