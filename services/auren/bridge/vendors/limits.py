"""How often a vendor may be asked: token buckets that all replicas share in Redis.

A bucket holds a tenth of its quota and gets the other nine tenths over the window, so that no window of that length
sees more than the quota, wherever the vendor begins to count. While Redis is away each replica keeps to the same rate
by itself: together they may then exceed the quota, and the vendor's 429 has the last word.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from auren.bridge.vendors import RetryLaterError
from auren.bridge.vendors.breaker import Breaker
from auren.redis_client import AWAY
from auren.telemetry import logger

BURST_SHARE: Final = 0.1
"""Of a quota, what may be asked at once; the rest comes evenly."""

REDIS_SECONDS: Final = 1.0
"""For one question to Redis; then this process counts alone."""

CONNECTIONS: Final = 4
"""Of one process to Redis, for some ten thousand questions a second: more than all vendors allow."""

_SECOND: Final = 1_000_000
"""Microseconds, in which buckets count: whole numbers that Lua's doubles hold exactly."""

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `requests` (2 or more) in any `seconds`."""

    requests: int
    seconds: float

    @property
    def burst(self) -> int:
        """Requests that a full bucket holds."""
        return max(1, int(self.requests * BURST_SHARE))

    @property
    def interval(self) -> int:
        """Microseconds in which one request comes back."""
        return math.ceil(self.seconds * _SECOND / (self.requests - self.burst))

    @property
    def tolerance(self) -> int:
        """Microseconds in which an empty bucket fills up."""
        return self.interval * self.burst


# A bucket is the time at which it will be full again; one that is missing is full. KEYS[1]: a hash with a field for
# each bucket and `not_before`. ARGV: for each bucket its field, interval and tolerance. Redis' clock serves all
# replicas. Returns the microseconds to wait; only when that is 0 the request is counted, in every bucket.
_SPEND: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wait = (tonumber(redis.call('HGET', KEYS[1], 'not_before') or 0)) - now
local fields, last = {}, 0
for i = 1, #ARGV, 3 do
  local full_at = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0)
  full_at = math.max(full_at, now) + tonumber(ARGV[i + 1])
  wait = math.max(wait, full_at - now - tonumber(ARGV[i + 2]))
  last = math.max(last, full_at)
  fields[#fields + 1] = ARGV[i]
  fields[#fields + 1] = string.format('%.0f', full_at)
end
if wait > 0 then return math.ceil(wait) end
if #fields == 0 then return 0 end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('PEXPIRE', KEYS[1], math.ceil((last - now) / 1000) + 1000)
return 0
"""
# ARGV[1]: microseconds from now. A pause is never shortened, and outlives no longer than what the hash holds.
_PAUSE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local until_ = math.max(now + tonumber(ARGV[1]), tonumber(redis.call('HGET', KEYS[1], 'not_before') or 0))
redis.call('HSET', KEYS[1], 'not_before', string.format('%.0f', until_))
local left = math.ceil((until_ - now) / 1000) + 1000
if redis.call('PTTL', KEYS[1]) < left then redis.call('PEXPIRE', KEYS[1], left) end
return 0
"""


class LocalLimits:
    """The same buckets in this process; times are microseconds of any one clock."""

    def __init__(self, quotas: Sequence[Quota]) -> None:
        """All of `quotas` hold at once."""
        self._full_at = dict.fromkeys(quotas, 0)
        self._not_before = 0

    def paused(self, now: int) -> int:
        """Microseconds for which the vendor still wants nothing; 0 when it may be asked."""
        return max(0, self._not_before - now)

    def wait(self, now: int) -> int:
        """Microseconds until the buckets hold the next request; 0 for now."""
        waits = [max(at, now) + quota.interval - now - quota.tolerance for quota, at in self._full_at.items()]
        return max([0, *waits])

    def count(self, now: int) -> None:
        """A request is made."""
        for quota, at in self._full_at.items():
            self._full_at[quota] = max(at, now) + quota.interval

    def pause(self, until: int) -> None:
        """No request before `until`; never shortens a pause."""
        self._not_before = max(self._not_before, until)


class SharedLimits:
    """The limits of one vendor; a calls.Limits."""

    def __init__(
        self,
        name: str,
        quotas: Sequence[Quota],
        redis: Redis,
        breaker: Breaker,
        clock: Callable[[], float] = time.monotonic,
        redis_seconds: float = REDIS_SECONDS,
    ) -> None:
        """`name` of the vendor, equal in all replicas; `breaker` is Redis'. `clock` gives seconds.

        Without quotas only the vendor's pauses hold. The caller owns `redis`, with CONNECTIONS and REDIS_SECONDS.
        """
        self._name = name
        self._key = f"limits:{name}"
        self._arguments = [item for q in quotas for item in (f"{q.requests}/{q.seconds:g}", q.interval, q.tolerance)]
        self._spend = redis.register_script(_SPEND)
        self._pause = redis.register_script(_PAUSE)
        self._breaker = breaker
        self._clock = clock
        self._redis_seconds = redis_seconds
        self._local = LocalLimits(quotas)
        self._alone = False

    @property
    def alone(self) -> bool:
        """Whether Redis was away when it was last needed, so that this replica counts by itself."""
        return self._alone

    async def spend(self) -> None:
        """Count one request. Raises RetryLaterError with the seconds to wait; that one is not counted."""
        now = self._now()
        wait = self._local.paused(now)  # a pause that Redis may have missed
        if not wait:
            shared = await self._ask(self._spend, self._arguments)
            wait = self._local.wait(now) if shared is None else shared
        if wait > 0:
            raise RetryLaterError(wait / _SECOND, f"the rate limit for {self._name}")
        self._local.count(now)  # so that a replica that loses Redis does not start with full buckets

    async def pause(self, seconds: float) -> None:
        """The vendor has said 429: no replica asks it for so long."""
        self._local.pause(self._now() + math.ceil(seconds * _SECOND))
        await self._ask(self._pause, [math.ceil(seconds * _SECOND)])

    def _now(self) -> int:
        return int(self._clock() * _SECOND)

    async def _ask(self, script: AsyncScript, arguments: Sequence[str | int]) -> int | None:
        """The script's answer; None while Redis is away."""
        try:
            with self._breaker.attempt(AWAY):
                async with asyncio.timeout(self._redis_seconds):
                    answer = int(await script(keys=[self._key], args=arguments))
        except (RetryLaterError, *AWAY) as error:
            self._note(alone=True, reason=type(error).__name__)
            return None
        self._note(alone=False)
        return answer

    def _note(self, *, alone: bool, reason: str = "") -> None:
        if alone and not self._alone:
            _log.warning("rate limits hold for this replica alone", provider=self._name, reason=reason)
        elif self._alone and not alone:
            _log.info("rate limits are shared again", provider=self._name)
        self._alone = alone
