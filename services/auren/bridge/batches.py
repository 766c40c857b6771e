"""The hot path to Kafka: requests of the same few milliseconds share one batch and one acknowledgement."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownTopicOrPartitionError

from auren.background import Background
from auren.events import Headers
from auren.health import UnhealthyError
from auren.kafka import Producer, RefusedError, abandon
from auren.link import UnavailableError
from auren.settings import KafkaSettings
from auren.telemetry import logger
from auren.topics import Topic

LINGER_SECONDS: Final = 0.004
"""How long a batch waits for company."""

_log = logger(__name__)


@dataclass(slots=True)
class _Batch:
    """Requests that share one acknowledgement, on the connection they came to."""

    producer: AIOKafkaProducer
    builder: Any
    ripe: bool = False
    waiters: list[asyncio.Future[None]] = field(default_factory=list)


class BatchingProducer(Producer):
    """Appends records without key to one topic; those of the same few milliseconds share a batch.

    A batch goes to one partition and is acknowledged once; each partition has one batch under way.
    """

    def __init__(self, settings: KafkaSettings, client_id: str, topic: Topic) -> None:
        """`topic` is where every record goes."""
        super().__init__(settings, client_id)
        self._topic = topic
        self._partitions: set[int] = set()
        self._batches: deque[_Batch] = deque()
        self._ripe = asyncio.Event()
        self._supervisor = Background("batches", self._supervise)

    async def start(self) -> None:
        """Begin to connect in the background."""
        await super().start()
        self._supervisor.start()

    async def stop(self) -> None:
        """Stop; requests are over by then, so nothing waits."""
        await self._supervisor.stop()
        await super().stop()

    def append(self, value: bytes, headers: Headers) -> asyncio.Future[None]:
        """Put a record into the open batch; the result is there once Kafka has acknowledged it.

        Raises UnavailableError at once while there is no connection; the future raises it when the batch fails.
        """
        producer = self.link.client
        loop = asyncio.get_running_loop()
        batch = self._batches[-1] if self._batches and self._batches[-1].producer is producer else None
        if batch is None or batch.builder.append(timestamp=None, key=None, value=value, headers=headers) is None:
            if batch is not None:
                self._ripen(batch)
            batch = _Batch(producer, producer.create_batch())
            # The first record always fits, whatever its size.
            batch.builder.append(timestamp=None, key=None, value=value, headers=headers)
            self._batches.append(batch)
            loop.call_later(LINGER_SECONDS, self._ripen, batch)
        waiter: asyncio.Future[None] = loop.create_future()
        batch.waiters.append(waiter)
        return waiter

    def _ripen(self, batch: _Batch) -> None:
        batch.ripe = True
        self._ripe.set()

    async def _take(self) -> _Batch:
        """The oldest batch, once it has waited long enough or is full."""
        while not (self._batches and self._batches[0].ripe):
            self._ripe.clear()
            await self._ripe.wait()
        return self._batches.popleft()

    async def check(self) -> None:
        """For the health report: a broker answers and batches are taken."""
        if not self._supervisor.running:
            raise UnhealthyError("batches are not sent")
        await super().check()

    async def connect(self) -> AIOKafkaProducer:
        """A client that knows the topic: without it nothing could be accepted."""
        producer = await super().connect()
        try:
            metadata = await producer.client.fetch_all_metadata()
            self._partitions = metadata.partitions_for_topic(self._topic.name) or set()
            if not self._partitions:
                raise UnknownTopicOrPartitionError(self._topic.name)
        except BaseException:
            await abandon(producer)
            raise
        return producer

    async def _supervise(self) -> None:
        """One worker per partition, for as long as there is a connection."""
        while True:
            producer = await self.link.wait()
            workers = [asyncio.create_task(self._work(producer, number)) for number in sorted(self._partitions)]
            try:
                await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for worker in workers:
                    worker.cancel()
                ends = await asyncio.gather(*workers, return_exceptions=True)
                self._fail_waiting(producer)
            for end in ends:
                if isinstance(end, Exception):
                    _log.error("a batch was lost to a defect", exc_info=end)
            self.link.lost(producer, "batches cannot be sent")

    def _fail_waiting(self, lost: AIOKafkaProducer) -> None:
        # The next connection may be there already, with requests of its own.
        while self._batches and self._batches[0].producer is lost:
            _settle(self._batches.popleft(), UnavailableError("kafka", "connection lost"))

    async def _work(self, producer: AIOKafkaProducer, partition: int) -> None:
        """Deliver batch after batch to one partition; returns when the connection is lost."""
        while True:
            batch = await self._take()
            outcome: Exception | None = UnavailableError("kafka", "connection lost")
            try:
                await self.deliver(producer, self._send(producer, batch, partition))
                outcome = None
            except RefusedError as error:
                outcome = error
            except UnavailableError as error:
                outcome = error
                return
            finally:
                _settle(batch, outcome)

    async def _send(self, producer: AIOKafkaProducer, batch: _Batch, partition: int) -> None:
        acknowledged = await producer.send_batch(batch.builder, self._topic.name, partition=partition)
        await acknowledged


def _settle(batch: _Batch, error: Exception | None) -> None:
    for waiter in batch.waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
