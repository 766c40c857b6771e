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
from auren.neuros.told import told_of_themselves
from auren.neuros.turn import USUAL, Insight, Reply, Session, Turn
from auren.neuros.wording import (
    ABILITIES,
    NO_ACCESS,
    NO_BASELINE,
    NO_KNOWLEDGE,
    NO_MODEL,
    NO_VALUES,
    NOTHING_TO_JUDGE,
    PATTERNS,
    SEE_SOMEBODY,
    TO_REMEMBER,
    TOGETHER,
    WELCOME,
    advice,
    ago,
    asked,
    reason,
    remark,
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
"""What an overview tells; where none of it was measured, it tells of whatever else was."""

_GREETING: Final = re.compile(r"\s*(?:hi|hello|hey|good (?:morning|afternoon|evening|day))\b", re.IGNORECASE)
_THANKS: Final = re.compile(r"\s*(?:thanks|thank you|thx)\b[^?]{0,40}$", re.IGNORECASE)
_ABOUT_NEUROS: Final = re.compile(
    r"\b(?:what (?:can|do) you do|what are you|who are you|how do you work)\b|^\s*help[\s!?.]*$", re.IGNORECASE
)
_TO_REMEMBER: Final = re.compile(r"\s*(?:please )?remember\b", re.IGNORECASE)


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
        *_missing(turn),
        *_changes(turn, insights, session),
        *_judgement(turn, decision, insights),
        *_lacks(turn, decision),
        *([closing] if closing else []),
    ]
    return Reply(
        sentences=tuple(sentences),
        insights=insights,
        recommendations=advice(decision) if turn.latest is not None else (),
        protocols=suited(decision.mode, protocols),
    )


def insights_of(turn: Turn, decision: Decision, found: Mapping[str, Fact]) -> Iterator[Insight]:
    """What a reply names: what the decision rests on, then what was asked for, else an overview."""
    wanted = asked(turn.message)
    evidence = [one.metric for one in decision.evidence if not one.derived]
    overview = [name for name in OVERVIEW if name in found] or list(found)
    names = dict.fromkeys([*evidence, *(wanted if wanted or _is_small_talk(turn) else overview)])
    named = [found[name] for name in names if name in found]
    for fact in named if wanted else named[:MOST_INSIGHTS]:
        value = fact.value
        yield Insight(value.metric, fact.amount, value.unit, value.time, value.source, _sentence(fact, turn))


def _sentence(fact: Fact, turn: Turn) -> str:
    value = fact.value
    said = f"Your {fact.name} was {shown(fact.amount, value.unit, value.metric)}, {ago(turn.now - fact.measured_at)}"
    if fact.usual is None:
        return f"{said}."
    usual = shown(fact.usual, value.unit, value.metric)
    return f"{said}; usual for you is {usual}{'' if fact.of_today is None else ' in a whole day'}."


def _opening(turn: Turn, session: Session) -> Iterator[str]:
    if _GREETING.match(turn.message):
        yield "Hello again." if session["turns"] else "Hello."
    if _THANKS.match(turn.message):
        yield WELCOME
    if _ABOUT_NEUROS.search(turn.message):
        yield ABILITIES
    if any(told_of_themselves(turn.message, turn.now)):
        yield TO_REMEMBER


def _is_small_talk(turn: Turn) -> bool:
    """Whether nothing was asked that values could answer."""
    if asked(turn.message):
        return False
    told = _TO_REMEMBER.match(turn.message) and any(told_of_themselves(turn.message, turn.now))
    return bool(told or _THANKS.match(turn.message) or _ABOUT_NEUROS.search(turn.message))


def _missing(turn: Turn) -> Iterator[str]:
    """What was asked for and is not there; one of several metrics that mean the same is enough."""
    if turn.latest is None or not turn.latest.values:
        return
    names = []
    wanted = dict.fromkeys(asked(turn.message))
    for name, metrics in TOGETHER.items():
        if metrics.intersection(wanted):
            wanted = {metric: None for metric in wanted if metric not in metrics}
            names += [name] if metrics.isdisjoint(turn.latest.values) else []
    names += [title(metric) for metric in wanted if metric not in turn.latest.values]
    if names:
        yield f"I have no recent measurement of your {' or '.join(names)}."


def _changes(turn: Turn, insights: Iterable[Insight], session: Session) -> Iterator[str]:
    """What is different since the session's last turn."""
    found = facts(turn)
    for insight in insights:
        before = session["last_values"].get(insight.metric)
        if before is not None and before["value"] != insight.value and before["time"] != insight.time.isoformat():
            yield (
                f"When we last spoke in this session, your {found[insight.metric].name} was "
                f"{shown(before['value'], insight.unit, insight.metric)}."
            )


def _judgement(turn: Turn, decision: Decision, insights: tuple[Insight, ...]) -> Iterator[str]:
    if turn.latest is None:
        yield NO_ACCESS
    elif not turn.latest.values:
        yield NO_VALUES
    patterns = _patterns(turn) if decision.mode is Mode.PATTERN else []
    yield from patterns
    if decision.evidence and not patterns:
        yield f"What I noticed: {reason(decision)}."
    if decision.rule is not None or (judged(decision) and not _is_small_talk(turn)):
        yield remark(decision)
    elif insights:
        yield NOTHING_TO_JUDGE
    yield from turn.flags
    if decision.mode in {Mode.REFLEX, Mode.GUARDIAN} and flags.SUGGESTION not in turn.flags:
        yield SEE_SOMEBODY


def _patterns(turn: Turn) -> list[str]:
    """Those that may lead to the mode, once each; of a kind that this version does not know there is nothing to say."""
    known = turn.knowledge.patterns if turn.knowledge is not None else ()
    high = dict.fromkeys(one.kind for one in known if one.level == "high")
    return [PATTERNS[kind] for kind in high if kind in PATTERNS]


def judged(decision: Decision) -> frozenset[str]:
    """The metrics that at least one rule could look at."""
    unusable = {off.metric for off in decision.off if off.why != "no-baseline"}
    measured = {name for name, metric in DEFAULTS.metrics.items() if not metric.signal}
    return frozenset(measured - unusable)


def _lacks(turn: Turn, decision: Decision) -> Iterator[str]:
    """What the judgement does not rest on, in words."""
    if turn.latest is None or (_is_small_talk(turn) and decision.rule is None):
        return
    stale = [title(off.metric) for off in decision.off if off.why == "stale" and off.metric in METRICS]
    if stale:  # of what is measured; stress is derived
        yield f"Too old to judge by: {', '.join(stale)}."
    if any(trouble.startswith(USUAL) for trouble in turn.troubles):
        yield NO_KNOWLEDGE
    elif any(off.why == "no-baseline" for off in decision.off):
        yield NO_BASELINE
