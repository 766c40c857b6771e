"""Whole rounds: order, updates one at a time, sleep and waking, restarts, and what makes a round run again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from auren_operator.api import names
from auren_operator.components import MODULES
from auren_operator.handlers import SETTLE_SECONDS
from auren_operator.kube.client import Refused, Unreachable
from auren_operator.kube.view import ChildKey
from auren_operator.reconcile import queue as queue_module
from auren_operator.reconcile.desired import WORKLOADS
from tests.unit.operator.core.clock import Clock
from tests.unit.operator.core.test_queue import on, take
from tests.unit.operator.core.world import KEY, World

SERVICES = ("demo-neuros-advanced", "demo-biometric-production", "demo-biometric-bridge")
STORES = ("demo-kafka", "demo-timescaledb", "demo-redis", "demo-chromadb")


def applied(world: World, kinds: frozenset[str] | set[str] = WORKLOADS) -> list[str]:
    """The workloads that were applied since the calls were last cleared, in order."""
    return [call.name for call in world.kube.calls if call.kind in kinds and call.method == "PATCH"]


def replicas(world: World) -> dict[str, int]:
    return {
        name: obj["spec"]["replicas"]
        for kind in ("StatefulSet", "Deployment")
        for name, obj in world.kube.of(kind).items()
    }


# -- the first time ------------------------------------------------------------------------------------------------


async def test_a_stack_comes_up_in_order(world: World) -> None:
    world.stack()
    await world.round()
    assert set(world.kube.of("StatefulSet")) == set(STORES)
    assert world.kube.of("Job") == world.kube.of("Deployment") == {}
    assert len(world.kube.of("Service")) == 7, "everything but workloads at once"
    world.control()
    await world.round()
    assert len(world.kube.of("Job")) == 2
    assert world.kube.of("Deployment") == {}
    assert world.row("biometric-bridge")["waitingFor"] == ["migrations", "topics"]
    world.control()
    await world.round()
    assert set(world.kube.of("Deployment")) == set(SERVICES)


async def test_waiting_is_told_once_and_in_words(world: World) -> None:
    world.stack()
    await world.round()
    await world.round()
    waits = [message for reason, message in world.told if reason == "Waiting"]
    assert len(waits) == 3
    assert "biometric-bridge waits for kafka, timescaledb, redis, migrations, topics" in waits
    assert world.row("kafka")["state"] == "Progressing"


async def test_a_workload_that_never_existed_waits_although_the_operator_started_again(world: World) -> None:
    world.stack()
    await world.round()
    world.restart()
    await world.round()
    assert world.kube.of("Deployment") == {}


async def test_what_existed_before_a_restart_comes_back_whatever_it_needs(world: World) -> None:
    await world.up()
    for name in STORES:
        world.kube.set_status("StatefulSet", name, {"observedGeneration": 1})
    world.kube.remove("Deployment", SERVICES[0])
    world.restart()
    await world.round()
    assert world.kube.has("Deployment", SERVICES[0])
    assert world.status["healed"]["count"] == 1


# -- updates -------------------------------------------------------------------------------------------------------


def of_release(level: str) -> dict[str, Any]:
    """A spec that changes every service's template."""
    env = {"env": [{"name": "AUREN_LOG_LEVEL", "value": level}]}
    return {"neuros": env, "biometric": env, "bridge": env}


async def test_one_component_rolls_at_a_time_and_the_others_say_what_they_wait_for(world: World) -> None:
    await world.up()
    world.stack(of_release("debug"))
    rolled = []
    for _ in range(3):
        await world.round()
        (name,) = applied(world)
        rolled.append(name)
        await world.round()
        assert applied(world) == [name], "until its pods are there"
        if len(rolled) < 3:
            assert "its update waits for" in world.row("biometric-bridge")["message"]
            assert world.condition("Progressing")["reason"] == "Updating"
        world.kube.calls.clear()
        world.control()
    assert sorted(rolled) == sorted(SERVICES)
    await world.until_quiet()
    assert world.condition("Progressing")["status"] == "False"
    assert world.status["healed"] == {"count": 0}


