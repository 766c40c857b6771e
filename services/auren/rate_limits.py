"""How often one person may ask one service: counted in Redis for all its replicas, by the `sub` of their tokens.

A sliding window of two counters (library `limits`): one round trip for a request that is let in, some hundred bytes for
each person who asked in the last two minutes. While Redis is away everybody is let in, and a metric counts them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from auren.auth import TooManyError
from auren.link import describe
from auren.redis_client import AWAY, redis_pool
from auren.settings import RedisSettings
from auren.telemetry import Metrics, logger

CONNECTIONS: Final = 8
TIMEOUT_SECONDS: Final = 0.5
"""For one question to Redis: a request waits no longer for being counted."""

AWAY_SECONDS: Final = 2.0
"""How long Redis is not asked again after it did not answer."""

_log = logger(__name__)


class RateLimits:
    """The limit of one service; an `auren.auth.Limits`."""

    def __init__(
        self, settings: RedisSettings, per_minute: int, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Connects when it is used. `clock` gives seconds."""
        self._pool = redis_pool(settings, connections=CONNECTIONS, timeout_seconds=TIMEOUT_SECONDS)
        options: dict[str, Any] = {"connection_pool": self._pool}  # which the library's types do not name
        storage = RedisStorage("async+redis://", implementation="redispy", **options)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._limit = RateLimitItemPerMinute(per_minute)
        self._service = metrics.service
        self._clock = clock
        self._away_until = float("-inf")
        self._refused = metrics.counter("rate_limited_requests", "Requests refused for coming too often")
        self._uncounted = metrics.counter("uncounted_requests", "Requests let in without counting: Redis was away")

    async def start(self) -> None:
        """Nothing to do: connections are made when they are needed."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def spend(self, subject: str) -> None:
        """Count one request of `subject`. Raises TooManyError when there were too many in the last minute."""
        if self._clock() < self._away_until:
            self._uncounted.inc()
            return
        try:
            wait_seconds = await self._wait_seconds(subject)
        except AWAY as error:
            self._away_until = self._clock() + AWAY_SECONDS
            self._uncounted.inc()
            _log.warning("requests are not counted", dependency="redis", reason=describe(error))
            return
        if wait_seconds:
            self._refused.inc()
            raise TooManyError(wait_seconds)

    async def _wait_seconds(self, subject: str) -> int:
        """0 for a request that is let in."""
        if await self._limiter.hit(self._limit, self._service, subject):
            return 0
        window = await self._limiter.get_window_stats(self._limit, self._service, subject)
        return max(1, math.ceil(window.reset_time - time.time()))
