"""What has to go and what has to be nudged: leftovers, failed Jobs, stuck pods, volumes that grow or change hands."""

from __future__ import annotations

from typing import Any

import pytest

from auren_operator.api import names
from auren_operator.api.observed import see
from auren_operator.api.quantity import to_bytes
from auren_operator.kube.client import Refused
from auren_operator.kube.view import ChildKey
from auren_operator.manifests.model import Facts
from auren_operator.reconcile import upkeep as module
from auren_operator.reconcile.desired import build_all
from auren_operator.reconcile.upkeep import (
    JOB_RETRY_CAP_SECONDS,
    JOB_RETRY_FIRST_SECONDS,
    claims,
    leftovers,
    stuck_pods,
)
from tests.unit.operator.built import a_stack, settled
from tests.unit.operator.core.clock import Clock
from tests.unit.operator.core.cluster import Call
from tests.unit.operator.core.objects import claim, condition, container, obj, owner, pod, terminated, waiting
from tests.unit.operator.core.world import World

STACK = a_stack({})
DESIRED = build_all(STACK, settled(STACK))


def seen_of(*objects: dict[str, Any]) -> dict[ChildKey, Any]:
    return {ChildKey(o["kind"], o["metadata"]["name"]): see(o["kind"], o) for o in objects}


def owned(kind: str, name: str, uid: str = "uid-of-demo", **meta: Any) -> dict[str, Any]:
    return obj(kind, name, metadata={"ownerReferences": [owner(uid)]} | meta)


# -- leftovers -----------------------------------------------------------------------------------------------------


def left(*objects: dict[str, Any]) -> set[str]:
    return {key.name for key, _ in leftovers(STACK, DESIRED, seen_of(*objects))}


def test_what_the_stack_owns_and_does_not_want_goes() -> None:
    assert left(owned("Service", "demo-old"), owned("Job", "demo-migrations-of-before")) == {
        "demo-old",
        "demo-migrations-of-before",
    }


KEPT = {
    "what is wanted": owned("Service", "demo-redis"),
    "what another stack owns": owned("Service", "demo-old", "uid-of-another"),
    "what nobody owns": obj("Service", "demo-old"),
    "what goes already": owned("Service", "demo-old", deletionTimestamp="now"),
    "a volume": owned("PersistentVolumeClaim", "data-demo-old-0"),
    "a Secret": owned("Secret", "demo-old"),
    "a pod": owned("Pod", "demo-old-0"),
}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
def test_nothing_else_goes(kept: dict[str, Any]) -> None:
    assert left(kept) == set()


def test_what_a_builder_withholds_stays_with_all_its_names() -> None:
    lacking = build_all(STACK, Facts())
    running = seen_of(
        owned("StatefulSet", "demo-redis"),
        owned("Deployment", "demo-biometric-bridge"),
        owned("Job", "demo-migrations-0123456789"),
        owned("Service", "demo-old"),
    )
    assert {key.name for key, _ in leftovers(STACK, lacking, running)} == {"demo-old"}


async def test_a_component_that_is_switched_off_goes_with_all_its_objects_but_its_secret(world: World) -> None:
    await world.up()
    world.stack({"neuros": {"enabled": False}})
    await world.until_quiet()
    left_over = {
        (kind, name)
        for kind, _, name in world.kube.objects
        if name.startswith("demo-neuros-advanced") and kind != "Pod"
    }
    assert left_over == {("Secret", "demo-neuros-advanced")}
    assert world.row("neuros-advanced")["state"] == "Disabled"
    assert world.condition("Ready")["status"] == "True"
    assert world.status["healed"] == {"count": 0}
    world.stack({})
    await world.until_quiet()
    assert world.condition("Ready")["status"] == "True"
    assert world.status["componentsReady"] == "7/7"
    assert world.status["healed"] == {"count": 0}, "we had deleted it ourselves"


async def test_switching_a_component_off_makes_room_although_another_is_refused(world: World) -> None:
    """A quota of Services: the new one is refused until the old one goes, and the old one must not wait for it."""
    await world.up({"bridge": {"enabled": False}})

    def quota(call: Call) -> Refused | None:
        new = call.kind == "Service" and call.method == "PATCH" and not world.kube.has("Service", call.name)
        full = len(world.kube.of("Service")) >= 6
        return Refused(403, "Forbidden", "exceeded quota: services") if new and full else None

    world.kube.rules.append(quota)
    world.stack({"neuros": {"enabled": False}})
    await world.until_quiet()
    assert not world.kube.has("Service", "demo-neuros-advanced")
    assert world.condition("Ready")["status"] == "True"


