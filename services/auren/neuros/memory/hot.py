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

FORGOTTEN_SECONDS: Final = 600
"""For so long it is known when a person was forgotten: longer than any reply takes that may have begun before."""

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

    async def erase(self, user_id: str, now: datetime) -> int:
        """Remove all of a person; how many entries there were. Raises UnavailableError."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.llen(_key(user_id))
        pipeline.delete(_key(user_id))
        pipeline.set(_forgotten(user_id), now.isoformat(), ex=FORGOTTEN_SECONDS)
        count, *_ = await _answer(pipeline.execute())
        return int(count)

    async def forgotten_at(self, user_id: str) -> datetime | None:
        """When all of a person was removed last, if that was lately. Raises UnavailableError."""
        found: bytes | None = await _answer(self._redis.get(_forgotten(user_id)))
        return datetime.fromisoformat(found.decode()) if found is not None else None


def _key(user_id: str) -> str:
    return f"memory:{user_id}"


def _forgotten(user_id: str) -> str:
    return f"memory-forgotten:{user_id}"


async def _answer(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except AWAY as error:
        raise UnavailableError("redis", describe(error)) from error
