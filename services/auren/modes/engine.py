"""From a person's latest values to a mode, with the evidence. Pure: no clock, no store, equal input, equal answer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, Protocol

import msgspec

from auren.modes.thresholds import DEFAULTS, NEEDS_BASELINE, Check, Cue, Limit, Mode, Rule, Thresholds

LARGEST_SKEW = timedelta(minutes=10)
"""How far in the future a value's time may lie, for clocks differ; beyond it the value is not used."""


DERIVED_CONFIDENCE = 0.9
YOUNGEST_CONFIDENCE = 0.75
MATURE_DAYS = 28
"""A comparison with a baseline counts fully from this many days on, and from YOUNGEST_CONFIDENCE of it before."""

ROUNDING = 1e-9
"""How far beyond a limit rounding alone may put a value: 30 % below 64 is 44.8, whichever way it is computed."""


class Measured(Protocol):
    """What rules need of the latest value of a metric; see `Value`."""

    @property
    def value(self) -> float: ...

    @property
    def time(self) -> datetime: ...

    @property
    def derived(self) -> bool: ...


class Value(msgspec.Struct, frozen=True):
    """The latest value of one metric, in the unit of thresholds.toml. `derived`: computed, not measured."""

    value: float
    time: datetime
    derived: bool = False


class Baseline(msgspec.Struct, frozen=True):
    """What is usual for the person: the mean of `days` days, in the metric's unit."""

    mean: float
    days: int


class Snapshot(msgspec.Struct, frozen=True):
    """All that a decision depends on. `values` and `baselines` by metric; baselines only where they are trusted."""

    values: Mapping[str, Measured]
    now: datetime
    baselines: Mapping[str, Baseline] = {}
    said: frozenset[Cue] = frozenset()


class Evidence(msgspec.Struct, frozen=True):
    """A condition that was met: by which value, against what."""

    metric: str
    value: float
    unit: str
    time: datetime
    comparison: str
    threshold: float
    baseline: float | None = None
    derived: bool = False
    confidence: float = 1.0


class Off(msgspec.Struct, frozen=True):
    """Why rules about a metric could not be applied."""

    metric: str
    why: Literal["absent", "stale", "future", "no-baseline"]


class Decision(msgspec.Struct, frozen=True):
    """The mode, the rule that led to it (None: no rule held), a sentence why, the evidence, and what was off.

    `confidence` from 0 to 1, as thresholds.toml says; 1 where no rule held, and for a rule about what was said.
    """

    mode: Mode
    rule: str | None
    reason: str
    evidence: tuple[Evidence, ...]
    off: tuple[Off, ...]
    confidence: float = 1.0


def decide(snapshot: Snapshot, thresholds: Thresholds = DEFAULTS) -> Decision:
    """The mode that the first rule that holds leads to; `baseline` when none does."""
    return explain(found_rule(snapshot, thresholds), snapshot, thresholds)


def found_rule(
    snapshot: Snapshot, thresholds: Thresholds, standing: tuple[Mode, str | None] | None = None
) -> Check | None:
    """The first rule that holds with enough confidence, ready for `explain`.

    The rule `standing`, which has led to the mode that is named with it, holds on by the hysteresis.
    """
    for check in thresholds.checks:
        limits = check.leaving if check.standing == standing else check.entering
        if limits:
            beyond = _beyond(limits, snapshot, check.spare)
            if beyond and _holds(check, beyond, snapshot, thresholds):
                return check
        elif snapshot.said.intersection(check.rule.said):
            return check
    return None


def explain(check: Check | None, snapshot: Snapshot, thresholds: Thresholds) -> Decision:
    """The decision that a rule, whose conditions are met without any hysteresis, leads to."""
    off = tuple(_off(snapshot, thresholds))
    if check is None:
        return Decision(Mode.BASELINE, None, _nothing(snapshot, thresholds), (), off)
    rule = check.rule
    beyond = _fresh(_beyond(check.entering, snapshot, check.spare), snapshot, thresholds)
    evidence = tuple(_evidence(limit, snapshot, thresholds) for limit in beyond)
    confidence = _weakest([e.confidence for e in evidence], rule)
    return Decision(rule.mode, rule.id, _reason(rule, evidence, thresholds), evidence, off, confidence)


def derived(values: Mapping[str, Measured]) -> dict[str, Measured]:
    """`values` with stress where it can be derived: 1 - recovery/100, of the same moment."""
    found = dict(values)
    recovery = values.get("recovery_score")
    if recovery is not None and "stress" not in values:
        found["stress"] = Value(round(1 - recovery.value / 100, 4), recovery.time, derived=True)
    return found


def _beyond(limits: Sequence[Limit], snapshot: Snapshot, spare: int) -> list[Limit]:
    """The limits that values lie beyond, however old these are; none when more than `spare` are not reached.

    Every event of every person comes through here, and nearly always nothing is beyond anything.
    """
    values, baselines = snapshot.values, snapshot.baselines
    found: list[Limit] = []
    for limit in limits:
        _, metric, falls, relative, share, at = limit
        value = values.get(metric)
        usual = baselines.get(metric) if relative else None
        if value is not None and (usual is not None or not relative):
            if usual is not None:
                at += share * usual.mean
            if (at - value.value if falls else value.value - at) > ROUNDING:
                found.append(limit)
                continue
        spare -= 1
        if spare < 0:
            return []
    return found


