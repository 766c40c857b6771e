"""Replies by rules: the person's numbers, what they call for, and what is not known. No model, no number of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from auren.events import METRICS
from auren.modes import DEFAULTS, Decision, Mode
from auren.neuros.facts import Fact, facts
from auren.neuros.guard import flags
from auren.neuros.protocols import PROTOCOLS, Protocol, suited
from auren.neuros.told import asks_to_remember
from auren.neuros.turn import Insight, Reply, Session, Turn
from auren.neuros.wording import (
    NO_ACCESS,
    NO_BASELINE,
    NO_MODEL,
    NO_VALUES,
    NOTED,
    NOTHING_TO_JUDGE,
    PATTERNS,
    RECOMMENDATIONS,
    REMARKS,
    SEE_SOMEBODY,
    ago,
    asked,
    shown,
    title,
)

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

HRV: Final = frozenset({"hrv_rmssd", "hrv_sdnn"})
"""Who asks for HRV means whichever of the two the device measures."""


def respond(
    turn: Turn,
    decision: Decision,
    session: Session,
    protocols: Mapping[str, Protocol] = PROTOCOLS,
    closing: str | None = NO_MODEL,
) -> Reply:
    """The reply to a message in a mode; `closing` says why no language model has written it, where one might have."""
    found = facts(turn)
    insights = tuple(insights_of(turn, decision, found))
    sentences = [
        *_opening(turn, session),
        *(insight.text for insight in insights),
        *_changes(turn, insights, session),
        *_judgement(turn, decision, insights),
        *_lacks(turn, decision),
        *([closing] if closing else []),
    ]
    return Reply(
        sentences=tuple(sentences),
        insights=insights,
        recommendations=RECOMMENDATIONS[decision.mode] if turn.latest is not None else (),
        protocols=suited(decision.mode, protocols),
    )


def insights_of(turn: Turn, decision: Decision, found: Mapping[str, Fact]) -> Iterator[Insight]:
    """What a reply names: what the decision rests on, then what was asked for, else an overview."""
    wanted = asked(turn.message)
    evidence = [one.metric for one in decision.evidence if not one.derived]
    names = dict.fromkeys([*evidence, *wanted] if wanted else [*evidence, *OVERVIEW])
    named = [found[name] for name in names if name in found]
    for fact in named if wanted else named[:MOST_INSIGHTS]:
        value = fact.value
        yield Insight(value.metric, value.value, value.unit, value.time, value.source, _sentence(fact, turn))


def _sentence(fact: Fact, turn: Turn) -> str:
    value = fact.value
    said = (
        f"Your {title(value.metric)} was {shown(value.value, value.unit, value.metric)}, {ago(turn.now - value.time)}"
    )
    if fact.usual is None:
        return f"{said}."
    return f"{said}; usual for you is {shown(fact.usual, value.unit, value.metric)}."


def _opening(turn: Turn, session: Session) -> Iterator[str]:
    if re.match(r"\s*(?:hi|hello|hey|good )", turn.message, re.IGNORECASE):
        yield "Hello again." if session["turns"] else "Hello."
    if asks_to_remember(turn.message):
        yield NOTED


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
    if decision.mode is Mode.PATTERN and turn.knowledge is not None:
        yield from dict.fromkeys(PATTERNS[one.kind] for one in turn.knowledge.patterns if one.level == "high")
    yield from turn.flags
    if decision.mode in {Mode.REFLEX, Mode.GUARDIAN} and flags.SUGGESTION not in turn.flags:
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
    stale = [
        off.metric for off in decision.off if off.why == "stale" and off.metric in METRICS
    ]  # nobody measures stress
    if stale:
        yield f"Too old to judge by: {', '.join(title(metric) for metric in stale)}."
    if any(off.why == "no-baseline" for off in decision.off):
        yield NO_BASELINE
