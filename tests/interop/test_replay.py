"""Replays every known client: to the consent page, a token, a call and a refresh."""

import re
from urllib.parse import urlsplit

import pytest

from tests.interop.by_url import ByUrl
from tests.interop.replay import Replay
from tests.interop.ways import Way, known_ways
from tests.journeys.connecting import Tracked
from tests.support.processes import Deployment
from tests.support.smtp import Postbox


@pytest.mark.clause(
    "A1", "A1.verifier", "A2", "A4", "A5", "A7.bound", "A8.rotation", "A13.state", "A14.preflight", "R1", "R2"
)
@pytest.mark.parametrize("way", known_ways(), ids=lambda way: f"{way.key}: {way.title}")
def test_the_client_connects_calls_and_refreshes(
    deployment: Deployment, by_url: ByUrl, postbox: Postbox, way: Way
) -> None:
    """Its own requests in its own order; the person sees the consent page once; the real resource server answers."""
    address = re.sub(r"[^a-z0-9]+", "-", f"{way.key} {way.title}".lower())[:50].strip("-")
    with Tracked(f"{address}@example.com", postbox) as person:
        if way.document:
            by_url.show(way.document)
        replay = Replay(way, by_url if way.document else deployment, person)
        try:
            replay.run()
        finally:
            replay.close()
        assert len(person.asked) == 1
    if way.document:
        assert urlsplit(way.document["client_id"]).hostname in {asked.name for asked in by_url.host.asked}
