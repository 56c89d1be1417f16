"""What the coarse brakes count: in each process's memory, and with REDIS_URL together with the other processes."""

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
Door = Callable[[Request], Awaitable[Response]]
Told = tuple[str, int, int]
"""A key, the seconds of its window, and how often it was counted here."""


class Windows(Storage):
    """Counts of fixed windows in this process's memory, for one event loop.

    The library's own starts a thread every 10 ms of load, from the loop, which walks every counter there is: the more
    networks a flood came from, the dearer each of its requests. Here they are walked once a minute. They end by the
    monotonic clock: one of the wall that is set back would leave a window of a minute open for an hour.
    """

    STORAGE_SCHEME = ["windows"]  # noqa: RUF012 (a list, as the library reads it)
    base_exceptions = ()

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_: str) -> None:
        super().__init__(uri, wrap_exceptions)
        self._counts: dict[str, tuple[int, float]] = {}
        self._swept_at = monotonic()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Counts, from zero where the window of ``expiry`` seconds is over; answers the new count."""
        now = monotonic()
        if now - self._swept_at >= _SWEEP_SECONDS:
            self._counts = {name: found for name, found in self._counts.items() if found[1] > now}
            self._swept_at = now
        count, until = self._counts.get(key, (0, 0.0))
        count, until = (count + amount, until) if until > now else (amount, now + expiry)
        self._counts[key] = (count, until)
        return count

    def get(self, key: str) -> int:
        """The count of the window that is open."""
        count, until = self._counts.get(key, (0, 0.0))
        return count if until > monotonic() else 0

    def get_expiry(self, key: str) -> float:
        """When the window ends, by the monotonic clock: the library asks for headers alone, which are off."""
        return self._counts.get(key, (0, monotonic()))[1]

    def check(self) -> bool:
        """Memory is always there."""
        return True

    def reset(self) -> int | None:
        """Forgets everything; answers how much it was."""
        count = len(self._counts)
        self._counts.clear()
        return count

    def clear(self, key: str) -> None:
        """Forgets one window."""
        self._counts.pop(key, None)


_SWEEP_SECONDS = 60.0


class BrakeCounts(Windows):
    """A process's own counts, on which its brakes decide at once; what others counted is learned a moment later."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self._shared = shared
        self._untold: dict[str, tuple[int, int]] = {}

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Counts; answers the sum in the window that runs."""
        if self._shared:
            self._untold[key] = expiry, self._untold.get(key, (0, 0))[1] + amount
        return super().incr(key, expiry, amount)

    def untold(self) -> Iterator[Told]:
        """What was counted since the last call."""
        told, self._untold = self._untold, {}
        return ((key, seconds, amount) for key, (seconds, amount) in told.items())

    def learn(self, key: str, count: int, seconds: float) -> None:
        """Takes over what all processes counted together, and when that window ends. Never less than its own."""
        count += self._untold.get(key, (0, 0))[1]
        if count > self.get(key):
            self._counts[key] = (count, monotonic() + seconds)


class Brakes(Limiter):
    """slowapi's limiter on counts of ours; for slowapi's own Redis every request would wait, and the loop with it."""

    def __init__(self, callers: Callers, counts: BrakeCounts) -> None:
        # By door and not by path, which holds ids: a made-up one each time would be a way round.
        super().__init__(key_func=callers.network, headers_enabled=False, key_style="endpoint")
        self._window = FixedWindowRateLimiter(counts)
        self._callers = callers

    @property
    def limiter(self) -> FixedWindowRateLimiter:
        """What slowapi asks."""
        return self._window

    def before(self, door: Door, rule: str) -> Door:
        """A program's door behind its brake: what ``limit`` does for pages, under the same keys.

        It does not read the function's signature and a dozen options at each request, which cost 0.03 ms.
        """
        count = self._counting(door, rule)

        @wraps(door)
        async def braked(request: Request) -> Response:
            count(request)
            return await door(request)

        return braked

    def refusals(self, door: Door, rule: str) -> Door:
        """A door that counts what it refuses alone: who has credentials is asked by strangers, and must answer them."""
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
        """Counts a request at ``door`` for its network; raises RateLimitExceeded where that had too many."""
        name = f"{door.__module__}.{door.__name__}"
        (limit,) = LimitGroup(rule, self._callers.network, None, False, None, None, None, 1, False)

        def count(request: Request) -> None:
            network = self._callers.network(request)
            if not self._window.hit(limit.limit, network, name):
                self.logger.warning("ratelimit %s (%s) exceeded at endpoint: %s", limit.limit, network, name)
                raise RateLimitExceeded(limit)

        return count


class Sharing:
    """Tells Redis what this process counted and learns the sum. No request waits for it, so its loss hurts nobody."""

    def __init__(self, counts: BrakeCounts, url: str, issuer: str) -> None:
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
