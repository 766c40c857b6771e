"""From records of `biometric-events` to what the tables shall hold. Pure: decoding, sorting, no store."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from auren.events import Event, InvalidRecordError, decode, faults
from auren.kafka import Record
from auren.latest import LatestValue


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
    day: date

    @property
    def key(self) -> tuple[str, str, str, datetime]:
        """The primary key."""
        return self.user_id, self.metric, self.source, self.time

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


class Document(NamedTuple):
    """What a deletion names."""

    user_id: str
    provider: str
    document_id: str


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


def deletions(events: Iterable[Event]) -> dict[Document, int]:
    """The highest version at which each document was deleted."""
    found: dict[Document, int] = {}
    for event in events:
        if event.kind == "deletion":
            document = Document(event.user_id, event.provider, event.document_id)
            found[document] = max(event.version, found.get(document, event.version))
    return found


def rows(events: Sequence[Event], deleted: dict[Document, int]) -> list[Row]:
    """One row per primary key: the highest version, of equal ones the last; in the key's order.

    The order keeps two writers from waiting for each other's rows. What `deleted` covers is left out.
    """
    newest: dict[tuple[str, str, str, datetime], Row] = {}
    for event in events:
        document = Document(event.user_id, event.provider, event.document_id)
        if event.kind == "deletion" or event.version <= deleted.get(document, event.version - 1):
            continue
        for row in _rows(event):
            known = newest.get(row.key)
            if known is None or row.version >= known.version:
                newest[row.key] = row
    return [newest[key] for key in sorted(newest)]


_MOMENT = timedelta(microseconds=1)


def local_day(time: datetime, end_time: datetime | None) -> date:
    """The person's calendar day of a reading: that of its end, in the offset which the event names.

    A night belongs to the day of waking; an interval that ends at midnight belongs to the day before.
    """
    return time.date() if end_time is None or end_time <= time else (end_time - _MOMENT).date()


def _rows(event: Event) -> Iterable[Row]:
    for reading in event.readings:
        yield Row(
            time=reading.time,
            user_id=event.user_id,
            metric=reading.metric,
            source=event.source,
            value=reading.value,
            end_time=reading.end_time,
            flags=reading.flags or None,
            provider=event.provider,
            document_id=event.document_id,
            version=event.version,
            event_id=event.event_id,
            received_at=event.received_at,
            day=local_day(reading.time, reading.end_time),
        )
