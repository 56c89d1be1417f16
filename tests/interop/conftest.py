"""The deployment for clients that are URLs, shared by the tests of this folder."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.interop.by_url import ByUrl, serving_urls
from tests.interop.ways import known_ways
from tests.support.smtp import Postbox


@pytest.fixture(scope="session")
def by_url(tmp_path_factory: pytest.TempPathFactory, postbox: Postbox) -> Iterator[ByUrl]:
    """Both servers, and a host that answers to the name in every known client's document URL."""
    names = {urlsplit(way.document["client_id"]).hostname or "" for way in known_ways() if way.document}
    with serving_urls(tmp_path_factory.mktemp("by-url"), postbox, *sorted(names)) as both:
        yield both
