"""The hot tier: what happened in the last hours, a Redis list for each person that forgets by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from auren.link import UnavailableError, describe
from auren.neuros.memory.items import Memory
from auren.redis_client import AWAY, redis_client
from auren.settings import RedisSettings

KEPT: Final = timedelta(hours=72)
MOST: Final = 30
"""Entries of a person; older ones give way."""

TIMEOUT_SECONDS: Final = 1.0
CONNECTIONS: Final = 8

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Memory)


class Hot:
    """The lists in Redis."""

    def __init__(self, settings: RedisSettings) -> None:
        """Connects when it is used; while Redis is away every call raises UnavailableError at once."""
        self._redis: Redis = redis_client(settings, connections=CONNECTIONS, timeout_seconds=TIMEOUT_SECONDS)

    async def stop(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def add(self, user_id: str, memories: Sequence[Memory]) -> None:
        """Put memories in front, the last of them first. Raises UnavailableError."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.lpush(_key(user_id), *[_encoder.encode(memory) for memory in memories])
        pipeline.ltrim(_key(user_id), 0, MOST - 1)
        pipeline.expire(_key(user_id), KEPT)
        await _answer(pipeline.execute())

    async def of(self, user_id: str, now: datetime) -> list[Memory]:
        """A person's entries of the last 72 hours, newest first, each once. Raises UnavailableError."""
        entries: list[bytes] = await _answer(self._redis.lrange(_key(user_id), 0, MOST - 1))
        found: dict[str, Memory] = {}
        for memory in map(_decoder.decode, entries):
            if memory.kept_at > now - KEPT:
                found.setdefault(memory.id, memory)
        return list(found.values())

    async def erase(self, user_id: str) -> int:
        """Remove all of a person; how many entries there were. Raises UnavailableError."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.llen(_key(user_id))
        pipeline.delete(_key(user_id))
        count, _ = await _answer(pipeline.execute())
        return int(count)


def _key(user_id: str) -> str:
    return f"memory:{user_id}"


async def _answer(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except AWAY as error:
        raise UnavailableError("redis", describe(error)) from error
