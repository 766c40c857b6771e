"""Kafka: producers and consumers that connect in the background, wait a bounded time, and stop also without Kafka.

`Producer` sends records and waits for the acknowledgement. `Consumer` hands records to a function, then commits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    MessageSizeTooLargeError,
    RebalanceInProgressError,
    RecordListTooLargeError,
    UnknownMemberIdError,
)

from auren.background import Background, backoff_seconds
from auren.events import Headers
from auren.health import UnhealthyError
from auren.link import Link, UnavailableError, describe
from auren.settings import KafkaSettings
from auren.telemetry import logger
from auren.topics import MAX_DEAD_LETTER_BYTES, Topic

DELIVERY_TIMEOUT_SECONDS: Final = 5.0
"""How long a record may wait for its acknowledgement before the caller hears 503; Oura gives up at 10 s."""

REQUEST_TIMEOUT_MS: Final = 10_000
BATCH_BYTES: Final = 512 * 1024
COMPRESSION: Final = "zstd"
"""aiokafka packs lz4 at its slowest level: seven times zstd's time for a body of 1.6 KiB, and no smaller."""

POLL_SECONDS: Final = 1.0
POLL_RECORDS: Final = 500
POLL_BYTES: Final = 64 * 1024 * 1024
"""Of the records handled together: at most twice that. What is fetched is compressed, 4 MiB of a partition, and holds
any number of large records that compress well."""
PROBE_TIMEOUT_SECONDS: Final = 1.5

_log = logger(__name__)


class RefusedError(Exception):
    """Kafka will never take this record, e.g. because it is too large."""


class Record(Protocol):
    """What a consumer hands over, as aiokafka names it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


Handle = Callable[[Sequence[Record]], Awaitable[None]]
"""Makes the effect of some records durable, in the given order (ordered within a partition), and returns.

Raises UnavailableError for what may work later: the same records come again after a pause. What can never work is the
function's own business: it puts such a record into the dead letter topic and goes on.
"""


def client_options(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Connection and login, as every aiokafka client takes them."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap,
        "client_id": client_id,
        "security_protocol": settings.kafka_security,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        # Pods get new addresses: learn of them soon.
        "metadata_max_age_ms": 60_000,
    }
    if settings.kafka_security != "PLAINTEXT" and settings.kafka_password is not None:
        options["sasl_mechanism"] = settings.kafka_mechanism
        options["sasl_plain_username"] = settings.kafka_username
        options["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    return options


async def _probe(client: Any) -> None:
    """Ask the brokers for metadata. Raises UnhealthyError when none answers."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            await client.fetch_all_metadata()
    except (KafkaError, OSError, TimeoutError) as error:
        raise UnhealthyError(f"no broker answers ({describe(error)})") from error


class Producer:
    """An idempotent producer, acks=all, compressed, behind a connection that heals by itself."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        """`client_id` is what the brokers' logs call it."""
        self._settings = settings
        self._client_id = client_id
        self.link: Link[AIOKafkaProducer] = Link("kafka", self.connect, _close_producer, (KafkaError,))

    async def start(self) -> None:
        """Begin to connect in the background."""
        await self.link.start()

    async def stop(self) -> None:
        """Deliver what was accepted, within a bound, and close."""
        await self.link.stop()

    @property
    def connected(self) -> bool:
        """Whether records can be sent now, as far as is known."""
        return self.link.connected

    def require(self) -> None:
        """Raises UnavailableError while there is no connection."""
        _ = self.link.client

    async def check(self) -> None:
        """For the health report: a broker answers."""
        await self.link.check()
        await _probe(self.link.client.client)

    async def send(self, topic: Topic, value: bytes, key: bytes | None = None, headers: Headers | None = None) -> None:
        """Send one record and wait for its acknowledgement. Raises UnavailableError or RefusedError."""
        await self.send_all(topic, [(key, value, headers or [])])

    async def send_all(self, topic: Topic, records: Sequence[tuple[bytes | None, bytes, Headers]]) -> None:
        """Send records (key, value, headers) in order and wait until all are acknowledged; raises as `send` does."""
        producer = self.link.client

        async def send() -> None:
            waiting = [await producer.send(topic.name, value, key, headers=headers) for key, value, headers in records]
            await asyncio.gather(*waiting)

        await self.deliver(producer, send())

    async def deliver(self, producer: AIOKafkaProducer, delivery: Awaitable[None]) -> None:
        """Bound a delivery in time and translate its errors.

        aiokafka never gives up an idempotent batch and offers no way to take one back, so after a timeout the whole
        client is dropped and a new one connects: nothing piles up in it while Kafka is away.
        """
        try:
            async with asyncio.timeout(DELIVERY_TIMEOUT_SECONDS):
                await delivery
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            raise RefusedError(describe(error)) from error
        except TimeoutError as error:
            self.link.lost(producer, f"no acknowledgement within {DELIVERY_TIMEOUT_SECONDS:.0f} s")
            raise UnavailableError("kafka", "no acknowledgement in time") from error
        except (KafkaError, OSError) as error:
            self.link.lost(producer, describe(error))
            raise UnavailableError("kafka", describe(error)) from error

    async def connect(self) -> AIOKafkaProducer:
        """One connected client. Raises KafkaError, OSError or TimeoutError."""
        producer = AIOKafkaProducer(
            enable_idempotence=True,
            acks="all",
            compression_type=COMPRESSION,
            max_batch_size=BATCH_BYTES,
            max_request_size=MAX_DEAD_LETTER_BYTES,
            linger_ms=0,
            **client_options(self._settings, self._client_id),
        )
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_MS / 1000):
                await producer.start()
        except BaseException:
            await abandon(producer)
            raise
        return producer


