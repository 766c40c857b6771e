"""What the operator keeps of an object that it watches: only what applying and the status need.

Everything here is a pure function of the object as the API server sent it. Values are small and shared between
stacks (field sets are interned), because a cluster may hold a hundred stacks of fifty children each.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from auren_operator.api import names, quantity
from auren_operator.api.certificates import flaw_of

Object = Mapping[str, Any]
"""A Kubernetes object as JSON decodes it."""

PULL_REASONS: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
RESTARTS: Final = 2
"""From this many restarts on, a container that runs but is not ready counts as crashing, not as starting."""
WAITING_REASONS: Final = PULL_REASONS | {
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}


@dataclass(frozen=True, slots=True)
class WorkloadSeen:
    """A Deployment or StatefulSet: wanted, updated and ready pods; ``settled`` when its controller has seen it all.

    ``failure`` is why a Deployment's pods are refused (quota, policy, webhook); a StatefulSet says it in Events only.
    """

    replicas: int
    updated: int
    ready: int
    current: int
    settled: bool
    created_replicas: int | None
    current_revision: str
    update_revision: str
    failure: str = ""

    @property
    def rolling(self) -> bool:
        """Whether a change of its template is still on its way: its controller has not seen it, old pods remain, or
        (a StatefulSet) the new ones have not all been ready yet. Pods that come back after a loss do not count.
        """
        behind = self.updated < min(self.replicas, self.current) or self.current > self.replicas
        return not self.settled or behind or self.current_revision != self.update_revision

    @property
    def is_ready(self) -> bool:
        """Whether every wanted pod is updated and ready (a workload of zero pods is ready)."""
        return not self.rolling and self.ready >= self.replicas


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A Job: done, failed for good (with the reason its controller gave), or neither."""

    complete: bool
    failed: bool
    message: str


@dataclass(frozen=True, slots=True)
class DataSeen:
    """A Secret or ConfigMap: which keys it has, and a hash of its data; never the data.

    ``flaw`` says why it would not do as a certificate, where it has the keys of one.
    """

    keys: frozenset[str]
    data_hash: str
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class VolumeSeen:
    """A PersistentVolumeClaim: requested bytes, whether it is bound, and its owner's first number of replicas."""

    storage_bytes: int
    bound: bool
    created_replicas: int | None


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod: its component, readiness, and what keeps it from running in one reason and one sentence."""

    component: str
    ready: bool
    revision: str
    reason: str
    message: str


Detail = WorkloadSeen | JobSeen | DataSeen | VolumeSeen | PodSeen | None


@dataclass(frozen=True, slots=True)
class Seen:
    """One watched object.

    ``own`` is the field set of our own apply entry in managedFields, as canonical text in which uids are blanked; it
    is empty when we own nothing. ``stamp`` is the hash of the manifest that our last apply left as an annotation.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    stack: str
    version: int = field(compare=False)
    deleting: bool
    owners: tuple[str, ...]
    own: str
    ours: bool
    holds_replicas: bool
    stamp: str
    detail: Detail

    def same_but_detail(self, other: Seen) -> bool:
        """Whether nothing that we set differs between the two: only the status side of the object moved."""
        return (
            self.uid == other.uid
            and self.deleting == other.deleting
            and self.own == other.own
            and self.owners == other.owners
        )


def stack_of(obj: Object) -> str:
    """Name of the stack that the object says it belongs to; empty when it says none."""
    return str(obj.get("metadata", {}).get("labels", {}).get(names.LABEL_STACK, ""))


def see(kind: str, obj: Object) -> Seen:
    """What is kept of ``obj``; ``kind`` is given because lists and some watches leave it out."""
    meta = obj["metadata"]
    managers = meta.get("managedFields") or ()
    own = own_fields(managers)
    owners = tuple(ref["uid"] for ref in meta.get("ownerReferences") or () if ref.get("kind") == names.KIND)
    return Seen(
        kind=kind,
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        stack=stack_of(obj),
        version=int(meta.get("resourceVersion") or 0),
        deleting="deletionTimestamp" in meta,
        owners=owners,
        own=own,
        ours=bool(own or owners) or any(m.get("manager") in names.FIELD_MANAGERS for m in managers),
        holds_replicas='"f:replicas"' in own,
        stamp=(meta.get("annotations") or {}).get(names.ANNOTATION_APPLIED_HASH, ""),
        detail=None if kind == "ConfigMap" and own else _detail(kind, obj),  # fields tell enough of our own
    )


def own_fields(managers: Any) -> str:
    """Canonical text of the field set that ``auren-operator`` applied, uids blanked; empty when there is none."""
    for entry in managers:
        if (
            entry.get("manager") == names.FIELD_MANAGER
            and entry.get("operation") == "Apply"
            and not entry.get("subresource")
        ):
            text = orjson.dumps(_blank_uids(entry.get("fieldsV1") or {}), option=orjson.OPT_SORT_KEYS).decode()
            return sys.intern(text)
    return ""


