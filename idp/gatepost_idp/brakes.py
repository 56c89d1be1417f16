"""The brakes, coarse rate limits per network: counted in memory, and with REDIS_URL shared between processes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import wraps
from itertools import islice
from time import monotonic

import structlog
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter
from slowapi import Limiter
from slowapi.errors import RateLimitExceeded
from slowapi.wrappers import LimitGroup
from starlette.requests import Request
from starlette.responses import Response

from gatepost_idp.errors import OAuthRefusal
from gatepost_idp.limits import Callers

log = structlog.get_logger("gatepost.brakes")

SHARE_SECONDS = 0.25
ANSWER_SECONDS = 1.0
AT_ONCE = 500
# One script, so that no key is ever left without an expiry. Redis before 7 has no EXPIRE NX.
_COUNT = """
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
    left = ARGV[2] * 1000
    redis.call('PEXPIRE', KEYS[1], left)
end
return {count, left}
"""
Door = Callable[[Request], Awaitable[Response]]
Told = tuple[str, int, int]
"""A key, the length of its window in seconds, and how often this process counted it."""


class Windows(Storage):
    """Fixed-window counters in this process's memory, for one event loop.

    Under load the library's own storage starts a thread every 10 ms that walks all counters, so a flood from many
    networks makes each request slower. Here they are swept once a minute. Windows use the monotonic clock: if the wall
    clock were set back by an hour, a window of a minute would stay open for an hour.
    """

    STORAGE_SCHEME = ["windows"]  # noqa: RUF012 (the library expects a list)
    base_exceptions = ()

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_: str) -> None:
        super().__init__(uri, wrap_exceptions)
        self._counts: dict[str, tuple[int, float]] = {}
        self._swept_at = monotonic()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Adds ``amount``, from zero if the window of ``expiry`` seconds is over; returns the new count."""
        now = monotonic()
        if now - self._swept_at >= _SWEEP_SECONDS:
            self._counts = {name: found for name, found in self._counts.items() if found[1] > now}
            self._swept_at = now
        count, until = self._counts.get(key, (0, 0.0))
        count, until = (count + amount, until) if until > now else (amount, now + expiry)
        self._counts[key] = (count, until)
        return count

    def get(self, key: str) -> int:
        """The count of the current window; 0 if there is none."""
        count, until = self._counts.get(key, (0, 0.0))
        return count if until > monotonic() else 0

    def get_expiry(self, key: str) -> float:
        """When the window ends, on the monotonic clock; the library uses it only for headers, which are off."""
        return self._counts.get(key, (0, monotonic()))[1]

    def check(self) -> bool:
        """Always True: memory is always available."""
        return True

    def reset(self) -> int | None:
        """Deletes all counters; returns how many."""
        count = len(self._counts)
        self._counts.clear()
        return count

    def clear(self, key: str) -> None:
        """Deletes one counter."""
        self._counts.pop(key, None)


_SWEEP_SECONDS = 60.0


class BrakeCounts(Windows):
    """This process's counters, by which its brakes decide at once; counts of other processes are merged in later."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self._shared = shared
        self._untold: dict[str, tuple[int, int]] = {}

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Counts, also for the next exchange if shared; returns the new count of the current window."""
        if self._shared:
            self._untold[key] = expiry, self._untold.get(key, (0, 0))[1] + amount
        return super().incr(key, expiry, amount)

    def untold(self) -> Iterator[Told]:
        """What was counted since the last call, which is then forgotten."""
        told, self._untold = self._untold, {}
        return ((key, seconds, amount) for key, (seconds, amount) in told.items())

    def learn(self, key: str, count: int, seconds: float) -> None:
        """Adopts the count of all processes and its remaining ``seconds``, unless this process's count is higher."""
        count += self._untold.get(key, (0, 0))[1]
        if count > self.get(key):
            self._counts[key] = (count, monotonic() + seconds)