async def _close_producer(producer: AIOKafkaProducer) -> None:
    """Flush and close; without Kafka, after a bound, close without flushing."""
    try:
        async with asyncio.timeout(2.0):
            await producer.flush()
    except TimeoutError:
        await abandon(producer)
        return
    await producer.stop()


async def abandon(producer: AIOKafkaProducer) -> None:
    """Close a producer whose batches cannot be delivered. `stop` would wait for them for ever."""
    producer._closed = True
    sender = producer._sender.sender_task
    if sender is not None:
        sender.cancel()
    await producer.client.close()
    if sender is not None:
        await asyncio.wait({sender}, timeout=1.0)


class _Polled:
    """Records in hand, by partition and in order."""

    def __init__(self) -> None:
        self.records: dict[TopicPartition, list[Record]] = {}
        self.bytes = 0

    def add(self, fetched: Mapping[TopicPartition, Sequence[Record]]) -> None:
        for partition, records in fetched.items():
            self.records.setdefault(partition, []).extend(records)
            self.bytes += sum(len(record.value or b"") for record in records)

    def count(self, *partitions: TopicPartition) -> int:
        """Of these partitions, or of all."""
        return sum(
            len(records) for partition, records in self.records.items() if partition in (partitions or self.records)
        )


class Consumer:
    """A member of a consumer group that hands records to `handle` and commits after it returned."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        client_id: str,
        group: str,
        topics: Sequence[Topic],
        handle: Handle,
        poll_records: int = POLL_RECORDS,
    ) -> None:
        """Offsets start at the oldest record where the group has none; `handle` gets at most `poll_records`."""
        self._settings = settings
        self._client_id = client_id
        self._group = group
        self._topics = topics
        self._handle = handle
        self._poll_records = poll_records
        self._link: Link[AIOKafkaConsumer] = Link("kafka-consumer", self._connect, _close_consumer, (KafkaError,))
        self._task = Background(f"consumer-{group}", self._run)
        self._stopping = asyncio.Event()
        self._trouble: str | None = None
        self._positions: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """Begin to connect and to consume in the background."""
        await self._link.start()
        self._task.start()

    async def stop(self) -> None:
        """Finish and commit what is in hand, within a bound, then leave the group."""
        self._stopping.set()
        # Without a connection there is nothing in hand.
        await self._task.stop(2 * DELIVERY_TIMEOUT_SECONDS if self._link.connected else 0.0)
        await self._link.stop()

    async def check(self) -> None:
        """For the health report: consuming, a broker answers, and the last records were handled."""
        if not self._task.running:
            raise UnhealthyError("the consumer does not run")
        await self._link.check()
        await _probe(self._link.client._client)
        if self._trouble is not None:
            raise UnhealthyError(self._trouble)

    def lag(self) -> Mapping[tuple[str, int], int]:
        """Records behind the end, by (topic, partition), for what this member consumes."""
        if not self._link.connected:
            return {}
        consumer = self._link.client
        ends = {partition: consumer.highwater(partition) for partition in consumer.assignment()}
        return {
            (partition.topic, partition.partition): max(0, end - self._positions[partition])
            for partition, end in ends.items()
            if end is not None and partition in self._positions
        }

    async def _run(self) -> None:
        while not self._stopping.is_set():
            consumer = await self._link.wait()
            try:
                await self._consume(consumer)
            except (KafkaError, OSError, TimeoutError) as error:
                self._link.lost(consumer, describe(error))
            except Exception as error:
                # What this connection has fetched may not be handled: a new one begins at what is committed.
                self._link.lost(consumer, type(error).__name__)
                raise

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        while not self._stopping.is_set():
            fetched = await self._poll(consumer)
            if fetched and await self._handled(consumer, [r for records in fetched.values() for r in records]):
                await self._commit(consumer, {p: records[-1].offset + 1 for p, records in fetched.items()})

    @property
    def _few(self) -> int:
        """Records that are taken at a time, for each may be as large as its topic lets."""
        return max(1, POLL_BYTES // max(topic.max_message_bytes for topic in self._topics))

    async def _poll(self, consumer: AIOKafkaConsumer) -> Mapping[TopicPartition, Sequence[Record]]:
        """What is there, waiting for the first of it: a share of each partition, then of any as much as there is room.

        aiokafka alone would read what it has of one partition to the end before it turns to the next.
        """
        polled = _Polled()
        partitions = sorted(consumer.assignment())
        share = max(1, self._poll_records // max(1, len(partitions)))
        polled.add(await consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000), max_records=min(self._few, share)))
        if polled.records:
            for partition in partitions:
                await self._poll_more(consumer, polled, share, partition)
            await self._poll_more(consumer, polled, self._poll_records)
        return polled.records

    async def _poll_more(
        self, consumer: AIOKafkaConsumer, polled: _Polled, most: int, *partitions: TopicPartition
    ) -> None:
        """Up to `most` of these partitions (none: of all), of what is there."""
        while (room := most - polled.count(*partitions)) > 0 and polled.bytes < POLL_BYTES:
            found = await consumer.getmany(*partitions, timeout_ms=0, max_records=min(self._few, room))
            if not found:
                return
            polled.add(found)

    async def _handled(self, consumer: AIOKafkaConsumer, records: Sequence[Record]) -> bool:
        """Try until it works; False when told to stop before."""
        try:
            return await self._try(consumer, records)
        finally:
            consumer.resume(*consumer.paused())

    async def _try(self, consumer: AIOKafkaConsumer, records: Sequence[Record]) -> bool:
        attempt = 0
        while not self._stopping.is_set():
            attempt += 1
            try:
                await self._handle(records)
            except UnavailableError as error:
                self._tell(str(error))
            except Exception as error:  # noqa: BLE001 - any defect: going on would lose the records
                self._tell(f"records cannot be handled: {type(error).__name__}")
                _log.exception("records cannot be handled", group=self._group)
            else:
                self._trouble = None
                return True
            await self._wait_paused(consumer, backoff_seconds(attempt))
        return False

    async def _wait_paused(self, consumer: AIOKafkaConsumer, seconds: float) -> None:
        """Wait with the partitions paused, and yet poll: who does not for five minutes is put out of the group."""
        consumer.pause(*consumer.assignment())
        fetched: Mapping[TopicPartition, Sequence[Record]] = await consumer.getmany(timeout_ms=0)
        for partition, records in fetched.items():  # of a partition that has just been given to this member
            consumer.seek(partition, records[0].offset)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning("records wait", group=self._group, reason=trouble)
        self._trouble = trouble

    async def _commit(self, consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
        """Commit; where the group has given the partitions to another member, the records go there once more."""
        try:
            async with asyncio.timeout(DELIVERY_TIMEOUT_SECONDS):
                await consumer.commit(offsets)
        except _REBALANCED as error:
            _log.info("commit refused after a rebalance", group=self._group, reason=type(error).__name__)
        else:
            self._positions.update(offsets)

    async def _connect(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            *(topic.name for topic in self._topics),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # A larger record still comes, alone: this bounds the memory, not the records.
            max_partition_fetch_bytes=4 * 1024 * 1024,
            **client_options(self._settings, self._client_id),
        )
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_MS / 1000):
                await consumer.start()
        except BaseException:
            await _close_consumer(consumer)
            raise
        self._positions.clear()
        return consumer


_REBALANCED: Final = (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)


async def _close_consumer(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and close; without Kafka, close after a bound."""
    try:
        async with asyncio.timeout(3.0):
            await consumer.stop()
    except TimeoutError:
        await consumer._client.close()
