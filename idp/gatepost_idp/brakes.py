"""What the coarse brakes count: in each process's memory, and with REDIS_URL together with the other processes."""

import asyncio
import math
import time
from collections.abc import Iterator
from itertools import islice

import structlog
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from slowapi import Limiter

from gatepost_idp.limits import Callers

log = structlog.get_logger("gatepost.brakes")

SHARE_SECONDS = 0.25
ANSWER_SECONDS = 1.0
AT_ONCE = 500
# One command, so that no key is ever left without an end. Redis before 7 has no EXPIRE NX.
_COUNT = """
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
    left = ARGV[2] * 1000
    redis.call('PEXPIRE', KEYS[1], left)
end
return {count, left}
"""
Told = tuple[str, int, int]
"""A key, the seconds of its window, and how often it was counted here."""


class Counts(MemoryStorage):
    """A process's own counts, on which its brakes decide at once; what others counted is learned a moment later."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self._shared = shared
        self._untold: dict[str, tuple[int, int]] = {}

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Counts; answers the sum in the window that runs."""
        if self._shared:
            self._untold[key] = math.ceil(expiry), self._untold.get(key, (0, 0))[1] + amount
        return super().incr(key, expiry, amount)

    def untold(self) -> Iterator[Told]:
        """What was counted since the last call."""
        told, self._untold = self._untold, {}
        return ((key, seconds, amount) for key, (seconds, amount) in told.items())

    def learn(self, key: str, count: int, seconds: float) -> None:
        """Takes over what all processes counted together, and when that window ends. Never less than its own."""
        count += self._untold.get(key, (0, 0))[1]
        if count > self.get(key):
            self.expirations[key] = time.time() + seconds
            self.storage[key] = count


class Brakes(Limiter):
    """slowapi's limiter on counts of ours; for slowapi's own Redis every request would wait, and the loop with it."""

    def __init__(self, callers: Callers, counts: Counts) -> None:
        super().__init__(key_func=callers.network, headers_enabled=False)
        self._window = FixedWindowRateLimiter(counts)

    @property
    def limiter(self) -> FixedWindowRateLimiter:
        """What slowapi asks."""
        return self._window


class Sharing:
    """Tells Redis what this process counted and learns the sum. No request waits for it, so its loss hurts nobody."""

    def __init__(self, counts: Counts, url: str, issuer: str) -> None:
        from redis.asyncio import Redis  # noqa: PLC0415 (an extra: only who sets REDIS_URL needs it)
        from redis.asyncio.retry import Retry  # noqa: PLC0415 (as above)
        from redis.backoff import NoBackoff  # noqa: PLC0415 (as above)
        from redis.exceptions import RedisError  # noqa: PLC0415 (as above)

        self._counts = counts
        self._prefix = f"gatepost:{issuer}:"  # another deployment may count in the same Redis
        self._redis = Redis.from_url(
            url.replace("valkey", "redis", 1) if url.startswith("valkey") else url,
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._count = self._redis.register_script(_COUNT)
        self._trouble: tuple[type[Exception], ...] = (RedisError, OSError, TimeoutError)
        self.problem = ""
        """Why this process counts alone, empty while it does not."""

    async def work(self) -> None:
        """One exchange. What could not be told is not told later: this process's memory has it, for the window."""
        told = self._counts.untold()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._redis.ping()
            while batch := list(islice(told, AT_ONCE)):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._tell(batch)
        except self._trouble as problem:
            self._note(f"{type(problem).__name__}: {problem}".rstrip(": "))
            return
        self._note("")

    async def close(self) -> None:
        """Ends its connections."""
        await self._redis.aclose()

    async def _tell(self, batch: list[Told]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for key, seconds, amount in batch:
            await self._count(keys=[self._prefix + key], args=[amount, seconds], client=pipeline)  # queued, not sent
        for (key, _, _), (count, left) in zip(batch, await pipeline.execute(), strict=True):
            self._counts.learn(key, int(count), int(left) / 1000)

    def _note(self, problem: str) -> None:
        """Told once at the beginning of an outage, as an alert, and once at its end."""
        if problem and not self.problem:
            log.error("limits_not_shared", setting="REDIS_URL", reason=problem, meanwhile="each process counts alone")
        if self.problem and not problem:
            log.warning("limits_shared_again", setting="REDIS_URL")
        self.problem = problem
