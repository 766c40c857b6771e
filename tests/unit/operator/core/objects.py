"""Objects as a real API server sends them, shortened to what matters, and the status of workloads at each stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from auren_operator.api import names

OURS: Final = "auren-operator"


def entry(
    manager: str, fields: Mapping[str, Any], operation: str = "Apply", subresource: str | None = None
) -> dict[str, Any]:
    """One entry of managedFields."""
    found = {
        "manager": manager,
        "operation": operation,
        "apiVersion": "v1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": dict(fields),
    }
    return found | ({"subresource": subresource} if subresource else {})


def owner(uid: str, kind: str = names.KIND) -> dict[str, Any]:
    """A reference to an owner."""
    return {
        "apiVersion": names.API_VERSION if kind == names.KIND else "apps/v1",
        "kind": kind,
        "name": "demo",
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def obj(
    kind: str,
    name: str = "demo-redis",
    *,
    component: str = "redis",
    uid: str = "uid-1",
    version: int = 10,
    **rest: Any,
) -> dict[str, Any]:
    """An object of the stack ``people/demo``; ``metadata`` in ``rest`` adds to what stands here."""
    metadata = {
        "name": name,
        "namespace": "people",
        "uid": uid,
        "resourceVersion": str(version),
        "generation": 1,
        "labels": {names.LABEL_STACK: "demo", names.LABEL_COMPONENT: component},
    }
    return {"kind": kind, **rest, "metadata": metadata | rest.get("metadata", {})}


def applied(stack_uid: str, image: str = "redis:8") -> dict[str, Any]:
    """The field set that our apply of a StatefulSet leaves, as kube-apiserver 1.36 writes it."""
    return {
        "f:metadata": {
            "f:annotations": {"f:aupex.ai/applied-hash": {}, "f:aupex.ai/created-replicas": {}},
            "f:labels": {"f:app.kubernetes.io/component": {}, "f:aupex.ai/stack": {}},
            "f:ownerReferences": {f'k:{{"uid":"{stack_uid}"}}': {}},
        },
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:annotations": {"f:aupex.ai/config-hash": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"redis"}': {
                            ".": {},
                            "f:env": {
                                'k:{"name":"AUREN_PORT"}': {".": {}, "f:name": {}, "f:value": {}},
                                'k:{"name":"POD_NAME"}': {".": {}, "f:name": {}, "f:valueFrom": {"f:fieldRef": {}}},
                            },
                            "f:image": {},
                            "f:ports": {
                                'k:{"containerPort":6379,"protocol":"TCP"}': {
                                    ".": {},
                                    "f:containerPort": {},
                                    "f:name": {},
                                }
                            },
                            "f:securityContext": {"f:capabilities": {"f:drop": {}}},
                        }
                    }
                },
            },
        },
    }


def deployment(generation: int = 1, wanted: int | None = 2, /, **status: Any) -> dict[str, Any]:
    """A Deployment whose status says ``status``; the controller leaves out what is zero."""
    spec = {"replicas": wanted} if wanted is not None else {}
    return obj("Deployment", "demo-neuros-advanced", metadata={"generation": generation}, spec=spec, status=status)


def stateful_set(generation: int = 1, wanted: int = 1, /, **status: Any) -> dict[str, Any]:
    """A StatefulSet whose status says ``status``."""
    return obj("StatefulSet", metadata={"generation": generation}, spec={"replicas": wanted}, status=status)


def pod(name: str = "demo-redis-0", *, revision: str = "", component: str = "redis", **status: Any) -> dict[str, Any]:
    """A pod whose status says ``status``; the revision is what a StatefulSet's controller labels it with."""
    made = obj("Pod", name, component=component, uid=f"uid-of-{name}", status=status)
    if revision:
        made["metadata"]["labels"]["controller-revision-hash"] = revision
    return made


def condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, Any]:
    """A condition of a pod or a Job."""
    return {"type": kind, "status": status, "reason": reason, "message": message}


NOT_READY: Final = condition("Ready", "False", "ContainersNotReady", "containers with unready status: [redis]")
SCHEDULED: Final = condition("PodScheduled", "True")


def container(
    state: Mapping[str, Any], last: Mapping[str, Any] | None = None, *, ready: bool = False, name: str = "redis"
) -> dict[str, Any]:
    """The status of one container."""
    return {"name": name, "ready": ready, "restartCount": 1, "state": dict(state), "lastState": dict(last or {})}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    """The state of a container that waits."""
    return {"waiting": {"reason": reason} | ({"message": message} if message else {})}


def terminated(exit_code: int, reason: str = "Error") -> dict[str, Any]:
    """The state of a container that ended."""
    return {"terminated": {"exitCode": exit_code, "reason": reason, "containerID": "containerd://1"}}


RUNNING: Final = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def claim(name: str = "data-demo-redis-0", *, size: str = "1Gi", uid: str = "uid-1", **rest: Any) -> dict[str, Any]:
    """A bound volume claim."""
    spec = {"resources": {"requests": {"storage": size}}}
    return obj("PersistentVolumeClaim", name, uid=uid, spec=spec, status={"phase": "Bound"}, **rest)


def job(name: str = "demo-migrations-abc", *conditions: dict[str, Any], **rest: Any) -> dict[str, Any]:
    """A Job with these conditions."""
    return obj("Job", name, component="migrations", status={"conditions": list(conditions)}, **rest)
