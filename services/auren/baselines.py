"""What is usual for a person: rolling baselines over the values of days. Pure: equal days, equal baselines.

A baseline as of a day is made of the days before it, so that a day is never compared with itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

CUMULATIVE: Final = frozenset({"steps", "active_energy", "basal_energy", "distance"})
"""Metrics whose day is a sum. Devices count the same steps, so the sum is that of the device that counted most."""

LEAST_DAYS: Final[Mapping[int, int]] = {7: 4, 28: 7}
"""Window in days → days with a value from which on its baseline is trusted."""

_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class DayValue:
    """A row of `daily_values` of one metric: `total` is in millionths of its unit."""

    day: date
    source: str
    count: int
    total: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """`days` with a value in the window, `readings` that they are made of; None where there are too few days."""

    window: int
    days: int
    readings: int
    mean: float | None
    sd: float | None
    median: float | None
    mad: float | None
    trusted: bool


def day_values(metric: str, rows: Iterable[DayValue]) -> dict[date, float]:
    """The value of each day: of sums the largest source's, else the mean of all readings."""
    days: dict[date, list[DayValue]] = {}
    for row in rows:
        days.setdefault(row.day, []).append(row)
    return {day: _value(metric, found) for day, found in days.items() if sum(row.count for row in found) > 0}


def _value(metric: str, rows: list[DayValue]) -> float:
    if metric in CUMULATIVE:
        return max(row.total for row in rows) / _MILLION
    return sum(row.total for row in rows) / sum(row.count for row in rows) / _MILLION


def baseline(
    metric: str, values: Mapping[date, float], counts: Mapping[date, int], as_of: date, window: int
) -> Baseline:
    """The baseline as of a day, from the `window` days before it."""
    days = [day for n in range(window, 0, -1) if (day := as_of - timedelta(days=n)) in values]
    found = [values[day] for day in days]
    if not found:
        return Baseline(window, 0, 0, None, None, None, None, trusted=False)
    median = statistics.median(found)
    return Baseline(
        window,
        len(found),
        sum(counts[day] for day in days),
        statistics.fmean(found),
        statistics.stdev(found) if len(found) > 1 else None,
        median,
        statistics.median(abs(value - median) for value in found),
        len(found) >= LEAST_DAYS[window],
    )
