"""A mode is left for another one with time and reason enough; it neither flaps nor depends on how often one asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren.baselines import LEAST_DAYS, LONG, baseline
from auren.modes import DEFAULTS, Baseline, Mode, Snapshot, Value, overridden
from auren.modes.machine import INITIAL, ModeState, step
from auren.modes.signals import anomalies, fall, pattern_confidence, usual_bounds, variation
from auren.modes.thresholds import Condition, Rule
from tests.unit.services.test_baselines import TODAY, days_of
from tests.unit.services.test_modes import EDGES, FALLING, alone, beyond
from tests.unit.services.test_modes import USUAL as EDGE_USUAL
from tests.unit.services.test_modes import at as edge_of

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SWITCHING = DEFAULTS.switching


USUAL = {metric: Baseline(64, 28) for metric in ("hrv_rmssd", "heart_rate", "resting_heart_rate")}


def at(seconds: float, **values: float) -> Snapshot:
    """Values of this moment, of a person without baselines."""
    now = START + timedelta(seconds=seconds)
    return Snapshot(values={metric: Value(value, now) for metric, value in values.items()}, now=now)


def after(*snapshots: Snapshot, state: ModeState = INITIAL) -> tuple[ModeState, list[Mode]]:
    """The state at the end, and the modes that it switched to."""
    switched = []
    for snapshot in snapshots:
        state, decision = step(state, snapshot)
        if decision is not None:
            switched.append(decision.mode)
    return state, switched


def test_the_first_switch_waits_for_nothing() -> None:
    state, switched = after(at(0, heart_rate=60), at(1, hrv_rmssd=20))
    assert switched == [Mode.REFLEX]
    assert state == ModeState(Mode.REFLEX, START + timedelta(seconds=1), "hrv-low", START + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("value", "mode", "seconds"),
    [
        ({"hrv_rmssd": 20.0}, Mode.REFLEX, 0.7 * SWITCHING.cooldown_seconds),
        ({}, Mode.BASELINE, SWITCHING.cooldown_seconds),
    ],
)
def test_the_next_one_waits_for_the_cooldown_an_urgent_one_less(
    value: dict[str, float], mode: Mode, seconds: float
) -> None:
    first = at(0, recovery_score=30)
    early, late = at(seconds - 0.001, **value), at(seconds, **value)
    assert after(first, early)[1] == [Mode.GUARDIAN]
    assert after(first, early, late)[1] == [Mode.GUARDIAN, mode]


def test_a_value_at_the_edge_does_not_flap() -> None:
    hours = range(0, 40 * 3600, 3600)
    around = [at(second, hrv_rmssd=24.9 if number % 2 else 25.1) for number, second in enumerate(hours)]
    assert after(*around)[1] == [Mode.REFLEX]


@pytest.mark.parametrize("share", [0.999, 1.001])
def test_the_mode_is_left_behind_the_hysteresis(share: float) -> None:
    back = 25 * (1 + SWITCHING.hysteresis) * share
    _, switched = after(at(0, hrv_rmssd=24), at(4000, hrv_rmssd=back))
    assert switched == [Mode.REFLEX, Mode.BASELINE][: 2 if share > 1 else 1]


@pytest.mark.parametrize(("rule", "condition"), EDGES, ids=lambda part: getattr(part, "id", None))
def test_every_condition_is_left_behind_its_own_hysteresis(rule: Rule, condition: Condition) -> None:
    single = alone(Rule("single", rule.mode, conditions=(condition,)))
    threshold, falls = condition.threshold, condition.comparison in FALLING
    margin = threshold * (1 + SWITCHING.hysteresis if condition.comparison == "below" else 1 - SWITCHING.hysteresis)
    edge = edge_of(msgspec.structs.replace(condition, threshold=margin))
    step_back = 0.001 if falls else -0.001

    def modes(*values: float) -> list[Mode]:
        state, found = INITIAL, []
        for number, value in enumerate(values):
            now = START + timedelta(hours=number)
            snapshot = Snapshot(
                {condition.metric: Value(value, now)}, now, {condition.metric: Baseline(EDGE_USUAL, 28)}
            )
            state, _ = step(state, snapshot, single)
            found.append(state.mode)
        return found

    assert modes(beyond(condition), edge - step_back, edge + step_back) == [rule.mode, rule.mode, Mode.BASELINE]
    assert modes(edge - step_back) == [Mode.BASELINE]


def test_no_hysteresis_for_a_rule_that_led_to_another_mode_in_an_earlier_version() -> None:
    before = ModeState(Mode.GUARDIAN, START, "hrv-low")
    state, decision = step(before, at(1000, hrv_rmssd=25.5))
    assert decision is not None
    assert (state.mode, decision.rule, decision.evidence) == (Mode.BASELINE, None, ())


def test_what_is_too_old_to_be_sure_of_leads_nowhere() -> None:
    limit = timedelta(hours=DEFAULTS.metrics["recovery_score"].stale_after_hours)
    for age, mode in ((limit * 0.85, Mode.SENTINEL), (limit * 0.95, Mode.BASELINE)):
        # Derived counts 0.9, and just before the limit half of that.
        stress = {"stress": Value(0.82, START - age, derived=True)}
        assert after(Snapshot(values=stress, now=START))[0].mode is mode


def test_another_rule_of_the_same_mode_is_no_switch() -> None:
    state, switched = after(at(0, hrv_rmssd=20), at(1000, resting_heart_rate=120))
    assert switched == [Mode.REFLEX]
    assert (state.rule, state.since) == ("resting-heart-rate-high", START)


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "hrv_rmssd": st.floats(10, 100),
        "resting_heart_rate": st.floats(40, 120),
        "recovery_score": st.floats(0, 100),
        "heart_rate": st.floats(40, 190),
    },
)


@given(st.lists(st.tuples(st.integers(0, 900), VALUES), max_size=20))
def test_asking_again_at_the_same_moment_changes_nothing(steps: list[tuple[int, dict[str, float]]]) -> None:
    state, seconds = INITIAL, 0
    for pause, values in steps:
        seconds += pause
        snapshot = msgspec.structs.replace(at(seconds, **values), baselines=USUAL)
        state, decision = step(state, snapshot)
        again, nothing = step(state, snapshot)
        assert nothing is None
        assert again == state
        if decision is not None:
            assert state.mode is decision.mode
            assert decision.confidence >= SWITCHING.least_confidence or decision.rule is None
        assert msgspec.json.decode(msgspec.json.encode(state), type=ModeState) == state


# Signals


def test_a_fall_is_a_share_of_the_value_before() -> None:
    assert fall(30, 60) == 0.5
    assert fall(60, 60) is None
    assert fall(60, None) is None
    assert fall(60, 0) is None


def test_anomalies_are_counted_where_the_usual_is_known() -> None:
    days = days_of({n: [50_000_000 + 1_000_000 * (n % 3)] for n in range(1, 29)})
    usual = baseline("resting_heart_rate", days, TODAY, LONG)
    assert usual is not None
    limit, bounds = 3 * 1.4826 * usual.mad, usual_bounds({"resting_heart_rate": usual, "heart_rate": usual})
    assert bounds.keys() == {"resting_heart_rate"}

    def counted(off: float, age: timedelta = timedelta()) -> int:
        values = {"resting_heart_rate": Value(usual.median + off, START - age), "spo2": Value(20, START)}
        return anomalies(values, bounds, START - timedelta(hours=36))

    assert [counted(off) for off in (limit - 0.01, limit + 0.01, 0.01 - limit, -limit - 0.01)] == [0, 1, 0, 1]
    assert counted(limit + 1, timedelta(hours=36)) == 0


def test_nothing_is_far_off_where_the_usual_is_not_trusted_or_never_differs() -> None:
    for days in ({n: [50_000_000] for n in range(1, 29)}, {n: [50_000_000 + n] for n in range(1, LEAST_DAYS[LONG])}):
        usual = baseline("spo2", days_of(days), TODAY, LONG)
        assert usual is not None
        assert usual_bounds({"spo2": usual}) == {}


def test_variation_and_patterns_are_told_only_where_they_are() -> None:
    assert variation(None) is None
    assert pattern_confidence([]) is None
    assert pattern_confidence([("notice", 0.9)]) is None
    assert pattern_confidence([("high", 0.3), ("high", 0.7), ("notice", 0.9)]) == 0.7


# Overrides


def test_a_stack_may_set_thresholds_and_the_cooldown() -> None:
    found = overridden('{"rules": {"hrv-low": {"hrv_rmssd": {"below": 22}}}, "switching": {"cooldown_seconds": 60}}')
    (rule,) = [rule for rule in found.rules if rule.id == "hrv-low"]
    assert rule.conditions == (Condition("hrv_rmssd", "below", 22),)
    assert found.switching.cooldown_seconds == 60
    assert found.switching.hysteresis == SWITCHING.hysteresis
    assert overridden("") is DEFAULTS
    assert [rule.id for rule in found.rules] == [rule.id for rule in DEFAULTS.rules]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "truncated"),
        ('{"rules": {"hrv-low": {"hrv_rmssd": {"above": 22}}}}', "no condition hrv_rmssd above in a rule hrv-low"),
        ('{"rules": {"hrv": {"hrv_rmssd": {"below": 22}}}}', "there are .*hrv-low: hrv_rmssd below"),
        ('{"rules": {"hrv-low": {"hrv_rmssd": {"below": -1}}}}', "> 0"),
        ('{"switching": {"hysteresis": 7}}', "hysteresis"),
        ('{"switching": {"patience": 7}}', "patience"),
    ],
)
def test_a_wrong_name_or_value_is_told_where_it_is(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        overridden(text)
