"""The operator as the chart's account: what it is granted is enough, is needed, and ends where it should.

The API server's audit log says what the account did; every grant that a whole life of a stack did not use fails the
test, unless `SPARE` says why it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import pytest
import pytest_asyncio
import yaml

from auren_operator.api.quantity import to_bytes
from auren_operator.kube.kinds import CHILDREN
from tests.api.cluster import Cluster, Object, Ref, ref_of
from tests.api.controlplane import ControlPlane, Request
from tests.api.operator_process import NAMESPACE, Operator
from tests.api.places import REPOSITORY
from tests.api.stacks import RICH_SPEC, install, ready, stack, told
from tests.unit.chart.rendering import environment, of_kind, one, render

Right = tuple[str, str, str]
"""API group, resource (with its subresource) and verb."""

RIGHTS_KINDS: Final = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")

SPARE: Final = {
    ("", "persistentvolumeclaims", "delete"): "asked by the admission plugin before a volume gets an owner; no request",
}
"""Rights that no request shows to be used, and why they are granted."""


@dataclass(frozen=True)
class Account:
    """The operator under the rights of one release of the chart."""

    operator: Operator
    rights: frozenset[Right]

    def requests(self) -> list[Request]:
        """What it asked the API server for."""
        return self.operator.control_plane.requests(self.operator.user)

    def refused(self) -> list[Request]:
        """What it had no right to ask for."""
        return [request for request in self.requests() if not request.allowed]

    def used(self) -> set[Right]:
        """The rights that it made use of. A server-side apply that creates (201) uses two."""
        found = set()
        for asked in self.requests():
            resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
            verbs = (asked.verb, "create") if (asked.verb, asked.code) == ("patch", 201) else (asked.verb,)
            found |= {(asked.group, resource, verb) for verb in verbs if asked.resource}
        return found


Start = Callable[..., Awaitable[Account]]


@pytest_asyncio.fixture
async def start(
    control_plane: ControlPlane, cluster: Cluster, operator_of_the_session: Operator
) -> AsyncIterator[Start]:
    """Starts the operator as a release's account: ``await start(release, *helm_arguments)``; no other one runs."""
    started: list[Operator] = []
    if operator_of_the_session.server.running:
        await operator_of_the_session.stop()
    for lease in await cluster.list("Lease", NAMESPACE):  # to make one is a right, too
        await cluster.delete(ref_of("Lease", lease))

    async def _start(release: str, *arguments: str) -> Account:
        found = render("--set", "crds.install=false", *arguments, release=release)
        account = await _install_rights(control_plane, found)
        name = str(account["metadata"]["name"])
        token = control_plane.kubectl("create", "token", name, f"--namespace={NAMESPACE}").strip()
        operator = Operator(
            control_plane,
            name,
            kubeconfig=control_plane.write_kubeconfig(name, {"token": token}),
            user=f"system:serviceaccount:{NAMESPACE}:{name}",
            environment={k: v for k, v in environment(found).items() if k != "AUREN_METRICS_PORT"},
        )
        started.append(operator)
        await operator.start()
        return Account(operator, frozenset(_granted(found)))

    yield _start
    for operator in started:
        await operator.stop()


async def _install_rights(control_plane: ControlPlane, found: Iterable[Object]) -> Object:
    """Apply the chart's account and roles; the account."""
    wanted = [obj for kind in RIGHTS_KINDS for obj in of_kind(found, kind)]
    command = ("apply", "--server-side", "--validate=strict", "-f", "-")
    await asyncio.to_thread(control_plane.kubectl, *command, stdin=yaml.safe_dump_all(wanted))
    [account] = of_kind(found, "ServiceAccount")
    return account


