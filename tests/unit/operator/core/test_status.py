"""The whole status: rows, conditions, times, and what a stack says that is not worked on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auren_operator.api.observed import JobSeen, PodSeen
from auren_operator.api.reasons import Reason
from auren_operator.status.rows import Claim, Observed, Trouble
from auren_operator.status.stack import Round, refused, status_of
from tests.unit.operator.core.test_order import workload

FIRST, LATER = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"
NAMES = ("kafka", "timescaledb", "redis", "chromadb", "neuros-advanced", "biometric-production", "biometric-bridge")
VOLUME = "data-demo-redis-0"


def up(name: str, **rest: Any) -> Observed:
    return Observed(name, True, workload=rest.pop("workload", workload()), version="1", **rest)


def found(*changed: Observed, **rest: Any) -> Round:
    """A round over a stack that is up, but for these components."""
    other = {seen.name: seen for seen in changed}
    rows = tuple(other.get(name, up(name)) for name in NAMES)
    return Round(
        rest.pop("generation", 1), "1.2.3", rest.pop("hibernated", False), rows, {"bridge": "http://b"}, **rest
    )


def said(round_: Round, previous: dict[str, Any] | None = None, now: str = FIRST) -> dict[str, Any]:
    return status_of(round_, previous or {}, now).as_dict()


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    one: dict[str, Any] = next(c for c in status["conditions"] if c["type"] == kind)
    return one


def flags(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], str(c["reason"])) for c in status["conditions"]}


def row(status: dict[str, Any], name: str) -> dict[str, Any]:
    one: dict[str, Any] = next(r for r in status["components"] if r["name"] == name)
    return one


READY = said(found())
WAITING = up("biometric-bridge", workload=None, waiting_for=("kafka",))
STARTING = up("kafka", workload=workload(1, 0))
BROKEN = up("kafka", troubles=(Trouble("kafka", Reason.APPLY_FAILED, "no"),))
SICK = up("neuros-advanced", workload=workload(1, 0), pods=(("p", PodSeen("n", False, "", "OOMKilled", "m")),))
HELD = up("neuros-advanced", held=("migrations",))


def test_a_stack_that_is_up_says_so() -> None:
    assert flags(READY) == {
        "Ready": ("True", "AllReady"),
        "Progressing": ("False", "UpToDate"),
        "Degraded": ("False", "NotDegraded"),
        "SpecValid": ("True", "SpecValid"),
        "Paused": ("False", "NotPaused"),
    }
    assert READY["componentsReady"] == "7/7"
    assert (READY["observedGeneration"], READY["version"]) == (1, "1.2.3")
    assert READY["endpoints"] == {"bridge": "http://b"}
    assert row(READY, "kafka") == {
        "name": "kafka",
        "state": "Ready",
        "ready": "1/1",
        "reason": "Running",
        "since": FIRST,
        "version": "1",
    }


@pytest.mark.parametrize(
    ("round_", "previous", "expected"),
    [
        (found(STARTING, WAITING), {}, {"Ready": "ComponentsNotReady", "Progressing": "Installing"}),
        (
            found(STARTING),
            READY,
            {"Ready": "ComponentsNotReady", "Progressing": "Updating", "Degraded": "StoreNotReady"},
        ),
        (found(SICK), READY, {"Ready": "ComponentFailed", "Degraded": "ComponentFailed"}),
        (found(BROKEN, SICK), READY, {"Ready": "ComponentFailed", "Degraded": "StoreNotReady"}),
        (found(HELD), READY, {"Ready": "AllReady", "Progressing": "Updating", "Degraded": "NotDegraded"}),
        (
            found(up("neuros-advanced", workload=workload(2, 1), wanted_replicas=2)),
            READY,
            {"Ready": "ComponentsNotReady", "Degraded": "NotDegraded"},
        ),
        (
            found(up("neuros-advanced", workload=workload(1, 0))),
            READY,
            {"Ready": "ComponentsNotReady", "Degraded": "ComponentsNotReady"},
        ),
        (found(stack_troubles=("Secret demo-auth: no",)), READY, {"Ready": "ApplyFailed"}),
    ],
)
def test_conditions_by_what_is_observed_and_what_was(
    round_: Round, previous: dict[str, Any], expected: dict[str, str]
) -> None:
    reasons = {kind: reason for kind, (_, reason) in flags(said(round_, previous)).items()}
    assert {kind: reasons[kind] for kind in expected} == expected


def test_a_stack_that_installs_is_not_degraded_until_something_breaks() -> None:
    installing = said(found(STARTING, WAITING))
    assert flags(installing)["Degraded"] == ("False", "NotDegraded")
    assert flags(said(found(SICK, WAITING), installing))["Degraded"][0] == "True"


def test_a_condition_names_the_components_and_what_they_say() -> None:
    message = condition(said(found(BROKEN, WAITING)), "Ready")["message"]
    assert message == "kafka: ApplyFailed (no)"
    message = condition(said(found(STARTING, WAITING)), "Ready")["message"]
    assert "kafka: Starting" in message
    assert "biometric-bridge: WaitingForComponents (waits for kafka)" in message


def test_rows_that_are_switched_off_do_not_count() -> None:
    off = Observed("neuros-advanced", False, version="1")
    status = said(found(off))
    assert status["componentsReady"] == "6/6"
    assert flags(status)["Ready"][0] == "True"
    assert row(status, "neuros-advanced")["ready"] == "0/0"
    assert "version" not in row(status, "neuros-advanced")


def test_times_are_of_the_last_change_and_not_of_the_last_look() -> None:
    again = said(found(), READY, LATER)
    assert again == READY
    broken = said(found(BROKEN), READY, LATER)
    assert condition(broken, "Ready")["lastTransitionTime"] == LATER
    assert condition(broken, "Paused")["lastTransitionTime"] == FIRST
    assert row(broken, "kafka")["since"] == LATER
    assert row(broken, "redis")["since"] == FIRST


def test_a_new_generation_is_noted_without_moving_times() -> None:
    next_one = said(found(generation=2), READY, LATER)
    assert next_one["observedGeneration"] == 2
    assert all(c["observedGeneration"] == 2 and c["lastTransitionTime"] == FIRST for c in next_one["conditions"])


def test_what_was_healed_is_counted_over_time_and_the_last_is_named() -> None:
    once = said(found(healed=(("Service", "a"), ("Deployment", "b"))), READY, LATER)
    assert once["healed"] == {"count": 2, "last": {"kind": "Deployment", "name": "b", "time": LATER}}
    twice = said(found(healed=(("Secret", "c"),)), once, LATER)
    assert twice["healed"]["count"] == 3
    assert said(found(), twice, LATER)["healed"] == twice["healed"]


def test_a_hibernated_stack_is_not_ready_and_not_degraded() -> None:
    asleep = tuple(up(name, workload=workload(0)) for name in NAMES)
    status = said(found(*asleep, hibernated=True), READY, LATER)
    assert flags(status)["Ready"] == ("False", "Hibernated")
    assert flags(status)["Degraded"][0] == "False"
    assert {r["state"] for r in status["components"]} == {"Hibernated"}
    assert {r["ready"] for r in status["components"]} == {"0/0"}
    half = (*asleep[4:], *(up(name) for name in NAMES[:4]))
    assert flags(said(found(*half, hibernated=True), READY))["Ready"] == ("False", "Hibernating")


def test_a_waking_stack_is_not_ready_before_its_pods_are() -> None:
    waking = tuple(up(name, workload=workload(0), held=("kafka",)) for name in NAMES if name != "kafka")
    status = said(found(*waking, STARTING), READY, LATER)
    assert flags(status)["Ready"][0] == "False"
    assert status["componentsReady"] == "0/7"


# -- volumes -------------------------------------------------------------------------------------------------------


def redis(uid: str | None, *, ready: int = 1, deleting: bool = False, unfilled: tuple[str, ...] = ()) -> Round:
    claims = {VOLUME: Claim(uid, deleting=deleting, bound=True)} if uid else {}
    return found(up("redis", workload=workload(1, ready), claims=claims, unfilled=unfilled))


def test_a_lost_volume_shows_from_its_deletion_until_the_store_is_well_on_the_new_one() -> None:
    status = said(redis("v1"))
    assert row(status, "redis")["volumes"] == {VOLUME: "v1"}
    lost = {
        "the claim goes": redis("v1", deleting=True),
        "it is gone": redis(None, ready=0),
        "a new one is there": redis("v2", ready=0),
        "the store is up, its Job is not done": redis("v2", unfilled=("migrations",)),
    }
    for stage, round_ in lost.items():
        status = said(round_, status, LATER)
        assert row(status, "redis")["reason"] == "VolumeLost", stage
        assert flags(status)["Degraded"] == ("True", "StoreNotReady"), stage
    status = said(redis("v2"), status, LATER)
    assert row(status, "redis")["state"] == "Ready"
    assert row(status, "redis")["volumes"] == {VOLUME: "v2"}


def test_a_volume_lost_while_the_stack_sleeps_is_not_forgotten() -> None:
    before = said(redis("v1"))
    asleep = up("redis", workload=workload(0), claims={VOLUME: Claim("v2", deleting=False, bound=True)})
    status = said(found(asleep, hibernated=True), before, LATER)
    assert row(status, "redis")["reason"] == "VolumeLost"


def test_a_first_volume_is_no_loss() -> None:
    assert row(said(redis("v1"), said(found(up("redis", workload=workload(1, 0))))), "redis")["state"] == "Ready"


# -- stacks that are not worked on ---------------------------------------------------------------------------------


def test_an_invalid_spec_says_what_is_wrong_and_keeps_the_rest() -> None:
    status = refused("size: no", 2, READY, LATER)
    assert flags(status)["SpecValid"] == ("False", "SpecInvalid")
    assert flags(status)["Ready"] == ("False", "SpecInvalid")
    assert condition(status, "Ready")["message"] == "size: no"
    assert condition(status, "Ready")["lastTransitionTime"] == LATER
    assert condition(status, "Degraded")["observedGeneration"] == 1, "nobody looked at generation 2"
    assert status["components"] == READY["components"]
    assert status["observedGeneration"] == 2


def test_a_stack_that_was_invalid_from_the_start_is_not_ready() -> None:
    status = refused("size: no", 1, {}, FIRST)
    assert flags(status) == {"Ready": ("False", "SpecInvalid"), "SpecValid": ("False", "SpecInvalid")}


@pytest.mark.parametrize("previous", [{}, READY], ids=["new", "ready"])
def test_refusing_twice_changes_nothing(previous: dict[str, Any]) -> None:
    once = refused("why", 2, previous, FIRST)
    assert refused("why", 2, once, LATER) == once


def test_a_mended_spec_takes_the_word_back() -> None:
    invalid = refused("size: no", 2, READY, LATER)
    assert flags(said(found(generation=4), invalid)) == flags(READY)


def test_a_paused_stack_tells_what_it_sees() -> None:
    status = said(found(up("redis", workload=None, paused=True), paused=True), READY, LATER)
    assert flags(status)["Paused"] == ("True", "Paused")
    assert flags(status)["Ready"][0] == "False", "what is gone while nobody works is gone"
    assert "gone" in row(status, "redis")["message"]


# -- whatever is observed ------------------------------------------------------------------------------------------

workloads = st.one_of(
    st.none(),
    st.just(JobSeen(True, False, "")),
    st.builds(workload, st.integers(0, 2), st.integers(0, 2), rolling=st.booleans(), current=st.integers(0, 3)),
)
troubles = st.lists(st.just(Trouble("kafka", Reason.APPLY_FAILED, "no")), max_size=2).map(tuple)
needs = st.lists(st.sampled_from(["kafka", "migrations"]), max_size=2, unique=True).map(tuple)
claims = st.dictionaries(
    st.sampled_from([VOLUME, "data-demo-redis-1"]),
    st.builds(Claim, st.sampled_from(["v1", "v2"]), deleting=st.booleans(), bound=st.booleans()),
)
pods = st.lists(
    st.tuples(
        st.just("p"),
        st.builds(PodSeen, st.just("c"), st.booleans(), st.just(""), st.sampled_from(["", "OOMKilled"]), st.just("m")),
    ),
    max_size=2,
).map(tuple)
observed = st.builds(
    Observed,
    st.just("x"),
    st.booleans(),
    workload=workloads,
    wanted_replicas=st.integers(0, 2),
    pods=pods,
    claims=claims,
    troubles=troubles,
    waiting_for=needs,
    held=needs,
    unfilled=needs,
)
rounds = st.builds(
    lambda seen, hibernated: Round(
        1,
        "1",
        hibernated,
        tuple(
            Observed(
                name,
                one.enabled,
                "1",
                one.wanted_replicas,
                one.workload,
                one.pods,
                one.claims,
                one.troubles,
                one.waiting_for,
                one.held,
                notes=one.notes,
                unfilled=one.unfilled,
            )
            for name, one in zip(NAMES, seen, strict=False)
        ),
        {},
    ),
    st.lists(observed, min_size=1, max_size=3),
    st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(rounds, st.lists(rounds, max_size=2))
def test_looking_again_when_nothing_changed_changes_nothing(round_: Round, history: list[Round]) -> None:
    """Otherwise a well stack would be written to at each look, or would need another look to say what is true."""
    previous: dict[str, Any] = {}
    for earlier in history:
        previous = said(earlier, previous)
    once = said(round_, previous)
    assert said(round_, once, LATER) == once


@settings(max_examples=100, deadline=None)
@given(rounds, st.lists(rounds, max_size=2))
def test_conditions_never_contradict_the_rows(round_: Round, history: list[Round]) -> None:
    previous: dict[str, Any] = {}
    for earlier in history:
        previous = said(earlier, previous)
    status = said(round_, previous)
    states = [r["state"] for r in status["components"] if r["state"] != "Disabled"]
    ready = condition(status, "Ready")["status"] == "True"
    assert ready == (all(state == "Ready" for state in states) and not round_.hibernated)
    if "Failed" in states:
        assert condition(status, "Degraded")["status"] == "True"
    if ready:
        assert condition(status, "Degraded")["status"] == "False"
    assert status["componentsReady"] == f"{states.count('Ready')}/{len(states)}"
