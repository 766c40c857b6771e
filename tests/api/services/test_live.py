"""Live streams on a real Redis: whatever may be missing is told, and nobody who was erased comes back."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from auren import latest, live, live_reader
from auren.biometric.learnt import Learnt
from auren.biometric.live_streams import LiveStreams
from auren.latest import HotValues, Latest, LatestValue, LatestValues
from auren.redis_client import redis_client
from auren.settings import RedisSettings
from tests.api.services.platform import new_user
from tests.api.stores import Redis as Server


class Known:
    """What the tables say."""

    async def of(self, user_id: str) -> Latest:
        return Latest({}, "postgres")

    async def mode(self, user_id: str) -> None:
        return None


class Desk:
    """One replica's streams, and a client that looks behind them."""

    def __init__(self, server: Server) -> None:
        self.settings = RedisSettings(
            redis_host=server.host, redis_port=server.port, redis_password=SecretStr(server.password)
        )
        self.hot = HotValues(self.settings)
        self.redis: Redis = redis_client(self.settings, connections=2, timeout_seconds=5, decode=True)

    def streams(self) -> LiveStreams:
        known = Known()
        return LiveStreams(self.settings, cast(LatestValues, known), cast(Learnt, known), lambda: True)

    async def tell(self, user: str, value: float) -> None:
        await self.hot.put({user: [reading(value)]})

    async def lapse(self, user: str) -> None:
        """As after WATCHED_SECONDS without a sign of a reader."""
        await self.redis.delete(live.watched(user))


