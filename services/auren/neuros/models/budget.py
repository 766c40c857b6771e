"""The tokens that a user may spend on the model in one UTC day, counted in Redis for all replicas.

Before a call the most that it can cost is reserved, in one step with the question whether that much is left; after it
the difference to what it did cost is given back. While Redis is away each process counts alone, and tells Redis later.
An answer of Redis that comes too late leaves its tokens counted twice: the limit then holds earlier, never later.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from auren.link import describe
from auren.neuros.models.port import BudgetSpentError
from auren.redis_client import AWAY
from auren.telemetry import logger

CONNECTIONS: Final = 4
TIMEOUT_SECONDS: Final = 0.5
"""For one question to Redis: a reply waits no longer for being counted."""

AWAY_SECONDS: Final = 2.0
"""How long Redis is not asked again after it did not answer."""

DAY_SECONDS: Final = 86_400
KEPT_SECONDS: Final = 60
"""A count outlives its day by this, for replicas whose clocks differ."""

# KEYS[1]: a user's count of one day. ARGV: tokens that are granted only within the limit, a change that is not asked
# for (it has happened), the limit, and the seconds for which the count is kept. Returns 1 when granted.
_COUNT: Final = """
local wanted, limit = tonumber(ARGV[1]), tonumber(ARGV[3])
local spent = math.max(0, tonumber(redis.call('GET', KEYS[1]) or '0') + tonumber(ARGV[2]))
local granted = spent + wanted <= limit
if granted then spent = spent + wanted end
redis.call('SET', KEYS[1], string.format('%.0f', spent), 'EX', ARGV[4])
return granted and 1 or 0
"""

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Tokens that were set aside on `day` (days since 1970)."""

    user_id: str
    day: int
    tokens: int


class Budget:
    """One for the process, used from one event loop."""

    def __init__(
        self,
        redis: Redis,
        daily_tokens: int,
        clock: Callable[[], float] = time.time,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """`clock` gives seconds since the epoch. The caller owns `redis`."""
        self._daily_tokens = daily_tokens
        self._count = redis.register_script(_COUNT)
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._away_until = float("-inf")
        self._day = 0
        self._spent: defaultdict[str, int] = defaultdict(int)  # by this process alone
        self._owed: defaultdict[str, int] = defaultdict(int)  # what Redis has not been told

    async def reserve(self, user_id: str, tokens: int) -> Reservation:
        """Set `tokens` aside. Raises BudgetSpentError when fewer are left of the day."""
        day = self._today()
        granted = await self._tell(user_id, day, tokens)
        if granted is None:
            granted = self._spent[user_id] + tokens <= self._daily_tokens
            self._owed[user_id] += tokens if granted else 0
        if not granted:
            raise BudgetSpentError(max(1, round((day + 1) * DAY_SECONDS - self._clock())))
        self._spent[user_id] += tokens
        return Reservation(user_id, day, tokens)

    async def settle(self, reserved: Reservation, tokens: int) -> None:
        """The call did cost `tokens`, which may be more than what was reserved. A day that has ended stays as it is."""
        difference = tokens - reserved.tokens
        if not difference or reserved.day != self._today():
            return
        self._spent[reserved.user_id] += difference
        self._owed[reserved.user_id] += difference
        await self._tell(reserved.user_id, reserved.day, 0)

    async def _tell(self, user_id: str, day: int, tokens: int) -> bool | None:
        """Tell Redis what it is owed and ask it for `tokens`; None while it is away."""
        if self._clock() < self._away_until:
            return None
        owed, told = self._owed.pop(user_id, 0), False
        kept_seconds = max(1, round((day + 1) * DAY_SECONDS - self._clock())) + KEPT_SECONDS
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await self._count(
                    keys=[f"llm-tokens:{day}:{user_id}"], args=[tokens, owed, self._daily_tokens, kept_seconds]
                )
            told = True
        except AWAY as error:
            self._away_until = self._clock() + AWAY_SECONDS
            _log.warning("tokens are counted by this process alone", dependency="redis", reason=describe(error))
            return None
        finally:
            if not told and owed:
                self._owed[user_id] += owed
        return bool(answer)

    def _today(self) -> int:
        day = int(self._clock() // DAY_SECONDS)
        if day != self._day:
            self._day = day
            self._spent.clear()
            self._owed.clear()
        return day
