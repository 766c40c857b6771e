"""Each mode is entered just beyond its thresholds and not at them; the cases come from the file of thresholds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest

from auren.events import METRICS
from auren.modes import DEFAULTS, LARGEST_SKEW, Baseline, Decision, Mode, Snapshot, Value, decide, derived
from auren.modes.engine import number, sentence
from auren.modes.thresholds import NEEDS_BASELINE, Condition, Cue, Rule, Thresholds, parse

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
USUAL = 64.0
"""Every metric's baseline in these tests: a power of two, so that products with the thresholds stay exact."""

FALLING = {"below", "drop", "drop_ratio"}
"""Comparisons that a low value meets."""

MEASURED_METRICS = [name for name, metric in DEFAULTS.metrics.items() if not metric.signal]
MEASURED = [rule for rule in DEFAULTS.rules if rule.conditions]


def at(condition: Condition) -> float:
    """The value at which a condition is just not met."""
    match condition.comparison:
        case "below" | "above":
            return condition.threshold
        case "drop":
            return USUAL - condition.threshold
        case "rise":
            return USUAL + condition.threshold
        case "drop_ratio":
            return USUAL - condition.threshold * USUAL
        case "times_baseline":
            return condition.threshold * USUAL


def beyond(condition: Condition) -> float:
    """A value at which it is just met."""
    falls = condition.comparison in FALLING
    return at(condition) + (-0.01 if falls else 0.01)


def alone(rule: Rule) -> Thresholds:
    """The file with one rule only, so that no rule above it decides."""
    return Thresholds(metrics=DEFAULTS.metrics, rules=(rule,))


def judge(rule: Rule, values: dict[str, float]) -> Decision:
    snapshot = Snapshot(
        values={metric: Value(value, NOW) for metric, value in values.items()},
        now=NOW,
        baselines={metric: Baseline(USUAL, 14) for metric in DEFAULTS.metrics},
    )
    return decide(snapshot, alone(rule))


def met_by(conditions: tuple[Condition, ...]) -> dict[str, float]:
    """Values that just meet all conditions; where two concern one metric, the value that meets both."""
    values: dict[str, float] = {}
    for condition in conditions:
        known = values.get(condition.metric, beyond(condition))
        falls = condition.comparison in FALLING
        values[condition.metric] = min(known, beyond(condition)) if falls else max(known, beyond(condition))
    return values


EDGES = [(rule, condition) for rule in MEASURED for condition in rule.conditions]


@pytest.mark.parametrize("rule", MEASURED, ids=lambda rule: rule.id)
def test_a_rule_holds_when_enough_conditions_are_met(rule: Rule) -> None:
    for chosen in combinations(rule.conditions, rule.needed):
        decision = judge(rule, met_by(chosen))
        assert (decision.mode, decision.rule) == (rule.mode, rule.id)
        assert {found.metric for found in decision.evidence} >= {condition.metric for condition in chosen}
        assert decision.reason


@pytest.mark.parametrize(("rule", "condition"), EDGES, ids=lambda part: getattr(part, "id", None))
def test_a_value_at_the_threshold_does_not_meet_it(rule: Rule, condition: Condition) -> None:
    single = Rule(id="single", mode=rule.mode, conditions=(condition,))
    assert judge(single, {condition.metric: at(condition)}).mode is Mode.BASELINE
    assert judge(single, {condition.metric: beyond(condition)}).mode is rule.mode


@pytest.mark.parametrize("rule", [rule for rule in MEASURED if rule.needed > 1], ids=lambda rule: rule.id)
def test_one_condition_fewer_is_not_enough(rule: Rule) -> None:
    for chosen in combinations(rule.conditions, rule.needed - 1):
        values = met_by(chosen)
        still_met = [c for c in rule.conditions if c.metric in values and c not in chosen]
        if not still_met:
            assert judge(rule, values).mode is Mode.BASELINE


@pytest.mark.parametrize("rule", [rule for rule in MEASURED if rule.within_minutes], ids=lambda rule: rule.id)
def test_values_far_apart_do_not_contradict_each_other(rule: Rule) -> None:
    values = met_by(rule.conditions)
    assert rule.within_minutes is not None
    for apart, mode in ((rule.within_minutes, rule.mode), (rule.within_minutes + 0.1, Mode.BASELINE)):
        times = {metric: NOW - timedelta(minutes=apart * index) for index, metric in enumerate(sorted(values))}
        snapshot = Snapshot(
            values={metric: Value(value, times[metric]) for metric, value in values.items()},
            now=NOW,
            baselines={metric: Baseline(USUAL, 14) for metric in values},
        )
        assert decide(snapshot, alone(rule)).mode is mode


@pytest.mark.parametrize("metric", MEASURED_METRICS)
def test_a_value_counts_until_it_is_stale(metric: str) -> None:
    limit = timedelta(hours=DEFAULTS.metrics[metric].stale_after_hours)
    rule = Rule("any", Mode.REFLEX, conditions=(Condition(metric, "above", 1),))
    for age, why in ((limit, None), (limit + timedelta(seconds=1), "stale"), (-LARGEST_SKEW, None)):
        decision = decide(Snapshot({metric: Value(2, NOW - age)}, NOW), alone(rule))
        assert decision.mode is (Mode.BASELINE if why else Mode.REFLEX)
        assert why in {None, *(off.why for off in decision.off if off.metric == metric)}
    late = decide(Snapshot({metric: Value(2, NOW + LARGEST_SKEW + timedelta(seconds=1))}, NOW), alone(rule))
    assert late.mode is Mode.BASELINE
    assert "future" in {off.why for off in late.off if off.metric == metric}


