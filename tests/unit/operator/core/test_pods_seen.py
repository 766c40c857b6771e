"""What keeps a pod from running, in one reason and one sentence, from the status that the kubelet writes."""

from __future__ import annotations

from typing import Any

import pytest

from auren_operator.api.observed import PodSeen, see
from tests.unit.operator.core.objects import (
    NOT_READY,
    RUNNING,
    SCHEDULED,
    condition,
    container,
    pod,
    terminated,
    waiting,
)


def seen(**status: Any) -> PodSeen:
    detail = see("Pod", pod(**status)).detail
    assert isinstance(detail, PodSeen)
    return detail


def with_container(*containers: dict[str, Any], **status: Any) -> PodSeen:
    return seen(conditions=[SCHEDULED, NOT_READY], containerStatuses=list(containers), **status)


BACK_OFF = 'Back-off pulling image "redis:9": ErrImagePull: not found'

TROUBLES: dict[str, tuple[PodSeen, str, list[str]]] = {
    "an image that is not there": (
        with_container(container(waiting("ErrImagePull", "not found"))),
        "ErrImagePull",
        ["redis", "not found"],
    ),
    "and later": (
        with_container(container(waiting("ImagePullBackOff", BACK_OFF))),
        "ImagePullBackOff",
        ["container redis", "redis:9"],
    ),
    "a name that is none": (
        with_container(container(waiting("InvalidImageName"))),
        "InvalidImageName",
        ["container redis: InvalidImageName"],
    ),
    "a program that ends": (
        with_container(container(waiting("CrashLoopBackOff", "back-off 40s"), terminated(3))),
        "CrashLoopBackOff",
        ["back-off 40s", "exit code 3"],
    ),
    "a program that has just ended": (with_container(container(terminated(137))), "Error", ["exit code 137"]),
    "too little memory": (
        with_container(container(waiting("CrashLoopBackOff"), terminated(137, "OOMKilled"))),
        "OOMKilled",
        ["container redis used more memory than its limit"],
    ),
    "too little memory, just now": (
        with_container(container(terminated(137, "OOMKilled"))),
        "OOMKilled",
        ["memory"],
    ),
    "a Secret that is missing": (
        with_container(container(waiting("CreateContainerConfigError", 'secret "demo-redis" not found'))),
        "CreateContainerConfigError",
        ['secret "demo-redis" not found'],
    ),
    "a command that is missing": (
        with_container(container(waiting("RunContainerError", "exec: not found"))),
        "RunContainerError",
        ["exec: not found"],
    ),
    "an init container": (
        with_container(
            container(waiting("PodInitializing")),
            initContainerStatuses=[container(waiting("CrashLoopBackOff"), terminated(1), name="prepare")],
        ),
        "CrashLoopBackOff",
        ["container prepare", "exit code 1"],
    ),
    "the second of two containers": (
        with_container(
            container(RUNNING, ready=True), container(waiting("CrashLoopBackOff"), terminated(2), name="collect")
        ),
        "CrashLoopBackOff",
        ["container collect", "exit code 2"],
    ),
    "no node": (
        seen(
            phase="Pending",
            conditions=[condition("PodScheduled", "False", "Unschedulable", "0/1 nodes: 1 Insufficient cpu.")],
        ),
        "Unschedulable",
        ["Insufficient cpu"],
    ),
    "evicted": (
        seen(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
        "Evicted",
        ["low on resource"],
    ),
}


@pytest.mark.parametrize(("found", "reason", "words"), TROUBLES.values(), ids=TROUBLES)
def test_trouble_has_a_reason_and_says_what_it_is(found: PodSeen, reason: str, words: list[str]) -> None:
    assert found.reason == reason
    assert not found.ready
    for word in words:
        assert word in found.message


FINE: dict[str, PodSeen] = {
    "not seen by the scheduler yet": seen(phase="Pending"),
    "no status at all": seen(),
    "being scheduled later": seen(conditions=[condition("PodScheduled", "False", "SchedulingGated")]),
    "being created": with_container(container(waiting("ContainerCreating"))),
    "its init containers run": with_container(
        container(waiting("PodInitializing")), initContainerStatuses=[container(RUNNING, name="prepare")]
    ),
    "its init containers are done": with_container(
        container(waiting("PodInitializing")), initContainerStatuses=[container(terminated(0, "Completed"), ready=True)]
    ),
    "starting": with_container(container(RUNNING)),
    "done": seen(phase="Succeeded", containerStatuses=[container(terminated(0, "Completed"))]),
}


@pytest.mark.parametrize("found", FINE.values(), ids=FINE)
def test_a_pod_on_its_way_has_no_trouble(found: PodSeen) -> None:
    assert (found.reason, found.message, found.ready) == ("", "", False)


def test_a_pod_that_is_ready_again_after_it_was_killed_is_well() -> None:
    found = seen(
        conditions=[SCHEDULED, condition("Ready", "True")],
        containerStatuses=[container(RUNNING, terminated(137, "OOMKilled"), ready=True)],
    )
    assert (found.ready, found.reason) == (True, "")


def test_a_pod_knows_its_component_and_revision() -> None:
    detail = see("Pod", pod("demo-kafka-0", component="kafka", revision="demo-kafka-5f6")).detail
    assert isinstance(detail, PodSeen)
    assert (detail.component, detail.revision) == ("kafka", "demo-kafka-5f6")


def test_the_password_in_a_log_line_is_never_asked_for() -> None:
    """Termination messages may hold the end of a log: they are left out."""
    told = {"terminated": {"exitCode": 1, "reason": "Error", "message": "password=hunter2"}}
    assert "hunter2" not in with_container(container(waiting("CrashLoopBackOff"), told)).message
    assert "hunter2" not in with_container(container(told)).message
