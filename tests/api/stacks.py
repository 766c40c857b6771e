"""Stacks in tests: how to make one, and how to wait for what its status says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import yaml

from tests.api.cluster import Cluster, Object, Ref, RefusedError
from tests.api.operator_process import NAMESPACE
from tests.api.places import REPOSITORY
from tests.api.processes import POLL_SECONDS

CRD_FILE = REPOSITORY / "crds" / "aurenstacks.aupex.ai.yaml"


RICH_SPEC: Final[Mapping[str, Any]] = {
    "size": "small",
    "neuros": {
        "autoscaling": {"minReplicas": 2, "maxReplicas": 4, "targetCPUUtilizationPercentage": 60},
        "env": [{"name": "AUREN_LOG_LEVEL", "value": "debug"}],
        "labels": {"example.com/team": "agents"},
        "annotations": {"example.com/contact": "agents"},
        "llm": {"mode": "local"},
    },
    "bridge": {
        "nodeSelector": {"kubernetes.io/hostname": "fake"},
        "tolerations": [{"key": "example.com/any", "operator": "Exists", "effect": "NoSchedule"}],
        "resources": {"requests": {"cpu": "50m"}},
    },
}
"""A stack in which children of every kind exist, with most of what a spec can set on them."""


async def install_crd(cluster: Cluster) -> None:
    """Apply the CRD and wait until it is served; make the namespace that the operator keeps its Lease in."""
    crd: Object = yaml.safe_load(CRD_FILE.read_text())
    await cluster.apply(crd)

    def served(obj: Object | None) -> bool:
        conditions = ((obj or {}).get("status") or {}).get("conditions") or ()
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

    await cluster.until(Ref("CustomResourceDefinition", "", crd["metadata"]["name"]), served, "served")
    await _listed(cluster)
    await make_namespace(cluster, NAMESPACE)


async def _listed(cluster: Cluster) -> None:
    """For a moment after a kind is established, the API server answers that its storage is being initialized."""
    async with asyncio.timeout(30):
        while True:
            try:
                await cluster.list("AurenStack")
            except RefusedError as refused:
                if refused.code not in (404, 429, 503):
                    raise
                await asyncio.sleep(POLL_SECONDS)
            else:
                return


async def make_namespace(cluster: Cluster, name: str) -> None:
    """A namespace that enforces the restricted Pod Security Standard; fine if it is there."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    try:
        await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    except RefusedError as refused:
        if refused.code != 409:
            raise


def stack(namespace: str, name: str = "demo", spec: Mapping[str, Any] | None = None) -> Object:
    """An AurenStack of size demo, or with this spec."""
    wanted = {"size": "demo"} if spec is None else dict(spec)
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "aupex.ai/v1alpha1", "kind": "AurenStack", "metadata": meta, "spec": wanted}


def condition(obj: Object | None, kind: str) -> Object:
    """The condition of this type; empty while there is none."""
    conditions: list[Object] = ((obj or {}).get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), {})


def says(obj: Object | None, kind: str, status: str, reason: str = "") -> bool:
    """Whether a condition has this status (and reason) for the newest generation."""
    found = condition(obj, kind)
    fresh = obj is not None and (obj.get("status") or {}).get("observedGeneration") == obj["metadata"]["generation"]
    return fresh and found.get("status") == status and reason in {"", found.get("reason")}


def row(obj: Object | None, component: str) -> Object:
    """The component's row in the status; empty while there is none."""
    rows: list[Object] = ((obj or {}).get("status") or {}).get("components") or []
    return next((r for r in rows if r["name"] == component), {})


async def ready(cluster: Cluster, namespace: str, name: str = "demo", timeout_seconds: float = 90) -> Object:
    """Wait until the stack says that it is Ready; it then."""
    ref = Ref("AurenStack", namespace, name)
    obj = await cluster.until(ref, lambda s: says(s, "Ready", "True"), "Ready", timeout_seconds)
    assert obj is not None
    return obj


async def install(
    cluster: Cluster, namespace: str, name: str = "demo", spec: Mapping[str, Any] | None = None
) -> Object:
    """Make a stack and wait until it is Ready."""
    await cluster.create(stack(namespace, name, spec))
    return await ready(cluster, namespace, name)


async def events_of(cluster: Cluster, namespace: str, reason: str) -> list[Object]:
    """The Events about stacks of a namespace that carry this reason."""
    events = await cluster.list("Event", namespace)
    return [e for e in events if e["involvedObject"]["kind"] == "AurenStack" and e["reason"] == reason]


async def told(cluster: Cluster, namespace: str, reason: str, *mentions: str, timeout_seconds: float = 20) -> Object:
    """Wait for an Event about a stack with this reason and all these words; Events may come after the status."""
    events: list[Object] = []
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                events = await events_of(cluster, namespace, reason)
                for event in events:
                    if all(words in event["message"] for words in mentions):
                        return event
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        said = [event["message"] for event in events]
        raise AssertionError(f"no Event {reason} mentions {mentions}; those of this reason say {said}") from None


def is_key_secret(ref: Ref, obj: Object) -> bool:
    """Whether data on volumes cannot be read without this Secret: it outlives its stack, so it has no owner."""
    return ref.kind == "Secret" and not obj["metadata"].get("ownerReferences")


def healable(children: Mapping[Ref, Object]) -> dict[Ref, Object]:
    """All children but the key Secrets, which are never made anew while there are volumes."""
    return {ref: obj for ref, obj in children.items() if not is_key_secret(ref, obj)}