def _blank_uids(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Owner references are keyed by uid: blank it, so that the text is the same for the same component anywhere."""
    meta = fields.get("f:metadata")
    if not meta or "f:ownerReferences" not in meta:
        return fields
    owners = {("k:owner" if key.startswith("k:") else key): value for key, value in meta["f:ownerReferences"].items()}
    return {**fields, "f:metadata": {**meta, "f:ownerReferences": {**owners, "n": len(owners)}}}


def lost_paths(before: str, after: str) -> list[str]:
    """Dotted paths that stand in the field set ``before`` and no longer in ``after``, sorted.

    Both are texts of `own_fields`. List items keep the key that the API server names them by.
    """
    old = _paths(orjson.loads(before)) if before else set()
    new = _paths(orjson.loads(after)) if after else set()
    return sorted(old - new)


def _paths(fields: Mapping[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in fields.items():
        if key in {".", "n"}:
            continue
        path = f"{prefix}.{_readable(key)}" if prefix else _readable(key)
        inner = _paths(value, path) if isinstance(value, Mapping) else set()
        found |= inner or {path}
    return found


def _readable(key: str) -> str:
    if key.startswith("k:"):
        body = key[2:]
        if not body.startswith("{"):
            return body
        keys = orjson.loads(body)
        return "[" + ",".join(str(v) for v in keys.values()) + "]"
    return key.removeprefix("f:").removeprefix("v:")


def _detail(kind: str, obj: Object) -> Detail:
    match kind:
        case "Deployment" | "StatefulSet":
            return _workload(obj)
        case "Job":
            return _job(obj)
        case "Secret":
            return _secret(obj)
        case "ConfigMap":
            return _texts(obj)
        case "PersistentVolumeClaim":
            return _volume(obj)
        case "Pod":
            return _pod(obj)
        case _:
            return None


def _workload(obj: Object) -> WorkloadSeen:
    spec, status, meta = obj.get("spec", {}), obj.get("status") or {}, obj["metadata"]
    replicas = spec.get("replicas", 1)
    current_revision, update_revision = status.get("currentRevision", ""), status.get("updateRevision", "")
    updated = status.get("updatedReplicas", 0)
    if current_revision and current_revision == update_revision:
        updated = status.get("replicas", 0)  # a StatefulSet without a roll-out reports updatedReplicas 0 at times
    return WorkloadSeen(
        replicas=replicas,
        updated=updated,
        ready=status.get("readyReplicas", 0),
        current=status.get("replicas", 0),
        settled=status.get("observedGeneration", 0) >= meta.get("generation", 0),
        created_replicas=_created_replicas(meta),
        current_revision=current_revision,
        update_revision=update_revision,
        failure=_replica_failure(status),
    )


def _replica_failure(status: Object) -> str:
    """What the Deployment's controller says about pods that it could not create; empty when it could."""
    found = [c for c in status.get("conditions") or () if c["type"] == "ReplicaFailure" and c["status"] == "True"]
    return str(found[0].get("message") or found[0].get("reason", "")) if found else ""


def _job(obj: Object) -> JobSeen:
    conditions = {c["type"]: c for c in (obj.get("status") or {}).get("conditions") or () if c.get("status") == "True"}
    failure = conditions.get("Failed") or conditions.get("FailureTarget")
    return JobSeen(
        complete="Complete" in conditions or "SuccessCriteriaMet" in conditions,
        failed=failure is not None,
        message=f"{failure.get('reason', '')}: {failure.get('message', '')}" if failure else "",
    )


def _secret(obj: Object) -> DataSeen:
    data = obj.get("data") or {}
    return _data(data, flaw_of(data))


def _texts(obj: Object) -> DataSeen:
    return _data({**(obj.get("data") or {}), **(obj.get("binaryData") or {})})


def _data(data: Mapping[str, Any], flaw: str = "") -> DataSeen:
    text = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    keys = frozenset(sys.intern(key) for key, value in data.items() if value)
    return DataSeen(keys, hashlib.sha256(text).hexdigest()[:16], flaw)


def _volume(obj: Object) -> VolumeSeen:
    requested = obj.get("spec", {}).get("resources", {}).get("requests", {}).get("storage", "0")
    return VolumeSeen(
        storage_bytes=quantity.to_bytes(requested),
        bound=(obj.get("status") or {}).get("phase") == "Bound",
        created_replicas=_created_replicas(obj["metadata"]),
    )


def _created_replicas(meta: Object) -> int | None:
    text = (meta.get("annotations") or {}).get(names.ANNOTATION_CREATED_REPLICAS, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # anybody may write it


def _pod(obj: Object) -> PodSeen:
    status = obj.get("status") or {}
    labels = obj["metadata"].get("labels") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    reason, message = _pod_problem(status, conditions)
    return PodSeen(
        component=labels.get(names.LABEL_COMPONENT, ""),
        ready=conditions.get("Ready", {}).get("status") == "True",
        revision=labels.get("controller-revision-hash", ""),
        reason=reason,
        message=message,
    )


def _pod_problem(status: Object, conditions: Mapping[str, Any]) -> tuple[str, str]:
    """Reason and message of what keeps a pod from running; two empty strings when nothing is known to."""
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return "Unschedulable", scheduled.get("message", "")
    if status.get("reason") == "Evicted":
        return "Evicted", status.get("message", "")
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        reason, message = _container_problem(container)
        if reason:
            return reason, message
    return "", ""


def _container_problem(container: Object) -> tuple[str, str]:
    name = container.get("name", "")
    last = (container.get("lastState") or {}).get("terminated") or {}
    state = container.get("state") or {}
    ended = state.get("terminated") or {}
    for one in (ended, last):
        if one.get("reason") == "OOMKilled" and not container.get("ready"):
            return "OOMKilled", f"container {name} used more memory than its limit"
    waiting = state.get("waiting") or {}
    if waiting.get("reason") in WAITING_REASONS:
        code = f"; it last ended with exit code {last['exitCode']}" if "exitCode" in last else ""
        return waiting["reason"], f"container {name}: {waiting.get('message') or waiting['reason']}{code}"
    if last.get("exitCode") and container.get("restartCount", 0) >= RESTARTS and not container.get("ready"):
        code = last["exitCode"]
        return "CrashLoopBackOff", f"container {name} was started {container['restartCount']} times; exit code {code}"
    if ended and ended.get("exitCode"):
        return "Error", f"container {name} ended with exit code {ended['exitCode']}"
    return "", ""