def _granted(found: Iterable[Object]) -> Iterable[Right]:
    """All rights of the operator's roles; those for users of stacks are not its own."""
    for role in (*of_kind(found, "Role"), *of_kind(found, "ClusterRole")):
        if not role["metadata"]["name"].startswith("aurenstacks-"):
            for rule in role["rules"]:
                yield from ((g, r, v) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"])


async def test_a_whole_life_of_a_stack_needs_all_that_the_chart_grants(
    start: Start, cluster: Cluster, namespace: str
) -> None:
    account = await start("auren-operator")
    await install(cluster, namespace, spec=RICH_SPEC)
    await told(cluster, namespace, "Ready")
    await heal_a_deployment(cluster, namespace)
    await revert_a_service(cluster, namespace)
    await renew_a_secret(cluster, namespace)
    await take_a_secret_back(cluster, namespace)
    await restore_what_went_meanwhile(account.operator, cluster, namespace)
    await free_a_stuck_pod(cluster, namespace)
    await grow_and_own_volumes(cluster, namespace)
    await leave_things_out(cluster, namespace)
    await account.operator.stop()

    assert account.refused() == []
    assert account.used() <= account.rights
    assert account.rights - account.used() == SPARE.keys()


async def test_restricted_to_one_namespace_it_serves_that_and_asks_for_nothing_else(
    start: Start, cluster: Cluster, namespace: str, other_namespace: str
) -> None:
    await cluster.create(stack(other_namespace))
    account = await start("single", "--set", f"watchNamespaces={{{namespace}}}")
    await install(cluster, namespace)
    await told(cluster, namespace, "Ready")
    await heal_a_deployment(cluster, namespace)
    await account.operator.stop()

    assert account.refused() == []
    assert {request.namespace for request in account.requests() if request.resource} == {namespace, NAMESPACE}
    assert {request.resource for request in account.requests() if request.namespace == NAMESPACE} == {"leases"}
    assert await cluster.children(other_namespace, "demo") == {}
    assert "status" not in await cluster.get(Ref("AurenStack", other_namespace, "demo"))


async def test_a_right_that_is_taken_away_is_named_at_the_start(
    start: Start, control_plane: ControlPlane, cluster: Cluster
) -> None:
    account = await start("poor", "--set", "fullnameOverride=poor-operator")
    await account.operator.stop()
    role = one(render("--set", "fullnameOverride=poor-operator", release="poor"), "ClusterRole", "poor-operator")
    role["rules"] = [rule for rule in role["rules"] if "statefulsets" not in rule["resources"]]
    control_plane.kubectl("replace", "-f", "-", stdin=yaml.safe_dump(role))

    account.operator.server.launch()
    code = await asyncio.to_thread(account.operator.server.wait_ended, 60)
    assert code == 1
    assert account.operator.server.said("the operator cannot list statefulsets")


@pytest_asyncio.fixture
async def other_namespace(cluster: Cluster) -> AsyncIterator[str]:
    """A second namespace."""
    name = "not-served"
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    await cluster.delete(Ref("Namespace", "", name), missing_ok=True)


async def change_spec(cluster: Cluster, namespace: str, spec: dict[str, Any]) -> None:
    """Merge this into the stack's spec."""
    await cluster.patch(Ref("AurenStack", namespace, "demo"), {"spec": spec})


async def heal_a_deployment(cluster: Cluster, namespace: str) -> None:
    """Delete one and wait for its return, and for the Event about it."""
    ref = Ref("Deployment", namespace, "demo-neuros-advanced")
    before = await cluster.get(ref)
    await cluster.delete(ref)
    await cluster.exists(ref, not_uid=before["metadata"]["uid"])
    owner = Ref("AurenStack", namespace, "demo")
    await cluster.until(owner, lambda obj: bool(obj and obj["status"]["healed"]["count"]), "counted")
    await told(cluster, namespace, "Healed")
    await ready(cluster, namespace)


async def revert_a_service(cluster: Cluster, namespace: str) -> None:
    """Remove a label of ours; it comes back."""
    ref, label = Ref("Service", namespace, "demo-redis"), "app.kubernetes.io/part-of"
    await cluster.patch(ref, {"metadata": {"labels": {label: None}}})
    await cluster.until(ref, lambda obj: bool(obj and label in obj["metadata"]["labels"]), "set back")


async def renew_a_secret(cluster: Cluster, namespace: str) -> None:
    """Take a key out of a Secret: it is deleted and made anew, and Jobs of a new name replace the old ones."""
    ref = Ref("Secret", namespace, "demo-neuros-advanced")
    before = await cluster.get(ref)
    jobs = {ref_of("Job", job) for job in await cluster.list("Job", namespace)}
    await cluster.patch(ref, {"data": {"kafka-password": None}})
    await cluster.exists(ref, not_uid=before["metadata"]["uid"])
    for job in jobs:
        await cluster.gone(job)
    await ready(cluster, namespace)


async def take_a_secret_back(cluster: Cluster, namespace: str) -> None:
    """Remove the stack's label from a Secret: it is read, recognized as ours and taken back."""
    ref, label = Ref("Secret", namespace, "demo-redis"), "aupex.ai/stack"
    before = await cluster.patch(ref, {"metadata": {"labels": {label: None}}})
    back = await cluster.until(ref, lambda obj: bool(obj and label in obj["metadata"]["labels"]), "taken back")
    assert back is not None
    assert (back["metadata"]["uid"], back["data"]) == (before["metadata"]["uid"], before["data"])


async def restore_what_went_meanwhile(operator: Operator, cluster: Cluster, namespace: str) -> None:
    """Something of each kind vanishes while the operator is away: it looks whether the name is free, and fills it.

    A few kinds at a time: for many new names it asks for a list instead.
    """
    kinds = [kind for kind in CHILDREN if kind != "Secret"]
    for few in (kinds[:3], kinds[3:6], kinds[6:]):
        children = await cluster.children(namespace, "demo")
        gone = {ref: obj for ref, obj in children.items() if ref in _first_of_each(children, few)}
        await operator.stop()
        for ref in gone:
            await cluster.delete(ref)
            await cluster.gone(ref)
        await operator.start()
        for ref, obj in gone.items():
            await cluster.exists(ref, not_uid=obj["metadata"]["uid"])
        await ready(cluster, namespace)


def _first_of_each(children: Iterable[Ref], kinds: Iterable[str]) -> set[Ref]:
    return {min((ref for ref in children if ref.kind == kind), key=lambda ref: ref.name) for kind in kinds}


async def free_a_stuck_pod(cluster: Cluster, namespace: str) -> None:
    """A pod crashes, and the template is changed: its controller waits for the old pod until somebody deletes it."""
    ref = Ref("Pod", namespace, "demo-redis-0")
    pod = await cluster.get(ref)
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "for the test"}}
    statuses = [{**status, "ready": False, "state": waiting} for status in pod["status"]["containerStatuses"]]
    conditions = [
        {**condition, "status": "False"} if condition["type"] in {"Ready", "ContainersReady"} else condition
        for condition in pod["status"]["conditions"]
    ]
    await cluster.patch(
        ref, {"status": {"containerStatuses": statuses, "conditions": conditions}}, subresource="status"
    )
    await change_spec(cluster, namespace, {"redis": {"resources": {"requests": {"cpu": "60m"}}}})
    await cluster.exists(ref, not_uid=pod["metadata"]["uid"])
    await ready(cluster, namespace)


