"""From a person's latest values to a mode, with the evidence. Pure: no clock, no store, equal input, equal answer."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from auren.modes.thresholds import DEFAULTS, NEEDS_BASELINE, Condition, Cue, Mode, Rule, Thresholds

LARGEST_SKEW = timedelta(minutes=10)
"""How far in the future a value's time may lie, for clocks differ; beyond it the value is not used."""


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


class Off(msgspec.Struct, frozen=True):
    """Why rules about a metric could not be applied."""

    metric: str
    why: Literal["absent", "stale", "future", "no-baseline"]


class Decision(msgspec.Struct, frozen=True):
    """The mode, the rule that led to it (None: no rule held), a sentence why, the evidence, and what was off."""

    mode: Mode
    rule: str | None
    reason: str
    evidence: tuple[Evidence, ...]
    off: tuple[Off, ...]


def decide(snapshot: Snapshot, thresholds: Thresholds = DEFAULTS) -> Decision:
    """The mode that the first rule that holds leads to; `baseline` when none does."""
    off = tuple(_off(snapshot, thresholds))
    for rule in thresholds.rules:
        evidence = _holds(rule, snapshot, thresholds)
        if evidence is not None:
            return Decision(rule.mode, rule.id, _reason(rule, evidence, thresholds), evidence, off)
    return Decision(Mode.BASELINE, None, _nothing(snapshot, thresholds), (), off)


def derived(values: Mapping[str, Value]) -> dict[str, Value]:
    """`values` with stress where it can be derived: 1 - recovery/100, of the same moment."""
    found = dict(values)
    recovery = values.get("recovery_score")
    if recovery is not None and "stress" not in values:
        found["stress"] = Value(round(1 - recovery.value / 100, 4), recovery.time, derived=True)
    return found


def _holds(rule: Rule, snapshot: Snapshot, thresholds: Thresholds) -> tuple[Evidence, ...] | None:
    if rule.said:
        return () if snapshot.said.intersection(rule.said) else None
    met = tuple(e for c in rule.conditions if (e := _met(c, snapshot, thresholds)) is not None)
    if len(met) < rule.needed or not _together(rule, met):
        return None
    return met


def _together(rule: Rule, met: Iterable[Evidence]) -> bool:
    if rule.within_minutes is None:
        return True
    times = [evidence.time for evidence in met]
    return max(times) - min(times) <= timedelta(minutes=rule.within_minutes)


def _met(condition: Condition, snapshot: Snapshot, thresholds: Thresholds) -> Evidence | None:
    value = snapshot.values.get(condition.metric)
    baseline = snapshot.baselines.get(condition.metric)
    if value is None or _unusable(condition.metric, value, snapshot, thresholds) is not None:
        return None
    if not _compare(condition, value.value, baseline):
        return None
    return Evidence(
        metric=condition.metric,
        value=value.value,
        unit=thresholds.metrics[condition.metric].unit,
        time=value.time,
        comparison=condition.comparison,
        threshold=condition.threshold,
        baseline=baseline.mean if baseline and condition.comparison in NEEDS_BASELINE else None,
        derived=value.derived,
    )


def _compare(condition: Condition, value: float, baseline: Baseline | None) -> bool:
    threshold = condition.threshold
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
    usable = [m for m in usable if _unusable(m, snapshot.values[m], snapshot, thresholds) is None]
    if not usable:
        return "there is no fresh value that a rule could judge"
    return "no rule holds for " + ", ".join(thresholds.metrics[m].name for m in thresholds.metrics if m in usable)
