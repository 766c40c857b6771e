"""What belongs to a stack, what does not, and what must never be made anew behind a person's back."""

from __future__ import annotations

import base64

from tests.api.cluster import Cluster, Mirror, Object, Ref
from tests.api.operator_process import Operator
from tests.api.stacks import events_of, install, is_key_secret, ready, row, says, stack


async def test_a_foreign_object_of_the_same_name_is_left_alone(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    meta = {"name": "demo-redis", "namespace": namespace}
    foreign = await cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "theirs"}})
    await cluster.create(stack(namespace))
    ref = Ref("AurenStack", namespace, "demo")
    shown = await cluster.until(ref, lambda s: row(s, "redis").get("reason") == "NameConflict", "telling the conflict")
    assert row(shown, "redis")["state"] == "Failed"
    assert "demo-redis" in row(shown, "redis")["message"]
    assert (await cluster.get(Ref("ConfigMap", namespace, "demo-redis"))) == foreign
    await cluster.delete(Ref("ConfigMap", namespace, "demo-redis"))
    await ready(cluster, namespace)


async def test_a_foreign_secret_of_the_same_name_is_left_alone(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    meta = {"name": "demo-redis", "namespace": namespace}
    data = {"password": base64.b64encode(b"theirs").decode()}
    foreign = await cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data})
    await cluster.create(stack(namespace))
    ref = Ref("AurenStack", namespace, "demo")
    await cluster.until(ref, lambda s: row(s, "redis").get("reason") == "NameConflict", "telling the conflict")
    assert (await cluster.get(Ref("Secret", namespace, "demo-redis"))) == foreign


