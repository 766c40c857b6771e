"""Deployments and StatefulSets at each stage of their life, as their controllers report it: ready, and still rolling?

The sequences are those that kube-controller-manager 1.36 writes; it leaves out numbers that are zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren_operator.api.observed import WorkloadSeen, see
from tests.unit.operator.core.objects import deployment, stateful_set

Stage = tuple[dict[str, Any], bool, bool]
"""The object, whether it rolls, whether it is ready."""


def seen(workload: Mapping[str, Any]) -> WorkloadSeen:
    detail = see(str(workload["kind"]), workload).detail
    assert isinstance(detail, WorkloadSeen)
    return detail


def at(gen: int, wanted: int, /, **status: Any) -> dict[str, Any]:
    return deployment(gen, wanted, **status)


INSTALL: Mapping[str, Stage] = {
    "made": (at(1, 2), True, False),
    "seen by its controller": (at(1, 2, observedGeneration=1), False, False),
    "pods exist": (
        at(1, 2, observedGeneration=1, replicas=2, updatedReplicas=2, unavailableReplicas=2),
        False,
        False,
    ),
    "one is ready": (
        at(1, 2, observedGeneration=1, replicas=2, updatedReplicas=2, readyReplicas=1, availableReplicas=1),
        False,
        False,
    ),
    "all are": (
        at(1, 2, observedGeneration=1, replicas=2, updatedReplicas=2, readyReplicas=2, availableReplicas=2),
        False,
        True,
    ),
}

ROLL_OUT: Mapping[str, Stage] = {
    "a new template": (at(2, 2, observedGeneration=1, replicas=2, updatedReplicas=2, readyReplicas=2), True, False),
    "seen, no new pod yet": (at(2, 2, observedGeneration=2, replicas=2, readyReplicas=2), True, False),
    "a surge pod": (at(2, 2, observedGeneration=2, replicas=3, updatedReplicas=1, readyReplicas=2), True, False),
    "it is ready": (at(2, 2, observedGeneration=2, replicas=3, updatedReplicas=1, readyReplicas=3), True, False),
    "one of two replaced": (
        at(2, 2, observedGeneration=2, replicas=2, updatedReplicas=1, readyReplicas=2),
        True,
        False,
    ),
    "the second surge pod": (
        at(2, 2, observedGeneration=2, replicas=3, updatedReplicas=2, readyReplicas=2),
        True,
        False,
    ),
    "the last old one": (at(2, 2, observedGeneration=2, replicas=3, updatedReplicas=2, readyReplicas=3), True, False),
    "done": (at(2, 2, observedGeneration=2, replicas=2, updatedReplicas=2, readyReplicas=2), False, True),
}

STUCK: Mapping[str, Stage] = {
    "a new pod that cannot start, the old ones serve": (
        at(3, 2, observedGeneration=3, replicas=3, updatedReplicas=1, readyReplicas=2, unavailableReplicas=1),
        True,
        False,
    ),
    "a pod was deleted": (at(2, 2, observedGeneration=2, replicas=1, updatedReplicas=1, readyReplicas=1), False, False),
    "its successor starts": (
        at(2, 2, observedGeneration=2, replicas=2, updatedReplicas=2, readyReplicas=1),
        False,
        False,
    ),
    "all pods were deleted": (at(2, 2, observedGeneration=2), False, False),
}

SCALE: Mapping[str, Stage] = {
    "scaled up": (at(2, 3, observedGeneration=2, replicas=2, updatedReplicas=2, readyReplicas=2), False, False),
    "scaled down": (at(3, 1, observedGeneration=3, replicas=2, updatedReplicas=2, readyReplicas=2), True, False),
    "put to sleep": (at(4, 0, observedGeneration=4, replicas=2, updatedReplicas=2, readyReplicas=2), True, False),
    "asleep": (at(4, 0, observedGeneration=4), False, True),
    "woken": (at(5, 2, observedGeneration=5), False, False),
}


@pytest.mark.parametrize("stages", [INSTALL, ROLL_OUT, STUCK, SCALE], ids=["install", "roll-out", "stuck", "scale"])
def test_a_deployment_at_each_stage(stages: Mapping[str, Stage]) -> None:
    for name, (workload, rolling, ready) in stages.items():
        assert (seen(workload).rolling, seen(workload).is_ready) == (rolling, ready), name


def of(gen: int, wanted: int, current: str, update: str, /, **status: Any) -> dict[str, Any]:
    return stateful_set(gen, wanted, currentRevision=current, updateRevision=update, **status)


SET_INSTALL: Mapping[str, Stage] = {
    "made": (stateful_set(1, 1), True, False),
    "seen by its controller": (of(1, 1, "a", "a", observedGeneration=1), False, False),
    "its pod starts": (
        of(1, 1, "a", "a", observedGeneration=1, replicas=1, currentReplicas=1, updatedReplicas=1),
        False,
        False,
    ),
    "its pod is ready": (
        of(1, 1, "a", "a", observedGeneration=1, replicas=1, currentReplicas=1, updatedReplicas=1, readyReplicas=1),
        False,
        True,
    ),
}

SET_ROLL_OUT: Mapping[str, Stage] = {
    "a new template": (of(2, 3, "a", "a", observedGeneration=1, replicas=3, readyReplicas=3), True, False),
    "seen": (of(2, 3, "a", "b", observedGeneration=2, replicas=3, currentReplicas=3, readyReplicas=3), True, False),
    "the last is replaced": (
        of(2, 3, "a", "b", observedGeneration=2, replicas=3, currentReplicas=2, updatedReplicas=1, readyReplicas=2),
        True,
        False,
    ),
    "all are, the first not ready": (
        of(2, 3, "a", "b", observedGeneration=2, replicas=3, updatedReplicas=3, readyReplicas=2),
        True,
        False,
    ),
    "done, revisions still to be noted": (
        of(2, 3, "a", "b", observedGeneration=2, replicas=3, updatedReplicas=3, readyReplicas=3),
        True,
        False,
    ),
    "done": (
        of(2, 3, "b", "b", observedGeneration=2, replicas=3, currentReplicas=3, updatedReplicas=3, readyReplicas=3),
        False,
        True,
    ),
    "done, without updatedReplicas": (
        of(2, 3, "b", "b", observedGeneration=2, replicas=3, currentReplicas=3, readyReplicas=3),
        False,
        True,
    ),
}

SET_LOSSES: Mapping[str, Stage] = {
    "a pod was deleted": (
        of(2, 3, "b", "b", observedGeneration=2, replicas=2, currentReplicas=2, updatedReplicas=2, readyReplicas=2),
        False,
        False,
    ),
    "put to sleep": (of(3, 0, "b", "b", observedGeneration=3, replicas=1, readyReplicas=1), True, False),
    "asleep": (of(3, 0, "b", "b", observedGeneration=3), False, True),
    "made again around orphaned pods": (stateful_set(1, 3), True, False),
    "has adopted them": (
        of(1, 3, "b", "b", observedGeneration=1, replicas=3, currentReplicas=3, readyReplicas=3),
        False,
        True,
    ),
}


@pytest.mark.parametrize(
    "stages", [SET_INSTALL, SET_ROLL_OUT, SET_LOSSES], ids=["install", "roll-out", "losses and sleep"]
)
def test_a_stateful_set_at_each_stage(stages: Mapping[str, Stage]) -> None:
    for name, (workload, rolling, ready) in stages.items():
        assert (seen(workload).rolling, seen(workload).is_ready) == (rolling, ready), name


def test_without_a_number_there_is_one_replica() -> None:
    assert seen(deployment(1, None)).replicas == 1


counts = st.integers(0, 5)


@given(counts, counts, counts, counts, st.integers(0, 3), st.sampled_from(["a", "b"]))
def test_a_workload_is_never_ready_with_fewer_pods_than_wanted_or_unseen_by_its_controller(
    replicas: int, current: int, updated: int, ready: int, observed: int, update: str
) -> None:
    status = {"replicas": current, "updatedReplicas": updated, "readyReplicas": ready, "observedGeneration": observed}
    for found in (seen(at(2, replicas, **status)), seen(of(2, replicas, "a", update, **status))):
        if found.is_ready:
            assert ready >= replicas
            assert observed >= 2
            assert not found.rolling
