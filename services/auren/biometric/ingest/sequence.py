"""What a batch of events makes of what the database held: event by event, in the order of the log. Pure.

Nothing here depends on where a batch begins or ends: the same events one at a time or all at once lead to the same
rows, days, modes and patterns. An event that was taken in before is passed over as a whole.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

from auren.biometric.ingest.batch import Document, Key, Row, document_of, last_moment, offset_minutes
from auren.biometric.ingest.judge import Judge
from auren.biometric.ingest.person import HOURLY, RECENT, TRACKED, Night, Person
from auren.events import Event
from auren.modes.switches import ModeSwitch
from auren.patterns import Known
from auren.people import Held
from auren.plausibility import FUTURE_SKEW, LATE_AFTER, PLAUSIBLE, UNTRUSTED, flags

MILLIONTHS: Final = 1_000_000

Day = tuple[str, str, date, str]
"""User, metric, day, source."""
Hour = tuple[str, str, date, int, str]
"""User, metric, day, local hour, source."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What the database holds of what a batch touches, before the batch.

    `fresh` are the events that were never taken in, `erased` people of whom nothing is stored any more. `rows` are
    those under keys that the batch writes, where there are any, and those of `documents` that it deletes.
    """

    people: Mapping[str, Person]
    fresh: frozenset[uuid.UUID]
    erased: frozenset[str] = frozenset()
    tombstones: Mapping[Document, int] = field(default_factory=dict)
    rows: Mapping[Key, Row] = field(default_factory=dict)
    documents: Mapping[Document, tuple[Row, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """What the database shall hold after the batch, and what is to be told.

    `rows` by key, None where a row is gone; `deleted` are keys whose stored row was deleted, whatever came after;
    `contested` are people some of whose rows may be under keys that are taken; `newest` is the newest trusted row by
    user and metric, `unsettled` people of whom Redis may hold a value that is gone, or lack one. `days` and `hours` are
    differences of count and total. `nights` and `workouts` hold the event to store, None where it is gone; `patterns`
    are by person, kind and detail. `events` counts what became of them.
    """

    people: dict[str, Person] = field(default_factory=dict)
    rows: dict[Key, Row | None] = field(default_factory=dict)
    deleted: set[Key] = field(default_factory=set)
    days: dict[Day, list[int]] = field(default_factory=dict)
    hours: dict[Hour, list[int]] = field(default_factory=dict)
    nights: dict[Document, Event | None] = field(default_factory=dict)
    workouts: dict[Document, Event | None] = field(default_factory=dict)
    tombstones: dict[Document, int] = field(default_factory=dict)
    patterns: dict[tuple[str, str, str], Known] = field(default_factory=dict)
    switches: list[ModeSwitch] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    outdated_rows: int = 0
    newest: dict[tuple[str, str], Row] = field(default_factory=dict)
    contested: set[str] = field(default_factory=set)
    unsettled: set[str] = field(default_factory=set)

    def stored_rows(self) -> list[Row]:
        """The rows that are to be there."""
        return [row for row in self.rows.values() if row is not None]


def run(events: Iterable[Event], prior: Prior, judge: Judge) -> Outcome:
    """Take in events in order. `prior` stays as it is."""
    sequence = _Sequence(prior, judge)
    for event in events:
        sequence.take(event)
    return sequence.outcome


class _Sequence:
    def __init__(self, prior: Prior, judge: Judge) -> None:
        self.outcome = Outcome()
        self._prior = prior
        self._judge = judge
        self._seen: set[uuid.UUID] = set()
        self._doomed: dict[Document, set[Key]] = {d: {row.key for row in rows} for d, rows in prior.documents.items()}

    def take(self, event: Event) -> None:
        """One event: its effect on rows and days, then what follows for the person."""
        if event.user_id in self._prior.erased:
            self.outcome.events["erased"] += 1
            return
        if event.event_id in self._seen or event.event_id not in self._prior.fresh:
            self.outcome.events["duplicate"] += 1
            self.outcome.unsettled.add(event.user_id)  # whoever stored it may have died before Redis heard of it
            return
        self._seen.add(event.event_id)
        person = self._person(event)
        document = document_of(event)
        if event.kind == "deletion":
            self._delete(event, document, person)
        elif self._buried(document) >= event.version:
            self.outcome.events["deleted_before"] += 1
        else:
            self._store(event, document, person)
            self.outcome.events["stored"] += 1
        self._conclude(event, person)

    def _person(self, event: Event) -> Person:
        """The person at the event's time, to be worked on."""
        person = self.outcome.people.get(event.user_id)
        if person is None:
            person = self.outcome.people[event.user_id] = self._prior.people[event.user_id].copy()
        person.clock = max(person.clock, event.received_at)
        return person

    def _buried(self, document: Document) -> int:
        """The version at which a document was deleted; lower than any version where it was not."""
        buried = self.outcome.tombstones.get(document)
        return self._prior.tombstones.get(document, _NEVER) if buried is None else buried

    # What an event stores

    def _store(self, event: Event, document: Document, person: Person) -> None:
        version, sleep = event.version, event.sleep
        if sleep is not None and not _newer(person.nights, document, version):
            day = last_moment(sleep.start, sleep.end).date()
            person.nights[document] = Night(day, sleep.start, sleep.end, sleep.total_minutes, version)
        if sleep is not None and not _newer(self.outcome.nights, document, version):
            self.outcome.nights[document] = event
        if event.workout is not None and not _newer(self.outcome.workouts, document, version):
            self.outcome.workouts[document] = event
        if event.readings:
            self._readings(event, document, person)

    def _readings(self, event: Event, document: Document, person: Person) -> None:
        """The hot loop: most readings are trusted and new, and cost a row, two lookups and an addition."""
        user, source, received, version = event.user_id, event.source, event.received_at, event.version
        provider, document_id, event_id = event.provider, event.document_id, event.event_id
        earliest, latest = received - LATE_AFTER, received + FUTURE_SKEW
        rows, prior, doomed = self.outcome.rows, self._prior.rows, self._doomed.get(document)
        learnt, frontier, recent = _Learnt(), person.frontier, person.clock - RECENT
        for reading in event.readings:
            metric, value, time = reading.metric, reading.value, reading.time
            reached = frontier.get((metric, source))
            if reached is None or time <= reached:
                self.outcome.contested.add(user)
            if reached is None or time > reached:
                frontier[metric, source] = time
            marks = reading.flags
            low, high = _BOUNDS[metric]
            trusted = low <= value <= high and earliest <= time <= latest
            if marks or not trusted:
                marks = (*marks, *(mark for mark in flags(metric, value, time, received) if mark not in marks))
                trusted = UNTRUSTED.isdisjoint(marks)
            last = last_moment(time, reading.end_time)
            row = Row(
                time, user, metric, source, value, reading.end_time, marks or None,
                provider, document_id, version, event_id, received, offset_minutes(last),
            )  # fmt: skip
            key = (user, metric, source, time)
            old = rows[key] if key in rows else prior.get(key)
            if old is not None:
                if old.version > version:
                    self.outcome.outdated_rows += 1
                    continue
                self._learn(learnt, source, person)
                learnt = _Learnt()
                self._retract(old, person)
            rows[key] = row
            if doomed is not None:
                doomed.add(key)
            if trusted:
                learnt.add(row, last, recent)
            elif old is not None:
                self.outcome.unsettled.add(user)
        self._learn(learnt, source, person)
        person.offset_minutes = offset_minutes(last)

    def _learn(self, learnt: _Learnt, source: str, person: Person) -> None:
        """Take over what some readings of one event add up to."""
        for (metric, day), (count, total) in learnt.days.items():
            self._count_day(person, metric, day, source, count, total)
        for (metric, day, hour), (count, total) in learnt.hours.items():
            self._count_hour(person, metric, day, hour, source, count, total)
        for row in learnt.recent:
            person.remember(row.metric, source, row.time, row.value, row.document)
        for row, before in learnt.newest.values():
            self._hold(person, row, before)

    def _hold(self, person: Person, row: Row, before: float | None) -> None:
        """Make a row the latest of its metric, if it is."""
        known = self.outcome.newest.get((row.user_id, row.metric))
        if known is None or (known.time, known.version) <= (row.time, row.version):
            self.outcome.newest[row.user_id, row.metric] = row
        if row.metric not in self._judge.held:
            return
        held = person.held.get(row.metric)
        if held is None or (held.time, held.version) <= (row.time, row.version):
            if before is None and held is not None:
                before = held.value if held.time < row.time else held.before
            person.held[row.metric] = Held(
                row.value, row.time, row.version, row.source, row.provider, row.document_id, before
            )

    # What an event takes away

    def _delete(self, event: Event, document: Document, person: Person) -> None:
        """Take away what the document has left, and keep in mind that it is gone."""
        if event.version <= self._buried(document):
            self.outcome.events["deleted_before"] += 1
            return
        self.outcome.events["deletion"] += 1
        self.outcome.tombstones[document] = event.version
        self.outcome.unsettled.add(event.user_id)
        for key in sorted(self._doomed.get(document, ())):
            row = self.outcome.rows[key] if key in self.outcome.rows else self._prior.rows.get(key)
            if row is not None and row.document == document and row.version <= event.version:
                self._retract(row, person)
                self.outcome.rows[key] = None
                if key in self._prior.rows:
                    self.outcome.deleted.add(key)
        self._delete_session(document, person, event.version)

    def _delete_session(self, document: Document, person: Person, version: int) -> None:
        if not _newer(person.nights, document, version):
            person.nights.pop(document, None)
        for stored in (self.outcome.nights, self.outcome.workouts):
            if not _newer(stored, document, version):
                stored[document] = None

    def _retract(self, row: Row, person: Person) -> None:
        """Take a stored row out of what was learnt from it.

        A latest value that was deleted has no successor until the next reading: rules about it are off.
        """
        newest = self.outcome.newest.get((row.user_id, row.metric))
        if newest is not None and newest.key == row.key:
            del self.outcome.newest[row.user_id, row.metric]
        if not row.trusted:
            return
        self._count_day(person, row.metric, row.local_end.date(), row.source, -1, -round(row.value * MILLIONTHS))
        if row.metric in HOURLY:
            local = row.local_end
            total = -round(row.value * MILLIONTHS)
            self._count_hour(person, row.metric, local.date(), local.hour, row.source, -1, total)
            person.recent.pop((row.metric, row.source, row.time), None)
        held = person.held.get(row.metric)
        if held is not None and held.time == row.time and held.source == row.source:
            del person.held[row.metric]

    # Days and hours

    def _count_day(self, person: Person, metric: str, day: date, source: str, count: int, total: int) -> None:
        known = self.outcome.days.get((person.user_id, metric, day, source))
        if known is None:
            self.outcome.days[person.user_id, metric, day, source] = [count, total]
        else:
            known[0] += count
            known[1] += total
        if metric in TRACKED:
            person.count_day(metric, day, source, count, total)

    def _count_hour(
        self, person: Person, metric: str, day: date, hour: int, source: str, count: int, total: int
    ) -> None:
        known = self.outcome.hours.get((person.user_id, metric, day, hour, source))
        if known is None:
            self.outcome.hours[person.user_id, metric, day, hour, source] = [count, total]
        else:
            known[0] += count
            known[1] += total
        person.count_hour(metric, (day, hour), source, count, total)

    # What follows

    def _conclude(self, event: Event, person: Person) -> None:
        """Patterns and the mode, as of the clock."""
        for pattern in self._judge.patterns(person, event):
            self.outcome.patterns[person.user_id, pattern.kind, pattern.detail] = pattern
        switch = self._judge.mode(person, event)
        if switch is not None:
            self.outcome.switches.append(switch)


