"""Reading a person's live stream in Redis (live.py): for whoever tells people what happens to them, on any replica."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from auren import live
from auren.link import UnavailableError, describe
from auren.redis_client import AWAY, redis_client
from auren.settings import RedisSettings

BLOCK_SECONDS: Final = 5
"""How long Redis is asked to wait; also how soon a reader notices that its process is to stop."""

ENTRIES_AT_ONCE: Final = 100
_ID: Final = re.compile(r"\d{1,20}-\d{1,20}")


class Entry(NamedTuple):
    """One entry: its id, where a reader goes on; its kind, which may be `live.RESET`; JSON of one line."""

    id: str
    kind: str
    data: bytes


class LiveReader:
    """Reads people's streams, each reader with a connection of its own while it waits."""

    def __init__(self, settings: RedisSettings, readers: int) -> None:
        """`readers` is how many there are at once at most."""
        self._redis = redis_client(settings, connections=readers + 2, timeout_seconds=2.0 * BLOCK_SECONDS, decode=True)
        self._watch = self._redis.register_script(live.WATCH)

    async def start(self) -> None:
        """Nothing to do: connections are made when they are needed."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def begin(self, user_id: str, last_id: str | None = None) -> tuple[str, bool]:
        """(id behind which to read, whether that goes on behind `last_id` without a gap). Raises UnavailableError.

        Watching has begun when it returns, so what is looked up in a store afterwards misses nothing.
        """
        try:
            await self._watch(keys=[live.stream(user_id), live.watched(user_id)])
            oldest: Any = await self._redis.xrange(live.stream(user_id), count=1)
            newest: Any = await self._redis.xrevrange(live.stream(user_id), count=1)
        except AWAY as error:
            raise UnavailableError("redis", describe(error)) from error
        known = last_id is not None and oldest and newest and _ID.fullmatch(last_id)
        if last_id is not None and known and _number(oldest[0][0]) <= _number(last_id) <= _number(newest[0][0]):
            return last_id, True
        return (newest[0][0] if newest else "0-0"), False

    async def read(self, user_id: str, position: str) -> list[Entry]:
        """The entries behind a position as soon as there are any, none after BLOCK_SECONDS. Raises UnavailableError."""
        try:
            await self._watch(keys=[live.stream(user_id), live.watched(user_id)])
            read: Any = await self._redis.xread(
                {live.stream(user_id): position}, count=ENTRIES_AT_ONCE, block=BLOCK_SECONDS * 1000
            )
        except AWAY as error:
            raise UnavailableError("redis", describe(error)) from error
        return [Entry(at, f["kind"], f["data"].encode()) for at, f in (read[0][1] if read else ())]


def _number(identifier: str) -> tuple[int, int]:
    """An entry's id as Redis orders it."""
    milliseconds, _, sequence = identifier.partition("-")
    return int(milliseconds), int(sequence)
