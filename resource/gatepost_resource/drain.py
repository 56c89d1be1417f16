"""On SIGTERM, fails readiness first, so that a load balancer moves on before the listeners close."""

import asyncio
import signal
import threading
import time
from types import FrameType

import structlog

log = structlog.get_logger("gatepost_resource.drain")

DRAIN_SECONDS = 3.0
"""How long a process keeps serving after SIGTERM, with readiness failing."""
WATCHED_SECONDS = 60.0
"""The process drains only if readiness was probed this recently; with nobody probing, it stops at once."""


class Drain:
    """Delays the server's handling of SIGTERM, in each worker process, since each gets its own signal.

    With several workers each one drains, probed or not: a probe reaches only one of them at a time.
    """

    def __init__(self, workers: int) -> None:
        self._began = False
        self._is_one_of_many = workers > 1
        self._asked_at = -WATCHED_SECONDS

    def is_told(self) -> bool:
        """Whether this process was told to stop; called by the readiness probe, whose time it records."""
        self._asked_at = time.monotonic()
        return self._began

    def watch(self) -> None:
        """Wraps the server's SIGTERM handler, if this is its thread; the server restores the original on exit."""
        stops = signal.getsignal(signal.SIGTERM)
        if threading.current_thread() is not threading.main_thread() or not callable(stops):
            return
        loop = asyncio.get_running_loop()

        def wait(number: int, frame: FrameType | None) -> None:
            log.info("draining", seconds=DRAIN_SECONDS)
            loop.call_later(DRAIN_SECONDS, stops, number, frame)

        def told(number: int, frame: FrameType | None) -> None:
            is_watched = self._is_one_of_many or time.monotonic() - self._asked_at <= WATCHED_SECONDS
            if self._began or not is_watched:
                stops(number, frame)
                return
            self._began = True
            loop.call_soon_threadsafe(wait, number, frame)

        signal.signal(signal.SIGTERM, told)
