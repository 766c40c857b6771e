"""One control plane with an operator and its stacks, and the measurements that are taken on it."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from tests.api.cluster import CHILD_KINDS, Cluster, Mirror, Object, Ref
from tests.api.controlplane import ControlPlane
from tests.api.operator_process import Operator
from tests.api.stacks import is_key_secret, says, stack
from tests.bench.wanted import SPEC, stack_name

NAMESPACE: Final = "bench"
PEERS: Final = "bench-peers"
FOREIGN: Final = "bench-foreign"
AT_ONCE: Final = 16

REST_SECONDS: Final = 0.3
STACK_SECONDS: Final = 900
"""Longest wait for stacks to become Ready."""


async def each(works: Iterable[Awaitable[Any]]) -> None:
    """Await all, a bounded number at a time."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(work: Awaitable[Any]) -> None:
        async with slots:
            await work

    await asyncio.gather(*(one(work) for work in works))


class Scene:
    """The measurements. ``mirror`` follows all children of all stacks, ``stacks`` the stacks themselves."""

    def __init__(
        self, plane: ControlPlane, cluster: Cluster, operator: Operator, mirror: Mirror, stacks: Mirror
    ) -> None:
        self.plane, self.cluster, self.operator = plane, cluster, operator
        self.mirror, self.stacks = mirror, stacks
        self.random = random.Random(20_26)

    async def add_stacks(self, first: int, count: int) -> None:
        """Create stacks; returns when the API server has them."""
        await each(self.cluster.create(stack(NAMESPACE, stack_name(n), SPEC)) for n in range(first, first + count))

    async def all_ready(self, count: int) -> None:
        """Wait until so many stacks are Ready."""

        def holds(objects: Mapping[Ref, Object]) -> bool:
            return sum(says(obj, "Ready", "True") for obj in objects.values()) >= count

        await self.stacks.until(holds, f"{count} stacks Ready", STACK_SECONDS)

    async def all_applied(self, count: int) -> None:
        """Wait until so many children exist."""
        await self.mirror.until(lambda objects: len(objects) >= count, f"{count} children", STACK_SECONDS)

    def children(self, kind: str) -> list[Ref]:
        """Children of a kind that come back under the same name when they are deleted."""
        return sorted(
            ref for ref, obj in self.mirror.objects.items() if ref.kind == kind and not is_key_secret(ref, obj)
        )

    async def heal(self, ref: Ref) -> float:
        """Delete one child: seconds from the delete's answer to its reappearance."""
        uid = self.mirror.objects[ref]["metadata"]["uid"]
        await self.cluster.delete(ref)
        answered = time.perf_counter()
        return max(await self.mirror.again(ref, uid) - answered, 0.0)

    async def settled(self, owner: Ref) -> None:
        """Wait until a stack is Ready after something was taken from it, its status being newer than that."""
        await self.operator.quiet(0.3)
        await self.stacks.until(lambda objects: says(objects.get(owner), "Ready", "True"), f"{owner.name} Ready", 120)

    async def heal_each_kind(self, samples: int, *, rest_seconds: float = REST_SECONDS) -> dict[str, list[float]]:
        """So many samples per child kind, kinds taking turns, one at a time.

        The next begins when nothing has changed for `rest_seconds`: what a deleted Secret entails (Jobs, roll-outs,
        pods) is over then. With 0 it begins once the last is there again, in the middle of all that. Each is a child
        picked at random, by a seed that stands in the code.
        """
        times: dict[str, list[float]] = {kind: [] for kind in CHILD_KINDS}
        for _ in range(samples):
            for kind in CHILD_KINDS:
                if rest_seconds:
                    await self.mirror.still(rest_seconds)
                times[kind].append(await self.heal(self.random.choice(self.children(kind))))
        await self.operator.quiet()
        await self.all_ready(len(self.stacks.objects))
        return times

    async def all_at_once(self, name: str) -> float:
        """Delete every child of one stack at once: seconds from the first delete until as many exist again."""
        mine = {r: o for r, o in self.mirror.objects.items() if o["metadata"]["labels"]["aupex.ai/stack"] == name}
        doomed = {ref: obj["metadata"]["uid"] for ref, obj in mine.items() if not is_key_secret(ref, obj)}
        jobs = sum(ref.kind == "Job" for ref in doomed)
        started = time.perf_counter()
        await asyncio.gather(*(self.cluster.delete(ref, missing_ok=True) for ref in doomed))

        def again(objects: Mapping[Ref, Object]) -> bool:
            steady = all(
                ref in objects and objects[ref]["metadata"]["uid"] != uid
                for ref, uid in doomed.items()
                if ref.kind != "Job"
            )
            return steady and self._new_jobs(objects, name, doomed) >= jobs

        await self.mirror.until(again, f"all of {name} again", 120)
        seconds = time.perf_counter() - started
        await self.settled(Ref("AurenStack", NAMESPACE, name))
        return seconds

    @staticmethod
    def _new_jobs(objects: Mapping[Ref, Object], name: str, doomed: Mapping[Ref, str]) -> int:
        """Jobs of the stack that were not there before (they come back under other names: passwords changed)."""
        return sum(
            ref.kind == "Job"
            and obj["metadata"]["labels"]["aupex.ai/stack"] == name
            and doomed.get(ref) != obj["metadata"]["uid"]
            for ref, obj in objects.items()
        )

    async def idle_writes(self, seconds: float) -> tuple[float, float]:
        """(writes, Lease writes) per minute while nothing happens."""
        await self.operator.quiet(5)
        user = self.operator.user
        before = self.plane.writes(user)
        await asyncio.sleep(seconds)
        new = self.plane.writes(user)[len(before) :]
        leases = sum(write.resource == "leases" for write in new)
        return (len(new) - leases) * 60 / seconds, leases * 60 / seconds

    async def add_foreign_secrets(self, count: int, size: int) -> None:
        """Secrets that belong to nobody we know."""
        data = {"blob": base64.b64encode(os.urandom(size)).decode()}
        made = ({"name": f"foreign-{n}", "namespace": FOREIGN} for n in range(count))
        await each(
            self.cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data}) for meta in made
        )


