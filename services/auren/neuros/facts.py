"""What a reply may rest on, of one turn: facts with what is usual, the numbers that may be said, and all of it as data.

The differences that a reply may name are computed here, so that nobody else has to calculate: a language model that
does is wrong now and then, and its sentence is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from auren.events import METRICS
from auren.latest import LatestValue
from auren.modes import Evidence
from auren.modes.engine import number
from auren.neuros.guard.check import Known, numbers_of
from auren.neuros.guard.numbers import KnownNumber
from auren.neuros.instructions import unsaid
from auren.neuros.personality import Personality
from auren.neuros.protocols import Protocol
from auren.neuros.turn import Session, Turn
from auren.neuros.wording import FIXED, ago, shown, title

MOST_NIGHTS: Final = 3


WHOLE_FROM: Final = 20
"""A mean of days is told in whole numbers from here on, with one decimal below: more is not what a mean knows."""


class Fact(NamedTuple):
    """The latest value of a metric beside what is usual: the mean of 28 days, None where it is not trusted.

    `difference` and `percent` are value minus usual, and its share of the usual; in the metric's unit.
    """

    value: LatestValue
    usual: float | None

    @property
    def difference(self) -> float | None:
        """How far the value is from the usual."""
        return None if self.usual is None else round(self.value.value - self.usual, 1)

    @property
    def percent(self) -> float | None:
        """The same as a share of the usual, from -100 on."""
        return None if not self.usual else 100 * (self.value.value - self.usual) / self.usual


def facts(turn: Turn) -> dict[str, Fact]:
    """By metric, of all that was measured lately."""
    values = turn.latest.values if turn.latest is not None else {}
    usual = turn.knowledge.usual if turn.knowledge is not None else {}
    return {
        metric: Fact(value, _rounded(usual[metric].mean) if metric in usual else None)
        for metric, value in sorted(values.items())
    }


def _rounded(mean: float) -> float:
    return round(mean, 0 if abs(mean) >= WHOLE_FROM else 1)


def known(turn: Turn, session: Session, protocols: Mapping[str, Protocol], personality: Personality) -> Known:
    """What a reply of this turn may say: of the red flags only those that are raised. A source's name is a device's."""
    names = {value.source for value in turn.latest.values.values()} if turn.latest is not None else set()
    return _of_everybody(tuple(protocols.values()), unsaid(personality)).also(
        _numbers(turn, session), names, turn.flags
    )


@lru_cache(maxsize=4)
def _of_everybody(protocols: tuple[Protocol, ...], unsaid_texts: tuple[str, ...]) -> Known:
    """What every reply may say; read once, for it is the same in each turn of a process."""
    return Known((), (), [text for protocol in protocols for text in protocol.texts], unsaid_texts, FIXED)


def context(turn: Turn, session: Session, protocols: Mapping[str, Protocol]) -> str:
    """All that a language model is told of the person, as JSON. Texts of people and devices are values in it."""
    decision = turn.decision
    told: dict[str, Any] = {
        "mode": decision.mode.value if decision else None,
        "why": decision.reason if decision else None,
        "measurements": [_told(fact, turn.now) for fact in facts(turn).values()],
        "not_measured_lately": [off.metric for off in decision.off if off.why == "absent"] if decision else [],
        "too_old": [off.metric for off in decision.off if off.why == "stale"] if decision else [],
        "patterns": [_pattern(one.kind, one.detail) for one in turn.knowledge.patterns] if turn.knowledge else [],
        "nights": _nights(turn),
        "red_flags": list(turn.flags),
        "remembered": [{"kind": one.kind, "text": one.text, "source": one.source} for one in turn.memories],
        "exercises": {name: protocol.title for name, protocol in protocols.items()},
        "missing": [trouble.partition(":")[0] for trouble in turn.troubles],
        "earlier_in_this_session": {
            metric: shown(before["value"], METRICS[metric].unit, metric)
            for metric, before in session["last_values"].items()
        },
    }
    return msgspec.json.encode({name: value for name, value in told.items() if value}).decode()


def _told(fact: Fact, now: datetime) -> dict[str, str]:
    value = fact.value
    found = {
        "name": title(value.metric),
        "value": shown(value.value, value.unit, value.metric),
        "measured": ago(now - value.time),
    }
    if fact.usual is not None and fact.difference is not None:
        found["usual"] = shown(fact.usual, value.unit, value.metric)
        found["difference"] = shown(fact.difference, value.unit, value.metric)
        if fact.percent is not None:
            found["difference_percent"] = f"{number(round(fact.percent))} %"
    return found


def _pattern(kind: str, detail: str) -> str:
    return f"{kind} ({detail})" if detail else kind


def _nights(turn: Turn) -> list[dict[str, str]]:
    nights = turn.knowledge.nights[-MOST_NIGHTS:] if turn.knowledge is not None else ()
    return [
        {"woke_on": night.day.isoformat()}
        | ({"asleep": f"{number(round(night.asleep))} minutes"} if night.asleep is not None else {})
        | ({"efficiency": f"{number(round(100 * night.efficiency))} %"} if night.efficiency is not None else {})
        for night in nights
    ]


def _numbers(turn: Turn, session: Session) -> Iterator[KnownNumber]:
    for fact in facts(turn).values():
        yield from _of_fact(fact)
        yield from numbers_of(ago(turn.now - fact.value.time))
    for evidence in turn.decision.evidence if turn.decision is not None else ():
        yield from _of_evidence(evidence)
    for metric, before in session["last_values"].items():
        yield KnownNumber(before["value"], METRICS[metric].unit, metric)
    yield from _of_nights(turn)
    for memory in turn.memories:
        yield from numbers_of(memory.text)


def _of_fact(fact: Fact) -> Iterator[KnownNumber]:
    value = fact.value
    yield KnownNumber(value.value, value.unit, value.metric)
    if fact.usual is None or fact.difference is None:
        return
    yield KnownNumber(fact.usual, value.unit, value.metric)
    yield KnownNumber(abs(fact.difference), value.unit, value.metric)
    if fact.percent is not None:
        yield KnownNumber(abs(fact.percent), "%", value.metric)


def _of_evidence(evidence: Evidence) -> Iterator[KnownNumber]:
    metric = METRICS.get(evidence.metric)
    unit = metric.unit if metric is not None else "1"
    yield KnownNumber(evidence.value, unit, evidence.metric)
    yield KnownNumber(evidence.threshold, unit, evidence.metric)
    yield KnownNumber(evidence.threshold, "1", evidence.metric)
    yield KnownNumber(100 * evidence.threshold, "%", evidence.metric)
    if evidence.baseline is not None:
        yield KnownNumber(evidence.baseline, unit, evidence.metric)


def _of_nights(turn: Turn) -> Iterator[KnownNumber]:
    for night in turn.knowledge.nights[-MOST_NIGHTS:] if turn.knowledge is not None else ():
        yield KnownNumber(100 * night.day.month + night.day.day, "date")
        if night.asleep is not None:
            yield KnownNumber(night.asleep, "min", "sleep_total")
        if night.efficiency is not None:
            yield KnownNumber(100 * night.efficiency, "%", "sleep_efficiency")
