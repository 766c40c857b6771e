"""How metrics, values, ages and findings are called: the fixed sentences of NEUROS, and the words in them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from auren.events import METRICS
from auren.modes import DEFAULTS, Decision, Evidence, Mode
from auren.modes.engine import number, sentence

MINUTES_PER_HOUR: Final = 60
METERS_PER_KILOMETER: Final = 1000

WORDS: Final = {
    "hrv_rmssd": r"hrv|heart rate variability|rmssd",
    "hrv_sdnn": r"hrv|heart rate variability|sdnn",
    "resting_heart_rate": r"resting (?:heart rate|pulse|hr)",
    "heart_rate": r"(?<!resting )(?:heart rate(?! variab)|pulse|\bhr\b)",
    "recovery_score": r"recover",
    "strain": r"\bstrain",
    "sleep_total": r"sle(?:ep|pt)",
    "sleep_deep": r"deep sleep",
    "sleep_rem": r"\brem\b",
    "sleep_in_bed": r"\bin bed\b",
    "respiratory_rate": r"breathing rate|respirat|breaths",
    "spo2": r"oxygen(?! uptake)|spo2",
    "steps": r"steps|walk(?:ed)?\b",
    "distance": r"\bdistance|how far\b|kilomet",
    "vo2_max": r"\bvo2|oxygen uptake",
    "blood_pressure_systolic": r"blood pressure|systolic",
    "blood_pressure_diastolic": r"blood pressure|diastolic",
    "body_temperature": r"temperature|fever",
    "wrist_temperature": r"temperature",
    "skin_temperature": r"temperature",
    "body_mass": r"\bweight(?! ?(?:train|lift|session))|\bweigh\b|body mass",
    "active_energy": r"calories|energy burn",
}
"""How people name a metric."""

TOGETHER: Final = {
    "heart rate variability": frozenset({"hrv_rmssd", "hrv_sdnn"}),
    "blood pressure": frozenset({"blood_pressure_systolic", "blood_pressure_diastolic"}),
    "temperature": frozenset({"body_temperature", "wrist_temperature", "skin_temperature"}),
}
"""Who asks for one of these means whichever of its metrics the device measures."""

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
    "basal_energy": "energy burned at rest in the last interval",
    "distance": "distance of the last interval",
}

OF_TODAY: Final = {
    "steps": "step count of today",
    "active_energy": "energy burned by activity today",
    "basal_energy": "energy burned at rest today",
    "distance": "distance of today",
}
"""What adds up through a day, by metric."""

REMARKS: Final = {
    Mode.HYPOTHESIS: "Two of your values do not go together, which is more often the device than the body.",
    Mode.REFLEX: "That is outside what I take as usual, so a few quiet minutes now are a good idea.",
    Mode.GUARDIAN: "Your body seems to ask for rest, so keep today light.",
    Mode.SENTINEL: "There are signs of strain, so I would keep an eye on it.",
    Mode.PATTERN: "I found this in your values of the last days, so it may be worth a look.",
    Mode.COMPANION: "I am here; tell me more about how you feel if you like.",
    Mode.BASELINE: "Nothing in your values stands out by the rules that I know.",
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

REMARKS_OF: Final = {
    "single-fall": "So large a change between two readings is more often the device than the body.",
    "rem-varies": "I cannot tell what that comes from; nights at regular hours may settle it.",
    "several-anomalies": "I cannot tell what they come from; you may know what was different lately.",
}
"""By rule, where what its mode says does not fit."""

ADVICE_OF: Final = {
    "rem-varies": ("Go to bed at about the same time for a few nights.",),
    "several-anomalies": ("Look at the values again tomorrow.",),
}

NO_MODEL: Final = "I answer by fixed rules; no language model is in use."
NO_VALUES: Final = "I have no recent measurement of yours, so I cannot say anything about your body."
NO_ACCESS: Final = "I cannot reach your measurements at the moment, so I cannot say anything about your body."
NO_BASELINE: Final = "I do not know yet what is usual for you, so I judge by general limits alone."
NO_KNOWLEDGE: Final = "I cannot look up at the moment what is usual for you, so I judge by general limits alone."
NOTHING_TO_JUDGE: Final = "None of the values that my rules look at is fresh, so I judge nothing."
SEE_SOMEBODY: Final = "If it stays like this or you feel unwell, please see a professional."
WELCOME: Final = "You are welcome."
ABILITIES: Final = (
    "I tell you what your devices have measured, what is usual for you and what stands out, "
    "and I suggest small exercises; I am a program, and no doctor."
)
TO_REMEMBER: Final = "I will try to remember what you have told me."

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
        *REMARKS_OF.values(),
        *(text for texts in ADVICE_OF.values() for text in texts),
        *PATTERNS.values(),
        *(NO_MODEL, MODEL_AWAY, MODEL_UNFIT, MODEL_STOPPED, TOKENS_SPENT),
        *(NO_VALUES, NO_ACCESS, NO_BASELINE, NO_KNOWLEDGE, NOTHING_TO_JUDGE, SEE_SOMEBODY),
        *(WELCOME, ABILITIES, TO_REMEMBER),
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
    """A value with its unit as people read it: long times in hours and minutes, long ways in kilometers."""
    if unit == "min" and round(value) >= MINUTES_PER_HOUR:
        return _hours(round(value))
    if unit == "m" and value >= METERS_PER_KILOMETER:
        return f"{number(value / METERS_PER_KILOMETER)} km"
    words = DEFAULTS.metrics[metric].shown_unit if metric in DEFAULTS.metrics else UNITS.get(unit, unit)
    return f"{number(value)} {words}".rstrip()


def _hours(minutes: int) -> str:
    hours, rest = divmod(minutes, MINUTES_PER_HOUR)
    return counted(hours, "hour") + (f" {counted(rest, 'minute')}" if rest else "")


def ago(age: timedelta) -> str:
    """An age in words, in its largest unit."""
    minutes = int(age.total_seconds() // 60)
    for size, unit in ((24 * MINUTES_PER_HOUR, "day"), (MINUTES_PER_HOUR, "hour"), (1, "minute")):
        if minutes >= size:
            return f"{counted(minutes // size, unit)} ago"
    return "just now"


def counted(count: int, unit: str) -> str:
    """1 hour, 2 hours."""
    return f"{count} {unit}{'' if count == 1 else 's'}"


def reason(decision: Decision) -> str:
    """Why a mode was chosen, as people read it: what was computed has no name that means something to them."""
    if not any(DEFAULTS.metrics[one.metric].signal for one in decision.evidence if one.metric in DEFAULTS.metrics):
        return decision.reason
    return "; ".join(_noticed(one) for one in decision.evidence if one.metric in DEFAULTS.metrics)


def _noticed(evidence: Evidence) -> str:
    match evidence.metric:
        case "hrv_rmssd_fall" | "hrv_sdnn_fall":
            name = DEFAULTS.metrics[evidence.metric.removesuffix("_fall")].name
            return f"{name} fell by {round(100 * evidence.value)} % from one reading to the next"
        case "rem_variation":
            return "your REM sleep has varied a lot from night to night lately"
        case "anomalies":
            return f"{round(evidence.value)} of your values are far from what is usual for you"
        case "pattern_confidence":
            return "there is a pattern in your values of the last days"
        case _:
            return sentence(evidence)


def advice(decision: Decision) -> tuple[str, ...]:
    """What may be done in the mode of a decision."""
    return ADVICE_OF.get(decision.rule or "", RECOMMENDATIONS[decision.mode])


def remark(decision: Decision) -> str:
    """What there is to say about a decision."""
    return REMARKS_OF.get(decision.rule or "", REMARKS[decision.mode])