async def test_two_stacks_of_one_namespace_keep_to_themselves(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    for name in ("one", "one-two"):  # the second's objects also begin with the first's name
        await cluster.create(stack(namespace, name))
    one, two = await ready(cluster, namespace, "one"), await ready(cluster, namespace, "one-two")
    second = await cluster.children(namespace, "one-two")
    await cluster.delete(Ref("AurenStack", namespace, "one"))
    for ref, obj in (await cluster.children(namespace, "one")).items():
        assert not obj["metadata"].get("ownerReferences") or obj["metadata"]["ownerReferences"][0]["name"] == "one"
        if not is_key_secret(ref, obj):
            await cluster.gone(ref)
    assert one["metadata"]["uid"] != two["metadata"]["uid"]
    left = await cluster.children(namespace, "one-two")
    assert {ref: obj["metadata"]["uid"] for ref, obj in left.items()} == {
        ref: obj["metadata"]["uid"] for ref, obj in second.items()
    }


async def test_stacks_of_one_name_in_two_namespaces_share_nothing(
    operator: Operator, cluster: Cluster, namespace: str, other_namespace: str
) -> None:
    await install(cluster, namespace)
    await install(cluster, other_namespace)
    passwords = [await _data(cluster, where, "demo-redis") for where in (namespace, other_namespace)]
    assert passwords[0] != passwords[1]
    await cluster.delete(Ref("Deployment", namespace, "demo-biometric-bridge"))
    await cluster.exists(Ref("Deployment", namespace, "demo-biometric-bridge"))
    assert not await events_of(cluster, other_namespace, "Healed")


async def test_a_deleted_password_is_made_anew_and_reaches_its_users(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await install(cluster, namespace)
    before = await _data(cluster, namespace, "demo-biometric-bridge")
    template = await _template(cluster, namespace, "demo-biometric-bridge")
    jobs = {job["metadata"]["name"] for job in await cluster.list("Job", namespace)}
    await cluster.delete(Ref("Secret", namespace, "demo-biometric-bridge"))
    await cluster.exists(Ref("Secret", namespace, "demo-biometric-bridge"))
    await cluster.until(
        Ref("Deployment", namespace, "demo-biometric-bridge"),
        lambda d: d is not None and d["spec"]["template"]["metadata"]["annotations"] != template["annotations"],
        "rolled to the new password",
    )
    await ready(cluster, namespace)
    after = await _data(cluster, namespace, "demo-biometric-bridge")
    assert after.keys() == before.keys()
    assert all(after[key] != before[key] for key in before)
    renewed = {job["metadata"]["name"] for job in await cluster.list("Job", namespace)}
    assert len(renewed) == len(jobs) == 2
    assert not renewed & jobs, "both Jobs bring new passwords into the stores"


async def test_a_secret_that_lacks_a_key_counts_as_missing(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await install(cluster, namespace)
    ref = Ref("Secret", namespace, "demo-neuros-advanced")
    before = await cluster.get(ref)
    key = sorted(before["data"])[0]
    await cluster.patch(ref, {"data": {key: None}})
    again = await cluster.exists(ref, not_uid=before["metadata"]["uid"])
    assert again["data"].keys() == before["data"].keys()


async def test_a_lost_key_is_told_and_never_made_anew_while_there_is_data(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await install(cluster, namespace)
    ref = Ref("Secret", namespace, "demo-timescaledb")
    lost = await cluster.get(ref)
    await cluster.delete(ref)
    stack_ref = Ref("AurenStack", namespace, "demo")
    shown = await cluster.until(stack_ref, lambda s: row(s, "timescaledb").get("reason") == "KeysLost", "telling it")
    assert row(shown, "timescaledb")["state"] == "Failed"
    assert says(shown, "Ready", "False")
    assert await cluster.read(ref) is None
    kept = {key: lost[key] for key in ("apiVersion", "kind", "data", "type")}
    meta = {key: lost["metadata"][key] for key in ("name", "namespace", "labels")}
    await cluster.create({**kept, "metadata": meta})
    await ready(cluster, namespace)
    assert (await cluster.get(ref))["data"] == lost["data"]


async def test_data_and_its_keys_outlive_the_stack_and_the_next_of_its_name_takes_them(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await install(cluster, namespace)
    children = await cluster.children(namespace, "demo")
    keys = {ref: obj["data"] for ref, obj in children.items() if is_key_secret(ref, obj)}
    claims = {claim["metadata"]["uid"] for claim in await cluster.list("PersistentVolumeClaim", namespace)}
    assert keys
    assert claims
    await cluster.delete(Ref("AurenStack", namespace, "demo"))
    for ref in children.keys() - keys.keys():
        await cluster.gone(ref)
    await install(cluster, namespace)
    assert {ref: (await cluster.get(ref))["data"] for ref in keys} == keys
    assert {c["metadata"]["uid"] for c in await cluster.list("PersistentVolumeClaim", namespace)} == claims


async def test_with_deletion_policy_delete_nothing_is_left(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await install(cluster, namespace, spec={"size": "demo", "data": {"deletionPolicy": "Delete"}})
    claims = [Ref("PersistentVolumeClaim", namespace, c["metadata"]["name"]) for c in await _claims(cluster, namespace)]

    def owned(claim: Object | None) -> bool:
        return claim is not None and [o["name"] for o in claim["metadata"].get("ownerReferences", ())] == ["demo"]

    for ref in claims:
        await cluster.until(ref, owned, "owned by the stack")
    children = await cluster.children(namespace, "demo")
    await cluster.delete(Ref("AurenStack", namespace, "demo"))
    for ref in [*children, *claims]:
        await cluster.gone(ref)


async def test_what_a_stack_no_longer_wants_is_removed(operator: Operator, cluster: Cluster, namespace: str) -> None:
    await install(cluster, namespace)
    async with Mirror(cluster) as mirror:
        ref = Ref("AurenStack", namespace, "demo")
        await cluster.patch(ref, {"spec": {"neuros": {"enabled": False}, "networkPolicies": False}})
        await mirror.until(
            lambda objects: (
                not any(
                    r.namespace == namespace and (r.kind == "NetworkPolicy" or r.name == "demo-neuros-advanced")
                    for r in objects
                    if r.kind != "Secret"
                )
            ),
            "rid of what is switched off",
        )
    shown = await ready(cluster, namespace)
    assert row(shown, "neuros-advanced")["state"] == "Disabled"


async def _data(cluster: Cluster, namespace: str, name: str) -> dict[str, str]:
    data: dict[str, str] = (await cluster.get(Ref("Secret", namespace, name)))["data"]
    return data


async def _claims(cluster: Cluster, namespace: str) -> list[Object]:
    return await cluster.list("PersistentVolumeClaim", namespace)


async def _template(cluster: Cluster, namespace: str, name: str) -> Object:
    deployment = await cluster.get(Ref("Deployment", namespace, name))
    template: Object = deployment["spec"]["template"]["metadata"]
    return template
