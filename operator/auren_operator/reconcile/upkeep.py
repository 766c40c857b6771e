"""What has to go, and what has to be nudged: leftovers, failed Jobs, pods stuck on a broken revision, volumes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from auren_operator.api import names
from auren_operator.api.observed import JobSeen, PodSeen, Seen, VolumeSeen, WorkloadSeen, see, stack_of
from auren_operator.api.reasons import Reason
from auren_operator.api.spec import Stack
from auren_operator.kube.client import Answer, Kube, Refused
from auren_operator.kube.kinds import CHILDREN, WATCHED
from auren_operator.kube.view import ChildKey
from auren_operator.manifests.meta import manifest, owner_reference
from auren_operator.manifests.model import Component
from auren_operator.manifests.storage import CLAIM
from auren_operator.reconcile.apply import BACKGROUND, ORPHAN, Memory, trouble_of
from auren_operator.reconcile.desired import Child, Desired, child_of
from auren_operator.status.rows import Trouble

JOB_RETRY_FIRST_SECONDS: Final = 5.0
JOB_RETRY_CAP_SECONDS: Final = 300.0


def leftovers(stack: Stack, desired: Desired, children: Mapping[ChildKey, Seen]) -> list[tuple[ChildKey, Seen]]:
    """Objects that this stack owns and no longer wants. Pure.

    Never volumes, pods or Secrets. Never a kind that a builder withholds: it would have it, but misses a fact.
    """
    wanted = desired.children
    withheld = {(kind, f"{stack.name}-{name}") for name, part in desired.parts.items() for kind in part.withheld}
    return [
        (key, seen)
        for key, seen in children.items()
        if key.kind in CHILDREN
        and key not in wanted
        and not seen.deleting
        and stack.uid in seen.owners
        and key.kind != "Secret"
        and not any(key.kind == kind and key.name.startswith(name) for kind, name in withheld)
    ]


def stuck_pods(children: Mapping[ChildKey, Seen]) -> list[tuple[ChildKey, Seen]]:
    """Pods of StatefulSets that are broken on an old revision: their controller waits for them forever. Pure."""
    return [
        (key, pod)
        for key, pod in children.items()
        if isinstance(pod.detail, PodSeen)
        and pod.detail.reason
        and not pod.detail.ready
        and not pod.deleting
        and _is_behind(pod.detail, children.get(ChildKey("StatefulSet", key.name.rpartition("-")[0])))
    ]


def _is_behind(pod: PodSeen, owner: Seen | None) -> bool:
    return (
        owner is not None
        and isinstance(owner.detail, WorkloadSeen)
        and owner.detail.settled
        and bool(pod.revision)
        and pod.revision != owner.detail.update_revision
    )


def claims(stack: Stack, wanted: Mapping[str, int], children: Mapping[ChildKey, Seen]) -> list[tuple[Child, Seen]]:
    """Volumes that must grow, or gain or lose the stack as their owner, as what to apply to them. Pure."""
    found = []
    for name, size in wanted.items():
        seen = children.get(ChildKey("PersistentVolumeClaim", name))
        if seen is None or seen.deleting or not isinstance(seen.detail, VolumeSeen):
            continue
        owned = stack.deletion_policy == "Delete"
        if seen.detail.storage_bytes < size or (stack.uid in seen.owners) != owned:
            found.append((_claim(stack, name, seen, max(size, seen.detail.storage_bytes), owned), seen))
    return found


def _claim(stack: Stack, name: str, seen: Seen, size: int, owned: bool) -> Child:
    component = Component(name.removeprefix(f"{CLAIM}-{stack.name}-").rpartition("-")[0], None)
    body: dict[str, Any] = {"spec": {"resources": {"requests": {"storage": str(size)}}}}
    claim = manifest(stack, component, "PersistentVolumeClaim", body, name=name)
    claim["metadata"]["ownerReferences"] = [owner_reference(stack)] if owned else []
    claim["metadata"]["uid"] = seen.uid
    return child_of(component.name, claim)


def _component(key: ChildKey, seen: Seen) -> str:
    """The component that an object belongs to, by its name."""
    name = key.name.removeprefix(f"{seen.stack}-")
    return name.rpartition("-")[0] if key.kind in {"Job", "Pod"} else name


@dataclass(slots=True)
class JobRetries:
    """When failed Jobs are made again: per component, ever later."""

    failures: dict[ChildKey, int] = field(default_factory=dict)
    due: dict[ChildKey, float] = field(default_factory=dict)

    def delay(self, key: ChildKey, now: float) -> float:
        """Seconds until the failed Job may be removed; 0 when it is time."""
        if key not in self.due:
            failures = self.failures[key] = self.failures.get(key, 0) + 1
            self.due[key] = now + min(JOB_RETRY_CAP_SECONDS, JOB_RETRY_FIRST_SECONDS * 2 ** min(failures - 1, 10))
        return max(0.0, self.due[key] - now)


def _is_new(seen: Seen) -> bool:
    """Whether its controller has not looked at a StatefulSet yet, and so has made neither volumes nor pods."""
    return isinstance(seen.detail, WorkloadSeen) and not seen.detail.settled and seen.detail.current == 0


class Upkeep:
    """Deletes what has to go. Every delete names the uid that it means and how it propagates."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def delete(self, key: ChildKey, seen: Seen, memory: Memory, propagation: str = BACKGROUND) -> Trouble | None:
        """Delete one object; its return, if it is wanted, is no healing. A refusal is the trouble that it returns."""
        try:
            await self._kube.delete(WATCHED[key.kind], seen.namespace, key.name, seen.uid, propagation)
        except Refused as refused:
            return trouble_of(_component(key, seen), key, refused)
        memory.expected.add(key)
        return None

    async def replace(self, child: Child, seen: Seen, memory: Memory) -> Trouble | None:
        """Delete a StatefulSet whose fixed fields are wanted otherwise, and leave its pods for the one to come.

        Not before the API server has said that it would take the new one: else the pods would stay without anybody.
        """
        trial = child.manifest()
        trial["metadata"] = {**trial["metadata"], "name": f"{child.key.name}-trial"}
        try:
            await self._kube.create(WATCHED[child.key.kind], trial, names.FIELD_MANAGER, dry_run=True)
        except Refused as refused:
            return trouble_of(child.component, child.key, refused)
        return await self.delete(child.key, seen, memory, ORPHAN)

    async def hidden(self, namespace: str, key: ChildKey) -> Seen | None:
        """Our own object of that name, where it lost the label by which we see it."""
        found = await self._kube.metadata(WATCHED[key.kind], namespace, key.name)
        seen = see(key.kind, found) if found is not None else None
        return seen if seen is not None and seen.ours else None

    async def hidden_claims(
        self, stack: Stack, wanted: Mapping[str, int], children: Mapping[ChildKey, Seen]
    ) -> list[Answer] | Trouble:
        """Volumes of existing StatefulSets that lost the label by which we see them, with the label put back."""
        found = []
        for name in wanted:
            owner = ChildKey("StatefulSet", name.removeprefix(f"{CLAIM}-").rpartition("-")[0])
            key = ChildKey("PersistentVolumeClaim", name)
            if key in children or owner not in children or _is_new(children[owner]):
                continue
            try:
                found += await self._labelled(stack, name)
            except Refused as refused:
                return trouble_of(_component(owner, children[owner]), key, refused)
        return found

    async def _labelled(self, stack: Stack, name: str) -> list[Answer]:
        claim = await self._kube.read(WATCHED["PersistentVolumeClaim"], stack.namespace, name)
        if claim is None or stack_of(claim) == stack.name:
            return []
        seen = see("PersistentVolumeClaim", claim)
        size = seen.detail.storage_bytes if isinstance(seen.detail, VolumeSeen) else 0
        frame = _claim(stack, name, seen, size, stack.deletion_policy == "Delete")
        return [await self._kube.apply(frame.manifest())]

    async def retry_jobs(
        self, desired: Desired, children: Mapping[ChildKey, Seen], memory: Memory, retries: JobRetries
    ) -> tuple[list[Trouble], float | None]:
        """Remove failed Jobs whose time has come; the troubles to show, and in how many seconds to look again."""
        troubles, soonest = [], None
        for part in desired.parts.values():
            child = part.workload
            seen = children.get(child.key) if child else None
            if child is None or seen is None or not isinstance(seen.detail, JobSeen) or not seen.detail.failed:
                continue
            delay = retries.delay(child.key, time.monotonic())
            message = f"Job {child.key.name}: {seen.detail.message}"
            troubles.append(Trouble(child.component, Reason.JOB_FAILED, message))
            if delay == 0 and not seen.deleting:
                del retries.due[child.key]
                refused = await self.delete(child.key, seen, memory)
                troubles += [refused] if refused else []
            elif delay and (soonest is None or delay < soonest):
                soonest = delay
        return troubles, soonest
