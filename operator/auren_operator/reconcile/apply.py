"""Bringing single objects to what they should be: what differs is applied, what does not costs nothing.

An object is left alone when it was last applied with the same manifest and our own entry in its managedFields is the
one that this apply left. The API server takes a path out of that entry when anyone else changes or removes the
field, so neither defaulted values nor other writers' fields are ever compared.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from auren_operator import metrics
from auren_operator.api import names
from auren_operator.api.observed import Seen, WorkloadSeen, lost_paths, see
from auren_operator.api.reasons import Reason
from auren_operator.kube.client import Answer, Kube, Refused
from auren_operator.kube.kinds import CHILDREN
from auren_operator.kube.view import ChildKey, StackKey, View
from auren_operator.manifests.model import Manifest
from auren_operator.reconcile import mend
from auren_operator.reconcile.desired import Child
from auren_operator.reconcile.patience import Patience
from auren_operator.status.rows import Trouble

CONCURRENT_WRITES: Final = 12
"""Requests of all reconciles together; beyond it the API server's priority queues only make them wait."""

SCOUT_FROM: Final = 8
"""From so many new names on, a list a kind (ten requests) costs less than a look at each."""

INVALID: Final = 422
"""The status with which the API server refuses what an object would say."""

SERVER_ERROR: Final = 500

ORPHAN: Final = "Orphan"
BACKGROUND: Final = "Background"


class NamespaceGoing(Exception):
    """The stack's namespace is being deleted: there is nothing left to do in it."""


@dataclass(frozen=True, slots=True)
class Done:
    """What one apply did: ``what`` is created, healed, reverted, updated, or empty when nothing was sent."""

    key: ChildKey
    what: str
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outrun:
    """The object was not any more what we had seen when our write reached it."""


Result = Done | Trouble | Outrun


@dataclass(slots=True)
class Outcome:
    """What a round did and could not do, collected from all its objects."""

    done: list[Done] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    outrun: bool = False
    """Somebody changed an object between our look and our write: look again, there is nothing to complain about."""

    def healed(self) -> list[tuple[str, str]]:
        """Kind and name of everything that was made again or set back."""
        return [(d.key.kind, d.key.name) for d in self.done if d.what in {"healed", "reverted"}]


@dataclass(slots=True)
class Memory:
    """What is remembered of one stack between rounds; lost with the process, and rebuilt from the cluster.

    ``uid`` is the stack's: its namesake of another uid starts with an empty memory.
    ``applied``: digest and own field set that the last apply left. ``known``: objects that have existed.
    ``witnessed``: those of them that this process has seen itself; of the others only the status tells, so that a
    namesake may have taken their place. ``expected``: objects that we deleted ourselves, whose return is no healing.
    ``gone``: when one vanished, and its uid. ``replicas``: what an autoscaled workload had last.
    ``free``: names of which a list has just said that nobody has them.
    ``untold``: what was done and stands in no status yet, because a round ended early. ``patience``: with whoever
    undoes our writes.
    """

    uid: str
    applied: dict[ChildKey, tuple[Child, str]] = field(default_factory=dict)
    known: set[ChildKey] = field(default_factory=set)
    witnessed: set[ChildKey] = field(default_factory=set)
    expected: set[ChildKey] = field(default_factory=set)
    gone: dict[ChildKey, tuple[float, str]] = field(default_factory=dict)
    replicas: dict[ChildKey, int] = field(default_factory=dict)
    free: set[ChildKey] = field(default_factory=set)
    untold: list[Done] = field(default_factory=list)
    patience: Patience = field(default_factory=Patience)


