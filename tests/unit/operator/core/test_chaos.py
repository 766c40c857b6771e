"""Anything may happen to a stack, in any order, with words that come late: in the end all is as it should be."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from auren_operator.api import names
from auren_operator.kube.client import Refused, Unreachable
from auren_operator.reconcile import queue as queue_module
from tests.unit.operator.core.clock import Clock
from tests.unit.operator.core.cluster import Call
from tests.unit.operator.core.test_queue import on
from tests.unit.operator.core.world import KEY, World

KINDS = (
    "ConfigMap",
    "ServiceAccount",
    "Service",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "StatefulSet",
    "Deployment",
    "Job",
)
SPECS: tuple[dict[str, Any], ...] = (
    {},
    {"size": "medium"},
    {"neuros": {"enabled": False}},
    {"bridge": {"autoscaling": {"minReplicas": 2, "maxReplicas": 5}}},
    {"hibernated": True},
    {"data": {"deletionPolicy": "Delete"}},
    {"redis": {"storage": {"size": "30Gi"}}},
    {"networkPolicies": False},
)
STEPS = 12
SOON_SECONDS = 120.0
"""Longer than any back-off, shorter than the period of the slow look."""


class Chaos:
    """A seeded driver. Each step does one thing to the cluster, and now and then lets words through or a round run."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World()
        self.spec: dict[str, Any] = {}
        self.did: list[str] = []

    def pick(self, *kinds: str) -> tuple[str, str] | None:
        found = sorted((kind, name) for kind in kinds for name in self.world.kube.of(kind))
        return self.dice.choice(found) if found else None

    def delete(self) -> None:
        if target := self.pick(*KINDS, *("Secret",) * 2):
            if target[1] in {"demo-kafka", "demo-timescaledb"} and target[0] == "Secret":
                return  # keys that guard data are not made anew: a person restores them
            self.world.kube.remove(*target)
            self.did.append(f"delete {target}")

    def edit(self) -> None:
        if target := self.pick(*KINDS[:-1]):
            self.did.append(f"edit {target}")
            self.world.kube.edit(*target, self._spoil)

    def _spoil(self, obj: dict[str, Any]) -> None:
        match self.dice.randrange(4):
            case 0:
                obj["metadata"]["labels"].pop(names.LABEL_COMPONENT, None)
            case 1:
                obj["metadata"]["ownerReferences"] = []
            case 2:
                obj["metadata"]["labels"]["theirs"] = "stays"
            case 3 if "template" in obj.get("spec", {}):
                obj["spec"]["template"]["spec"]["containers"][0]["image"] = "evil"
                obj["spec"]["replicas"] = 7
            case _:
                obj["metadata"]["labels"][names.LABEL_PART_OF] = "evil"

    def unlabel(self) -> None:
        if target := self.pick(*KINDS, "Secret"):
            self.did.append(f"unlabel {target}")
            if names.LABEL_STACK in self.world.kube.get(*target)["metadata"]["labels"]:
                self.world.deliver()
                self.world.strip(*target)

    def relabel(self) -> None:
        if target := self.pick(*KINDS, "Secret"):
            self.did.append(f"relabel {target}")
            self.world.kube.edit(*target, lambda o: o["metadata"]["labels"].update({names.LABEL_STACK: "other"}))

    def change_spec(self) -> None:
        self.spec = self.dice.choice(SPECS)
        self.did.append(f"spec {self.spec}")
        self.world.kube.edit(names.KIND, "demo", lambda o: o.update(spec=self.spec))

    def restart(self) -> None:
        self.did.append("restart")
        self.world.restart()

    def shuffle(self) -> None:
        """Words about different objects come in any order; about one object they come in theirs."""
        events = self.world.kube.events
        by_uid: dict[str, list[Any]] = {}
        for event in events:
            by_uid.setdefault(event[2]["metadata"]["uid"], []).append(event)
        order = [uid for uid, words in by_uid.items() for _ in words]
        self.dice.shuffle(order)
        self.world.kube.events = [by_uid[uid].pop(0) for uid in order]

    async def attempt(self) -> None:
        self.shuffle()
        self.did.append("round")
        await self.world.attempt()

    def control(self) -> None:
        self.did.append("controllers")
        self.world.control()

    def fail(self) -> None:
        """Some calls fail for a while."""
        self.did.append("failures")
        errors = [
            Unreachable("cut"),
            Refused(500, "InternalError", "etcd"),
            Refused(403, "Forbidden", "exceeded quota"),
        ]
        error, odds = self.dice.choice(errors), self.dice.random() / 2

        def rule(call: Call) -> Exception | None:
            return error if call.method != "GET" and self.dice.random() < odds else None

        self.world.kube.rules[:] = [rule]

    def mend(self) -> None:
        self.did.append("no failures")
        self.world.kube.rules.clear()

    async def step(self) -> None:
        ways = (
            *(self.delete, self.delete, self.edit, self.edit, self.unlabel, self.relabel, self.change_spec),
            *(self.restart, self.attempt, self.attempt, self.attempt, self.control, self.control, self.fail, self.mend),
        )
        outcome = self.dice.choice(ways)()
        if asyncio.iscoroutine(outcome):
            await outcome


