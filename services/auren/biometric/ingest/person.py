"""What the next decision about a person depends on, kept in memory between batches: days, hours, nights, latest values.

A `Person` belongs to one revision of the person's row in the database. A batch works on a copy (`copy`), and the copy
takes the place of the original once its transaction has been committed; so a batch that fails leaves nothing behind.
The copy is shallow: whatever changes is put in anew, never changed in place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from typing import Final, NamedTuple, TypeVar

import msgspec

from auren.biometric.ingest.batch import Document
from auren.modes.machine import INITIAL, ModeState

MOST_PEOPLE: Final = 4_000
"""People kept in memory, the least recently heard of go first; one takes some 20 KB."""

KEPT_DAYS: Final = 57
"""Days of which values are kept: eight weeks for the low weekday, and today."""


HOURLY: Final = ("hrv_rmssd", "hrv_sdnn")
"""Metrics whose hours are kept, and whose readings of the last day."""

TRACKED: Final = (*HOURLY, "resting_heart_rate", "heart_rate", "recovery_score", "sleep_rem")
"""Metrics whose days decisions and patterns depend on."""

KEPT_HOURS_DAYS: Final = 31
KEPT_NIGHTS_DAYS: Final = 15
RECENT: Final = timedelta(hours=24)


class StoredPattern(msgspec.Struct, frozen=True, kw_only=True):
    """A pattern as the table has it; `ended_at` is None while it is active."""

    kind: str
    detail: str
    level: str
    confidence: float
    since: datetime
    last_seen: datetime
    evidence: dict[str, object]
    ended_at: datetime | None = None


class Held(msgspec.Struct, frozen=True, array_like=True):
    """The latest trusted value of a metric, where it came from, and the value that it followed."""

    value: float
    time: datetime
    version: int
    source: str
    provider: str
    document_id: str
    before: float | None = None


class PersonState(msgspec.Struct, frozen=True):
    """What is stored in `people.state`.

    `offset_minutes` is the offset from UTC that the newest event named, so `clock` in it is the person's own time.
    """

    clock: datetime
    offset_minutes: int = 0
    held: dict[str, Held] = {}
    mode: ModeState = INITIAL
    patterns_day: date | None = None


class Amount(NamedTuple):
    """How many trusted readings, and their sum in millionths of the metric's unit."""

    count: int
    total: int

    def plus(self, count: int, total: int) -> Amount:
        """With more (or, negative, less) of them."""
        return Amount(self.count + count, self.total + total)


NOTHING: Final = Amount(0, 0)

Days = Mapping[date, Mapping[str, Amount]]
"""Amounts by day and source."""

Hour = tuple[date, int]
Hours = Mapping[Hour, Mapping[str, Amount]]
"""Amounts by local hour and source."""


class Recent(NamedTuple):
    """A trusted HRV reading of the last day."""

    value: float
    document: Document


class Night(NamedTuple):
    """A sleep session: the day of waking, its start and end, and how long the person slept."""

    day: date
    start: datetime
    end: datetime
    minutes: float | None
    version: int


@dataclass(slots=True)
class Person:
    """One person as of one revision."""

    user_id: str
    revision: int
    state: PersonState
    days: dict[str, Days] = field(default_factory=dict)
    hours: dict[str, Hours] = field(default_factory=dict)
    recent: dict[tuple[str, str, datetime], Recent] = field(default_factory=dict)
    nights: dict[Document, Night] = field(default_factory=dict)
    patterns: dict[tuple[str, str], StoredPattern] = field(default_factory=dict)

    def copy(self) -> Person:
        """One to work on."""
        return replace(
            self,
            days=dict(self.days),
            hours=dict(self.hours),
            recent=dict(self.recent),
            nights=dict(self.nights),
            patterns=dict(self.patterns),
        )

    def count_day(self, metric: str, day: date, source: str, count: int, total: int) -> None:
        """Add to a day (or, negative, take away)."""
        self.days[metric] = _with(self.days.get(metric, {}), day, source, count, total)

    def count_hour(self, metric: str, hour: Hour, source: str, count: int, total: int) -> None:
        """Add to a local hour (or, negative, take away)."""
        self.hours[metric] = _with(self.hours.get(metric, {}), hour, source, count, total)

    def remember(self, metric: str, source: str, time: datetime, value: float, document: Document) -> None:
        """Keep a reading of the last day."""
        self.recent[metric, source, time] = Recent(value, document)

    def move_to(self, offset_minutes: int) -> None:
        """Be where clocks have this offset from UTC."""
        if offset_minutes != self.state.offset_minutes:
            self.state = msgspec.structs.replace(self.state, offset_minutes=offset_minutes)

    @property
    def today(self) -> date:
        """The person's calendar day at the clock."""
        return self.local(self.state.clock).date()

    def local(self, time: datetime) -> datetime:
        """A moment in the offset that the newest event named."""
        return time.astimezone(timezone(timedelta(minutes=self.state.offset_minutes)))


When = TypeVar("When")


def _with(
    amounts: Mapping[When, Mapping[str, Amount]], when: When, source: str, count: int, total: int
) -> dict[When, Mapping[str, Amount]]:
    sources = amounts.get(when, {})
    known = sources.get(source, NOTHING)
    return {**amounts, when: {**sources, source: known.plus(count, total)}}


class People:
    """The people of the batches before, by revision."""

    def __init__(self) -> None:
        self._people: OrderedDict[str, Person] = OrderedDict()

    def at(self, user_id: str, revision: int) -> Person | None:
        """The person as of that revision, when it is here."""
        person = self._people.get(user_id)
        if person is None or person.revision != revision:
            return None
        self._people.move_to_end(user_id)
        return person

    def keep(self, people: Iterable[Person]) -> None:
        """Take in what a committed batch made of people."""
        for person in people:
            self._people[person.user_id] = person
            self._people.move_to_end(person.user_id)
        while len(self._people) > MOST_PEOPLE:
            self._people.popitem(last=False)