class Applier:
    """Writes children. One for the process; what it remembers is kept per stack in `Memory`."""

    def __init__(self, kube: Kube, view: View) -> None:
        self._kube, self._view = kube, view
        self._slots = asyncio.Semaphore(CONCURRENT_WRITES)

    def differs(self, child: Child, seen: Seen | None, memory: Memory) -> bool:
        """Whether the object must be applied: missing, edited, or wanted otherwise than when it was last applied."""
        if seen is None:
            return True
        if seen.deleting:
            return False
        if (
            child.autoscaled
            and isinstance(seen.detail, WorkloadSeen)
            and (seen.detail.replicas == 0) != (child.replicas == 0)
        ):
            return True  # an autoscaler leaves a workload at zero alone: falling asleep and waking up are ours
        last = memory.applied.get(child.key)
        if last is None or (last[0].digest, last[1]) != (child.digest, seen.own):
            return True
        memory.applied[child.key] = (child, seen.own)  # the same, but built anew: the former one can go
        return False

    def is_update(self, child: Child, seen: Seen, memory: Memory) -> bool:
        """Whether a running workload is wanted otherwise than before, as opposed to edited by somebody."""
        last = memory.applied.get(child.key)
        return child.digest != (last[0].digest if last else seen.stamp)

    def edited(self, key: ChildKey, seen: Seen, memory: Memory) -> Child | None:
        """What was applied last, where somebody has edited it since; None where nobody has or nothing is known."""
        last = memory.applied.get(key)
        return last[0] if last is not None and last[1] != seen.own and not seen.deleting else None

    async def apply(
        self, stack: StackKey, child: Child, seen: Seen | None, memory: Memory, *, autoscaled: bool = False
    ) -> Done | Trouble | Outrun:
        """Apply one child; refusals come back as a `Trouble`. Raises `NamespaceGoing` and `Unreachable`."""
        try:
            async with self._slots:
                return await self._apply(stack, child, seen, memory, autoscaled)
        except Refused as refused:
            return self._refused(stack, child, seen, refused)

    async def _write(self, child: Child, seen: Seen | None, autoscaled: bool, last_replicas: int | None) -> Answer:
        """Apply; where an edited list stands in the way, put the list back first.

        An autoscaled workload that was deleted comes back with as many replicas as it had last.
        """
        manifest = child.manifest()
        if autoscaled and seen is None and last_replicas and manifest["spec"]["replicas"]:
            manifest["spec"]["replicas"] = last_replicas
        try:
            return await self._write_once(manifest, seen, autoscaled)
        except Refused as refused:
            if refused.code != INVALID or seen is None or child.key.kind not in mend.LISTS_STAND_IN:
                raise
            if is_about_fixed_fields(refused.message):
                raise
            await mend.put_lists_back(self._kube, manifest)
            answer = await self._write_once(manifest, seen, autoscaled)
            return await mend.disown(self._kube, manifest, answer)

    async def _write_once(self, manifest: Manifest, seen: Seen | None, autoscaled: bool) -> Answer:
        if autoscaled and seen is not None:
            return await self._apply_scaled(manifest, seen)
        answer = await self._kube.apply(manifest)
        return await self._hand_over_replicas(manifest) if autoscaled else answer

    async def _apply(
        self, stack: StackKey, child: Child, seen: Seen | None, memory: Memory, autoscaled: bool
    ) -> Done | Trouble:
        key = child.key
        if await self._is_foreign(stack, key, seen, memory):
            return Trouble(
                child.component,
                Reason.NAME_CONFLICT,
                f"{key.kind} {key.name} exists and does not belong to this stack; rename or delete it",
            )
        return self._note(
            stack, child, seen, memory, await self._write(child, seen, autoscaled, memory.replicas.get(key))
        )

    def _note(self, stack: StackKey, child: Child, seen: Seen | None, memory: Memory, answer: Answer) -> Done:
        key = child.key
        self._view.observe(key.kind, answer)
        now = see(key.kind, answer)
        before = memory.applied.get(key)
        memory.applied[key] = (child, now.own)
        gone_at, gone_uid = memory.gone.pop(key, (None, ""))
        memory.witnessed.add(key)
        if seen is None and gone_uid == now.uid:
            return Done(key, "reverted", ("metadata.labels",))
        if seen is None:
            return self._note_creation(key, memory, gone_at)
        if before is not None and before[0].digest == child.digest:
            metrics.healed.labels(key.kind, "edited").inc()
            return Done(key, "reverted", tuple(lost_paths(now.own, seen.own)))
        if before is None and seen.own != now.own and seen.stamp == child.digest:
            return Done(key, "reverted", tuple(lost_paths(now.own, seen.own)))
        return Done(key, "updated" if now.version != seen.version else "")

    def _note_creation(self, key: ChildKey, memory: Memory, gone_at: float | None) -> Done:
        healed = key in memory.known and key not in memory.expected
        memory.known.add(key)
        memory.expected.discard(key)
        if healed:
            metrics.healed.labels(key.kind, "deleted").inc()
            if gone_at is not None:
                metrics.heal_seconds.labels(key.kind).observe(time.monotonic() - gone_at)
        return Done(key, "healed" if healed else "created")

    async def scout(self, stack: StackKey, wanted: Iterable[Child], memory: Memory) -> None:
        """Before many objects are made: one list a kind of what is not ours, instead of a look at every name."""
        children = self._view.children(stack)
        unseen = {c.key for c in wanted if c.key not in children and c.key not in memory.witnessed}
        memory.free = set()  # what an earlier round was told may have changed
        if len(unseen) < SCOUT_FROM:
            return
        for kind in {key.kind for key in unseen}:
            taken = await self._taken(stack, kind)
            if taken is not None:
                memory.free |= {key for key in unseen if key.kind == kind} - taken

    async def _taken(self, stack: StackKey, kind: str) -> set[ChildKey] | None:
        """The names of a kind that objects without our label have; None when the API server does not tell."""
        taken: set[ChildKey] = set()
        try:
            pages = self._kube.list_metadata(CHILDREN[kind], stack.namespace, f"!{names.LABEL_STACK}", cached=True)
            async for page in pages:
                taken |= {ChildKey(kind, item["metadata"]["name"]) for item in page.get("items") or ()}
        except Refused:
            return None
        return taken

    async def _is_foreign(self, stack: StackKey, key: ChildKey, seen: Seen | None, memory: Memory) -> bool:
        """Whether the name is taken by an object that is not ours.

        A Secret that carries our label and has every key is taken in: so are keys restored from a backup. Volumes
        are the StatefulSet controller's.
        """
        if key in memory.witnessed or key.kind in {"Secret", "PersistentVolumeClaim"}:
            return False
        if seen is not None:
            return not seen.ours
        if key in memory.free:
            memory.free.discard(key)
            return False
        found = await self._kube.metadata(CHILDREN[key.kind], stack.namespace, key.name)
        return found is not None and not see(key.kind, found).ours

    async def _hand_over_replicas(self, manifest: Mapping[str, Any]) -> Answer:
        """After a creation with replicas: a second manager owns them too, and only then do we leave them out."""
        await self._kube.apply(_only_replicas(manifest, manifest["spec"]["replicas"]), names.REPLICAS_MANAGER)
        return await self._kube.apply(_without_replicas(manifest))

    async def _apply_scaled(self, manifest: Mapping[str, Any], seen: Seen) -> Answer:
        """An autoscaled workload that exists: replicas are only touched to fall asleep and to wake up."""
        wanted: int = manifest["spec"]["replicas"]
        current = seen.detail.replicas if isinstance(seen.detail, WorkloadSeen) else wanted
        target = wanted if (wanted == 0) != (current == 0) else current
        if target != current or seen.holds_replicas:
            await self._kube.apply(_only_replicas(manifest, target), names.REPLICAS_MANAGER)
        return await self._kube.apply(_without_replicas(manifest))

    def _refused(self, stack: StackKey, child: Child, seen: Seen | None, refused: Refused) -> Trouble | Outrun:
        if refused.namespace_going:
            raise NamespaceGoing(stack.namespace) from refused
        if refused.conflict:
            if seen is not None:
                self._view.forget(child.key.kind, stack.namespace, child.key.name, stack.name, seen.uid)
            return Outrun()
        if refused.code >= SERVER_ERROR and "webhook" not in refused.message:
            return Outrun()  # the API server's own hiccup says nothing about the object
        return trouble_of(child.component, child.key, refused)


