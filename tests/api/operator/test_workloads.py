"""Workloads: whose replicas count, what cannot change in place, and what a component says of its pods."""

from __future__ import annotations

from tests.api.cluster import Cluster, Object, Ref
from tests.api.operator_process import Operator
from tests.api.stacks import install, ready, row, says, stack

SCALED = {"size": "demo", "neuros": {"autoscaling": {"minReplicas": 2, "maxReplicas": 5}}}
NEUROS = "demo-neuros-advanced"


def replicas(obj: Object | None) -> int:
    """What the workload is set to; -1 where it does not exist."""
    return int(obj["spec"]["replicas"]) if obj else -1


async def test_an_autoscalers_replicas_stay(operator: Operator, cluster: Cluster, namespace: str) -> None:
    await install(cluster, namespace, spec=SCALED)
    ref = Ref("Deployment", namespace, NEUROS)
    assert replicas(await cluster.get(ref)) == 2
    await cluster.patch(ref, {"spec": {"replicas": 4}}, subresource="scale", manager="kube-controller-manager")
    await cluster.patch(ref, {"metadata": {"labels": {"app.kubernetes.io/name": "edited"}}})
    back = await cluster.until(
        ref, lambda d: d is not None and d["metadata"]["labels"]["app.kubernetes.io/name"] == "auren", "set back"
    )
    assert replicas(back) == 4
    await operator.quiet()
    assert replicas(await cluster.get(ref)) == 4


async def test_without_an_autoscaler_replicas_are_set_back(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await install(cluster, namespace)
    ref = Ref("Deployment", namespace, NEUROS)
    await cluster.patch(ref, {"spec": {"replicas": 3}}, subresource="scale")
    await cluster.until(ref, lambda d: replicas(d) == 1, "set back")


async def test_an_autoscaled_deployment_that_was_deleted_starts_at_its_minimum_at_least(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await install(cluster, namespace, spec=SCALED)
    ref = Ref("Deployment", namespace, NEUROS)
    await cluster.delete(ref)
    assert replicas(await cluster.exists(ref)) >= 2
    await operator.quiet()
    assert replicas(await cluster.get(ref)) >= 2


async def test_hibernation_scales_to_nothing_keeps_the_data_and_wakes_up_again(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await install(cluster, namespace, spec=SCALED)
    ref = Ref("AurenStack", namespace, "demo")
    claims = {claim["metadata"]["uid"] for claim in await cluster.list("PersistentVolumeClaim", namespace)}
    await cluster.patch(ref, {"spec": {"hibernated": True}})
    await cluster.until(ref, lambda s: says(s, "Ready", "False", "Hibernated"), "asleep")
    for kind in ("Deployment", "StatefulSet"):
        assert all(replicas(obj) == 0 for obj in await cluster.list(kind, namespace))
    assert {c["metadata"]["uid"] for c in await cluster.list("PersistentVolumeClaim", namespace)} == claims
    await cluster.patch(ref, {"spec": {"hibernated": False}})
    await ready(cluster, namespace)
    assert replicas(await cluster.get(Ref("Deployment", namespace, NEUROS))) == 2


async def test_a_statefulset_that_cannot_change_in_place_is_made_anew_around_its_pods(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await install(cluster, namespace)
    ref = Ref("StatefulSet", namespace, "demo-redis")
    good = await cluster.get(ref)
    pod = Ref("Pod", namespace, "demo-redis-0")
    uid = (await cluster.get(pod))["metadata"]["uid"]
    await operator.stop()
    # a release before this one might have made it with another policy, which nobody can change
    await cluster.delete(ref, "Orphan")
    await cluster.gone(ref)
    spec = {**good["spec"], "podManagementPolicy": "Parallel" if _ordered(good) else "OrderedReady"}
    meta = {key: good["metadata"][key] for key in ("name", "namespace", "labels", "ownerReferences")}
    old = await cluster.create({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": spec})
    await cluster.until(pod, lambda p: _owner(p) == old["metadata"]["uid"], "adopted")
    await operator.start()
    again = await cluster.exists(ref, not_uid=old["metadata"]["uid"])
    assert again["spec"]["podManagementPolicy"] == good["spec"]["podManagementPolicy"]
    adopted = await cluster.until(pod, lambda p: _owner(p) == again["metadata"]["uid"], "adopted again")
    assert adopted is not None
    assert adopted["metadata"]["uid"] == uid, "the pod was never restarted"


async def test_a_pod_that_cannot_pull_its_image_is_named(operator: Operator, cluster: Cluster, namespace: str) -> None:
    held = {"size": "demo", "bridge": {"annotations": {"tests.example.com/hold": "yes"}}}
    await cluster.create(stack(namespace, spec=held))
    await cluster.exists(Ref("Deployment", namespace, "demo-biometric-bridge"))
    selector = "app.kubernetes.io/component=biometric-bridge"
    deployment = Ref("Deployment", namespace, "demo-biometric-bridge")
    await cluster.until(deployment, lambda d: d is not None and d.get("status", {}).get("replicas") == 1, "trying")
    pods = await cluster.list("Pod", namespace, selector)
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    container = pods[0]["spec"]["containers"][0]
    state = {"name": container["name"], "image": container["image"], "imageID": "", "ready": False, "restartCount": 0}
    status = {"status": {"phase": "Pending", "containerStatuses": [{**state, "state": waiting}]}}
    pod = Ref("Pod", namespace, pods[0]["metadata"]["name"])
    await cluster.patch(pod, status, subresource="status")
    ref = Ref("AurenStack", namespace, "demo")
    shown = await cluster.until(ref, lambda s: row(s, "biometric-bridge").get("reason") == "CannotPullImage", "told")
    assert pods[0]["metadata"]["name"] in row(shown, "biometric-bridge")["message"]


async def test_a_volume_that_was_deleted_is_told_and_filled_again(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    before = await install(cluster, namespace)
    jobs = {job["metadata"]["name"] for job in await cluster.list("Job", namespace)}
    claim = Ref("PersistentVolumeClaim", namespace, "data-demo-timescaledb-0")
    uid = (await cluster.get(claim))["metadata"]["uid"]
    await cluster.delete(claim)
    ref = Ref("AurenStack", namespace, "demo")
    await cluster.until(ref, lambda s: row(s, "timescaledb").get("reason") == "VolumeLost", "told")
    await cluster.delete(Ref("Pod", namespace, "demo-timescaledb-0"))
    await cluster.exists(claim, not_uid=uid)
    after = await ready(cluster, namespace)
    assert row(after, "timescaledb")["volumes"] != row(before, "timescaledb")["volumes"]
    renewed = {job["metadata"]["name"] for job in await cluster.list("Job", namespace)}
    assert any(name.startswith("demo-migrations") for name in renewed - jobs)


def _ordered(stateful: Object) -> bool:
    return bool(stateful["spec"]["podManagementPolicy"] == "OrderedReady")


def _owner(obj: Object | None) -> str:
    owners: list[Object] = (obj or {}).get("metadata", {}).get("ownerReferences") or []
    return str(owners[0]["uid"]) if owners else ""
