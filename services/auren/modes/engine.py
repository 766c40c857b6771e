"""From a person's latest values to a mode, with the evidence. Pure: no clock, no store, equal input, equal answer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from auren.modes.thresholds import DEFAULTS, NEEDS_BASELINE, Condition, Cue, Mode, Rule, Thresholds

LARGEST_SKEW = timedelta(minutes=10)
"""How far in the future a value's time may lie, for clocks differ; beyond it the value is not used."""


DERIVED_CONFIDENCE = 0.9
YOUNGEST_CONFIDENCE = 0.75
MATURE_DAYS = 28
"""A comparison with a baseline counts fully from this many days on, and from YOUNGEST_CONFIDENCE of it before."""


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

    values: Mapping[str, Value]
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


def found_rule(snapshot: Snapshot, thresholds: Thresholds, standing: str | None = None) -> Rule | None:
    """The first rule that holds with enough confidence; the rule `standing` holds on by the hysteresis."""
    usable = {
        metric: value
        for metric, value in snapshot.values.items()
        if metric in thresholds.metrics and _unusable(metric, value, snapshot, thresholds) is None
    }
    for rule in thresholds.rules:
        margin = thresholds.switching.hysteresis if rule.id == standing else 0.0
        if _holds(rule, usable, snapshot, thresholds, margin):
            return rule
    return None


def explain(rule: Rule | None, snapshot: Snapshot, thresholds: Thresholds) -> Decision:
    """The decision that a rule, which holds, leads to."""
    off = tuple(_off(snapshot, thresholds))
    if rule is None:
        return Decision(Mode.BASELINE, None, _nothing(snapshot, thresholds), (), off)
    evidence = tuple(
        _evidence(condition, snapshot, thresholds) for condition in rule.conditions if _met(condition, snapshot)
    )
    evidence = tuple(
        e for e in evidence if _unusable(e.metric, snapshot.values[e.metric], snapshot, thresholds) is None
    )
    confidence = _weakest([e.confidence for e in evidence], rule)
    return Decision(rule.mode, rule.id, _reason(rule, evidence, thresholds), evidence, off, confidence)


def derived(values: Mapping[str, Value]) -> dict[str, Value]:
    """`values` with stress where it can be derived: 1 - recovery/100, of the same moment."""
    found = dict(values)
    recovery = values.get("recovery_score")
    if recovery is not None and "stress" not in values:
        found["stress"] = Value(round(1 - recovery.value / 100, 4), recovery.time, derived=True)
    return found


def _holds(rule: Rule, usable: Mapping[str, Value], snapshot: Snapshot, thresholds: Thresholds, margin: float) -> bool:
    if rule.said:
        return bool(snapshot.said.intersection(rule.said))
    met: list[Condition] = []
    for condition in rule.conditions:
        value = usable.get(condition.metric)
        if value is not None and _compare(condition, value.value, snapshot.baselines.get(condition.metric), margin):
            met.append(condition)
    if len(met) < rule.needed or not _together(rule, [usable[condition.metric].time for condition in met]):
        return False
    confidence = _weakest([_confidence(condition, snapshot, thresholds) for condition in met], rule)
    return confidence >= thresholds.switching.least_confidence


def _together(rule: Rule, times: Sequence[datetime]) -> bool:
    return rule.within_minutes is None or max(times) - min(times) <= timedelta(minutes=rule.within_minutes)


def _weakest(confidences: list[float], rule: Rule) -> float:
    """Of the conditions that the rule needs, the best ones."""
    return sorted(confidences, reverse=True)[rule.needed - 1] if rule.conditions else 1.0


def _confidence(condition: Condition, snapshot: Snapshot, thresholds: Thresholds) -> float:
    value, baseline = snapshot.values[condition.metric], snapshot.baselines.get(condition.metric)
    limit = timedelta(hours=thresholds.metrics[condition.metric].stale_after_hours)
    confidence = 1 - 0.5 * max(0.0, (snapshot.now - value.time) / limit)
    if value.derived:
        confidence *= DERIVED_CONFIDENCE
    if condition.comparison in NEEDS_BASELINE and baseline is not None:
        confidence *= YOUNGEST_CONFIDENCE + (1 - YOUNGEST_CONFIDENCE) * min(1.0, baseline.days / MATURE_DAYS)
    return confidence


def _met(condition: Condition, snapshot: Snapshot) -> bool:
    value = snapshot.values.get(condition.metric)
    return value is not None and _compare(condition, value.value, snapshot.baselines.get(condition.metric))


def _evidence(condition: Condition, snapshot: Snapshot, thresholds: Thresholds) -> Evidence:
    value, baseline = snapshot.values[condition.metric], snapshot.baselines.get(condition.metric)
    return Evidence(
        metric=condition.metric,
        value=value.value,
        unit=thresholds.metrics[condition.metric].unit,
        time=value.time,
        comparison=condition.comparison,
        threshold=condition.threshold,
        baseline=baseline.mean if baseline and condition.comparison in NEEDS_BASELINE else None,
        derived=value.derived,
        confidence=round(_confidence(condition, snapshot, thresholds), 3),
    )


def _compare(condition: Condition, value: float, baseline: Baseline | None, margin: float = 0.0) -> bool:
    """Whether it is met; with a margin also before the value has reached the threshold by that share of it."""
    threshold = condition.threshold * (1 + margin if condition.comparison == "below" else 1 - margin)
    match condition.comparison:
        case "below":
            return _more(threshold, value)
        case "above":
            return _more(value, threshold)
    if baseline is None:
        return False
    match condition.comparison:
        case "drop":
            return _more(baseline.mean - value, threshold)
        case "rise":
            return _more(value - baseline.mean, threshold)
        case "drop_ratio":
            return _more(baseline.mean - value, threshold * baseline.mean)
        case "times_baseline":
            return _more(value, threshold * baseline.mean)


def _more(one: float, other: float) -> bool:
    """Strictly more, and not by what rounding adds: 30 % below 64 is 44.8, whichever way it is computed."""
    return one - other > 1e-9


def _unusable(
    metric: str, value: Value, snapshot: Snapshot, thresholds: Thresholds
) -> Literal["stale", "future"] | None:
    age = snapshot.now - value.time
    if age < -LARGEST_SKEW:
        return "future"
    return "stale" if age > timedelta(hours=thresholds.metrics[metric].stale_after_hours) else None


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
