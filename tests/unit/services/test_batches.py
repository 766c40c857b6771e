"""Batches: requests of a moment share one acknowledgement, and each one learns what became of its batch."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder

from auren import kafka as kafka_module
from auren.bridge import batches as module
from auren.bridge.batches import BatchingProducer
from auren.kafka import BATCH_BYTES, RefusedError
from auren.link import UnavailableError
from auren.settings import KafkaSettings
from auren.topics import MAX_BODY_BYTES, WEBHOOKS


class Sent:
    """A batch that was sent: the test says what became of it."""

    def __init__(self, builder: BatchBuilder, partition: int) -> None:
        self.records = builder.record_count()
        self.partition = partition
        self.acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Client:
    """Stands for a connected aiokafka producer."""

    def __init__(self, sent: asyncio.Queue[Sent]) -> None:
        self.sent = sent

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(BATCH_BYTES, 0)

    async def send_batch(self, builder: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[None]:
        assert topic == WEBHOOKS.name
        batch = Sent(builder, partition)
        self.sent.put_nowait(batch)
        return batch.acknowledged


class Producer(BatchingProducer):
    """The subject, with clients of the test's own."""

    def __init__(self, partitions: int) -> None:
        super().__init__(KafkaSettings(kafka_bootstrap="k:1", kafka_security="PLAINTEXT"), "test", WEBHOOKS)
        self.sent: asyncio.Queue[Sent] = asyncio.Queue()
        self.connections = 0
        self.connected_again = asyncio.Event()
        self._count = partitions

    async def connect(self) -> Any:
        self.connections += 1
        if self.connections == 2:
            self.connected_again.set()
        self._partitions = set(range(self._count))
        return Client(self.sent)


@pytest.fixture
def _no_real_client(monkeypatch: pytest.MonkeyPatch) -> None:
    async def close(client: object) -> None: ...

    monkeypatch.setattr(kafka_module, "_close_producer", close)


@pytest.fixture
async def producer(_no_real_client: None) -> Producer:
    subject = Producer(partitions=2)
    await subject.start()
    await subject.link.wait()
    return subject


async def test_requests_of_a_moment_share_one_acknowledgement(producer: Producer) -> None:
    waiting = [producer.append(b"body", []) for _ in range(50)]
    batch = await producer.sent.get()
    assert batch.records == 50
    assert not any(waiter.done() for waiter in waiting)
    batch.acknowledged.set_result(None)
    await asyncio.gather(*waiting)
    await producer.stop()


async def test_each_partition_has_one_batch_under_way_and_later_requests_gather_meanwhile(producer: Producer) -> None:
    first = producer.append(b"1", [])
    one = await producer.sent.get()
    second = producer.append(b"2", [])
    two = await producer.sent.get()
    assert {one.partition, two.partition} == {0, 1}
    rest = [producer.append(b"3", []) for _ in range(5)]
    await asyncio.sleep(2 * module.LINGER_SECONDS)
    rest += [producer.append(b"4", []) for _ in range(5)]
    assert producer.sent.empty()
    one.acknowledged.set_result(None)
    three = await producer.sent.get()
    assert (three.partition, three.records) == (one.partition, 10)
    two.acknowledged.set_result(None)
    three.acknowledged.set_result(None)
    await asyncio.gather(first, second, *rest)
    await producer.stop()


async def test_a_full_batch_goes_without_waiting_and_a_large_record_goes_alone(producer: Producer) -> None:
    small = producer.append(b"small", [])
    large = producer.append(bytes(MAX_BODY_BYTES), [])
    after = producer.append(b"after", [])
    batches = [await producer.sent.get(), await producer.sent.get()]
    batches[0].acknowledged.set_result(None)
    batches.append(await producer.sent.get())
    assert [batch.records for batch in batches] == [1, 1, 1]
    for batch in batches[1:]:
        batch.acknowledged.set_result(None)
    await asyncio.gather(small, large, after)
    await producer.stop()


async def test_a_failed_batch_tells_all_its_requests_and_the_connection_is_made_anew(producer: Producer) -> None:
    waiting = [producer.append(b"body", []) for _ in range(3)]
    batch = await producer.sent.get()
    batch.acknowledged.set_exception(KafkaConnectionError())
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 3
    await producer.connected_again.wait()
    await producer.link.wait()
    again = producer.append(b"body", [])
    (await producer.sent.get()).acknowledged.set_result(None)
    await again
    await producer.stop()


async def test_a_request_after_a_loss_does_not_join_a_batch_of_the_lost_connection(producer: Producer) -> None:
    waiting = [producer.append(b"old", [])]
    producer.link.lost(producer.link.client, "gone")
    await producer.connected_again.wait()
    await producer.link.wait()
    waiting.append(producer.append(b"new", []))
    batches = [await producer.sent.get(), await producer.sent.get()]
    assert [batch.records for batch in batches] == [1, 1]
    for batch in batches:
        batch.acknowledged.set_result(None)
    await asyncio.gather(*waiting)
    await producer.stop()


async def test_without_acknowledgement_nobody_waits_for_ever(
    producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_module, "DELIVERY_TIMEOUT_SECONDS", 0.05)
    sent = producer.append(b"body", [])
    await producer.sent.get()
    other = producer.append(b"body", [])
    await producer.sent.get()
    queued = producer.append(b"body", [])
    outcomes = await asyncio.gather(sent, other, queued, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 3
    await producer.stop()


async def test_a_record_that_kafka_refuses_keeps_the_connection(producer: Producer) -> None:
    waiting = producer.append(b"body", [])
    (await producer.sent.get()).acknowledged.set_exception(MessageSizeTooLargeError())
    with pytest.raises(RefusedError):
        await waiting
    assert producer.connections == 1
    assert producer.connected
    await producer.stop()


async def test_a_defect_fails_its_batch_and_the_others_go_on(
    producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Client, builder: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[None]:
        raise AssertionError("Unrecognized partition")

    with monkeypatch.context() as patch:
        patch.setattr(Client, "send_batch", broken)
        with pytest.raises(UnavailableError):
            await producer.append(b"body", [])
        await producer.connected_again.wait()
        await producer.link.wait()
    again = producer.append(b"body", [])
    (await producer.sent.get()).acknowledged.set_result(None)
    await again
    await producer.stop()


@pytest.mark.usefixtures("_no_real_client")
async def test_without_connection_a_request_is_refused_at_once() -> None:
    subject = Producer(partitions=1)
    with pytest.raises(UnavailableError):
        subject.append(b"body", [])
    with pytest.raises(UnavailableError):
        subject.require()