async def test_a_refused_deletion_is_shown_and_tried_again(world: World) -> None:
    await world.up()

    def rule(call: Call) -> Refused | None:
        return Refused(403, "Forbidden", "not allowed") if call.method == "DELETE" else None

    world.kube.rules.append(rule)
    world.stack({"neuros": {"enabled": False}})
    assert not await world.round()
    assert "not allowed" in world.condition("Ready")["message"]
    world.kube.rules.remove(rule)
    await world.until_quiet()
    assert world.condition("Ready")["status"] == "True"


# -- Jobs ----------------------------------------------------------------------------------------------------------


def fail_jobs(world: World, kind: str) -> str:
    (name,) = (name for name in world.kube.of("Job") if kind in name)
    failed = condition("Failed", "True", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    world.kube.set_status("Job", name, {"conditions": [failed]})
    world.deliver()
    return name


async def test_a_failed_job_is_made_again_ever_later_and_says_why_on_whoever_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    world.stack()
    await world.round()
    world.control(jobs=False)
    await world.round()
    waits = []
    for _ in range(9):
        name = fail_jobs(world, "migrations")
        uid = world.kube.get("Job", name)["metadata"]["uid"]
        assert await world.round(), "a failed Job is no reason to come back sooner than it is due"
        assert world.kube.get("Job", name)["metadata"]["uid"] == uid
        row = world.row("neuros-advanced")
        assert (row["state"], row["reason"]) == ("Waiting", "JobFailed")
        assert "BackoffLimitExceeded" in row["message"]
        waits.append(due_in(world, clock))
        clock.advance(waits[-1] - 0.01)
        await world.round()
        assert world.kube.get("Job", name)["metadata"]["uid"] == uid
        clock.advance(0.02)
        await world.round()
        assert not world.kube.has("Job", name)
        await world.round()
        assert world.kube.get("Job", name)["metadata"]["uid"] != uid
    assert waits[:4] == pytest.approx([JOB_RETRY_FIRST_SECONDS * factor for factor in (1, 2, 4, 8)], abs=0.1)
    assert waits[-1] == pytest.approx(JOB_RETRY_CAP_SECONDS)
    assert world.status["healed"] == {"count": 0}


def due_in(world: World, clock: Clock) -> float:
    (retries,) = world.reconciler._retries.values()
    (due,) = retries.due.values()
    return due - clock.monotonic()


# -- pods ----------------------------------------------------------------------------------------------------------


def broken_pod(name: str, revision: str) -> dict[str, Any]:
    crash = container(waiting("CrashLoopBackOff"), terminated(1))
    return pod(name, revision=revision, conditions=[condition("Ready", "False")], containerStatuses=[crash])


def redis_set(update: str = "new", observed: int = 2) -> dict[str, Any]:
    status = {"observedGeneration": observed, "currentRevision": "old", "updateRevision": update, "replicas": 1}
    return obj("StatefulSet", "demo-redis", metadata={"generation": 2}, spec={"replicas": 1}, status=status)


STUCK = {
    "broken on the old revision": (broken_pod("demo-redis-0", "old"), redis_set(), True),
    "broken on the new one": (broken_pod("demo-redis-0", "new"), redis_set(), False),
    "well on the old one": (pod("demo-redis-0", revision="old"), redis_set(), False),
    "the controller has not seen the update": (broken_pod("demo-redis-0", "old"), redis_set(observed=1), False),
    "of a Deployment": (broken_pod("demo-neuros-advanced-5d8f-x2v", ""), redis_set(), False),
    "without its owner": (broken_pod("demo-kafka-0", "old"), redis_set(), False),
}


@pytest.mark.parametrize(("the_pod", "its_set", "stuck"), STUCK.values(), ids=STUCK)
def test_only_a_pod_that_is_broken_on_a_revision_of_the_past_is_stuck(
    the_pod: dict[str, Any], its_set: dict[str, Any], stuck: bool
) -> None:
    found = [key.name for key, _ in stuck_pods(seen_of(the_pod, its_set))]
    assert found == ([the_pod["metadata"]["name"]] if stuck else [])


def test_a_stuck_pod_that_goes_already_is_left_alone() -> None:
    going = broken_pod("demo-redis-0", "old")
    going["metadata"]["deletionTimestamp"] = "now"
    assert stuck_pods(seen_of(going, redis_set())) == []


async def test_a_pod_stuck_on_a_broken_template_is_deleted_once_the_template_is_mended(world: World) -> None:
    await world.up()
    stuck = broken_pod("demo-redis-0", "rev-of-before")
    world.kube.put("Pod", stuck)
    await world.round()
    assert world.kube.writes()[0] == "DELETE Pod demo-redis-0"
    assert world.kube.calls[0].body["propagationPolicy"] == "Background"
    await world.round()
    assert world.status["healed"] == {"count": 0}


# -- volumes -------------------------------------------------------------------------------------------------------

NAME = "data-demo-redis-0"
DELETING = a_stack({"data": {"deletionPolicy": "Delete"}})


def test_a_volume_that_is_as_wanted_is_left_alone() -> None:
    assert claims(STACK, {NAME: 1 << 30}, seen_of(claim(NAME, size="1Gi"))) == []
    assert claims(STACK, {NAME: 1 << 30}, {}) == []
    mine = claim(NAME, metadata={"ownerReferences": [owner("uid-of-demo")]})
    assert claims(DELETING, {NAME: 1 << 30}, seen_of(mine)) == []
    going = claim(NAME, metadata={"deletionTimestamp": "now"})
    assert claims(DELETING, {NAME: 9 << 30}, seen_of(going)) == []


def test_a_volume_grows_and_never_shrinks() -> None:
    ((grown, _),) = claims(STACK, {NAME: 2 << 30}, seen_of(claim(NAME, size="1Gi", uid="v1")))
    manifest = grown.manifest()
    assert manifest["spec"] == {"resources": {"requests": {"storage": str(2 << 30)}}}
    assert manifest["metadata"]["uid"] == "v1"
    assert manifest["metadata"]["ownerReferences"] == []
    assert manifest["metadata"]["labels"][names.LABEL_COMPONENT] == "redis"
    assert grown.component == "redis"
    assert claims(STACK, {NAME: 1 << 30}, seen_of(claim(NAME, size="3Gi"))) == []


def test_the_component_of_a_volume_is_told_from_its_name() -> None:
    ((first, _),) = claims(STACK, {"data-demo-kafka-2": 2 << 30}, seen_of(claim("data-demo-kafka-2")))
    assert first.component == "kafka"


def test_a_change_of_owner_never_changes_the_size() -> None:
    ((owned_now, _),) = claims(DELETING, {NAME: 1 << 30}, seen_of(claim(NAME, size="3Gi")))
    manifest = owned_now.manifest()
    assert manifest["spec"]["resources"]["requests"]["storage"] == str(3 << 30)
    assert [ref["uid"] for ref in manifest["metadata"]["ownerReferences"]] == ["uid-of-demo"]


def storage(volume: dict[str, Any]) -> str:
    return str(volume["spec"]["resources"]["requests"]["storage"])


async def test_volumes_follow_the_policy_and_data_is_never_deleted_by_the_operator(world: World) -> None:
    await world.up()
    volumes = world.kube.of("PersistentVolumeClaim")
    assert volumes
    assert not any(v["metadata"].get("ownerReferences") for v in volumes.values())
    uid = world.kube.get(names.KIND, "demo")["metadata"]["uid"]
    for policy, owners in (("Delete", [uid]), ("Retain", []), ("Delete", [uid])):
        world.stack({"data": {"deletionPolicy": policy}})
        await world.until_quiet()
        for name, volume in world.kube.of("PersistentVolumeClaim").items():
            assert [ref["uid"] for ref in volume["metadata"].get("ownerReferences", ())] == owners, name
            assert volume["metadata"]["uid"] == volumes[name]["metadata"]["uid"]
            assert to_bytes(storage(volume)) == to_bytes(storage(volumes[name]))
    world.kube.calls.clear()
    await world.round()
    assert world.kube.calls == []


async def test_a_class_that_cannot_grow_is_told_of_and_the_store_runs_on(world: World) -> None:
    await world.up()

    def rule(call: Call) -> Refused | None:
        no = "only dynamically provisioned pvc can be resized"
        return (
            Refused(403, "Forbidden", no) if call.kind == "PersistentVolumeClaim" and call.method == "PATCH" else None
        )

    world.kube.rules.append(rule)
    world.stack({"redis": {"storage": {"size": "9Gi"}}})
    for _ in range(4):
        await world.round()
        world.control()
    assert "can be resized" in world.row("redis")["message"]
    assert world.row("kafka")["state"] == "Ready"
    assert world.kube.get("StatefulSet", "demo-redis")["spec"]["replicas"] == 1