def shape(world: World) -> dict[tuple[str, str], Any]:
    """What a person cares about: every object with its spec, labels and owners, but no uids and hashes."""
    found = {}
    for (kind, _, name), stored in world.kube.objects.items():
        meta = stored.obj["metadata"]
        if kind in {"PersistentVolumeClaim", names.KIND}:
            continue
        label = name.rpartition("-")[0] if kind == "Job" else name
        containers = stored.obj.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
        found[kind, label] = (
            {key: value for key, value in meta["labels"].items() if key != "theirs"},
            [ref["kind"] for ref in meta.get("ownerReferences", ())],
            stored.obj.get("spec", {}).get("replicas"),
            [container["image"] for container in containers],
            sorted(stored.obj.get("data", {})),
        )
    return found


KEPT = {("Secret", "demo-neuros-advanced")}
"""Passwords outlive the component that was switched off."""


def is_known(of_object: Any) -> bool:
    """Whether the operator may know that an object is its own: nobody took both label and owner for it to go by."""
    labels, owners, *_ = of_object
    return labels.get(names.LABEL_STACK) == "demo" and bool(owners)


@pytest.mark.parametrize("seed", range(15))
async def test_after_the_storm_everything_is_as_if_there_had_been_none(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets there by what the queue says alone: nobody waits for the next slow look."""
    clock = Clock()
    monkeypatch.setattr(queue_module, "asyncio", on(clock))
    chaos = Chaos(seed)
    world = chaos.world
    await world.up()
    for _ in range(STEPS):
        await chaos.step()
    chaos.mend()
    await world.run_queue(clock, SOON_SECONDS)
    calm = World()
    await calm.up()
    calm.stack(chaos.spec)
    await calm.until_quiet()
    expected, after = shape(calm), shape(world)
    for key in expected:
        if key == ("Deployment", "demo-biometric-bridge") and "bridge" in chaos.spec:
            continue  # how many pods there are is the autoscaler's affair
        if key[0] == "Job" and "hibernated" in chaos.spec:
            continue  # while the stores sleep, none is made again
        assert after.get(key) == expected[key], (key, chaos.did)
    assert {key for key in set(after) - set(expected) if is_known(after[key])} <= KEPT, chaos.did
    flags = {c["type"]: (c["status"], c["reason"]) for c in world.status["conditions"]}
    assert flags == {c["type"]: (c["status"], c["reason"]) for c in calm.status["conditions"]}, chaos.did
    world.kube.calls.clear()
    await world.attempt()
    assert [call for call in world.kube.calls if call.method != "GET"] == [], chaos.did
    assert list(world.view.stacks()) == [KEY]