@pytest.fixture
async def desk(redis_store: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(live_reader, "BLOCK_SECONDS", 1)
    desk = Desk(redis_store)
    yield desk
    await desk.hot.stop()
    await desk.redis.aclose()


def reading(value: float) -> LatestValue:
    now = datetime.now(UTC)
    return LatestValue(metric="heart_rate", value=value, time=now, version=1, source="watch", provider="oura")


class Reader:
    """What a person sees of a stream, event by event."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._blocks: list[str] = []
        self.last_id = ""

    async def next(self) -> tuple[str, Any]:
        """(kind, data) of the next event."""
        while True:
            while not self._blocks:
                self._blocks = [block for block in (await anext(self._pieces)).decode().split("\n\n") if block]
            fields = dict(line.split(": ", 1) for line in self._blocks.pop(0).splitlines())
            if "event" in fields:
                self.last_id = fields["id"]
                return fields["event"], json.loads(fields["data"])

    async def value(self) -> float:
        kind, data = await self.next()
        assert kind == "values"
        return float(data[0]["value"])


@asynccontextmanager
async def watching(
    desk: Desk, user: str, last_id: str | None = None, valid: Callable[[], bool] = lambda: True
) -> AsyncIterator[Reader]:
    streams = desk.streams()
    events = cast(AsyncGenerator[bytes, None], streams.events(user, last_id, valid))
    async with aclosing(events) as pieces:
        reader = Reader(pieces)
        yield reader
    await streams.stop()


async def test_who_comes_back_after_a_time_without_readers_is_told_although_somebody_else_watches(desk: Desk) -> None:
    user = new_user()
    async with watching(desk, user) as reader:
        assert (await reader.next())[0] == "snapshot"
        await desk.tell(user, 61)
        assert await reader.value() == 61
    await desk.lapse(user)
    await desk.tell(user, 62)  # told to nobody
    async with watching(desk, user) as other:
        assert (await other.next())[0] == "snapshot"
        await desk.tell(user, 63)
        async with watching(desk, user, reader.last_id) as again:
            assert [(await again.next())[0] for _ in range(2)] == ["reset", "snapshot"]


async def test_a_reader_who_is_slow_is_told_what_it_missed_while_nobody_seemed_to_watch(desk: Desk) -> None:
    user = new_user()
    async with watching(desk, user) as reader:
        assert (await reader.next())[0] == "snapshot"
        await desk.lapse(user)
        await desk.tell(user, 62)
        async with watching(desk, user) as other:
            assert (await other.next())[0] == "snapshot"
            await desk.tell(user, 63)
            assert [(await reader.next())[0] for _ in range(2)] == ["reset", "snapshot"]
            assert await reader.value() == 63


async def test_a_reader_behind_a_full_stream_is_told(desk: Desk) -> None:
    user = new_user()
    async with watching(desk, user) as reader:
        assert (await reader.next())[0] == "snapshot"
        for value in range(live.MOST_ENTRIES + 5):
            await desk.tell(user, value)
        assert [(await reader.next())[0] for _ in range(2)] == ["reset", "snapshot"]
        assert await desk.redis.xlen(live.stream(user)) <= live.MOST_ENTRIES
        assert await reader.value() >= live.MOST_ENTRIES - 1


async def test_what_was_missed_while_redis_was_away_is_not_resumed_over(desk: Desk) -> None:
    user = new_user()
    async with watching(desk, user) as reader:
        assert (await reader.next())[0] == "snapshot"
        await desk.tell(user, 61)
        assert await reader.value() == 61
        await desk.hot.forget([user])  # as ingest does for those whom it could not tell
        assert [(await reader.next())[0] for _ in range(2)] == ["reset", "snapshot"]
    await desk.hot.forget([user])
    async with watching(desk, user, reader.last_id) as again:
        assert [(await again.next())[0] for _ in range(2)] == ["reset", "snapshot"]


async def test_a_stream_shows_values_as_they_are_shown_elsewhere_and_ends_with_its_token(desk: Desk) -> None:
    user, good = new_user(), [True]
    async with watching(desk, user, valid=lambda: good[0]) as reader:
        assert (await reader.next())[0] == "snapshot"
        await desk.tell(user, 61)
        _, (value,) = await reader.next()
        assert value.keys() == {"metric", "value", "unit", "time", "source", "end_time", "flags"}
        good.clear()
        good.append(False)
        with pytest.raises(StopAsyncIteration):
            await reader.next()


async def test_nothing_is_written_where_nobody_watches(desk: Desk) -> None:
    user = new_user()
    await desk.tell(user, 61)
    await desk.hot.forget([user])
    assert await desk.redis.exists(live.stream(user)) == 0


async def test_an_ingest_that_comes_late_brings_nobody_back_who_was_erased(desk: Desk) -> None:
    user = new_user()
    async with watching(desk, user) as reader:
        assert (await reader.next())[0] == "snapshot"
        await desk.tell(user, 61)
        assert await reader.value() == 61
        assert await desk.hot.erase(user) == 3
        await desk.tell(user, 62)  # committed before the erasure
        assert (await desk.redis.hgetall(f"hot:{user}")).keys() == {"_epoch", "_erased"}
        assert [(await reader.next())[0] for _ in range(2)] == ["reset", "snapshot"]
    assert await desk.hot.read(user, datetime.now(UTC)) is None
    assert latest.ERASED_SECONDS >= await desk.redis.ttl(f"hot:{user}") > 0


async def test_a_rebuild_leaves_nothing_that_it_has_not_found_and_loses_nothing_that_comes_later(
    desk: Desk,
) -> None:
    """As after a deletion that Redis was not told of."""
    user, now = new_user(), datetime.now(UTC)
    gone = reading(61)
    await desk.hot.put({user: [gone, msgspec.structs.replace(gone, metric="steps")]})
    epoch = await desk.hot.begin(user)
    assert await desk.hot.begin(user) == epoch  # whoever comes meanwhile joins
    newer = msgspec.structs.replace(gone, value=63)
    await desk.hot.put({user: [newer]})
    assert await desk.hot.complete(user, [msgspec.structs.replace(gone, metric="spo2", value=97)], epoch, now)
    found = await desk.hot.read(user, now)
    assert found is not None
    assert {metric: value.value for metric, value in found.items()} == {"heart_rate": 63, "spo2": 97}


async def test_a_rebuild_from_before_a_deletion_is_not_written(desk: Desk) -> None:
    user, now = new_user(), datetime.now(UTC)
    epoch = await desk.hot.begin(user)
    await desk.hot.forget([user])
    assert not await desk.hot.complete(user, [reading(61)], epoch, now)
    assert await desk.hot.begin(user) != epoch