def _holds(check: Check, beyond: Iterable[Limit], snapshot: Snapshot, thresholds: Thresholds) -> bool:
    met = _fresh(beyond, snapshot, thresholds)
    times = [snapshot.values[limit.metric].time for limit in met]
    if len(met) < check.rule.needed or not _together(check.rule, times):
        return False
    confidence = _weakest([_confidence(limit, snapshot, thresholds) for limit in met], check.rule)
    return confidence >= thresholds.switching.least_confidence


def _fresh(limits: Iterable[Limit], snapshot: Snapshot, thresholds: Thresholds) -> list[Limit]:
    return [
        limit
        for limit in limits
        if _unusable(limit.metric, snapshot.values[limit.metric], snapshot, thresholds) is None
    ]


def _together(rule: Rule, times: Sequence[datetime]) -> bool:
    return rule.within_minutes is None or max(times) - min(times) <= timedelta(minutes=rule.within_minutes)


def _weakest(confidences: list[float], rule: Rule) -> float:
    """Of the conditions that the rule needs, the best ones."""
    return sorted(confidences, reverse=True)[rule.needed - 1] if rule.conditions else 1.0


def _confidence(limit: Limit, snapshot: Snapshot, thresholds: Thresholds) -> float:
    value, baseline = snapshot.values[limit.metric], snapshot.baselines.get(limit.metric)
    confidence = 1 - 0.5 * max(0.0, (snapshot.now - value.time) / thresholds.stale_after[limit.metric])
    if value.derived:
        confidence *= DERIVED_CONFIDENCE
    if limit.relative and baseline is not None:
        confidence *= YOUNGEST_CONFIDENCE + (1 - YOUNGEST_CONFIDENCE) * min(1.0, baseline.days / MATURE_DAYS)
    return confidence


def _evidence(limit: Limit, snapshot: Snapshot, thresholds: Thresholds) -> Evidence:
    value, baseline = snapshot.values[limit.metric], snapshot.baselines.get(limit.metric)
    return Evidence(
        metric=limit.metric,
        value=value.value,
        unit=thresholds.metrics[limit.metric].unit,
        time=value.time,
        comparison=limit.condition.comparison,
        threshold=limit.condition.threshold,
        baseline=baseline.mean if baseline and limit.relative else None,
        derived=value.derived,
        confidence=round(_confidence(limit, snapshot, thresholds), 3),
    )


def _unusable(
    metric: str, value: Measured, snapshot: Snapshot, thresholds: Thresholds
) -> Literal["stale", "future"] | None:
    age = snapshot.now - value.time
    if age < -LARGEST_SKEW:
        return "future"
    return "stale" if age > thresholds.stale_after[metric] else None


def _off(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Off]:
    """Each metric of the file that is not fully usable, in the file's order."""
    relative = {c.metric for rule in thresholds.rules for c in rule.conditions if c.comparison in NEEDS_BASELINE}
    for metric in thresholds.metrics:
        value = snapshot.values.get(metric)
        if thresholds.metrics[metric].signal:
            continue
        if value is None:
            yield Off(metric, "absent")
        elif (why := _unusable(metric, value, snapshot, thresholds)) is not None:
            yield Off(metric, why)
        elif metric in relative and metric not in snapshot.baselines:
            yield Off(metric, "no-baseline")


def _reason(rule: Rule, evidence: Iterable[Evidence], thresholds: Thresholds) -> str:
    if rule.said:
        return "the message itself"
    return "; ".join(sentence(found, thresholds) for found in evidence)


def sentence(evidence: Evidence, thresholds: Thresholds = DEFAULTS) -> str:
    """One piece of evidence in words, with its numbers and units."""
    metric = thresholds.metrics[evidence.metric]
    unit = f" {metric.shown_unit}" if metric.shown_unit else ""
    value, limit = f"{metric.name} is {number(evidence.value)}{unit}", number(evidence.threshold)
    usual = f"the usual {number(evidence.baseline)}{unit}" if evidence.baseline is not None else ""
    match evidence.comparison:
        case "drop":
            return f"{value}, more than {limit}{unit} below {usual}"
        case "rise":
            return f"{value}, more than {limit}{unit} above {usual}"
        case "drop_ratio":
            return f"{value}, more than {number(100 * evidence.threshold)} % below {usual}"
        case "times_baseline":
            return f"{value}, more than {limit} times {usual}"
        case _:
            return f"{value}, {evidence.comparison} {limit}{unit}"


def number(value: float) -> str:
    """A value as people read it: two decimals at most, none where there are none."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _nothing(snapshot: Snapshot, thresholds: Thresholds) -> str:
    usable = [m for m, v in snapshot.values.items() if m in thresholds.metrics]
    usable = [m for m in usable if not thresholds.metrics[m].signal]
    usable = [m for m in usable if _unusable(m, snapshot.values[m], snapshot, thresholds) is None]
    if not usable:
        return "there is no fresh value that a rule could judge"
    return "no rule holds for " + ", ".join(thresholds.metrics[m].name for m in thresholds.metrics if m in usable)
