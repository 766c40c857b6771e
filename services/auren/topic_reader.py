"""Reads a topic from its oldest record to the last one that was there at the start. No group, no commits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from auren.kafka import Record, client_options
from auren.settings import KafkaSettings
from auren.topics import Topic

CONNECT_SECONDS: Final = 15.0
STALLED_SECONDS: Final = 30.0
"""How long to wait for a record that must be there: a broker that restarts is back by then."""
CLOSE_SECONDS: Final = 3.0
FETCH_RECORDS: Final = 100


class TopicReader:
    """`async with TopicReader(...) as reader`. Raises KafkaError, OSError or TimeoutError, there and while reading.

    Without a group the broker asks for the rights to read and to describe the topic, and for nothing else.
    """

    def __init__(self, settings: KafkaSettings, client_id: str, topic: Topic) -> None:
        """`client_id` is what the brokers' logs call it. Must be called in the event loop that reads."""
        self._topic = topic.name
        self._consumer = AIOKafkaConsumer(
            topic.name,
            group_id=None,
            enable_auto_commit=False,
            # Where retention has just removed what was to be read: go on with the oldest that is left.
            auto_offset_reset="earliest",
            # A larger record still comes, alone.
            max_partition_fetch_bytes=4 * 1024 * 1024,
            **client_options(settings, client_id),
        )
        self.bounds: Mapping[int, tuple[int, int]] = {}
        """By partition: the oldest offset, and the one after the newest, as they were at the start."""

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._consumer.start()
                partitions = self._consumer.assignment()
                oldest = await self._consumer.beginning_offsets(partitions)
                ends = await self._consumer.end_offsets(partitions)
        except BaseException:
            await self._close()
            raise
        self.bounds = {where.partition: (oldest[where], ends[where]) for where in partitions}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def ids_since(self, since: datetime, header: str) -> set[str]:
        """What `header` holds in the records whose time is `since` or later."""
        moment = int(since.timestamp() * 1000)
        places = {TopicPartition(self._topic, partition): moment for partition in self.bounds}
        first = await self._consumer.offsets_for_times(places)
        found: set[str] = set()
        for place, offset in first.items():
            if offset is not None:
                async for record in self.records(place.partition, offset.offset, self.bounds[place.partition][1]):
                    found.update(value.decode("utf-8", "replace") for name, value in record.headers if name == header)
        return found

    async def records(self, partition: int, first: int, end: int) -> AsyncIterator[Record]:
        """The records of a partition from offset `first` to before `end`, which must not be after its bound."""
        where = TopicPartition(self._topic, partition)
        self._consumer.seek(where, first)
        while True:
            async with asyncio.timeout(2 * STALLED_SECONDS):
                if await self._consumer.position(where) >= end:
                    return
                fetched = await self._fetch(where, end)
            for record in fetched:
                if record.offset >= end:
                    return
                yield record

    async def _fetch(self, where: TopicPartition, end: int) -> list[Record]:
        fetched = await self._consumer.getmany(where, timeout_ms=int(STALLED_SECONDS * 1000), max_records=FETCH_RECORDS)
        records: list[Record] = fetched.get(where, [])
        # Nothing, and yet at the end: retention has removed the rest.
        if not records and await self._consumer.position(where) < end:
            raise TimeoutError
        return records

    async def _close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._consumer.stop()
