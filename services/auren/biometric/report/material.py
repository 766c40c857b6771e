"""What a report is made of, fetched: days with what is usual, single readings, how the mode went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from auren.baselines import Baseline, DayValue, baseline, by_day, values_of_days
from auren.biometric.learnt import FIRST, Learnt, SwitchPosition
from auren.biometric.ranges import Position, Range, Ranges, first_moment

WINDOW_DAYS: Final = 28
SINGLE: Final = ("hrv_rmssd", "hrv_sdnn", "resting_heart_rate", "recovery_score")
"""Metrics whose readings are also shown one by one."""

SLEEP: Final = ("sleep_total", "sleep_deep", "sleep_light", "sleep_rem", "sleep_awake", "sleep_in_bed")
MOST_READINGS: Final = 2000
"""Of one metric. More than these are too many to be told apart in a chart; then only their days are shown."""

MOST_SWITCHES: Final = 5000
"""More than the cooldown between two switches lets happen in a month."""


class Row(Protocol):
    """A row of the database, by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any: ...


@dataclass(frozen=True)
class Calendar:
    """The days of a report: whole days of a time zone."""

    first: date
    last: date
    zone: ZoneInfo

    @cached_property
    def days(self) -> tuple[date, ...]:
        """Each day."""
        return tuple(self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1))

    @cached_property
    def _moments(self) -> tuple[float, ...]:
        """When each day begins, and the one after the last, in seconds."""
        return tuple(first_moment(day, self.zone).timestamp() for day in (*self.days, self.last + timedelta(days=1)))

    @property
    def start(self) -> datetime:
        """The first moment."""
        return first_moment(self.first, self.zone)

    @property
    def end(self) -> datetime:
        """The first moment that does not belong to it any more."""
        return first_moment(self.last + timedelta(days=1), self.zone)

    def place(self, moment: datetime) -> float:
        """Where a moment lies on the charts' axis, which it never leaves: 0.5 is noon of the first day."""
        seconds = moment.timestamp()
        for index, (begin, end) in enumerate(zip(self._moments, self._moments[1:], strict=False)):
            if seconds < end:
                return index + max(0.0, seconds - begin) / (end - begin)
        return float(len(self.days))


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric: values of days, counts of readings, baselines as of days, and readings one by one (or None)."""

    values: Mapping[date, float]
    counts: Mapping[date, int]
    usual: Mapping[date, Baseline | None]
    readings: Sequence[Row] | None


@dataclass(frozen=True, slots=True)
class Material:
    """All of it. `before` is the switch to the mode that held at the beginning."""

    user_id: str
    calendar: Calendar
    now: datetime
    measured: Mapping[str, Measured]
    sources: tuple[str, ...]
    mode: Row | None
    before: Row | None
    switches: Sequence[Row]


async def fetch(ranges: Ranges, learnt: Learnt, user_id: str, calendar: Calendar, now: datetime) -> Material:
    """Everything for the report of these days. Raises UnavailableError."""
    metrics = dict.fromkeys((*SINGLE, *SLEEP))
    begin = calendar.first - timedelta(days=WINDOW_DAYS)
    rows = await learnt.daily_values(user_id, list(metrics), begin, calendar.last + timedelta(days=1))
    # One after the other: a report shall not take all connections of the pool.
    readings = {metric: await _readings(ranges, user_id, metric, calendar) for metric in SINGLE}
    position = SwitchPosition(calendar.start, FIRST)
    return Material(
        user_id=user_id,
        calendar=calendar,
        now=now,
        measured={metric: _measured(metric, rows, readings.get(metric, []), calendar) for metric in metrics},
        sources=_sources(rows, readings.values(), calendar),
        mode=await learnt.mode(user_id),
        before=await learnt.switch_before(user_id, calendar.start),
        switches=await learnt.switches(user_id, calendar.start, calendar.end, position, MOST_SWITCHES),
    )


def _sources(rows: Sequence[Row], readings: Iterable[Sequence[Row] | None], calendar: Calendar) -> tuple[str, ...]:
    """What measured on these days, also what is not trusted."""
    of_days = {row["source"] for row in rows if row["day"] >= calendar.first}
    return tuple(sorted(of_days.union(row["source"] for found in readings for row in found or ())))


async def _readings(ranges: Ranges, user_id: str, metric: str, calendar: Calendar) -> Sequence[Row] | None:
    asked = Range(user_id, metric, calendar.start, calendar.end)
    found = await ranges.raw(asked, Position(calendar.start, ""), MOST_READINGS + 1)
    return found if len(found) <= MOST_READINGS else None


def _measured(metric: str, rows: Sequence[Row], readings: Sequence[Row] | None, calendar: Calendar) -> Measured:
    days = by_day(DayValue(r["day"], r["source"], r["count"], r["total"]) for r in rows if r["metric"] == metric)
    values = values_of_days(metric, days, date.min, date.max)
    counts = {day: sum(row.readings for row in sources.values()) for day, sources in days.items()}
    usual = {day: baseline(metric, days, day, WINDOW_DAYS) for day in calendar.days}
    return Measured(values, counts, usual, readings)
