"""Redis as the token budget needs it: keeps the counts of its script in this process, and can be away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError


@dataclass
class Counts:
    """`of` counts by key. `away`: every question fails."""

    of: dict[str, int] = field(default_factory=dict)
    kept_seconds: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    away: bool = False
    closed: bool = False

    @property
    def redis(self) -> Redis:
        """As a client."""
        return cast("Redis", self)

    @property
    def total(self) -> int:
        """Tokens of all users and days."""
        return sum(self.of.values())

    def register_script(self, _script: str) -> Any:
        """What a client's method does."""
        return self._count

    async def aclose(self) -> None:
        """What a client's method does."""
        self.closed = True

    async def _count(self, keys: Sequence[str], args: Sequence[int]) -> int:
        self.asked += 1
        if self.away:
            raise RedisConnectionError("gone")
        (key,), (wanted, change, limit, kept) = keys, args
        spent = max(0, self.of.get(key, 0) + change)
        granted = spent + wanted <= limit
        self.of[key], self.kept_seconds[key] = spent + (wanted if granted else 0), kept
        return int(granted)