@pytest.mark.parametrize(("rule", "condition"), EDGES, ids=lambda part: getattr(part, "id", None))
def test_what_is_unknown_stale_or_from_the_future_meets_nothing(rule: Rule, condition: Condition) -> None:
    single = alone(Rule(id="single", mode=rule.mode, conditions=(condition,)))
    limit = timedelta(hours=DEFAULTS.metrics[condition.metric].stale_after_hours)
    moment, metric = timedelta(seconds=1), condition.metric
    usual = {metric: Baseline(USUAL, 28)}

    def mode(age: timedelta, baselines: dict[str, Baseline]) -> Mode:
        return decide(Snapshot({metric: Value(beyond(condition), NOW - age)}, NOW, baselines), single).mode

    assert mode(limit, usual) is rule.mode
    assert mode(-LARGEST_SKEW, usual) is rule.mode
    assert mode(limit + moment, usual) is Mode.BASELINE
    assert mode(-LARGEST_SKEW - moment, usual) is Mode.BASELINE
    relative = condition.comparison in NEEDS_BASELINE
    assert mode(timedelta(), {}) is (Mode.BASELINE if relative else rule.mode)
    assert decide(Snapshot({}, NOW, usual), single).mode is Mode.BASELINE


def test_without_a_baseline_relative_rules_are_off_and_said_to_be() -> None:
    decision = decide(Snapshot({"hrv_rmssd": Value(38, NOW)}, NOW))
    assert decision.mode is Mode.BASELINE
    assert [off.why for off in decision.off if off.metric == "hrv_rmssd"] == ["no-baseline"]
    known = decide(Snapshot({"hrv_rmssd": Value(38, NOW)}, NOW, {"hrv_rmssd": Baseline(60, 14)}))
    assert known.mode is Mode.REFLEX
    assert "38 ms" in known.reason
    assert "60 ms" in known.reason


def test_sdnn_is_never_judged_by_absolute_values() -> None:
    assert decide(Snapshot({"hrv_sdnn": Value(5, NOW)}, NOW)).mode is Mode.BASELINE
    absolute = {c.metric for rule in DEFAULTS.rules for c in rule.conditions if c.comparison in {"below", "above"}}
    assert "hrv_sdnn" not in absolute


def test_stress_is_derived_from_recovery_and_marked() -> None:
    values = derived({"recovery_score": Value(10, NOW)})
    assert values["stress"] == Value(0.9, NOW, derived=True)
    assert derived({"heart_rate": Value(60, NOW)}) == {"heart_rate": Value(60, NOW)}
    decision = decide(Snapshot(values, NOW))
    assert decision.rule == "stress-very-high"
    assert decision.evidence[0].derived
    assert "derived" in decision.reason


def test_the_first_rule_that_holds_decides() -> None:
    values = {"hrv_rmssd": Value(15, NOW), "heart_rate": Value(45, NOW), "recovery_score": Value(30, NOW)}
    assert decide(Snapshot(values, NOW)).rule == "contradiction-low"
    del values["heart_rate"]
    assert decide(Snapshot(values, NOW)).rule == "hrv-low"
    del values["hrv_rmssd"]
    assert decide(Snapshot(values, NOW)).rule == "recovery-low"


def test_a_greeting_is_company_unless_the_body_says_more() -> None:
    greeting: frozenset[Cue] = frozenset({"greeting"})
    assert decide(Snapshot({}, NOW, said=greeting)).mode is Mode.COMPANION
    tired = Snapshot({"recovery_score": Value(30, NOW)}, NOW, said=greeting)
    assert decide(tired).mode is Mode.GUARDIAN


def test_nothing_known_is_baseline_and_every_metric_is_named_absent() -> None:
    decision = decide(Snapshot({}, NOW))
    assert (decision.mode, decision.rule, decision.evidence) == (Mode.BASELINE, None, ())
    assert [off.metric for off in decision.off] == MEASURED_METRICS


def test_the_file_uses_the_units_of_the_events() -> None:
    measured = set(MEASURED_METRICS) - {"stress"}
    assert {metric: DEFAULTS.metrics[metric].unit for metric in measured} == {m: METRICS[m].unit for m in measured}


@pytest.mark.parametrize("condition", [c for _, c in EDGES], ids=str)
def test_evidence_is_a_sentence_with_its_numbers(condition: Condition) -> None:
    single = Rule(id="single", mode=Mode.REFLEX, conditions=(condition,))
    (evidence,) = judge(single, {condition.metric: beyond(condition)}).evidence
    text = sentence(evidence)
    assert number(evidence.value) in text
    assert (evidence.baseline is not None) == ("usual" in text)


FILE = """
[metrics.spo2]
name = "oxygen"
unit = "%"
shown_unit = "%"
source = "watch"
stale_after_hours = 1
absent = "off"
[[rules]]
id = "low"
mode = "reflex"
"""


LOW = 'conditions = [{ metric = "spo2", is = "below", threshold = 1 }]\n'


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("", "either conditions or said"),
        ('conditions = [{ metric = "pulse", is = "below", threshold = 1 }]', "pulse"),
        (LOW + '[[rules]]\nid = "low"\nmode = "guardian"\n' + LOW, "same id"),
        ('at_least = 2\nconditions = [{ metric = "spo2", is = "below", threshold = 1 }]', "at_least"),
        ('conditions = [{ metric = "spo2", is = "under", threshold = 1 }]', "under"),
        ('conditions = [{ metric = "spo2", is = "below", treshold = 1 }]', "treshold"),
        ('conditions = [{ metric = "spo2", is = "below", threshold = 0 }]', "> 0"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(rest: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(FILE + rest)
