"""SIGTERM: readiness says no first, so that a balancer looks elsewhere before the listeners close."""

import asyncio
import signal
import threading
import time
from types import FrameType

import structlog

log = structlog.get_logger("gatepost.drain")

DRAIN_SECONDS = 3.0
"""How long a process that was told to stop goes on as before, but for its readiness."""
WATCHED_SECONDS = 60.0
"""Who asked for readiness so recently is waited for; where nobody asks, nobody would see it, and it stops at once."""


class Drain:
    """Stands between SIGTERM and the server, in each worker process, since each gets a signal of its own.

    Of several workers each waits, asked or not: whoever watches them reaches only one at a time.
    """

    def __init__(self, workers: int) -> None:
        self._began = False
        self._is_one_of_many = workers > 1
        self._asked_at = -WATCHED_SECONDS

    def is_told(self) -> bool:
        """Asked by whoever answers for readiness: whether this process was told to stop."""
        self._asked_at = time.monotonic()
        return self._began

    def watch(self) -> None:
        """Takes over the server's SIGTERM, if it has one here; the server puts back what was before itself."""
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
