"""Replies by rules: the person's numbers, what they call for, and what is not known. No model, no number of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Final

from auren.events import METRICS
from auren.modes import DEFAULTS, Decision, Mode
from auren.modes.engine import number
from auren.neuros.protocols import suited
from auren.neuros.turn import Insight, Reply, Session, Turn

MOST_INSIGHTS: Final = 4
"""Values that a reply names when nobody asked for a certain one: as many as one reads at a glance."""

OVERVIEW: Final = (
    "hrv_rmssd",
    "hrv_sdnn",
    "resting_heart_rate",
    "heart_rate",
    "recovery_score",
    "sleep_total",
    "respiratory_rate",
    "spo2",
    "steps",
)
"""What an overview tells first."""

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

HRV: Final = frozenset({"hrv_rmssd", "hrv_sdnn"})
"""Who asks for HRV means whichever of the two the device measures."""

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


def respond(turn: Turn, decision: Decision, session: Session) -> Reply:
    """The reply to a message in a mode."""
    insights = tuple(_insights(turn, decision))
    sentences = [
        *_opening(turn, session),
        *(insight.text for insight in insights),
        *_changes(turn, insights, session),
        *_judgement(turn, decision, insights),
        *_lacks(turn, decision),
        NO_MODEL,
    ]
    return Reply(
        sentences=tuple(sentences),
        insights=insights,
        recommendations=RECOMMENDATIONS[decision.mode] if turn.latest is not None else (),
        protocols=suited(decision.mode),
    )


def asked(message: str) -> list[str]:
    """The metrics that a message names."""
    return [metric for metric, words in WORDS.items() if re.search(words, message, re.IGNORECASE)]


def _opening(turn: Turn, session: Session) -> Iterator[str]:
    if re.match(r"\s*(?:hi|hello|hey|good )", turn.message, re.IGNORECASE):
        yield "Hello again." if session["turns"] else "Hello."


def _insights(turn: Turn, decision: Decision) -> Iterator[Insight]:
    values = turn.latest.values if turn.latest is not None else {}
    wanted = asked(turn.message)
    evidence = [found.metric for found in decision.evidence if not found.derived]
    names = dict.fromkeys([*evidence, *wanted] if wanted else [*evidence, *OVERVIEW])
    found = [values[name] for name in names if name in values]
    for value in found if wanted else found[:MOST_INSIGHTS]:
        age = ago(turn.now - value.time)
        yield Insight(
            metric=value.metric,
            value=value.value,
            unit=value.unit,
            time=value.time,
            source=value.source,
            text=f"Your {title(value.metric)} was {shown(value.value, value.unit, value.metric)}, {age}.",
        )


def _changes(turn: Turn, insights: Iterable[Insight], session: Session) -> Iterator[str]:
    """What is different since the session's last turn."""
    for insight in insights:
        before = session["last_values"].get(insight.metric)
        if before is not None and before["value"] != insight.value and before["time"] != insight.time.isoformat():
            yield (
                f"When we last spoke in this session, your {title(insight.metric)} was "
                f"{shown(before['value'], insight.unit, insight.metric)}."
            )


def _judgement(turn: Turn, decision: Decision, insights: tuple[Insight, ...]) -> Iterator[str]:
    if turn.latest is None:
        yield NO_ACCESS
    elif not turn.latest.values:
        yield NO_VALUES
    if decision.evidence:
        yield f"What I noticed: {decision.reason}."
    if decision.rule is not None or judged(decision):
        yield REMARKS[decision.mode]
    elif insights:
        yield NOTHING_TO_JUDGE
    if decision.mode in {Mode.REFLEX, Mode.GUARDIAN}:
        yield SEE_SOMEBODY


def judged(decision: Decision) -> frozenset[str]:
    """The metrics that at least one rule could look at."""
    unusable = {off.metric for off in decision.off if off.why != "no-baseline"}
    measured = {name for name, metric in DEFAULTS.metrics.items() if not metric.signal}
    return frozenset(measured - unusable)


def _lacks(turn: Turn, decision: Decision) -> Iterator[str]:
    """What the reply does not rest on, in words."""
    if turn.latest is None:
        return
    wanted = asked(turn.message)
    if HRV.intersection(wanted, turn.latest.values):
        wanted = [metric for metric in wanted if metric not in HRV]
    missing = [title(metric) for metric in wanted if metric not in turn.latest.values]
    if missing:
        yield f"I have no recent measurement of your {' or '.join(missing)}."
    stale = [off.metric for off in decision.off if off.why == "stale"]
    if stale:
        yield f"Too old to judge by: {', '.join(title(metric) for metric in stale)}."
    if any(off.why == "no-baseline" for off in decision.off):
        yield NO_BASELINE


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
