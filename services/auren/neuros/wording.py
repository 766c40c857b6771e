"""How metrics, values, ages and findings are called: the fixed sentences of NEUROS, and the words in them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from auren.events import METRICS
from auren.modes import DEFAULTS, Mode
from auren.modes.engine import number

WORDS: Final = {
    "hrv_rmssd": r"hrv|heart rate variability|rmssd",
    "hrv_sdnn": r"hrv|heart rate variability|sdnn",
    "resting_heart_rate": r"resting (?:heart rate|pulse|hr)",
    "heart_rate": r"(?<!resting )(?:heart rate(?! variab)|pulse|\bhr\b)",
    "recovery_score": r"recover",
    "sleep_total": r"sle(?:ep|pt)",
    "sleep_deep": r"deep sleep",
    "sleep_rem": r"\brem\b",
    "respiratory_rate": r"breathing rate|respirat|breaths",
    "spo2": r"oxygen|spo2",
    "steps": r"steps|walk(?:ed)?\b",
    "body_temperature": r"temperature|fever",
    "body_mass": r"weight|body mass",
    "active_energy": r"calories|energy burn",
}
"""How people name a metric."""

UNITS: Final = {
    "/min": "per minute",
    "Cel": "\u00b0C",
    "{steps}": "steps",
    "min": "minutes",
    "{score}": "",
    "mm[Hg]": "mmHg",
}
"""UCUM units as people read them; others stand for themselves."""

TITLES: Final = {
    "hrv_rmssd": "heart rate variability (RMSSD)",
    "hrv_sdnn": "heart rate variability (SDNN)",
    "spo2": "oxygen saturation",
    "recovery_score": "recovery score",
    "strain": "strain score",
    "sleep_total": "time asleep",
    "steps": "step count of the last interval",
    "body_mass": "body weight",
    "active_energy": "energy burned by activity in the last interval",
}

REMARKS: Final = {
    Mode.HYPOTHESIS: "Two of your values do not go together, which is more often the device than the body.",
    Mode.REFLEX: "That is outside what I take as usual, so a few quiet minutes now are a good idea.",
    Mode.GUARDIAN: "Your body seems to ask for rest, so keep today light.",
    Mode.SENTINEL: "There are signs of strain, so I would keep an eye on it.",
    Mode.PATTERN: "This has happened before in a similar way.",
    Mode.COMPANION: "I am here; tell me more about how you feel if you like.",
    Mode.BASELINE: "Nothing in it stands out by the rules that I know.",
}

RECOMMENDATIONS: Final = {
    Mode.HYPOTHESIS: ("Check that the device sits well, then measure again at rest.",),
    Mode.REFLEX: ("Take a break and breathe slowly for a few minutes.", "Look at the values again after that."),
    Mode.GUARDIAN: ("Plan a light day and an early night.",),
    Mode.SENTINEL: ("Take short breaks today, and notice what strains you.",),
    Mode.PATTERN: (),
    Mode.COMPANION: (),
    Mode.BASELINE: (),
}

NO_MODEL: Final = "I answer by fixed rules; no language model is in use."
NO_VALUES: Final = "I have no recent measurement of yours, so I cannot say anything about your body."
NO_ACCESS: Final = "I cannot reach your measurements at the moment, so I cannot say anything about your body."
NO_BASELINE: Final = "I do not know yet what is usual for you, so I judge by general limits alone."
NOTHING_TO_JUDGE: Final = "None of the values that my rules look at is fresh, so I judge nothing."
SEE_SOMEBODY: Final = "If it stays like this or you feel unwell, please see a professional."


NOTED: Final = "I will keep that in mind."
MODEL_AWAY: Final = "I cannot reach the language model at the moment, so I answer by fixed rules."
MODEL_UNFIT: Final = "I cannot use what the language model has answered, so I answer by fixed rules."
MODEL_STOPPED: Final = "The language model broke off here."
TOKENS_SPENT: Final = "Your language model tokens of today are used up, so I answer by fixed rules until tomorrow."

PATTERNS: Final = {
    "circadian-disruption": "Your sleep has begun at very different hours lately.",
    "recovery-deficit": "Several heart rate variability readings in a row were low within a day.",
    "recurring-dip": "Your heart rate variability is low again and again at the same hour.",
    "low-recovery-weekday": "Your recovery is low again and again on the same weekday.",
}
"""By kind of pattern (auren/patterns.py)."""

FIXED: Final = frozenset(
    {
        *REMARKS.values(),
        *(text for texts in RECOMMENDATIONS.values() for text in texts),
        *PATTERNS.values(),
        *(NOTED, NO_MODEL, MODEL_AWAY, MODEL_UNFIT, MODEL_STOPPED, TOKENS_SPENT),
        *(NO_VALUES, NO_ACCESS, NO_BASELINE, NOTHING_TO_JUDGE, SEE_SOMEBODY),
    }
)
"""Sentences of ours that pass every check word for word."""


def asked(message: str) -> list[str]:
    """The metrics that a message names."""
    return [metric for metric, words in WORDS.items() if re.search(words, message, re.IGNORECASE)]


def title(metric: str) -> str:
    """A metric as people call it within a sentence."""
    if metric in TITLES:
        return TITLES[metric]
    name = METRICS[metric].title
    return name[0].lower() + name[1:]


def shown(value: float, unit: str, metric: str) -> str:
    """A value with its unit as people read it."""
    words = DEFAULTS.metrics[metric].shown_unit if metric in DEFAULTS.metrics else UNITS.get(unit, unit)
    return f"{number(value)} {words}".rstrip()


def ago(age: timedelta) -> str:
    """An age in words, in its largest unit."""
    minutes = int(age.total_seconds() // 60)
    for size, unit in ((24 * 60, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            count = minutes // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
