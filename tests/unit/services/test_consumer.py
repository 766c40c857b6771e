"""The consumer's promise: committed is what was handled, and what was not handled comes again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaConnectionError

from auren import background
from auren import kafka as module
from auren.health import UnhealthyError
from auren.kafka import Consumer, Record
from auren.link import UnavailableError
from auren.settings import KafkaSettings
from auren.topics import WEBHOOKS

FIRST, SECOND = TopicPartition(WEBHOOKS.name, 0), TopicPartition(WEBHOOKS.name, 1)


@dataclass
class Arrived:
    """A record."""

    offset: int
    partition: int = 0
    topic: str = WEBHOOKS.name
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = b""
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass
class Broker:
    """Stands for a connected aiokafka consumer: hands over what the test puts in and writes down the commits."""

    fetched: asyncio.Queue[dict[TopicPartition, list[Arrived]] | Exception] = field(default_factory=asyncio.Queue)
    committed: list[dict[TopicPartition, int]] = field(default_factory=list)
    commit_came: asyncio.Event = field(default_factory=asyncio.Event)
    commit_error: Exception | None = None
    ends: dict[TopicPartition, int] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    stopped: set[TopicPartition] = field(default_factory=set)
    given: list[dict[TopicPartition, list[Arrived]]] = field(default_factory=list)
    sought: list[tuple[TopicPartition, int]] = field(default_factory=list)

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int = 0
    ) -> dict[TopicPartition, list[Arrived]]:
        if not max_records:
            assert self.stopped == self.assignment()
            return self.given.pop(0) if self.given else {}
        self.asked.append(max_records)
        if not timeout_ms and self.fetched.empty():
            return {}
        found = await self.fetched.get()
        if isinstance(found, Exception):
            raise found
        return found

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.commit_came.set()
        if self.commit_error is not None:
            raise self.commit_error
        self.committed.append(offsets)

    def assignment(self) -> set[TopicPartition]:
        return set(self.ends)

    def pause(self, *partitions: TopicPartition) -> None:
        self.stopped.update(partitions)

    def paused(self) -> set[TopicPartition]:
        return set(self.stopped)

    def resume(self, *partitions: TopicPartition) -> None:
        self.stopped.difference_update(partitions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.sought.append((partition, offset))

    def highwater(self, partition: TopicPartition) -> int:
        return self.ends[partition]


class Backlog(Broker):
    """Has much of each partition, and like aiokafka reads what it may to the end, partition after partition."""

    def __init__(self, *partitions: list[Arrived]) -> None:
        super().__init__(ends={TopicPartition(WEBHOOKS.name, of[0].partition): len(of) for of in partitions})
        self.left = dict(zip(self.ends, partitions, strict=True))

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int = 0
    ) -> dict[TopicPartition, list[Arrived]]:
        for partition in partitions or self.left:
            if self.left[partition]:
                taken = self.left[partition][:max_records]
                self.left[partition] = self.left[partition][max_records:]
                return {partition: taken}
        await asyncio.sleep(timeout_ms / 1000)
        return {}


class Handler:
    """The function that handles records: fails as the test says."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.handled: list[list[int]] = []
        self.tried = asyncio.Event()

    async def __call__(self, records: Sequence[Record]) -> None:
        self.tried.set()
        if self.errors:
            raise self.errors.pop(0)
        self.handled.append([record.offset for record in records])


class Subject(Consumer):
    """A consumer whose connections are the test's."""

    brokers: list[Broker]

    async def _connect(self) -> Any:
        return self.brokers.pop(0)


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
def broker() -> Broker:
    return Broker()


Connected = Callable[..., Subject]
"""Makes a consumer of the broker with what the test adds to its arguments."""


