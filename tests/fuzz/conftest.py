"""Both servers as processes, and the ids and tokens of a run."""

from collections.abc import Iterator

import pytest

from tests.fuzz.running import Target, targeted
from tests.support.smtp import Postbox


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory, postbox: Postbox) -> Iterator[Target]:
    """A deployment that only these tests see."""
    with targeted(tmp_path_factory.mktemp("fuzz"), postbox) as aim:
        yield aim
