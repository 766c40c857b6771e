"""The control plane that the operator's tests run on does what they take for granted."""

from __future__ import annotations

from tests.api.cluster import Cluster, Mirror, Object, Ref
from tests.api.controlplane import ControlPlane


def pod_spec(**more: object) -> Object:
    """A pod that passes the restricted Pod Security Standard."""
    locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    user = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    return {"securityContext": user, "containers": [{"name": "c", "image": "any", "securityContext": locked}], **more}


def workload(kind: str, namespace: str, name: str, **spec: object) -> Object:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": pod_spec(**({"restartPolicy": "Never"} if kind == "Job" else {})),
    }
    selector = {} if kind == "Job" else {"selector": {"matchLabels": labels}}
    version = "batch/v1" if kind == "Job" else "apps/v1"
    meta = {"name": name, "namespace": namespace, "labels": {"aupex.ai/stack": "s"}}
    return {"apiVersion": version, "kind": kind, "metadata": meta, "spec": {**selector, "template": template, **spec}}


def is_ready(obj: Object | None) -> bool:
    return obj is not None and obj.get("status", {}).get("readyReplicas") == obj["spec"]["replicas"]


async def test_deployments_become_ready(cluster: Cluster, namespace: str) -> None:
    await cluster.create(workload("Deployment", namespace, "d", replicas=2))
    await cluster.until(Ref("Deployment", namespace, "d"), is_ready, "ready")


async def test_jobs_complete(cluster: Cluster, namespace: str) -> None:
    await cluster.create(workload("Job", namespace, "j"))

    def complete(job: Object | None) -> bool:
        conditions = (job or {}).get("status", {}).get("conditions", ())
        return any(c["type"] == "Complete" and c["status"] == "True" for c in conditions)

    await cluster.until(Ref("Job", namespace, "j"), complete, "complete")


async def test_claims_of_statefulsets_are_bound_and_their_volumes_go_with_them(
    cluster: Cluster, namespace: str
) -> None:
    storage = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"metadata": {"name": "data"}, "spec": storage}
    stateful = workload("StatefulSet", namespace, "s", replicas=1, serviceName="s", volumeClaimTemplates=[claim])
    stateful["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/d"}]
    await cluster.create(stateful)
    await cluster.until(Ref("StatefulSet", namespace, "s"), is_ready, "ready")
    await cluster.delete(Ref("StatefulSet", namespace, "s"))
    await cluster.delete(Ref("PersistentVolumeClaim", namespace, "data-s-0"))
    await cluster.gone(Ref("PersistentVolumeClaim", namespace, "data-s-0"))


async def test_a_held_pod_waits_until_it_is_let_go(cluster: Cluster, namespace: str) -> None:
    held = {"name": "held", "namespace": namespace, "annotations": {"tests.example.com/hold": "yes"}}
    ref = Ref("Pod", namespace, "held")
    await cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": held, "spec": pod_spec()})
    await cluster.until(ref, lambda pod: pod is not None and "nodeName" in pod["spec"], "scheduled")
    assert (await cluster.get(ref))["status"]["phase"] == "Pending"
    await cluster.patch(ref, {"metadata": {"annotations": {"tests.example.com/hold": None}}})
    await cluster.until(ref, lambda pod: pod is not None and pod["status"]["phase"] == "Running", "running")


async def test_a_mirror_sees_what_is_deleted_and_made_again(cluster: Cluster, namespace: str) -> None:
    ref = Ref("Deployment", namespace, "m")
    async with Mirror(cluster, ("Deployment",)) as mirror:
        before = await cluster.create(workload("Deployment", namespace, "m"))
        await mirror.until(lambda objects: ref in objects, "seen")
        await cluster.delete(ref)
        await mirror.until(lambda objects: ref not in objects, "seen to be gone")
        await cluster.create(workload("Deployment", namespace, "m"))
        assert await mirror.again(ref, before["metadata"]["uid"]) > 0


async def test_a_watch_from_before_a_compaction_is_refused(cluster: Cluster, control_plane: ControlPlane) -> None:
    version = (await cluster.list("ConfigMap"))[0]["metadata"]["resourceVersion"]
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "moves-on-"}})
    control_plane.compact()
    events = [event async for event in cluster.watch("ConfigMap", resourceVersion=version, timeoutSeconds="5")]
    assert [(kind, obj.get("code")) for kind, obj in events] == [("ERROR", 410)]