def _newer(known: Mapping[Document, Event | None] | Mapping[Document, Night], document: Document, version: int) -> bool:
    """Whether what is known of a document is of a later version."""
    one = known.get(document)
    return one is not None and one.version > version


class _Learnt:
    """What trusted readings of one event add up to: by day and by hour, the newest of each metric, those of late."""

    __slots__ = ("days", "hours", "newest", "recent")

    def __init__(self) -> None:
        self.days: dict[tuple[str, date], list[int]] = {}
        self.hours: dict[tuple[str, date, int], list[int]] = {}
        self.newest: dict[str, tuple[Row, float | None]] = {}
        self.recent: list[Row] = []

    def add(self, row: Row, last: datetime, since: datetime) -> None:
        """One reading, whose last moment is `last`. What it follows in this event is the value before."""
        metric, total = row.metric, round(row.value * MILLIONTHS)
        amount = self.days.setdefault((metric, last.date()), [0, 0])
        amount[0] += 1
        amount[1] += total
        if metric in HOURLY:
            amount = self.hours.setdefault((metric, last.date(), last.hour), [0, 0])
            amount[0] += 1
            amount[1] += total
            if row.time > since:
                self.recent.append(row)
        known = self.newest.get(metric)
        if known is None:
            self.newest[metric] = (row, None)
        elif row.time >= known[0].time:
            self.newest[metric] = (row, known[0].value)


_NEVER: Final = -(2**63) - 1
_BOUNDS: Final = {metric: (bounds.low, bounds.high) for metric, bounds in PLAUSIBLE.items()}
