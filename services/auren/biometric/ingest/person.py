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

from auren.baselines import LEAST_DAYS, LONG, SHORT, Baseline, baseline
from auren.biometric.ingest.batch import Document
from auren.modes import Baseline as Usual
from auren.modes.machine import INITIAL, ModeState
from auren.modes.signals import ANOMALOUS, Bounds, usual_bounds, variation
from auren.patterns import Known
from auren.people import Held, PersonState

MOST_PEOPLE: Final = 4_000
"""People kept in memory, the least recently heard of go first; one takes some 20 KB."""

KEPT_DAYS: Final = 57
"""Days of which values are kept: eight weeks for the low weekday, and today."""


HOURLY: Final = ("hrv_rmssd", "hrv_sdnn")
"""Metrics whose hours are kept, and whose readings of the last day."""

TRACKED: Final = frozenset({*HOURLY, *ANOMALOUS, "heart_rate", "sleep_rem"})
"""Metrics whose days decisions and patterns depend on."""

KEPT_HOURS_DAYS: Final = 31
KEPT_NIGHTS_DAYS: Final = 15
RECENT: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Compared:
    """What values of a day are compared with: the usual where it is trusted, the bounds of what is far off."""

    usual: Mapping[str, Usual]
    bounds: Mapping[str, Bounds]
    rem_variation: float | None


class Amount(NamedTuple):
    """How many trusted readings, and their sum in millionths of the metric's unit."""

    readings: int
    total: int


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
    """One person as of one revision.

    `clock` is the greatest `received_at` so far; `offset_minutes` the offset from UTC that the newest event named, so
    the clock in it is the person's own time. `held` is the latest trusted value of each metric that decisions need.
    `frontier` is the greatest time stored of a metric and source, as far as this process has seen it: a later row is
    under a key that nothing holds.
    """

    user_id: str
    revision: int
    clock: datetime
    offset_minutes: int = 0
    held: dict[str, Held] = field(default_factory=dict)
    mode: ModeState = INITIAL
    frontier: dict[tuple[str, str], datetime] = field(default_factory=dict)
    days: dict[str, Days] = field(default_factory=dict)
    hours: dict[str, Hours] = field(default_factory=dict)
    recent: dict[tuple[str, str, datetime], Recent] = field(default_factory=dict)
    nights: dict[Document, Night] = field(default_factory=dict)
    patterns: dict[tuple[str, str], Known] = field(default_factory=dict)
    patterns_day: date | None = None
    _usual: dict[tuple[str, int], Baseline | None] = field(default_factory=dict)
    _usual_day: date | None = None
    _compared: Compared | None = None

    def copy(self) -> Person:
        """One to work on."""
        return replace(
            self,
            held=dict(self.held),
            frontier=dict(self.frontier),
            days=dict(self.days),
            hours=dict(self.hours),
            recent=dict(self.recent),
            nights=dict(self.nights),
            patterns=dict(self.patterns),
            _usual=dict(self._usual),
        )

    @classmethod
    def stored(cls, user_id: str, revision: int, clock: datetime, state: PersonState) -> Person:
        """As the row has it; days, nights and patterns are still to come."""
        person = cls(user_id, revision, clock, state.offset_minutes, dict(state.held), state.mode)
        person.patterns_day = state.patterns_day
        return person

    def state(self) -> PersonState:
        """What the row is to hold."""
        return PersonState(self.offset_minutes, self.held, self.mode, self.patterns_day)

    def count_day(self, metric: str, day: date, source: str, count: int, total: int) -> None:
        """Add to a day (or, negative, take away)."""
        self.days[metric] = _with(self.days.get(metric, {}), day, source, count, total)
        if day != self._usual_day:  # today is in no baseline
            self._compared = None
            for window in LEAST_DAYS:
                self._usual.pop((metric, window), None)

    def count_hour(self, metric: str, hour: Hour, source: str, count: int, total: int) -> None:
        """Add to a local hour (or, negative, take away)."""
        self.hours[metric] = _with(self.hours.get(metric, {}), hour, source, count, total)

    def compared(self, today: date) -> Compared:
        """As of today; made when it is asked for first, and after a day before today has changed."""
        if today != self._usual_day:
            self._usual, self._usual_day, self._compared = {}, today, None
        if self._compared is None:
            month = {m: usual for m in self.days if (usual := self._baseline(m, LONG, today)) is not None}
            trusted = {m: Usual(usual.mean, usual.days) for m, usual in month.items() if usual.trusted}
            self._compared = Compared(
                trusted, usual_bounds(month), variation(self._baseline("sleep_rem", SHORT, today))
            )
        return self._compared

    def _baseline(self, metric: str, window_days: int, today: date) -> Baseline | None:
        key = (metric, window_days)
        if key not in self._usual:
            self._usual[key] = baseline(metric, self.days.get(metric, {}), today, window_days)
        return self._usual[key]

    def tidy(self, today: date) -> None:
        """Drop what no decision of today or later looks at."""
        first, first_hour = today - timedelta(days=KEPT_DAYS), today - timedelta(days=KEPT_HOURS_DAYS)
        self.days = {m: {day: of for day, of in days.items() if day > first} for m, days in self.days.items()}
        self.hours = {m: {at: of for at, of in hours.items() if at[0] > first_hour} for m, hours in self.hours.items()}
        self.recent = {key: kept for key, kept in self.recent.items() if key[2] > self.clock - RECENT}
        first_night = today - timedelta(days=KEPT_NIGHTS_DAYS)
        self.nights = {document: night for document, night in self.nights.items() if night.day > first_night}

    def remember(self, metric: str, source: str, time: datetime, value: float, document: Document) -> None:
        """Keep a reading of the last day."""
        self.recent[metric, source, time] = Recent(value, document)

    @property
    def today(self) -> date:
        """The person's calendar day at the clock."""
        return self.local(self.clock).date()

    def local(self, time: datetime) -> datetime:
        """A moment in the offset that the newest event named."""
        return time.astimezone(timezone(timedelta(minutes=self.offset_minutes)))


When = TypeVar("When")


def _with(
    amounts: Mapping[When, Mapping[str, Amount]], when: When, source: str, count: int, total: int
) -> dict[When, Mapping[str, Amount]]:
    sources = amounts.get(when, {})
    known = sources.get(source, NOTHING)
    return {**amounts, when: {**sources, source: Amount(known.readings + count, known.total + total)}}


class People:
    """The people of the batches before, by revision."""

    def __init__(self) -> None:
        """Nobody yet."""
        self._people: OrderedDict[str, Person] = OrderedDict()

    def at(self, user_id: str, revision: int) -> Person | None:
        """The person as of that revision, when it is here."""
        person = self._people.get(user_id)
        if person is None or person.revision != revision:
            return None
        self._people.move_to_end(user_id)
        return person

    def forget(self, user_ids: Iterable[str]) -> None:
        """Load these people anew when they are needed."""
        for user_id in user_ids:
            self._people.pop(user_id, None)

    def keep(self, people: Iterable[Person]) -> None:
        """Take in what a committed batch made of people."""
        for person in people:
            self._people[person.user_id] = person
            self._people.move_to_end(person.user_id)
        while len(self._people) > MOST_PEOPLE:
            self._people.popitem(last=False)
