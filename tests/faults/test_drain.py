"""SIGTERM behind a balancer: readiness says no while everything else is still answered, then the listeners close."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.faults.load import replicated
from tests.store.servers import running as postgresql
from tests.support.smtp import receiving

ASKED_EACH = 0.02


def _asked(base: str, path: str) -> int:
    """The status, 0 where nobody listens any more. A connection of its own, as a health check's is."""
    with contextlib.suppress(httpx2.TransportError):
        return httpx2.get(f"{base}{path}", trust_env=False, verify=False, timeout=5).status_code
    return 0


def _drains(base: str, stop: Callable[[], None]) -> list[tuple[int, int]]:
    """What /readyz and /healthz answer from the stop to the end, one after the other, repeats left out."""
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        assert _asked(base, "/readyz") == 200
    stop()
    seen: list[tuple[int, int]] = []
    deadline = time.monotonic() + 15
    while (not seen or seen[-1] != (0, 0)) and time.monotonic() < deadline:
        found = _asked(base, "/readyz"), _asked(base, "/healthz")
        if found not in seen[-1:]:
            seen.append(found)
        time.sleep(ASKED_EACH)
    return seen


@pytest.mark.parametrize("workers", [1, 2])
def test_readiness_says_no_first(tmp_path: Path, workers: int) -> None:
    """From the signal on /readyz is 503 and never 200 again, while other requests are answered; no connection is
    refused before that. With several workers too."""
    with contextlib.ExitStack() as stack:
        settings = {"secret_key": ("k" * 40,), "workers": workers}
        if workers > 1:
            settings["database_url"] = stack.enter_context(postgresql()).empty()
        idp = stack.enter_context(replicated(tmp_path, stack.enter_context(receiving()), 1, **settings))
        process = idp.servers[0].process
        seen = _drains(idp.base, process.terminate)
        # Between the two questions of a pair the signal may fall, and the end.
        steps = [pair for pair in seen if pair not in ((200, 200), (503, 0))]
        assert steps == [(503, 200), (0, 0)], seen
        process.wait(10)
        assert "Traceback" not in idp.servers[0].logged()


def test_a_stop_that_nobody_watches_is_at_once(tmp_path: Path) -> None:
    """Where nobody asks for readiness, nobody would see it: a developer's Ctrl-C or a restart costs no seconds."""
    with receiving() as mails, replicated(tmp_path, mails, 1) as idp:
        idp.servers[0].process.terminate()
        began = time.monotonic()
        while _asked(idp.base, "/healthz") == 200:
            assert time.monotonic() - began < 2