@pytest.fixture
def connected(broker: Broker, handler: Handler, monkeypatch: pytest.MonkeyPatch) -> Connected:
    async def nothing(_client: object) -> None: ...

    monkeypatch.setattr(background, "FIRST_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(module, "_close_consumer", nothing)
    monkeypatch.setattr(module, "_probe", nothing)
    monkeypatch.setattr(Broker, "_client", None, raising=False)
    settings = KafkaSettings(kafka_bootstrap="k:1", kafka_security="PLAINTEXT")

    def make(**more: Any) -> Subject:
        subject = Subject(settings, client_id="test", group="test", topics=[WEBHOOKS], handle=handler, **more)
        subject.brokers = [broker]
        return subject

    return make


@pytest.fixture
def consumer(connected: Connected) -> Subject:
    return connected()


async def stopped(consumer: Consumer) -> None:
    async with asyncio.timeout(10):
        await consumer.stop()


async def test_what_was_handled_is_committed_and_nothing_else(
    consumer: Subject, broker: Broker, handler: Handler
) -> None:
    await consumer.start()
    broker.ends = {FIRST: 12, SECOND: 3}
    broker.fetched.put_nowait({FIRST: [Arrived(7), Arrived(8)], SECOND: [Arrived(2, partition=1)]})
    await broker.commit_came.wait()
    await asyncio.sleep(0)
    assert handler.handled == [[7, 8, 2]]
    assert broker.committed == [{FIRST: 9, SECOND: 3}]
    assert consumer.lag() == {(WEBHOOKS.name, 0): 3, (WEBHOOKS.name, 1): 0}
    await consumer.check()
    broker.fetched.put_nowait({})
    await stopped(consumer)


async def test_while_records_wait_their_partitions_are_paused_and_nothing_new_is_lost(
    consumer: Subject, broker: Broker, handler: Handler
) -> None:
    handler.errors = [UnavailableError("database", "away")] * 3
    broker.ends = {FIRST: 9, SECOND: 9}
    broker.given = [{SECOND: [Arrived(4, partition=1)]}]  # given to this member in the midst of it
    await consumer.start()
    broker.fetched.put_nowait({FIRST: [Arrived(7)]})
    await broker.commit_came.wait()
    assert handler.handled == [[7]]
    assert broker.sought == [(SECOND, 4)]
    assert not broker.given
    assert not broker.stopped
    broker.fetched.put_nowait({})
    await stopped(consumer)


async def test_what_is_there_is_handled_together_up_to_a_number_of_bytes(
    consumer: Subject, broker: Broker, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_BYTES", 2 * WEBHOOKS.max_message_bytes)
    large = b"x" * (WEBHOOKS.max_message_bytes - 1)
    for offset in range(8):
        value, partition = (large, 1) if offset in (2, 3, 4) else (b"", 0)
        found = Arrived(offset, partition=partition, value=value)
        broker.fetched.put_nowait({TopicPartition(WEBHOOKS.name, partition): [found]})
    await consumer.start()
    async with asyncio.timeout(10):
        while len(broker.committed) < 2:  # noqa: ASYNC110 - the consumer's task sets no event of ours
            await asyncio.sleep(0)
    assert handler.handled == [[0, 1, 2, 3, 4], [5, 6, 7]]
    assert broker.committed == [{FIRST: 2, SECOND: 5}, {FIRST: 8}]
    assert max(broker.asked) == 2
    broker.fetched.put_nowait({})
    await stopped(consumer)


async def test_a_consumer_says_how_many_records_it_handles_together(
    broker: Broker, handler: Handler, connected: Connected
) -> None:
    consumer = connected(poll_records=2)
    for offset in range(3):
        broker.fetched.put_nowait({FIRST: [Arrived(offset)]})
    await consumer.start()
    async with asyncio.timeout(10):
        while len(broker.committed) < 2:  # noqa: ASYNC110 - the consumer's task sets no event of ours
            await asyncio.sleep(0)
    assert handler.handled == [[0, 1], [2]]
    broker.fetched.put_nowait({})
    await stopped(consumer)


async def test_no_partition_waits_until_another_is_read_to_its_end(connected: Connected, handler: Handler) -> None:
    backlog = Backlog([Arrived(n) for n in range(10)], [Arrived(n, partition=1) for n in range(100, 103)])
    consumer = connected(poll_records=4)
    consumer.brokers = [backlog]
    await consumer.start()
    async with asyncio.timeout(10):
        while len(backlog.committed) < 4:  # noqa: ASYNC110 - the consumer's task sets no event of ours
            await asyncio.sleep(0)
    assert handler.handled == [[0, 1, 100, 101], [2, 3, 4, 102], [5, 6, 7, 8], [9]]
    await stopped(consumer)


async def test_what_may_work_later_is_tried_again_before_any_commit(
    consumer: Subject, broker: Broker, handler: Handler
) -> None:
    handler.errors = [UnavailableError("database", "away"), UnavailableError("database", "away")]
    await consumer.start()
    broker.fetched.put_nowait({FIRST: [Arrived(7)]})
    await handler.tried.wait()
    with pytest.raises(UnhealthyError, match="database: away"):
        await consumer.check()
    assert broker.committed == []
    await broker.commit_came.wait()
    assert handler.handled == [[7]]
    await consumer.check()
    broker.fetched.put_nowait({})
    await stopped(consumer)


async def test_a_defect_loses_no_record_and_shows(consumer: Subject, broker: Broker, handler: Handler) -> None:
    handler.errors = [KeyError("anna")]
    await consumer.start()
    broker.fetched.put_nowait({FIRST: [Arrived(7)]})
    await handler.tried.wait()
    with pytest.raises(UnhealthyError, match="records cannot be handled: KeyError"):
        await consumer.check()
    await broker.commit_came.wait()
    assert handler.handled == [[7]]
    broker.fetched.put_nowait({})
    await stopped(consumer)


async def test_a_stop_while_records_wait_commits_nothing(consumer: Subject, broker: Broker, handler: Handler) -> None:
    handler.errors = [UnavailableError("database", "away")] * 1_000_000
    await consumer.start()
    broker.fetched.put_nowait({FIRST: [Arrived(7)]})
    await handler.tried.wait()
    await stopped(consumer)
    assert broker.committed == []
    with pytest.raises(UnhealthyError, match="does not run"):
        await consumer.check()


async def test_a_commit_after_a_rebalance_is_left_to_the_new_owner(
    consumer: Subject, broker: Broker, handler: Handler
) -> None:
    broker.commit_error = CommitFailedError()
    await consumer.start()
    broker.fetched.put_nowait({FIRST: [Arrived(7)]})
    await broker.commit_came.wait()
    broker.commit_error = None
    broker.commit_came.clear()
    broker.fetched.put_nowait({FIRST: [Arrived(8)]})
    await broker.commit_came.wait()
    assert handler.handled == [[7], [8]]
    broker.fetched.put_nowait({})
    await stopped(consumer)


async def test_a_lost_connection_is_made_anew(consumer: Subject, broker: Broker, handler: Handler) -> None:
    second = Broker()
    consumer.brokers.append(second)
    await consumer.start()
    broker.fetched.put_nowait(KafkaConnectionError())
    second.fetched.put_nowait({FIRST: [Arrived(7)]})
    await second.commit_came.wait()
    assert handler.handled == [[7]]
    second.fetched.put_nowait({})
    await stopped(consumer)


async def test_a_defect_of_consuming_begins_anew_at_what_is_committed(
    consumer: Subject, broker: Broker, handler: Handler
) -> None:
    second = Broker()
    consumer.brokers.append(second)
    await consumer.start()
    broker.fetched.put_nowait(RuntimeError("defect"))
    second.fetched.put_nowait({FIRST: [Arrived(7)]})
    async with asyncio.timeout(10):
        await second.commit_came.wait()
    assert handler.handled == [[7]]
    await consumer.check()
    second.fetched.put_nowait({})
    await stopped(consumer)
