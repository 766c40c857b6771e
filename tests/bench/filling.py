"""Events into `biometric-events` as fast as the broker takes them: each partition's in order, packed with zstd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from auren.events import Event, encode, event_headers
from auren.kafka import BATCH_BYTES, COMPRESSION
from auren.topics import EVENTS
from tests.api.services.measurements import query
from tests.api.services.platform import Platform
from tests.api.services.waiting import until
from tests.bench.measured import Plan

AHEAD: Final = 4
"""Batches under way for each partition."""
LONGEST_SECONDS: Final = 600


async def fill(platform: Platform, events: Iterable[Event]) -> int:
    """Append events in order, keyed by user; returns how many, all of them acknowledged."""
    async with _producer(platform) as client:
        numbers = sorted(await client.partitions_for(EVENTS.name))
        partitions = {number: _Partition(client, number) for number in numbers}
        choose, of_user = DefaultPartitioner(), dict[str, int]()
        count = 0
        for event in events:
            key = event.user_id.encode()
            if event.user_id not in of_user:
                of_user[event.user_id] = choose(key, numbers, numbers)
            await partitions[of_user[event.user_id]].append(key, event)
            count += 1
        for partition in partitions.values():
            await partition.finish()
    return count


async def stored(platform: Platform, plan: Plan) -> None:
    """Wait until all rows of a plan are in the table. Raises TimeoutError."""

    async def there() -> bool:
        statement = "SELECT count(*) AS rows FROM readings WHERE user_id = ANY($1)"
        [row] = await query(platform, statement, list(plan.users))
        return bool(row["rows"] == plan.rows)

    await until(there, LONGEST_SECONDS)


class _Partition:
    def __init__(self, client: AIOKafkaProducer, number: int) -> None:
        self._client = client
        self._number = number
        self._batch = client.create_batch()
        self._under_way: list[asyncio.Future[Any]] = []

    async def append(self, key: bytes, event: Event) -> None:
        value, headers = encode(event), event_headers(event)
        while self._batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
            await self._send()

    async def finish(self) -> None:
        await self._send()
        await asyncio.gather(*self._under_way)

    async def _send(self) -> None:
        self._under_way.append(await self._client.send_batch(self._batch, EVENTS.name, partition=self._number))
        self._batch = self._client.create_batch()
        if len(self._under_way) > AHEAD:
            await self._under_way.pop(0)


@asynccontextmanager
async def _producer(platform: Platform) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(
        bootstrap_servers=platform.kafka.bootstrap,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username=platform.kafka.admin_username,
        sasl_plain_password=platform.kafka.admin_password,
        enable_idempotence=True,
        acks="all",
        compression_type=COMPRESSION,
        max_batch_size=BATCH_BYTES,
    ) as producer:
        yield producer
