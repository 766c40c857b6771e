"""One component's row: what is observed of it decides state, reason and message."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from auren_operator.api.observed import PodSeen, WorkloadSeen
from auren_operator.api.reasons import SENTENCES, Reason
from auren_operator.status.rows import POD_REASONS, Claim, Observed, Trouble, Verdict, judge
from tests.unit.operator.core.test_order import workload

VOLUME = "data-demo-redis-0"
BOUND = {VOLUME: Claim("v1", deleting=False, bound=True)}


def pod(reason: str = "", message: str = "", *, ready: bool = False, name: str = "demo-redis-0") -> tuple[str, PodSeen]:
    return name, PodSeen("redis", ready, "rev", reason, message)


def seen(detail: Any = None, **rest: Any) -> Observed:
    return Observed("redis", True, workload=detail, **rest)


def verdict(found: Observed, *, hibernated: bool = False, before: dict[str, str] | None = None) -> Verdict:
    return judge(found, hibernated, before or {})


QUOTA = Trouble("redis", Reason.QUOTA_EXCEEDED, "Service demo-redis: exceeded quota")
OTHER = Trouble("redis", Reason.APPLY_FAILED, "ConfigMap demo-redis: no")
JOB = Trouble("migrations", Reason.JOB_FAILED, "Job demo-migrations-1: BackoffLimitExceeded: no")
CRASH = pod("CrashLoopBackOff", "container redis: back-off; it last ended with exit code 3")

ROWS: dict[str, tuple[Observed, str, Reason, list[str]]] = {
    "switched off": (Observed("redis", False, troubles=(QUOTA,)), "Disabled", Reason.DISABLED, []),
    "refused": (seen(workload(), troubles=(QUOTA, OTHER)), "Failed", Reason.QUOTA_EXCEEDED, ["quota", "ConfigMap"]),
    "waiting": (
        seen(waiting_for=("kafka", "migrations")),
        "Waiting",
        Reason.WAITING_FOR_COMPONENTS,
        ["waits for kafka, migrations"],
    ),
    "waiting for a Job that failed": (
        seen(waiting_for=("migrations",), blockers=(JOB,)),
        "Waiting",
        Reason.JOB_FAILED,
        ["waits for migrations", "BackoffLimitExceeded"],
    ),
    "about to be created": (seen(), "Progressing", Reason.STARTING, ["being created"]),
    "starting": (seen(workload(2, 0)), "Progressing", Reason.STARTING, []),
    "partly ready": (seen(workload(2, 1), wanted_replicas=2), "Progressing", Reason.STARTING, []),
    "running": (seen(workload(2), wanted_replicas=2), "Ready", Reason.RUNNING, []),
    "running with a note": (seen(workload(), notes=("storage stays at 9Gi",)), "Ready", Reason.RUNNING, ["9Gi"]),
    "running, its update held": (
        seen(workload(), held=("migrations",)),
        "Ready",
        Reason.RUNNING,
        ["its update waits for migrations"],
    ),
    "running beside a failed Job": (
        seen(workload(), held=("migrations",), blockers=(JOB,)),
        "Failed",
        Reason.JOB_FAILED,
        ["BackoffLimitExceeded"],
    ),
    "going, to be made again": (seen(workload(), deleting=True), "Progressing", Reason.STARTING, ["being deleted"]),
    "gone from a paused stack": (seen(paused=True), "Failed", Reason.PAUSED, ["spec.paused"]),
    "switched off, not gone yet": (
        Observed("redis", False, workload=workload(), leaving=True),
        "Progressing",
        Reason.DISABLED,
        [],
    ),
    "switched off, refused to go": (
        Observed("redis", False, workload=workload(), leaving=True, troubles=(QUOTA,)),
        "Failed",
        Reason.QUOTA_EXCEEDED,
        ["exceeded quota"],
    ),
    "running beside a sick pod of the past": (
        seen(workload(), pods=(pod(ready=True), pod("Evicted", "low on memory", name="demo-redis-x"))),
        "Ready",
        Reason.RUNNING,
        [],
    ),
    "rolling": (seen(workload(2, 2, rolling=True)), "Progressing", Reason.ROLLING_OUT, []),
    "rolling into trouble while the old pods serve": (
        seen(workload(2, 2, rolling=True), pods=(pod(ready=True), CRASH)),
        "Failed",
        Reason.CRASH_LOOP,
        ["pod demo-redis-0", "exit code 3"],
    ),
    "without a volume yet": (
        seen(workload(1, 0), claims={VOLUME: Claim("v1", deleting=False, bound=False)}),
        "Progressing",
        Reason.VOLUME_PENDING,
        [VOLUME],
    ),
    "unschedulable only because its volume is being made": (
        seen(workload(1, 0), pods=(pod("Unschedulable", "pod has unbound immediate PersistentVolumeClaims"),)),
        "Progressing",
        Reason.STARTING,
        [],
    ),
    "refused pods": (
        seen(replace(workload(2, 1), failure='pods "x" is forbidden: exceeded quota')),
        "Failed",
        Reason.POD_CREATION_FAILED,
        ["exceeded quota"],
    ),
    "asleep although it shall not be": (
        seen(workload(0), held=("kafka",)),
        "Progressing",
        Reason.STARTING,
        ["wakes after kafka"],
    ),
    "scaled to zero by hand where an autoscaler rules": (
        seen(workload(0), wanted_replicas=2),
        "Progressing",
        Reason.STARTING,
        ["scaled to zero"],
    ),
    "its volume is going": (
        seen(workload(), claims={VOLUME: Claim("v1", deleting=True, bound=True)}),
        "Failed",
        Reason.VOLUME_LOST,
        [VOLUME, "being deleted"],
    ),
}


@pytest.mark.parametrize(("found", "state", "reason", "words"), ROWS.values(), ids=ROWS)
def test_a_row_by_what_is_observed(found: Observed, state: str, reason: Reason, words: list[str]) -> None:
    said = verdict(found)
    assert (said.state, said.reason) == (state, reason)
    for word in words:
        assert word in said.message


@pytest.mark.parametrize(("raw", "reason"), POD_REASONS.items(), ids=POD_REASONS)
def test_every_trouble_of_a_pod_has_a_reason_and_a_sentence(raw: str, reason: Reason) -> None:
    said = verdict(seen(workload(1, 0), pods=(pod(raw, "why"),)))
    assert said == Verdict("Failed", reason, f"pod demo-redis-0: {raw}: why")
    assert SENTENCES[reason]


def test_a_trouble_of_a_pod_that_nobody_knows_is_not_hidden() -> None:
    said = verdict(seen(workload(1, 0), pods=(pod("Gremlins", "why"),)))
    assert (said.state, said.reason) == ("Failed", Reason.PODS_NOT_READY)


def test_a_replaced_volume_is_lost_and_so_is_one_that_is_gone() -> None:
    assert "replaced" in verdict(seen(workload(), claims=BOUND), before={VOLUME: "v0"}).message
    gone = verdict(seen(workload(1, 0)), before={VOLUME: "v0"})
    assert (gone.state, gone.reason) == ("Failed", Reason.VOLUME_LOST)
    assert verdict(seen(workload(), claims=BOUND), before={VOLUME: "v1"}).state == "Ready"


def test_a_hibernating_component_is_asleep_only_when_its_last_pod_is_gone() -> None:
    awake = verdict(seen(workload(1)), hibernated=True)
    assert (awake.state, awake.reason) == ("Progressing", Reason.HIBERNATING)
    ending = verdict(seen(workload(0, current=1)), hibernated=True)
    assert ending.state == "Progressing"
    asleep = verdict(seen(workload(0)), hibernated=True)
    assert (asleep.state, asleep.reason) == ("Hibernated", Reason.HIBERNATED)


def test_a_service_of_no_replicas_is_ready_when_the_spec_asks_for_none() -> None:
    assert verdict(seen(workload(0), wanted_replicas=0)).state == "Ready"


def test_a_job_is_no_workload_of_a_row() -> None:
    assert isinstance(workload(), WorkloadSeen)
    assert verdict(seen(None)).state == "Progressing"