class Peer:
    """The built-in Deployment controller: what it needs to restore a ReplicaSet that was deleted."""

    def __init__(self, cluster: Cluster, mirror: Mirror) -> None:
        self.cluster, self.mirror = cluster, mirror

    async def add(self, count: int) -> None:
        """Deployments of one pod each, in a namespace of their own; returns when all are available."""
        await each(self.cluster.create(_deployment(f"peer-{n:03d}")) for n in range(count))
        await self.mirror.until(lambda objects: _available(objects) >= count, "peers available", STACK_SECONDS)

    async def heal(self, samples: int, report: Callable[[float], None], *, rest_seconds: float = REST_SECONDS) -> None:
        """Delete one ReplicaSet after the other, each of another Deployment; paced as `Scene.heal_each_kind`."""
        refs = sorted(self.mirror.objects)
        for number in range(samples):
            ref = refs[number % len(refs)]
            if rest_seconds:
                await self.mirror.still(rest_seconds)
            uid = self.mirror.objects[ref]["metadata"]["uid"]
            await self.cluster.delete(ref)
            answered = time.perf_counter()
            report(max(await self.mirror.again(ref, uid) - answered, 0.0))
        await self.mirror.until(lambda objects: _available(objects) >= len(refs), "peers available", 120)


def _available(objects: Mapping[Ref, Object]) -> int:
    return sum(obj.get("status", {}).get("availableReplicas") == 1 for obj in objects.values())


def _deployment(name: str) -> Object:
    labels = {"app.kubernetes.io/name": name, "bench.aupex.ai/peer": "yes"}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod_security = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {"securityContext": pod_security, "containers": [{"name": "c", "image": "any", "securityContext": security}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": PEERS, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
