"""The order of a stack: who starts after whom, what waits for what, and that nothing waits forever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auren_operator.api.observed import JobSeen, Seen, WorkloadSeen
from auren_operator.api.spec import Stack
from auren_operator.components import MODULES
from auren_operator.kube.view import ChildKey
from auren_operator.manifests.model import Facts
from auren_operator.reconcile.desired import Desired, Part, build_all
from auren_operator.reconcile.order import gates, is_ready
from tests.unit.operator.built import a_stack, settled

STORES = ("kafka", "timescaledb", "redis", "chromadb")
JOBS = ("migrations", "topics")
SERVICES = ("neuros-advanced", "biometric-production", "biometric-bridge")
ALONE = ("local-model",)
"""It needs nothing, and nothing needs it."""
ORDERED = (*STORES, *JOBS, *ALONE, *SERVICES)
LOCAL_MODEL = {"neuros": {"llm": {"mode": "local"}}}

Children = dict[ChildKey, Seen]


def desired_of(spec: Mapping[str, Any] | None = None) -> tuple[Stack, Desired]:
    stack = a_stack({**LOCAL_MODEL, **(spec or {})})
    return stack, build_all(stack, settled(stack))


def workload(wanted: int = 1, ready: int | None = None, *, rolling: bool = False, current: int | None = None) -> Any:
    up = wanted if ready is None else ready
    return WorkloadSeen(
        replicas=wanted,
        updated=wanted if current is None else current,
        ready=up,
        current=wanted if current is None else current,
        settled=not rolling,
        created_replicas=None,
        current_revision="",
        update_revision="",
    )


def seen_as(desired: Desired, details: Mapping[str, Any]) -> Children:
    """Children with these details, by component."""
    found = {}
    for name, detail in details.items():
        child = desired.parts[name].workload
        assert child is not None
        found[child.key] = Seen(
            kind=child.key.kind,
            namespace="people",
            name=child.key.name,
            uid=f"uid of {name}",
            stack="demo",
            version=1,
            deleting=False,
            owners=("uid-of-demo",),
            own="",
            ours=True,
            holds_replicas=True,
            stamp="",
            detail=detail,
        )
    return found


def all_up(desired: Desired) -> dict[str, Any]:
    return {name: JobSeen(True, False, "") if name in JOBS else workload() for name in ORDERED}


def test_stores_and_what_needs_nothing_start_at_once() -> None:
    stack, desired = desired_of()
    free = {name for name, gate in gates(stack, desired, {}).items() if not gate.waiting_for}
    assert free == {*STORES, *ALONE}


def test_a_job_waits_for_its_store_and_a_service_for_all_it_needs() -> None:
    stack, desired = desired_of()
    found = gates(stack, desired, seen_as(desired, {"kafka": workload(), "redis": workload()}))
    assert found["topics"].waiting_for == ()
    assert found["migrations"].waiting_for == ("timescaledb",)
    assert found["biometric-bridge"].waiting_for == ("timescaledb", "migrations", "topics")
    assert found["neuros-advanced"].waiting_for == ("timescaledb", "chromadb", "migrations", "topics")


def test_the_stack_itself_has_no_gate() -> None:
    stack, desired = desired_of()
    assert set(gates(stack, desired, {})) == set(ORDERED)


NOT_DONE: dict[str, Any] = {
    "missing": None,
    "without pods": workload(1, 0),
    "asleep": workload(0),
    "rolling": workload(1, 1, rolling=True),
    "an unfinished Job": JobSeen(False, False, ""),
    "a failed Job": JobSeen(False, True, "BackoffLimitExceeded"),
}


@pytest.mark.parametrize("detail", NOT_DONE.values(), ids=NOT_DONE)
def test_a_component_that_does_not_do_its_work_is_not_ready(detail: Any) -> None:
    _, desired = desired_of()
    name = "migrations" if isinstance(detail, JobSeen) else "redis"
    children = seen_as(desired, {name: detail} if detail else {})
    assert not is_ready(desired.parts[name], children)


def test_a_component_on_its_way_out_is_not_ready() -> None:
    _, desired = desired_of()
    children = {key: replace(seen, deleting=True) for key, seen in seen_as(desired, all_up(desired)).items()}
    assert not any(is_ready(part, children) for part in desired.parts.values())


def test_what_runs_is_not_held_from_an_update_by_stores_that_are_down() -> None:
    stack, desired = desired_of()
    details = all_up(desired) | {"timescaledb": workload(1, 0), "redis": workload(1, 0)}
    found = gates(stack, desired, seen_as(desired, details))
    assert found["neuros-advanced"].held_by == ()
    assert found["redis"].held_by == ()


@pytest.mark.parametrize("job", JOBS)
def test_an_update_of_a_service_waits_for_the_jobs_that_it_needs(job: str) -> None:
    stack, desired = desired_of()
    details = all_up(desired) | {job: JobSeen(False, False, "")}
    found = gates(stack, desired, seen_as(desired, details))
    assert all(found[name].held_by == (job,) for name in SERVICES)
    assert all(found[name].held_by == () for name in STORES)


def test_an_update_waits_for_whoever_is_rolling_but_not_for_itself() -> None:
    stack, desired = desired_of()
    details = all_up(desired) | {"kafka": workload(1, rolling=True)}
    found = gates(stack, desired, seen_as(desired, details))
    assert found["kafka"].held_by == ()
    assert all(found[name].held_by == ("kafka",) for name in (*STORES, *SERVICES) if name != "kafka")


def test_two_that_roll_and_are_stuck_can_both_be_mended() -> None:
    """Say, two restarted by hand on a full cluster: the smaller requests that would free them must not wait."""
    stack, desired = desired_of()
    stuck = workload(1, 1, rolling=True)
    found = gates(stack, desired, seen_as(desired, all_up(desired) | {"redis": stuck, "neuros-advanced": stuck}))
    assert found["redis"].held_by == ()
    assert found["neuros-advanced"].held_by == ()
    assert found["kafka"].held_by == ("neuros-advanced", "redis")


def test_a_hibernating_stack_puts_services_to_sleep_before_the_stores_they_use() -> None:
    stack, desired = desired_of({"hibernated": True})
    details = all_up(desired) | {"neuros-advanced": workload(0)}
    found = gates(stack, desired, seen_as(desired, details))
    assert all(found[name].held_by == () for name in SERVICES)
    assert found["kafka"].held_by == ("biometric-production", "biometric-bridge")
    assert found["chromadb"].held_by == (), "only NEUROS used it"


def test_a_service_that_still_has_pods_keeps_its_stores_awake() -> None:
    stack, desired = desired_of({"hibernated": True})
    details = all_up(desired) | {name: workload(0) for name in SERVICES} | {"biometric-bridge": workload(0, current=1)}
    found = gates(stack, desired, seen_as(desired, details))
    assert found["redis"].held_by == ("biometric-bridge",)
    assert found["chromadb"].held_by == ()


def test_no_job_starts_while_its_store_sleeps() -> None:
    stack, desired = desired_of({"hibernated": True})
    found = gates(stack, desired, seen_as(desired, {name: workload(0) for name in (*STORES, *SERVICES)}))
    assert found["migrations"].waiting_for == ("timescaledb",)
    assert found["topics"].waiting_for == ("kafka",)


def test_a_stack_made_asleep_makes_its_services_without_waiting() -> None:
    stack, desired = desired_of({"hibernated": True})
    found = gates(stack, desired, {})
    assert all(found[name].waiting_for == () for name in (*STORES, *SERVICES))


def test_a_waking_stack_wakes_stores_first_and_services_when_all_they_need_is_there() -> None:
    stack, desired = desired_of()
    asleep = {name: workload(0) for name in (*STORES, *SERVICES)}
    done = {name: JobSeen(True, False, "") for name in JOBS}
    found = gates(stack, desired, seen_as(desired, asleep | done))
    assert all(found[name].held_by == () for name in STORES)
    assert found["biometric-bridge"].held_by == ("kafka", "timescaledb", "redis")
    awake = asleep | done | {name: workload() for name in STORES}
    found = gates(stack, desired, seen_as(desired, awake))
    assert all(found[name].held_by == () for name in SERVICES)


def test_a_component_that_is_switched_off_holds_nobody() -> None:
    stack, desired = desired_of({"neuros": {"enabled": False}})
    details = {name: detail for name, detail in all_up(desired).items() if desired.parts[name].workload}
    assert "neuros-advanced" not in details
    found = gates(stack, desired, seen_as(desired, details))
    assert all(gate.waiting_for == gate.held_by == () for name, gate in found.items() if name != "neuros-advanced")


def test_a_component_whose_builder_failed_or_lacks_a_fact_is_not_ready() -> None:
    stack, desired = desired_of()
    children = seen_as(desired, all_up(desired))
    parts = {**desired.parts, "kafka": Part(desired.parts["kafka"].component, failure="KeyError: 'x'")}
    found = gates(stack, Desired(parts), children)
    assert "kafka" in found["biometric-bridge"].waiting_for
    withheld = build_all(stack, Facts())
    assert gates(stack, withheld, children)["biometric-bridge"].held_by == JOBS


details = st.one_of(
    st.none(),
    st.builds(
        workload,
        st.integers(0, 3),
        st.integers(0, 3),
        rolling=st.booleans(),
        current=st.integers(0, 4),
    ),
)
jobs = st.sampled_from([None, JobSeen(False, False, ""), JobSeen(True, False, ""), JobSeen(False, True, "why")])
states = st.fixed_dictionaries({name: jobs if name in JOBS else details for name in ORDERED})
ROUNDS = 25
_AWAKE, _ASLEEP = desired_of(), desired_of({"hibernated": True})


@given(states, st.booleans())
def test_whoever_waits_waits_for_something_that_it_needs_and_that_is_not_ready(
    state: dict[str, Any], hibernated: bool
) -> None:
    stack, desired = _ASLEEP if hibernated else _AWAKE
    children = seen_as(desired, {name: detail for name, detail in state.items() if detail is not None})
    for name, gate in gates(stack, desired, children).items():
        for need in gate.waiting_for:
            assert need in desired.parts[name].component.needs
            assert not is_ready(desired.parts[need], children)
        assert name not in gate.held_by


@given(states)
def test_nobody_holds_up_the_one_that_holds_it_up(state: dict[str, Any]) -> None:
    """Pods of what was put to sleep end by themselves: nobody has to let them."""
    rested = {name: _rested(detail) for name, detail in state.items() if detail is not None}
    for stack, desired in (_AWAKE, _ASLEEP):
        children = seen_as(desired, rested)
        found = gates(stack, desired, children)
        for name, gate in found.items():
            for other in gate.held_by:
                assert name not in found[other].held_by, (name, other)


def _rested(detail: Any) -> Any:
    return workload(0) if isinstance(detail, WorkloadSeen) and detail.replicas == 0 else detail


@settings(max_examples=60)
@given(states, st.booleans(), st.data())
def test_from_any_state_a_controller_that_does_its_work_brings_the_stack_to_rest(
    state: dict[str, Any], hibernated: bool, data: st.DataObject
) -> None:
    """Whatever is missing, asleep or half way: doing what the gates allow, one update at a time, ends as it shall."""
    stack, desired = _ASLEEP if hibernated else _AWAKE
    now = {name: detail for name, detail in state.items() if detail is not None}
    pending = set(
        data.draw(st.sets(st.sampled_from((*STORES, *ALONE, *SERVICES))))
    )  # templates that are wanted otherwise
    wanted = 0 if hibernated else 1
    for _ in range(ROUNDS):
        found = gates(stack, desired, seen_as(desired, now))
        updated = False
        for name, gate in found.items():
            detail = now.get(name)
            if detail is None:
                if not gate.waiting_for:
                    now[name] = JobSeen(False, False, "") if name in JOBS else workload(wanted, 0, rolling=True)
                    pending.discard(name)
            elif isinstance(detail, WorkloadSeen):
                differs = name in pending or (detail.replicas == 0) != hibernated
                if differs and not gate.held_by and not updated:
                    updated = True
                    pending.discard(name)
                    now[name] = workload(wanted, 0, rolling=True)
        now = {name: _worked_on(detail) for name, detail in now.items()}
    assert not pending
    assert all((now[name].replicas == 0) == hibernated for name in (*STORES, *ALONE, *SERVICES)), now
    if not hibernated:
        children = seen_as(desired, now)
        assert all(is_ready(desired.parts[name], children) for name in ORDERED), now


def _worked_on(detail: Any) -> Any:
    """What Kubernetes makes of a workload: its pods become ready, a Job completes (a failed one is remade)."""
    if isinstance(detail, JobSeen):
        return JobSeen(True, False, "")
    return workload(detail.replicas)


def test_every_component_with_a_workload_is_ordered() -> None:
    assert {m.COMPONENT.name for m in MODULES if m.COMPONENT.workload} == set(ORDERED)
