"""Values that no device sends: computed from a person's readings, days and patterns, for the rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from auren.baselines import Baseline

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


def fall(value: float, before: float | None) -> float | None:
    """How far a value has fallen since the one before, as a share of that; None when there was none or it rose."""
    if before is None or before <= 0 or value >= before:
        return None
    return 1 - value / before


def variation(week: Baseline | None) -> float | None:
    """Standard deviation over mean of a week, None where it is not trusted."""
    return week.sd / week.mean if week is not None and week.trusted and week.mean > 0 else None


def anomalies(values: Mapping[str, float], baselines: Mapping[str, Baseline]) -> int | None:
    """How many values of ANOMALOUS metrics lie far from the usual; None while no baseline of theirs is trusted."""
    known = [(values[m], baselines[m]) for m in ANOMALOUS if m in values and m in baselines]
    judged = [(value, usual) for value, usual in known if usual.trusted and usual.mad > 0]
    if not judged:
        return None
    return sum(abs(value - usual.median) > ANOMALY_SDS * ROBUST_SD * usual.mad for value, usual in judged)


def pattern_confidence(patterns: Iterable[tuple[str, float]]) -> float | None:
    """The greatest confidence among (level, confidence) of the active patterns of level `high`."""
    return max((confidence for level, confidence in patterns if level == "high"), default=None)
