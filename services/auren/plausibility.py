"""Which readings are believed. What is not is stored with its flag, and nothing is learnt from it. Pure.

The bounds are wide: they catch a value that no living person or no device of the kind can give, not an unusual one. A
reading may also lie too far ahead of its delivery (a clock is wrong) or too far behind it (no baseline looks back so
far).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from auren.modes import LARGEST_SKEW

FUTURE_SKEW: Final = LARGEST_SKEW
"""How far ahead of its delivery a reading may lie: clocks differ."""

LATE_AFTER: Final = timedelta(days=29)
"""How far behind its delivery: the longest window of a baseline is 28 days, and a day may be in progress."""

IMPLAUSIBLE: Final = "implausible"
FUTURE: Final = "future"
LATE: Final = "late"
UNTRUSTED: Final = frozenset({IMPLAUSIBLE, FUTURE, LATE})
"""Flags of readings that nothing is learnt from."""


class Range(NamedTuple):
    """From `low` to `high`, both included, in the metric's unit; `source` says where the bounds come from."""

    low: float
    high: float
    source: str


_ECG = "ISO/IEEE 11073-10406 and common ECG monitors display 20 to 300 per minute; sinus rhythm stays below 250"
_RHYTHM = "published extremes of healthy athletes (below 30 at rest) and of age-predicted maxima (220 minus age)"
_SENSOR = "our own bound: what wrist sensors report, with room"
_DAY = "a day has 1,440 minutes"

PLAUSIBLE: Final[Mapping[str, Range]] = {
    "heart_rate": Range(20, 250, _ECG),
    "heart_rate_min": Range(20, 250, _ECG),
    "heart_rate_max": Range(20, 250, _ECG),
    "resting_heart_rate": Range(20, 150, _RHYTHM),
    "walking_heart_rate": Range(30, 220, _RHYTHM),
    "hrv_sdnn": Range(
        1, 500, "24 h recordings of the Task Force (1996) have a mean of 141 ms (SD 39); 500 is our own bound"
    ),
    "hrv_rmssd": Range(1, 400, "short-term norms (Nunan 2010) reach from 19 to 75 ms; 400 is our own bound"),
    "spo2": Range(50, 100, "ISO 80601-2-61: oximeters are tested from 70 %; 50 is our own bound"),
    "respiratory_rate": Range(4, 60, "our own bound around the 8 to 25 per minute of adults at rest and in sleep"),
    "body_temperature": Range(
        30, 43, "ISO 80601-2-56: clinical thermometers show at least 34 to 43; 30 is our own bound"
    ),
    "wrist_temperature": Range(20, 43, _SENSOR),
    "skin_temperature": Range(15, 43, _SENSOR),
    "temperature_deviation": Range(-8, 8, _SENSOR),
    "blood_pressure_systolic": Range(
        50, 280, "ISO 81060-2: cuffs measure from 0 to 260 and more; below 50 nobody walks about"
    ),
    "blood_pressure_diastolic": Range(25, 180, "as for the systolic pressure"),
    "steps": Range(0, 200_000, "our own bound: about the record of a 24 h run"),
    "active_energy": Range(
        0, 20_000, "our own bound: above the day of a cyclist in the Tour de France (some 8,000 kcal)"
    ),
    "basal_energy": Range(0, 6_000, "our own bound: twice the resting energy of the heaviest adults"),
    "distance": Range(0, 500_000, "our own bound: above the record of a 24 h run (319 km)"),
    "vo2_max": Range(5, 100, "the highest published values are 96 to 97 mL/kg/min"),
    "body_mass": Range(10, 650, "the heaviest documented person weighed 635 kg"),
    "sleep_total": Range(0, 1440, _DAY),
    "sleep_deep": Range(0, 1440, _DAY),
    "sleep_light": Range(0, 1440, _DAY),
    "sleep_rem": Range(0, 1440, _DAY),
    "sleep_awake": Range(0, 1440, _DAY),
    "sleep_in_bed": Range(0, 1440, _DAY),
    "recovery_score": Range(0, 100, "WHOOP's recovery is a percentage"),
    "strain": Range(0, 21, "WHOOP's strain reaches from 0 to 21"),
}
"""By metric of `events.METRICS`."""


def flags(metric: str, value: float, time: datetime, received_at: datetime) -> tuple[str, ...]:
    """Why a reading is not believed; nothing for one that is. A value that is no number is implausible."""
    bounds = PLAUSIBLE[metric]
    found = () if bounds.low <= value <= bounds.high else (IMPLAUSIBLE,)
    if time > received_at + FUTURE_SKEW:
        return (*found, FUTURE)
    if time < received_at - LATE_AFTER:
        return (*found, LATE)
    return found