def needs_new_statefulset(child: Child, result: Result | BaseException) -> bool:
    """Whether the API server refused a StatefulSet because fields that cannot change are wanted otherwise."""
    return isinstance(result, Trouble) and child.key.kind == "StatefulSet" and is_about_fixed_fields(result.message)


def is_about_fixed_fields(message: str) -> bool:
    """Whether the API server's sentence says that fields of a StatefulSet were to change that cannot."""
    return "updates to statefulset spec for fields other than" in message


def trouble_of(component: str, key: ChildKey, refused: Refused) -> Trouble:
    """What a refusal means for the component that the object belongs to."""
    if refused.code == 403 and "exceeded quota" in refused.message:
        reason = Reason.QUOTA_EXCEEDED
    elif refused.code == 403:
        reason = Reason.FORBIDDEN
    elif refused.code == 404:
        reason = Reason.KIND_MISSING
    else:
        reason = Reason.APPLY_FAILED
    return Trouble(component, reason, f"{key.kind} {key.name}: {refused.message or refused.reason}")


def _only_replicas(manifest: Mapping[str, Any], replicas: int) -> Mapping[str, Any]:
    meta = {"name": manifest["metadata"]["name"], "namespace": manifest["metadata"]["namespace"]}
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": meta,
        "spec": {"replicas": replicas},
    }


def _without_replicas(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**manifest, "spec": {k: v for k, v in manifest["spec"].items() if k != "replicas"}}