async def test_an_update_that_rolls_nothing_lets_the_next_one_come_without_an_event(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An autoscaler's new minimum changes the Deployment's digest and none of its fields: no controller will report."""

    def least(number: int) -> dict[str, Any]:
        scaling = {"autoscaling": {"minReplicas": number, "maxReplicas": 4}}
        return {"neuros": scaling, "biometric": scaling, "bridge": scaling}

    await world.up(least(1))
    clock = Clock()
    monkeypatch.setattr(queue_module, "asyncio", on(clock))
    world.stack(least(2))
    await world.run_queue(clock, 10 * SETTLE_SECONDS)
    assert sorted(applied(world)) == sorted(SERVICES)
    assert world.condition("Progressing")["status"] == "False"
    assert world.condition("Ready")["status"] == "True"


async def test_an_update_goes_on_when_the_round_itself_put_back_what_it_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Job that is done gets its label back: the answer to our own write says so, and no event will say it again."""
    await world.up()
    clock = Clock()
    monkeypatch.setattr(queue_module, "asyncio", on(clock))
    (job,) = (name for name in world.kube.of("Job") if "topics" in name)
    world.strip("Job", job)
    world.stack({"bridge": of_release("debug")["bridge"]})
    await world.run_queue(clock, 10 * SETTLE_SECONDS)
    assert "demo-biometric-bridge" in applied(world)
    assert world.condition("Progressing")["status"] == "False"


async def test_an_update_of_a_service_waits_for_its_jobs_and_healing_does_not(world: World) -> None:
    await world.up()
    jobs = {"images": {"overrides": {"jobs": "jobs:2"}}}
    world.stack(of_release("debug") | jobs)
    await world.round()
    assert set(applied(world)) & set(SERVICES) == set()
    assert "its update waits for migrations, topics" in world.row("biometric-bridge")["message"]
    world.kube.remove("Deployment", SERVICES[1])
    await world.round()
    assert world.kube.has("Deployment", SERVICES[1])
    await world.until_quiet()
    assert world.condition("Ready")["status"] == "True"
    levels = {
        variable["value"]
        for deployment in world.kube.of("Deployment").values()
        for variable in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        if variable["name"] == "AUREN_LOG_LEVEL"
    }
    assert levels == {"debug"}


async def test_an_edit_is_set_back_while_another_component_rolls(world: World) -> None:
    await world.up()
    world.kube.set_status("Deployment", SERVICES[0], {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 1})
    world.kube.edit("Deployment", SERVICES[1], lambda obj: obj["spec"].update(replicas=9))
    await world.round()
    assert world.kube.get("Deployment", SERVICES[1])["spec"]["replicas"] == 2


async def test_a_new_image_of_the_jobs_replaces_them_and_nothing_else(world: World) -> None:
    await world.up()
    before = set(world.kube.of("Job"))
    world.stack({"images": {"overrides": {"jobs": "jobs:2"}}})
    await world.until_quiet()
    after = set(world.kube.of("Job"))
    assert len(after) == 2
    assert not before & after
    assert set(applied(world)) == after


# -- sleep ---------------------------------------------------------------------------------------------------------


async def test_a_stack_falls_asleep_services_first_and_wakes_stores_first(world: World) -> None:
    await world.up()
    awake = replicas(world)
    world.stack({"hibernated": True})
    for _ in range(12):
        await world.round()
        asleep = {name for name, count in replicas(world).items() if count == 0}
        ended = {n for n, o in world.kube.of("Deployment").items() if not o.get("status", {}).get("replicas")}
        if "demo-kafka" in asleep:
            assert set(SERVICES[1:]) <= ended
        world.control()
    assert set(replicas(world).values()) == {0}
    assert world.condition("Ready")["reason"] == "Hibernated"
    assert world.condition("Degraded")["status"] == "False"
    assert {row["name"]: row["state"] for row in world.status["components"]}.pop("local-model") == "Disabled"
    assert {row["state"] for row in world.status["components"]} == {"Hibernated", "Disabled"}
    await world.until_quiet()
    world.kube.calls.clear()
    await world.round()
    assert world.kube.calls == [], "a sleeping stack costs nothing"
    world.stack({})
    for _ in range(12):
        await world.round()
        if any(replicas(world)[name] for name in SERVICES[1:]):
            assert all(replicas(world)[name] for name in STORES[:3])
        if replicas(world) != awake:
            assert world.condition("Ready")["status"] == "False"
        world.control()
    await world.until_quiet()
    assert replicas(world) == awake
    assert world.condition("Ready")["status"] == "True"


async def test_a_stack_may_be_made_asleep_and_wakes_in_order(world: World) -> None:
    await world.up({"hibernated": True})
    assert set(replicas(world).values()) == {0}
    assert world.kube.of("Job") == {}
    world.stack({})
    await world.round()
    assert all(replicas(world)[name] == 0 for name in SERVICES)
    await world.until_quiet()
    assert world.condition("Ready")["status"] == "True"
    assert len(world.kube.of("Job")) == 2


# -- what is not worked on -----------------------------------------------------------------------------------------


async def test_an_invalid_spec_touches_nothing_and_says_all_that_is_wrong_once(world: World) -> None:
    await world.up()
    world.stack({"size": "huge", "data": {"deletionPolicy": "Burn"}})
    world.kube.remove("Deployment", SERVICES[0])
    await world.round()
    await world.round()
    assert [str(call) for call in world.kube.calls] == ["PATCH AurenStack demo as auren-operator"]
    message = world.condition("SpecValid")["message"]
    assert "size" in message
    assert "deletionPolicy" in message
    assert [reason for reason, _ in world.told] == ["SpecInvalid"]
    world.stack({})
    await world.until_quiet()
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("SpecValid")["status"] == "True"


async def test_a_paused_stack_is_looked_at_and_left_alone(world: World) -> None:
    await world.up()
    world.stack({"paused": True})
    world.kube.remove("Deployment", SERVICES[0])
    await world.round()
    await world.round()
    assert [str(call) for call in world.kube.calls] == ["PATCH AurenStack demo as auren-operator"]
    assert world.condition("Paused")["status"] == "True"
    world.stack({})
    await world.until_quiet()
    assert world.kube.has("Deployment", SERVICES[0])
    assert world.condition("Paused")["status"] == "False"


async def test_a_builder_that_fails_stops_only_its_component_and_every_pruning(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.up()
    bridge = next(module for module in MODULES if module.COMPONENT.name == "biometric-bridge")

    def broken(*_: Any) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(bridge, "build", broken)
    world.stack({"neuros": {"enabled": False}})
    await world.round()
    assert world.kube.has("Deployment", "demo-biometric-bridge")
    assert world.kube.has("Deployment", "demo-neuros-advanced"), "nothing is pruned in such a round"
    row = world.row("biometric-bridge")
    assert (row["state"], row["reason"]) == ("Failed", "BuildFailed")
    assert "a bug" in row["message"]
    assert world.row("kafka")["state"] == "Ready"


# -- edits under a held update -------------------------------------------------------------------------------------


async def test_an_edit_is_set_back_to_what_was_there_while_an_update_is_held(world: World) -> None:
    await world.up()
    world.stack(of_release("debug") | {"images": {"overrides": {"jobs": "jobs:2"}}})
    await world.round()
    before = world.kube.get("Deployment", SERVICES[0])
    world.kube.edit("Deployment", SERVICES[0], lambda o: o["spec"].update(replicas=9))
    await world.round()
    after = world.kube.get("Deployment", SERVICES[0])
    assert after["spec"] == before["spec"], "not to what it shall become: its Jobs are not done"
    assert world.status["healed"]["count"] == 1
    await world.until_quiet()
    assert world.condition("Ready")["status"] == "True"
    assert world.status["healed"]["count"] == 1


# -- what makes a round run ----------------------------------------------------------------------------------------


class Tries:
    """What the worker did with a key."""

    def __init__(self, world: World, clock: Clock) -> None:
        self._world, self.clock = world, clock

    async def once(self) -> str:
        """One attempt, as a worker makes it."""
        self._world.queue.add(KEY)
        key = take(self._world.queue)
        result = await self._world.reconciler._attempt(key)
        self._world.queue.done(key)
        return result


@pytest.fixture
def tries(world: World, monkeypatch: pytest.MonkeyPatch) -> Tries:
    clock = Clock()
    monkeypatch.setattr(queue_module, "asyncio", on(clock))
    return Tries(world, clock)


RESULTS: Mapping[str, tuple[Exception, str, bool]] = {
    "a refusal": (Refused(422, "Invalid", "no"), "incomplete", True),
    "no answer": (Unreachable("timeout"), "api_error", True),
    "a namespace that goes": (
        Refused(403, "Forbidden", "being terminated", ("NamespaceTerminating",)),
        "namespace_going",
        False,
    ),
    "a bug": (RuntimeError("a bug"), "bug", True),
}


@pytest.mark.parametrize(("error", "result", "again"), RESULTS.values(), ids=RESULTS)
async def test_whatever_goes_wrong_ends_one_round_and_not_the_worker(
    world: World, tries: Tries, error: Exception, result: str, again: bool
) -> None:
    world.stack()
    take(world.queue)
    world.queue.done(KEY)
    world.kube.rules.append(lambda call: error if call.kind == "Service" and call.method == "PATCH" else None)
    assert await tries.once() == result
    assert bool(tries.clock.pending) == again


async def test_a_well_stack_is_not_looked_at_again_by_itself(world: World, tries: Tries) -> None:
    await world.up()
    while len(world.queue):
        world.queue.done(take(world.queue))
    tries.clock.advance(60)
    while len(world.queue):
        world.queue.done(take(world.queue))
    assert await tries.once() == "ok"
    tries.clock.advance(3600)
    assert len(world.queue) == 0


async def test_pods_that_come_and_go_leave_nothing_in_memory(world: World) -> None:
    await world.up()
    for number in range(5):
        name = f"demo-redis-{number}x"
        world.kube.put(
            "Pod", {"metadata": {"name": name, "namespace": "people", "labels": {names.LABEL_STACK: "demo"}}}
        )
        world.deliver()
        world.kube.remove("Pod", name)
        await world.round()
    memory = world.reconciler._memories[KEY]
    for kept in (memory.applied, memory.known, memory.expected, memory.gone):
        assert not any(ChildKey("Pod", f"demo-redis-{number}x") in kept for number in range(5))
