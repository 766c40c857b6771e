"""Red flags: changes so large or so long that NEUROS suggests to see a professional, in general words. Pure.

They say that values are outside what is usual, never why. They are no emergency: those are found in words (screen.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from auren.modes.engine import ROUNDING

HRV_WINDOW: Final = timedelta(hours=48)
HRV_FALL: Final = 0.5
SLEEP_NIGHTS: Final = 3
LEAST_EFFICIENCY_PERCENT: Final = 70.0
RESTING_RISE: Final = 0.2
FRESH: Final = timedelta(hours=48)
"""A flag rests on values of which the newest is not older."""

RESTING_SPAN: Final = timedelta(hours=44)
"""From the first of three values on end to the last: each stands for a day, so they stand for 72 hours together. Four
hours less than two days, for the time of day of a value varies."""

LARGEST_GAP: Final = timedelta(hours=36)
"""Resting heart rates further apart leave open what was between them."""

Name = Literal["hrv-fall", "sleep-efficiency", "resting-heart-rate"]

SUGGESTION: Final = "Please think about seeing a professional, also when you feel well; I cannot tell what it means."

_TEXTS: Final[dict[Name, str]] = {
    "hrv-fall": "Your heart rate variability has fallen to half or less within two days.",
    "sleep-efficiency": "You have been awake for a large part of your time in bed for three nights in a row.",
    "resting-heart-rate": "Your resting heart rate has been well above what is usual for you for three days.",
}


class Sample(NamedTuple):
    """A measured value; the time carries its zone."""

    time: datetime
    value: float


class Night(NamedTuple):
    """A night by the day that it ended on, and which part of the time in bed was slept, in percent."""

    day: date
    efficiency_percent: float


class Flag(NamedTuple):
    """A red flag: its name, for metrics and the audit, and two fixed sentences."""

    name: Name
    sentences: tuple[str, str]


TEXTS: Final = frozenset({*_TEXTS.values(), SUGGESTION})
"""All sentences of flags, for `check.Known`."""


def red_flags(
    *,
    now: datetime,
    hrv: Sequence[Sequence[Sample]] = (),
    nights: Sequence[Night] = (),
    resting_heart_rate: Sequence[Sample] = (),
    resting_baseline: float | None = None,
) -> tuple[Flag, ...]:
    """The red flags of a person's last days; orders do not matter.

    `hrv`: a series for each metric (RMSSD, SDNN: their scales differ), in ms, one value a night; of what is measured
    through the day, means of days. `nights`: main sleeps only, no naps. `resting_baseline`: per minute, only when it is
    trusted; without one its flag is off.
    """
    found: list[Name] = []
    if any(_fallen(series, now) for series in hrv):
        found.append("hrv-fall")
    if _sleepless(nights, now.date()):
        found.append("sleep-efficiency")
    if resting_baseline is not None and _raised(resting_heart_rate, resting_baseline, now):
        found.append("resting-heart-rate")
    return tuple(Flag(name, (_TEXTS[name], SUGGESTION)) for name in found)


def _fallen(series: Sequence[Sample], now: datetime) -> bool:
    """Whether the newest value is at most half of one that was measured within 48 hours before it."""
    newest = max(series, default=None)
    if newest is None or not _fresh(newest, now):
        return False
    before = [sample.value for sample in series if newest.time - HRV_WINDOW <= sample.time < newest.time]
    return bool(before) and newest.value <= max(before) * (1 - HRV_FALL) * (1 + ROUNDING)


def _sleepless(nights: Sequence[Night], today: date) -> bool:
    """Whether the last three nights follow each other, up to this or the last day, and all are below 70 %."""
    last = sorted(nights)[-SLEEP_NIGHTS:]
    if len(last) < SLEEP_NIGHTS or today - last[-1].day > timedelta(days=1):
        return False
    in_a_row = all(later.day - earlier.day == timedelta(days=1) for earlier, later in pairwise(last))
    return in_a_row and all(night.efficiency_percent < LEAST_EFFICIENCY_PERCENT for night in last)


def _raised(series: Sequence[Sample], baseline: float, now: datetime) -> bool:
    """Whether the values of 72 hours on end, up to the newest, are all at least 20 % above the baseline."""
    ordered = sorted(series, reverse=True)
    if not ordered or not _fresh(ordered[0], now):
        return False
    limit = baseline * (1 + RESTING_RISE) * (1 - ROUNDING)
    since = ordered[0].time
    for sample in ordered:
        if sample.value < limit or since - sample.time > LARGEST_GAP:
            break
        since = sample.time
        if ordered[0].time - since >= RESTING_SPAN:
            return True
    return False


def _fresh(sample: Sample, now: datetime) -> bool:
    return now - sample.time <= FRESH