class Brakes(Limiter):
    """slowapi's limiter with our own storage; slowapi's Redis storage would block the event loop at every request."""

    def __init__(self, callers: Callers, counts: BrakeCounts) -> None:
        # Keyed by endpoint, not by path: paths contain ids, and a made-up id each time would evade the limit.
        super().__init__(key_func=callers.network, headers_enabled=False, key_style="endpoint")
        self._window = FixedWindowRateLimiter(counts)
        self._callers = callers

    @property
    def limiter(self) -> FixedWindowRateLimiter:
        """The strategy that slowapi uses."""
        return self._window

    def before(self, door: Door, rule: str) -> Door:
        """An endpoint for programs behind its brake: like ``limit`` for pages, with the same keys, but faster.

        It saves the 0.03 ms per request in which ``limit`` reads the function's signature and a dozen options.
        """
        count = self._counting(door, rule)

        @wraps(door)
        async def braked(request: Request) -> Response:
            count(request)
            return await door(request)

        return braked

    def refusals(self, door: Door, rule: str) -> Door:
        """An endpoint whose brake counts only refusals: callers with credentials relay other people's tokens, and must
        not be limited by them."""
        count = self._counting(door, rule)

        @wraps(door)
        async def braked(request: Request) -> Response:
            try:
                return await door(request)
            except OAuthRefusal:
                count(request)
                raise

        return braked

    def _counting(self, door: Door, rule: str) -> Callable[[Request], None]:
        """A function that counts a request at ``door`` for its network; it raises RateLimitExceeded over the limit."""
        name = f"{door.__module__}.{door.__name__}"
        (limit,) = LimitGroup(rule, self._callers.network, None, False, None, None, None, 1, False)

        def count(request: Request) -> None:
            network = self._callers.network(request)
            if not self._window.hit(limit.limit, network, name):
                self.logger.warning("ratelimit %s (%s) exceeded at endpoint: %s", limit.limit, network, name)
                raise RateLimitExceeded(limit)

        return count


class Sharing:
    """Exchanges counts with Redis, in the background. No request waits for it, so an outage slows nothing down."""

    def __init__(self, counts: BrakeCounts, url: str, issuer: str) -> None:
        from redis.asyncio import Redis  # noqa: PLC0415 (an optional extra, needed only with REDIS_URL)
        from redis.asyncio.retry import Retry  # noqa: PLC0415 (the same extra)
        from redis.backoff import NoBackoff  # noqa: PLC0415 (the same extra)
        from redis.exceptions import RedisError  # noqa: PLC0415 (the same extra)

        self._counts = counts
        self._prefix = f"gatepost:{issuer}:"  # another deployment may share the Redis
        self._redis = Redis.from_url(
            url.replace("valkey", "redis", 1) if url.startswith("valkey") else url,
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._count = self._redis.register_script(_COUNT)
        self._trouble: tuple[type[Exception], ...] = (RedisError, OSError, TimeoutError)
        self.problem = ""
        """Why counts are not shared now; empty while they are."""

    async def work(self) -> None:
        """One exchange. Counts that could not be sent are not sent later; this process itself still counts them."""
        told = self._counts.untold()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                asked = self._redis.pipeline(transaction=False)
                asked.ping()
                await asked.execute()
            while batch := list(islice(told, AT_ONCE)):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._tell(batch)
        except self._trouble as problem:
            self._note(f"{type(problem).__name__}: {problem}".rstrip(": "))
            return
        self._note("")

    async def close(self) -> None:
        """Closes the connections to Redis."""
        await self._redis.aclose()

    async def _tell(self, batch: list[Told]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for key, seconds, amount in batch:
            await self._count(keys=[self._prefix + key], args=[amount, seconds], client=pipeline)  # queued, not sent
        for (key, _, _), (count, left) in zip(batch, await pipeline.execute(), strict=True):
            self._counts.learn(key, int(count), int(left) / 1000)

    def _note(self, problem: str) -> None:
        """Logs an outage once when it begins, as an error, and once when it ends."""
        if problem and not self.problem:
            log.error("limits_not_shared", setting="REDIS_URL", reason=problem, meanwhile="each process counts alone")
        if self.problem and not problem:
            log.warning("limits_shared_again", setting="REDIS_URL")
        self.problem = problem
