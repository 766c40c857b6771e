"""What is usual for a person: a metric's value of each day, over the 7 and the 28 days before a day. Pure.

A day is the person's own calendar day. Today does not count: what is compared with a baseline is never part of it.
Amounts are whole millionths of the metric's unit (migration 0005), so equal rows always give equal baselines.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Final, NamedTuple, Protocol

import msgspec

MILLIONTHS: Final = 1_000_000

CUMULATIVE: Final = frozenset({"steps", "active_energy", "basal_energy", "distance"})
"""Metrics whose value of a day is a sum. Phone and watch count the same steps, so the largest source counts alone."""

SHORT: Final = 7
LONG: Final = 28
LEAST_DAYS: Final[Mapping[int, int]] = {SHORT: 4, LONG: 7}
"""Windows in days, and how many days of each must have a value before the baseline is trusted."""


class Amount(Protocol):
    """How many readings a source gave on a day, and their sum in millionths of the unit."""

    @property
    def readings(self) -> int: ...

    @property
    def total(self) -> int: ...


Days = Mapping[date, Mapping[str, Amount]]
"""Amounts of one metric by day and source."""


class DayValue(NamedTuple):
    """A row of `daily_values` of one metric."""

    day: date
    source: str
    readings: int
    total: int


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """One window. `as_of` is the day after its last; `days` had a value, of `readings` together.

    `sd` is the sample's (n - 1), 0 for one day; `mad` the median absolute deviation from the median, not scaled. In the
    metric's unit. `trusted`: there are enough days to compare with.
    """

    metric: str
    window_days: int
    as_of: date
    days: int
    readings: int
    mean: float
    sd: float
    median: float
    mad: float
    trusted: bool


def by_day(rows: Iterable[DayValue]) -> dict[date, dict[str, DayValue]]:
    """Rows of `daily_values` of one metric as `Days`."""
    days: dict[date, dict[str, DayValue]] = {}
    for row in rows:
        days.setdefault(row.day, {})[row.source] = row
    return days


def value_of_day(metric: str, sources: Iterable[Amount]) -> float | None:
    """What a day counts as: the mean of its readings, or for a cumulative metric the sum. None without readings."""
    readings = total = largest = 0
    for amount in sources:  # each event asks this of many days, so it walks through the sources once
        if amount.readings > 0:
            readings += amount.readings
            total += amount.total
            largest = amount.total if readings == amount.readings else max(largest, amount.total)
    if not readings:
        return None
    return largest / MILLIONTHS if metric in CUMULATIVE else total / (MILLIONTHS * readings)


def values_of_days(metric: str, days: Days, first: date, last: date) -> dict[date, float]:
    """The values of the days from `first` to `last`, both included, that have one; in the order of days."""
    found: dict[date, float] = {}
    for day in sorted(days):
        if first <= day <= last and (value := value_of_day(metric, days[day].values())) is not None:
            found[day] = value
    return found


def baseline(metric: str, days: Days, as_of: date, window_days: int) -> Baseline | None:
    """The baseline over the `window_days` days before `as_of`; None when none of them has a value."""
    first, last = as_of - timedelta(days=window_days), as_of - timedelta(days=1)
    values = list(values_of_days(metric, days, first, last).values())
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) if len(values) > 1 else 0.0
    middle = median(values)
    return Baseline(
        metric=metric,
        window_days=window_days,
        as_of=as_of,
        days=len(values),
        readings=sum(a.readings for day, of in days.items() if first <= day <= last for a in of.values()),
        mean=mean,
        sd=math.sqrt(variance),
        median=middle,
        mad=median([abs(value - middle) for value in values]),
        trusted=len(values) >= LEAST_DAYS[window_days],
    )


def median(values: list[float]) -> float:
    """The middle value, of an even number the mean of the two. Raises IndexError for no values."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
