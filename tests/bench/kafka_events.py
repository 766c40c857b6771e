"""Events through Kafka with the services' client: `python -m tests.bench.kafka_events produce|consume COUNT`.

Both take a service's settings of Kafka and print one line of JSON: how many events, and the monotonic time of the first
and the last one. Events are those of the topic: key, CloudEvents headers, JSON value with ten readings.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from auren.events import METRICS, SCHEMA, Event, Headers, Reading, encode, event_headers, event_id
from auren.http import run
from auren.kafka import Producer, client_options
from auren.settings import KafkaSettings, load
from auren.topics import EVENTS

READINGS: Final = 10
PEOPLE: Final = 1000
AHEAD: Final = 4
"""Batches under way for each partition."""
QUIET_SECONDS: Final = 20
"""A consumer that sees nothing for so long gives up; then it has counted less than was sent."""

Ready = tuple[bytes, bytes, Headers]


def events() -> list[Ready]:
    """(key, value, headers) of an event of each person."""
    began = datetime(2026, 3, 1, 7, tzinfo=UTC)
    made = []
    for number in range(PEOPLE):
        user = f"user-{number:06d}"
        times = [began + timedelta(minutes=minute) for minute in range(READINGS)]
        unit = METRICS["heart_rate"].unit
        readings = tuple(Reading(metric="heart_rate", value=60.0, unit=unit, time=time) for time in times)
        event = Event(
            schema=SCHEMA,
            kind="readings",
            event_id=event_id("terra", user, "readings", "bench", 0),
            user_id=user,
            provider="terra",
            document_id="bench",
            version=1,
            observed_at=began,
            received_at=began,
            readings=readings,
        )
        made.append((user.encode(), encode(event), event_headers(event)))
    return made


async def produce(count: int) -> dict[str, Any]:
    """Send `count` events in batches, each partition's in order; all of them acknowledged when it returns."""
    producer = Producer(load(KafkaSettings), "bench-produce")
    await producer.start()
    client = await producer.link.wait()
    partitions = sorted(await client.partitions_for(EVENTS.name))
    ready = events()
    shares = [count // len(partitions) + (number < count % len(partitions)) for number in range(len(partitions))]
    began = time.monotonic()
    await asyncio.gather(*(_fill(client, p, n, ready) for p, n in zip(partitions, shares, strict=True)))
    ended = time.monotonic()
    await producer.stop()
    return {"events": sum(shares), "began": began, "ended": ended, "bytes": sum(len(v) for _, v, _ in ready) // PEOPLE}


async def _fill(client: Any, partition: int, count: int, ready: Sequence[Ready]) -> None:
    under_way: list[asyncio.Future[Any]] = []
    sent = 0
    while sent < count:
        batch = client.create_batch()
        while sent < count:
            key, value, headers = ready[sent % PEOPLE]
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                break
            sent += 1
        under_way.append(await client.send_batch(batch, EVENTS.name, partition=partition))
        if len(under_way) > AHEAD:
            await under_way.pop(0)
    await asyncio.gather(*under_way)


async def consume(count: int) -> dict[str, Any]:
    """Count `count` events from the topic's present end on; fewer when nothing comes any more."""
    seen, began, ended = 0, 0.0, 0.0
    settings = load(KafkaSettings)
    options = client_options(settings, "bench-consume")
    async with AIOKafkaConsumer(enable_auto_commit=False, max_partition_fetch_bytes=4 << 20, **options) as consumer:
        await consumer._client._wait_on_metadata(EVENTS.name)
        partitions = [TopicPartition(EVENTS.name, p) for p in consumer.partitions_for_topic(EVENTS.name) or ()]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        for partition in partitions:
            await consumer.position(partition)
        print("ready", flush=True)
        while seen < count:
            found = await consumer.getmany(timeout_ms=QUIET_SECONDS * 1000, max_records=20_000)
            if not found:
                break
            ended = time.monotonic()
            began = began or ended
            seen += sum(map(len, found.values()))
    return {"events": seen, "began": began, "ended": ended}


async def _main() -> None:
    work = {"produce": produce, "consume": consume}[sys.argv[1]]
    print(json.dumps(await work(int(sys.argv[2]))), flush=True)


if __name__ == "__main__":
    run(_main)
