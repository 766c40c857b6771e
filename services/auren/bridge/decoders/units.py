"""Conversion to canonical units, always by the unit that a document names: apps follow the phone's locale."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

Conversion = Callable[[float], float]


class UnknownUnitError(ValueError):
    """The document's unit is not one of the metric's; a value without a known unit means nothing."""


def _times(factor: float) -> Conversion:
    return lambda value: value * factor


def _same(value: float) -> float:
    return value


def _percent(value: float) -> float:
    # Raw HealthKit has fractions from 0 to 1 and still calls their unit "%"; no living person has 1 % or less.
    return value * 100 if value <= 1 else value


CONVERSIONS: Final[Mapping[str, Mapping[str, Conversion]]] = {
    "/min": {
        **dict.fromkeys(("count/min", "/min", "bpm", "beats/min", "breaths/min", "count/minute", "rpm"), _same),
        "count/s": _times(60),
        "hz": _times(60),
    },
    "ms": {"ms": _same, "s": _times(1000), "sec": _times(1000)},
    "%": {"%": _percent},
    "Cel": {
        **dict.fromkeys(("degc", "°c", "c", "cel", "celsius", "ºc"), _same),
        **dict.fromkeys(("degf", "°f", "f", "fahrenheit", "ºf"), lambda value: (value - 32) * 5 / 9),
        "k": lambda value: value - 273.15,
    },
    "{steps}": dict.fromkeys(("count", "steps", "step"), _same),
    "kcal": {"kcal": _same, "kj": _times(1 / 4.184), "j": _times(1 / 4184)},
    "m": {
        "m": _same,
        "km": _times(1000),
        "mi": _times(1609.344),
        "ft": _times(0.3048),
        "yd": _times(0.9144),
        "cm": _times(0.01),
    },
    "kg": {"kg": _same, "g": _times(0.001), "lb": _times(0.45359237), "st": _times(6.35029318)},
    "mL/kg/min": dict.fromkeys(
        ("ml/kg/min", "ml/(kg·min)", "ml/(kg*min)", "ml/kg·min", "ml/min·kg", "ml/min/kg", "ml/(min·kg)"), _same
    ),
    "mm[Hg]": {"mmhg": _same, "mm[hg]": _same, "kpa": _times(7.500616827)},
    "min": {
        **dict.fromkeys(("hr", "hrs", "h", "hour", "hours"), _times(60)),
        **dict.fromkeys(("min", "mins", "minute", "minutes"), _same),
        **dict.fromkeys(("s", "sec", "seconds"), _times(1 / 60)),
    },
}
"""By canonical unit: spelling in a document (lower case, no blanks) → conversion."""


def conversion(unit: str, canonical: str) -> Conversion:
    """The way from a document's unit to the canonical one. Raises UnknownUnitError."""
    spelled = "".join(unit.split())
    if canonical == "kcal" and spelled == "Cal":
        # The large calorie; the small one, "cal", is a thousandth of it and no unit of these apps.
        return _same
    found = CONVERSIONS[canonical].get(spelled.lower())
    if found is None:
        raise UnknownUnitError(canonical)
    return found


def rounded(value: float) -> float:
    """Twelve significant digits: a conversion's rounding error must not make an equal value a different one."""
    return float(f"{value:.12g}") if math.isfinite(value) else value
