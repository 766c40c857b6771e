"""From records of `biometric-events` to what the tables shall hold. Pure: decoding, sorting, no store."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import NamedTuple

from auren.events import Event, InvalidRecordError, decode, faults
from auren.kafka import Record
from auren.latest import LatestValue
from auren.plausibility import UNTRUSTED

Key = tuple[str, str, str, datetime]
"""User, metric, source, time: the primary key of `readings`."""


class Row(NamedTuple):
    """One row of `readings`, in the order of its columns."""

    time: datetime
    user_id: str
    metric: str
    source: str
    value: float
    end_time: datetime | None
    flags: tuple[str, ...] | None
    provider: str
    document_id: str
    version: int
    event_id: uuid.UUID
    received_at: datetime
    utc_offset_minutes: int

    @property
    def key(self) -> Key:
        """The primary key."""
        return self.user_id, self.metric, self.source, self.time

    @property
    def local_end(self) -> datetime:
        """The last moment of the reading by the person's own clock: it decides the day and the hour."""
        return last_moment(self.time, self.end_time).astimezone(_zone(self.utc_offset_minutes))

    @property
    def trusted(self) -> bool:
        """Whether anything is learnt from it."""
        return not self.flags or UNTRUSTED.isdisjoint(self.flags)

    @property
    def document(self) -> Document:
        """What it came from."""
        return Document(self.user_id, self.provider, self.document_id)

    def latest(self) -> LatestValue:
        """The row as a hot value."""
        return LatestValue(
            metric=self.metric,
            value=self.value,
            time=self.time,
            version=self.version,
            source=self.source,
            provider=self.provider,
            end_time=self.end_time,
            flags=self.flags or (),
        )


_MOMENT = timedelta(microseconds=1)
_MINUTE = timedelta(minutes=1)


def last_moment(time: datetime, end_time: datetime | None) -> datetime:
    """A night belongs to the day of waking; what ends at midnight belongs to the day before."""
    return time if end_time is None or end_time <= time else end_time - _MOMENT


def offset_minutes(time: datetime) -> int:
    """The offset from UTC that a time names."""
    if time.tzinfo is UTC:
        return 0
    return (time.utcoffset() or timedelta()) // _MINUTE


@cache
def _zone(minutes: int) -> timezone:
    return timezone(timedelta(minutes=minutes))


class Document(NamedTuple):
    """What a deletion names."""

    user_id: str
    provider: str
    document_id: str


def document_of(event: Event) -> Document:
    """The document that an event is of."""
    return Document(event.user_id, event.provider, event.document_id)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A record that holds a valid event."""

    record: Record
    event: Event


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that can never be stored, and why; the reason holds no value of the record."""

    record: Record
    reason: str


def read(records: Iterable[Record]) -> tuple[list[Accepted], list[Poison]]:
    """Decode records; what is no event that producers may send is poison."""
    accepted: list[Accepted] = []
    poison: list[Poison] = []
    for record in records:
        try:
            event = decode(record.value or b"")
        except InvalidRecordError as error:
            poison.append(Poison(record, str(error)))
            continue
        if found := faults(event):
            poison.append(Poison(record, "; ".join(found)))
        else:
            accepted.append(Accepted(record, event))
    return accepted, poison