async def grow_and_own_volumes(cluster: Cluster, namespace: str) -> None:
    """Larger volumes, which go with the stack: claims are patched, the StatefulSet is made again around its pods."""
    claim, workload = (
        Ref("PersistentVolumeClaim", namespace, "data-demo-redis-0"),
        Ref("StatefulSet", namespace, "demo-redis"),
    )
    before = await cluster.get(workload)
    await change_spec(
        cluster, namespace, {"redis": {"storage": {"size": "40Gi"}}, "data": {"deletionPolicy": "Delete"}}
    )

    def grown_and_owned(obj: Object | None) -> bool:
        asked = obj["spec"]["resources"]["requests"]["storage"] if obj else "0"
        return bool(obj and to_bytes(asked) == to_bytes("40Gi") and obj["metadata"].get("ownerReferences"))

    await cluster.until(claim, grown_and_owned, "larger, and the stack's")
    await cluster.exists(workload, not_uid=before["metadata"]["uid"])
    await ready(cluster, namespace)


async def leave_things_out(cluster: Cluster, namespace: str) -> None:
    """A smaller spec, and something that an older release might have left: the rest is pruned."""
    demo = await cluster.get(Ref("AurenStack", namespace, "demo"))
    left = Ref("ConfigMap", namespace, "demo-of-an-older-release")
    owner = {
        "apiVersion": demo["apiVersion"],
        "kind": "AurenStack",
        "name": "demo",
        "uid": demo["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    meta = {
        "name": left.name,
        "namespace": namespace,
        "labels": {"aupex.ai/stack": "demo"},
        "ownerReferences": [owner],
    }
    await cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    await change_spec(
        cluster, namespace, {"bridge": {"enabled": False}, "neuros": {"autoscaling": None}, "networkPolicies": False}
    )
    await ready(cluster, namespace)
    await cluster.gone(left)
    for kind in ("Deployment", "Service", "ServiceAccount", "PodDisruptionBudget"):
        await cluster.gone(Ref(kind, namespace, "demo-biometric-bridge"))
    await cluster.gone(Ref("HorizontalPodAutoscaler", namespace, "demo-neuros-advanced"))
    await cluster.gone(Ref("NetworkPolicy", namespace, "demo-redis"))


async def test_who_may_edit_a_namespace_may_manage_its_stacks_and_who_may_view_it_may_look(
    control_plane: ControlPlane, crd: None, cluster: Cluster, namespace: str
) -> None:
    await _install_rights(control_plane, render("--set", "crds.install=false"))
    for role in ("view", "edit", "admin"):
        control_plane.kubectl(
            "create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}", f"-n={namespace}"
        )
    for role in ("view", "edit", "admin"):  # the aggregation controller writes them, so they may take a moment
        await cluster.until(Ref("ClusterRole", "", role), _speaks_of_stacks, "extended")
    may = {
        (role, verb): _may(control_plane, role, verb, namespace)
        for role in ("view", "edit", "admin")
        for verb in ("get", "create", "delete")
    }
    assert {pair for pair, allowed in may.items() if not allowed} == {("view", "create"), ("view", "delete")}


def _speaks_of_stacks(role: Object | None) -> bool:
    return any("aupex.ai" in rule.get("apiGroups", ()) for rule in (role or {}).get("rules") or ())


def _may(control_plane: ControlPlane, user: str, verb: str, namespace: str) -> bool:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "resourceAttributes": {
                "group": "aupex.ai",
                "resource": "aurenstacks",
                "verb": verb,
                "namespace": namespace,
            },
        },
    }
    command = ("create", "-f", "-", "-o", "jsonpath={.status.allowed}")
    return control_plane.kubectl(*command, stdin=yaml.safe_dump(review)) == "true"


@pytest.mark.parametrize("source", ["manifests/install.yaml", "the chart"])
async def test_the_api_server_takes_every_object_to_the_letter(
    control_plane: ControlPlane, crd: None, source: str
) -> None:
    text = yaml.safe_dump_all(render()) if source == "the chart" else (REPOSITORY / source).read_text()
    found = [obj for obj in yaml.safe_load_all(text) if obj]
    command = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-f", "-")
    told = await asyncio.to_thread(control_plane.kubectl, *command, "-o", "name", stdin=text)
    assert len(told.splitlines()) == len(found)
