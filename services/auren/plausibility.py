"""Stub until the learn branch arrives."""

from datetime import datetime, timedelta
from typing import NamedTuple

from auren.events import METRICS


class Range(NamedTuple):
    low: float
    high: float


PLAUSIBLE = {m: Range(-1e6, 1e6) for m in METRICS}
PLAUSIBLE["heart_rate"] = Range(20, 250)
FUTURE_SKEW = timedelta(minutes=10)
LATE_AFTER = timedelta(days=29)
UNTRUSTED = frozenset({"implausible", "future", "late"})


def flags(metric: str, value: float, time: datetime, received_at: datetime) -> tuple[str, ...]:
    low, high = PLAUSIBLE[metric]
    found = () if low <= value <= high else ("implausible",)
    if time > received_at + FUTURE_SKEW:
        found += ("future",)
    if time < received_at - LATE_AFTER:
        found += ("late",)
    return found
