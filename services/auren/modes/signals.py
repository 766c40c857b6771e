"""Values that no device sends: computed from a person's readings, days and patterns, for the rules. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

from auren.baselines import Baseline
from auren.modes.engine import Measured, Value

ROBUST_SD: Final = 1.4826
"""The median absolute deviation times this estimates the standard deviation of normally distributed values."""

ANOMALY_SDS: Final = 3.0

ANOMALOUS: Final = (
    "hrv_rmssd",
    "hrv_sdnn",
    "resting_heart_rate",
    "respiratory_rate",
    "spo2",
    "skin_temperature",
    "sleep_total",
    "recovery_score",
)
"""Metrics that are much the same from day to day, so that a value far off means something."""


class Bounds(NamedTuple):
    """What lies outside is far from the usual, in the metric's unit."""

    low: float
    high: float


FRESH: Final = timedelta(hours=36)
"""A value that is older is no anomaly of today."""

FALLS: Final = {"hrv_rmssd": "hrv_rmssd_fall", "hrv_sdnn": "hrv_sdnn_fall"}


class Following(Measured, Protocol):
    """A latest value that knows the one before it."""

    @property
    def before(self) -> float | None: ...


def signals(
    held: Mapping[str, Following],
    bounds: Mapping[str, Bounds],
    rem_variation: float | None,
    patterns: Collection[tuple[str, float]],
    clock: datetime,
) -> dict[str, Measured]:
    """What no device sends, from latest values; a signal that could meet no rule is left out.

    `bounds` of `usual_bounds`, `rem_variation` of `variation`, `patterns` the active ones as (level, confidence).
    """
    found: dict[str, Measured] = {}
    for metric, signal in FALLS.items():
        value = held.get(metric)
        if value is not None and (fallen := fall(value.value, value.before)) is not None:
            found[signal] = Value(fallen, value.time)
    if rem_variation is not None:
        found["rem_variation"] = Value(rem_variation, clock)
    if count := anomalies(held, bounds, clock - FRESH):
        found["anomalies"] = Value(count, clock)
    strongest = pattern_confidence(patterns) if patterns else None
    if strongest is not None:
        found["pattern_confidence"] = Value(strongest, clock)
    return found


def fall(value: float, before: float | None) -> float | None:
    """How far a value has fallen since the one before, as a share of that; None when there was none or it rose."""
    if before is None or before <= 0 or value >= before:
        return None
    return 1 - value / before


def variation(week: Baseline | None) -> float | None:
    """Standard deviation over mean of a week, None where it is not trusted."""
    return week.sd / week.mean if week is not None and week.trusted and week.mean > 0 else None


def usual_bounds(baselines: Mapping[str, Baseline]) -> dict[str, Bounds]:
    """By ANOMALOUS metric whose baseline of 28 days is trusted, and whose days are not all the same."""
    return {
        metric: Bounds(
            usual.median - ANOMALY_SDS * ROBUST_SD * usual.mad, usual.median + ANOMALY_SDS * ROBUST_SD * usual.mad
        )
        for metric, usual in baselines.items()
        if metric in ANOMALOUS and usual.trusted and usual.mad > 0
    }


def anomalies(values: Mapping[str, Measured], bounds: Mapping[str, Bounds], since: datetime) -> int:
    """How many values that were measured after `since` lie outside their metric's bounds."""
    count = 0
    for metric, (low, high) in bounds.items():
        value = values.get(metric)
        if value is not None and not low <= value.value <= high and value.time > since:
            count += 1
    return count


def pattern_confidence(patterns: Iterable[tuple[str, float]]) -> float | None:
    """The greatest confidence among (level, confidence) of the active patterns of level `high`."""
    return max((confidence for level, confidence in patterns if level == "high"), default=None)
