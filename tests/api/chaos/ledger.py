"""What the topics and tables hold after a run, set against what was delivered."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from auren import events
from auren.events import Event
from auren.kafka import Record
from auren.topics import (
    BIOMETRIC_GROUP,
    BRIDGE_GROUP,
    EVENTS,
    EVENTS_DLQ,
    WEBHOOKS,
    WEBHOOKS_DLQ,
    Topic,
)
from tests.api.chaos.deliveries import Delivery, Ending, Key, Plan, digest, instant
from tests.api.services.measurements import query
from tests.api.services.platform import Platform

UNREADABLE: Final = "no sample can be read"
"""Begins the reason of the only dead letters that there should be."""

SAMPLES: Final = frozenset({"healthkit", "terra"})

_Content = bytes
_MOST_AT_ONCE: Final = 20_000


@dataclass
class Found:
    """What the pipeline holds. Effects by key; `contents`: all that was ever said of one document, without repeats."""

    events: int = 0
    values: dict[Key, set[float]] = field(default_factory=lambda: defaultdict(set))
    documents: dict[Key, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Kinds of the events of a document."""
    contents: dict[tuple[Key, str], set[_Content]] = field(default_factory=lambda: defaultdict(set))
    event_dead_letters: Counter[str] = field(default_factory=Counter)
    dead: dict[int, str] = field(default_factory=dict)
    """Reason by number of the delivery."""
    dead_letters: Counter[str] = field(default_factory=Counter)
    parked: dict[int, str] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)
    """Bodies that nobody has sent, and where they are."""
    rows: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    buried: set[Key] = field(default_factory=set)

    def add_event(self, event: Event) -> None:
        """One record of biometric-events."""
        self.events += 1
        key = Key(event.provider, event.user_id, event.document_id)
        self.documents[key].add(event.kind)
        said = (event.device, event.readings, event.sleep, event.workout)
        self.contents[key, event.kind].add(digest(msgspec.json.encode(said)))
        if event.provider in SAMPLES:
            for reading in event.readings:
                self.values[Key(event.provider, event.user_id, instant(reading.time))].add(reading.value)

    def lost(self, number: int, delivery: Delivery) -> bool:
        """Whether nothing came of a delivery where something should."""
        match delivery.ending:
            case Ending.READING:
                return self.values.get(delivery.key) != {delivery.value}
            case Ending.DOCUMENT:
                return self.documents.get(delivery.key) != {"workout"}
            case Ending.DELETION:
                return self.documents.get(delivery.key) != {"deletion"}
            case Ending.DEAD:
                return UNREADABLE not in self.dead.get(number, "")
            case Ending.PARKED:
                return self.parked.get(number) != "unknown-user"


async def everything(platform: Platform, topic: Topic) -> AsyncIterator[Record]:
    """All records of a topic up to its end as it is now."""
    async with platform.reader(topic) as (consumer, partitions):
        ends = await consumer.end_offsets(partitions)
        while not await _reached(consumer, ends):
            batches = await consumer.getmany(*partitions, timeout_ms=500, max_records=_MOST_AT_ONCE)
            for records in batches.values():
                for record in records:
                    yield record


async def _reached(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    return all([await consumer.position(partition) >= end for partition, end in ends.items()])


async def lag(platform: Platform, topic: Topic, group: str) -> int:
    """Records of a topic that a group has not committed."""
    async with platform.reader(topic, group) as (consumer, partitions):
        ends = await consumer.end_offsets(partitions)
        return sum([ends[one] - (await consumer.committed(one) or 0) for one in partitions])


async def to_do(platform: Platform) -> dict[str, int]:
    """What the pipeline has not brought to its end, apart from whom nobody knows."""
    parked = "SELECT count(*) FROM parked_deliveries WHERE reason <> 'unknown-user'"
    return {
        "webhooks": await lag(platform, WEBHOOKS, BRIDGE_GROUP),
        "parked": (await query(platform, parked))[0][0],
        "events": await lag(platform, EVENTS, BIOMETRIC_GROUP),
    }


async def found(platform: Platform, deliveries: Iterable[Delivery]) -> Found:
    """Read all topics and tables."""
    result, numbers = Found(), {one.digest: number for number, one in enumerate(deliveries)}
    async for record in everything(platform, EVENTS):
        result.add_event(events.decode(record.value or b""))
    async for record in everything(platform, EVENTS_DLQ):
        result.event_dead_letters[_reason(record)] += 1
    async for record in everything(platform, WEBHOOKS_DLQ):
        result.dead_letters[_reason(record)] += 1
        number = numbers.get(digest(record.value or b""))
        if number is None:
            result.strange.append(WEBHOOKS_DLQ.name)
        else:
            result.dead[number] = _reason(record)
    for row in await query(platform, "SELECT value, reason FROM parked_deliveries"):
        number = numbers.get(digest(row["value"]))
        if number is None:
            result.strange.append("parked_deliveries")
        else:
            result.parked[number] = row["reason"]
    await _tables(platform, result)
    return result


async def _tables(platform: Platform, result: Found) -> None:
    statement = "SELECT provider, user_id, time, value FROM readings WHERE provider = ANY ($1)"
    for row in await query(platform, statement, list(SAMPLES)):
        result.rows[Key(row["provider"], row["user_id"], instant(row["time"]))].append(row["value"])
    for row in await query(platform, "SELECT provider, user_id, document_id FROM deletion_tombstones"):
        result.buried.add(Key(*row.values()))


def _reason(record: Record) -> str:
    return dict(record.headers).get("error", b"").decode()


@dataclass(frozen=True)
class Verdict:
    """What must be empty, as numbers of deliveries or as keys; nothing of it is printed but how many there are."""

    never_accepted: list[int]
    lost: list[int]
    twice: list[tuple[Key, str]]
    unwanted: list[Key]
    """Readings of moments, and documents, that no delivery should have led to."""
    wrong_rows: list[Key]
    wrong_tombstones: list[Key]
    strange: list[str]

    def faults(self) -> dict[str, int]:
        """How many there are of each that is not empty."""
        return {name: len(getattr(self, name)) for name in self.__dataclass_fields__ if getattr(self, name)}


def verdict(plan: Plan, never: Iterable[int], result: Found) -> Verdict:
    """Compare. What was never accepted may have left an effect or not."""
    open_numbers = set(never)
    wanted: dict[Key, float] = {}
    documents: set[Key] = set()
    perhaps: set[Key] = set()
    deleted: set[Key] = set()
    lost: list[int] = []
    for number in range(plan.count):
        delivery = plan.delivery(number)
        if delivery.ending is Ending.READING:
            wanted[delivery.key] = delivery.value
        if delivery.ending in (Ending.DOCUMENT, Ending.DELETION):
            documents.add(delivery.key)
        if delivery.ending is Ending.DELETION:
            deleted.add(delivery.key)
        if number in open_numbers:
            perhaps.add(delivery.key)
        elif result.lost(number, delivery):
            lost.append(number)
    return Verdict(
        never_accepted=sorted(open_numbers),
        lost=lost,
        twice=[key for key, contents in result.contents.items() if len(contents) != 1],
        unwanted=[
            *(key for key in result.values if key not in wanted),
            *(key for key in result.documents if key.provider not in SAMPLES and key not in documents),
        ],
        wrong_rows=[
            key
            for key in wanted.keys() | result.rows.keys()
            if result.rows.get(key) != [wanted.get(key)] and key not in perhaps
        ],
        wrong_tombstones=[key for key in deleted ^ result.buried if key not in perhaps],
        strange=result.strange + list(result.event_dead_letters),
    )
