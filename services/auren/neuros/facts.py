"""What a reply may rest on, of one turn: facts with what is usual, the numbers that may be said, and all of it as data.

The differences that a reply may name are computed here, so that nobody else has to calculate: a language model that
does is wrong now and then, and its sentence is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from auren.baselines import CUMULATIVE
from auren.events import METRICS
from auren.latest import LatestValue
from auren.modes import Evidence
from auren.neuros.guard.check import Known, numbers_of
from auren.neuros.guard.numbers import KnownNumber
from auren.neuros.instructions import unsaid
from auren.neuros.knowledge import ActivePattern, Knowledge, Night
from auren.neuros.personality import Personality
from auren.neuros.protocols import Protocol
from auren.neuros.turn import Session, Turn
from auren.neuros.wording import FIXED, OF_TODAY, PATTERNS, ago, reason, shown, title

MOST_NIGHTS: Final = 3


class Fact(NamedTuple):
    """The latest value of a metric beside what is usual: the mean of 28 days, None where it is not trusted.

    What adds up through a day is `of_today` so far, where its day is known: an interval compares with nothing.
    """

    value: LatestValue
    usual: float | None
    of_today: float | None = None

    @property
    def amount(self) -> float:
        """What is told, in the metric's unit."""
        return self.value.value if self.of_today is None else self.of_today

    @property
    def name(self) -> str:
        """How people call what is told."""
        return title(self.value.metric) if self.of_today is None else OF_TODAY[self.value.metric]

    @property
    def measured_at(self) -> datetime:
        """When it was known."""
        return self.value.end_time or self.value.time

    @property
    def difference(self) -> float | None:
        """How far the value is from the usual; None of a day that goes on."""
        return None if self.usual is None or self.of_today is not None else self.amount - self.usual

    @property
    def percent(self) -> float | None:
        """The same as a share of the usual, from -100 on."""
        return 100 * self.difference / self.usual if self.usual and self.difference is not None else None


def facts(turn: Turn) -> dict[str, Fact]:
    """By metric, of all that was measured lately."""
    values = turn.latest.values if turn.latest is not None else {}
    return {metric: _fact(value, turn.knowledge) for metric, value in sorted(values.items())}


def _fact(value: LatestValue, known: Knowledge | None) -> Fact:
    if known is None:
        return Fact(value, None)
    usual = known.usual.get(value.metric)
    of_today = known.days.get(value.metric, {}).get(known.today) if value.metric in CUMULATIVE else None
    if usual is None or (value.metric in CUMULATIVE and of_today is None):
        return Fact(value, None, of_today)
    return Fact(value, usual.mean, of_today)


def known(turn: Turn, session: Session, protocols: Mapping[str, Protocol], personality: Personality) -> Known:
    """What a reply of this turn may say: of the red flags only those that are raised. A source's name is a device's."""
    names = {value.source for value in turn.latest.values.values()} if turn.latest is not None else set()
    of_everybody = _of_everybody(tuple(protocols.values()), unsaid(personality))
    return of_everybody.also(_numbers(turn, session), names, turn.flags)


@lru_cache(maxsize=4)
def _of_everybody(protocols: tuple[Protocol, ...], unsaid_texts: tuple[str, ...]) -> Known:
    """What every reply may say; read once, for it is the same in each turn of a process."""
    return Known((), (), [text for protocol in protocols for text in protocol.texts], unsaid_texts, FIXED)


