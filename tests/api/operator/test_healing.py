"""What goes missing comes back: one at a time, all at once, while nobody watched, and after history was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest_asyncio

from tests.api.cluster import CHILD_KINDS, STACK_LABEL, Cluster, Mirror, Object, Ref, ref_of
from tests.api.controlplane import COUNTED_GROUP, ControlPlane
from tests.api.operator_process import Operator
from tests.api.proxy import Proxy
from tests.api.stacks import RICH_SPEC, healable, install, ready, told


async def test_every_kind_of_child_comes_back(operator: Operator, cluster: Cluster, namespace: str) -> None:
    await install(cluster, namespace, spec=RICH_SPEC)
    children = healable(await cluster.children(namespace, "demo"))
    assert {ref.kind for ref in children} == set(CHILD_KINDS), "the spec of this test must make every kind"
    async with Mirror(cluster) as mirror:
        for ref, obj in sorted(children.items(), key=lambda pair: CHILD_KINDS.index(pair[0].kind)):
            current = await cluster.read(ref)
            if current is None:  # a Job whose name changed because a Secret before it was made anew
                assert ref.kind == "Job", ref
                continue
            await cluster.delete(ref)
            if ref.kind != "Job":
                await mirror.again(ref, current["metadata"]["uid"])
                assert obj["metadata"]["labels"] == mirror.objects[ref]["metadata"]["labels"]
    healed = await ready(cluster, namespace)
    assert {ref.kind for ref in await cluster.children(namespace, "demo")} == set(CHILD_KINDS)
    assert healed["status"]["healed"]["count"] >= len(children) - 4
    assert healed["status"]["healed"]["last"]


async def test_a_deleted_deployment_is_told_of(operator: Operator, cluster: Cluster, namespace: str) -> None:
    before = await install(cluster, namespace)
    ref = Ref("Deployment", namespace, "demo-neuros-advanced")
    await cluster.delete(ref)
    await cluster.until(
        Ref("AurenStack", namespace, "demo"),
        lambda s: s is not None and s["status"]["healed"]["count"] == before["status"]["healed"]["count"] + 1,
        "counted",
    )
    last = (await ready(cluster, namespace))["status"]["healed"]["last"]
    assert (last["kind"], last["name"]) == ("Deployment", "demo-neuros-advanced")
    await told(cluster, namespace, "Healed", "demo-neuros-advanced")


async def test_all_children_deleted_at_once_come_back(operator: Operator, cluster: Cluster, namespace: str) -> None:
    await install(cluster, namespace)
    children = healable(await cluster.children(namespace, "demo"))
    async with Mirror(cluster) as mirror:
        await asyncio.gather(*(cluster.delete(ref) for ref in children))

        def all_back(objects: Mapping[Ref, Object]) -> bool:
            return all(
                ref in objects and objects[ref]["metadata"]["uid"] != obj["metadata"]["uid"]
                for ref, obj in children.items()
                if ref.kind != "Job"
            )

        await mirror.until(all_back, "all there again")
    await ready(cluster, namespace)


async def test_what_was_deleted_while_the_operator_was_down_comes_back(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await install(cluster, namespace)
    children = healable(await cluster.children(namespace, "demo"))
    await operator.stop()
    for ref in children:
        await cluster.delete(ref)
    for ref in children:
        await cluster.gone(ref)
    await operator.start()
    for ref in children:
        if ref.kind != "Job":
            await cluster.exists(ref)
    workloads = len([r for r in children if r.kind in ("Deployment", "StatefulSet")])
    # The status is still that of before until the operator writes its first one.
    stack = Ref("AurenStack", namespace, "demo")
    await cluster.until(stack, lambda s: bool(s and s["status"]["healed"]["count"] >= workloads), "counted")
    await ready(cluster, namespace)


@pytest_asyncio.fixture
async def cuttable(
    operator_of_the_session: Operator, control_plane: ControlPlane
) -> AsyncIterator[tuple[Operator, Proxy]]:
    """An operator that reaches the API server through a proxy, in place of the session's.

    The API server's history begins just before it, so that there are versions which it no longer knows.
    """
    await operator_of_the_session.stop()
    control_plane.compact()
    credentials = control_plane.user("tests:proxied", ["system:masters", COUNTED_GROUP])
    async with Proxy(control_plane, credentials) as proxy:
        operator = Operator(control_plane, "operator-proxied", address=proxy.address, user="tests:proxied")
        await operator.start()
        yield operator, proxy
        await operator.stop()


async def test_what_vanished_while_the_watch_was_cut_past_compaction_comes_back(
    cuttable: tuple[Operator, Proxy], cluster: Cluster, namespace: str
) -> None:
    operator, proxy = cuttable
    await install(cluster, namespace)
    children = healable(await cluster.children(namespace, "demo"))
    proxy.cut_watches()
    await asyncio.gather(*(cluster.delete(ref) for ref in children))
    await asyncio.gather(*(cluster.gone(ref) for ref in children))
    proxy.restore_watches()
    for ref in children:
        if ref.kind != "Job":
            await cluster.exists(ref)
    await ready(cluster, namespace)
    assert proxy.expired_watches > 0
    assert operator.server.said("had vanished unnoticed"), "the watches themselves cannot have told it"


async def test_fields_of_others_are_left_alone(operator: Operator, cluster: Cluster, namespace: str) -> None:
    await install(cluster, namespace)
    ref = Ref("Deployment", namespace, "demo-neuros-advanced")
    restart = {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}
    meta = {"annotations": {"example.com/theirs": "stays"}, "labels": {"example.com/theirs": "stays"}}
    theirs = await cluster.patch(ref, {"metadata": meta, "spec": restart})
    ours = await cluster.patch(ref, {"metadata": {"labels": {"app.kubernetes.io/part-of": "edited"}}})
    back = await cluster.until(
        ref,
        lambda d: d is not None and d["metadata"]["labels"]["app.kubernetes.io/part-of"] == "auren",
        "set back",
    )
    assert back is not None
    assert ours["metadata"]["uid"] == back["metadata"]["uid"]
    assert back["metadata"]["labels"]["example.com/theirs"] == "stays"
    assert back["metadata"]["annotations"]["example.com/theirs"] == "stays"
    assert back["spec"]["template"] == theirs["spec"]["template"]


async def test_a_config_map_keeps_a_key_that_somebody_added(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await install(cluster, namespace)
    before = (await cluster.list("ConfigMap", namespace, STACK_LABEL))[0]
    ref = ref_of("ConfigMap", before)
    key = next(iter(before["data"]))
    await cluster.patch(ref, {"data": {"theirs": "stays", key: "edited"}})
    back = await cluster.until(ref, lambda c: c is not None and c["data"][key] == before["data"][key], "set back")
    assert back is not None
    assert back["data"] == {**before["data"], "theirs": "stays"}