def context(turn: Turn, session: Session, protocols: Mapping[str, Protocol]) -> str:
    """All that a language model is told of the person, as JSON. Texts of people and devices are values in it."""
    decision = turn.decision
    told: dict[str, Any] = {
        "mode": decision.mode.value if decision else None,
        "why": reason(decision) if decision else None,
        "measurements": [_told(fact, turn.now) for fact in facts(turn).values()],
        "not_measured_lately": [off.metric for off in decision.off if off.why == "absent"] if decision else [],
        "too_old": [off.metric for off in decision.off if off.why == "stale"] if decision else [],
        "patterns": _patterns(turn),
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
    metric, unit = fact.value.metric, fact.value.unit
    found = {"name": fact.name, "value": shown(fact.amount, unit, metric), "measured": ago(now - fact.measured_at)}
    if fact.usual is not None:
        found["usual_of_a_day" if fact.of_today is not None else "usual"] = shown(fact.usual, unit, metric)
    if fact.difference is not None:
        word = "less" if fact.difference < 0 else "more"
        found["difference"] = f"{shown(abs(fact.difference), unit, metric)} {word}"
        if fact.percent is not None and round(fact.percent):
            found["difference_percent"] = f"{abs(round(fact.percent))} % {word}"
    return found


def _patterns(turn: Turn) -> list[str]:
    """What is known in this version of NEUROS, with its hour or weekday."""
    known = turn.knowledge.patterns if turn.knowledge is not None else ()
    return [f"{PATTERNS[one.kind]} ({_detail(one)})" for one in known if one.kind in PATTERNS]


def _detail(pattern: ActivePattern) -> str:
    """Hours as times of day: `hrv_sdnn at 03` becomes `hrv_sdnn at 03:00`."""
    hour = pattern.detail.rpartition(" at ")[2]
    return f"{pattern.detail}:00" if hour.isdigit() else pattern.detail or pattern.level


def _nights(turn: Turn) -> list[dict[str, str]]:
    return [
        {"woke_on": night.day.isoformat()}
        | ({"asleep": shown(night.asleep, "min", "sleep_total")} if night.asleep is not None else {})
        | ({"efficiency": f"{round(100 * night.efficiency)} %"} if night.efficiency is not None else {})
        for night in _last_nights(turn)
    ]


def _last_nights(turn: Turn) -> Sequence[Night]:
    return turn.knowledge.nights[-MOST_NIGHTS:] if turn.knowledge is not None else ()


def _numbers(turn: Turn, session: Session) -> Iterator[KnownNumber]:
    for fact in facts(turn).values():
        yield from _of_fact(fact)
        yield from numbers_of(ago(turn.now - fact.measured_at))
    for evidence in turn.decision.evidence if turn.decision is not None else ():
        yield from _of_evidence(evidence)
    for metric, before in session["last_values"].items():
        yield KnownNumber(before["value"], METRICS[metric].unit, metric)
    yield from _of_nights(turn)
    for text in (*_patterns(turn), *(memory.text for memory in turn.memories)):
        yield from numbers_of(text)


def _of_fact(fact: Fact) -> Iterator[KnownNumber]:
    metric, unit = fact.value.metric, fact.value.unit
    yield KnownNumber(fact.amount, unit, metric)
    if fact.usual is not None:
        yield KnownNumber(fact.usual, unit, metric)
    if fact.difference is not None:
        yield KnownNumber(abs(fact.difference), unit, metric)
    if fact.percent is not None:
        yield from _rounded(abs(fact.percent), "%", metric)


def _of_evidence(evidence: Evidence) -> Iterator[KnownNumber]:
    metric = METRICS.get(evidence.metric)
    unit = metric.unit if metric is not None else "1"
    yield KnownNumber(evidence.value, unit, evidence.metric)
    yield KnownNumber(evidence.threshold, unit, evidence.metric)
    yield KnownNumber(evidence.threshold, "1", evidence.metric)
    yield KnownNumber(100 * evidence.threshold, "%", evidence.metric)
    if unit == "1":
        yield from _rounded(100 * evidence.value, "%", evidence.metric)
    if evidence.baseline is not None:
        yield KnownNumber(evidence.baseline, unit, evidence.metric)


def _of_nights(turn: Turn) -> Iterator[KnownNumber]:
    for night in _last_nights(turn):
        yield KnownNumber(100 * night.day.month + night.day.day, "date")
        if night.asleep is not None:
            yield KnownNumber(night.asleep, "min", "sleep_total")
        if night.efficiency is not None:
            yield from _rounded(100 * night.efficiency, "%", "sleep_efficiency")


def _rounded(value: float, unit: str, metric: str) -> Iterator[KnownNumber]:
    """A number that is told without its decimals: of a small one that is more than a reply may round by itself."""
    yield KnownNumber(value, unit, metric)
    yield KnownNumber(round(value), unit, metric)
