"""The operator itself comes and goes: killed in the middle, led by another, absent when a stack is deleted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.api.cluster import Cluster, Ref
from tests.api.controlplane import ControlPlane
from tests.api.operator_process import Operator
from tests.api.stacks import condition, install, is_key_secret, make_namespace, ready, stack

LEASE_SECONDS = 15
"""What a standby must wait out when a leader was killed."""


async def test_an_install_goes_on_after_the_operator_was_killed_in_its_middle(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await cluster.create(stack(namespace))
    for ref in (Ref("ConfigMap", namespace, "demo-kafka"), Ref("StatefulSet", namespace, "demo-timescaledb")):
        await cluster.exists(ref)
        operator.kill()
        await operator.start()
    await ready(cluster, namespace)


@pytest_asyncio.fixture
async def pair(
    operator_of_the_session: Operator, control_plane: ControlPlane
) -> AsyncIterator[tuple[Operator, Operator]]:
    """A leader and its standby, in place of the session's operator."""
    await operator_of_the_session.stop()
    leader, standby = Operator(control_plane, "operator-a"), Operator(control_plane, "operator-b")
    await leader.start()
    await standby.start_standby()
    yield leader, standby
    await leader.stop()
    await standby.stop()


async def test_a_standby_is_ready_and_writes_nothing(
    pair: tuple[Operator, Operator], cluster: Cluster, namespace: str
) -> None:
    leader, standby = pair
    await install(cluster, namespace)
    assert standby.is_up()
    assert not standby.leads()
    assert not standby.writes()
    assert leader.writes()


async def test_a_standby_takes_over_from_a_leader_that_was_killed(
    pair: tuple[Operator, Operator], cluster: Cluster, namespace: str
) -> None:
    leader, standby = pair
    await install(cluster, namespace)
    ref = Ref("Deployment", namespace, "demo-biometric-bridge")
    uid = (await cluster.get(ref))["metadata"]["uid"]
    leader.kill()
    started = time.monotonic()
    await cluster.delete(ref)
    await cluster.exists(ref, LEASE_SECONDS * 4, not_uid=uid)
    print(f"hand-over after a kill: {time.monotonic() - started:.1f} s until a child deleted meanwhile was back")
    await standby.until(standby.leads, "leading")


async def test_a_leader_that_ends_gracefully_hands_over_at_once(
    pair: tuple[Operator, Operator], cluster: Cluster, namespace: str
) -> None:
    leader, standby = pair
    await install(cluster, namespace)
    ref = Ref("Deployment", namespace, "demo-biometric-bridge")
    started = time.monotonic()
    await leader.stop()
    await cluster.delete(ref)
    await cluster.exists(ref, LEASE_SECONDS * 4)
    print(f"graceful hand-over: {time.monotonic() - started:.1f} s until a child deleted meanwhile was back")
    assert leader.server.exit_status == 0
    await standby.until(standby.leads, "leading")


async def test_a_leader_that_loses_its_lease_ends(
    pair: tuple[Operator, Operator], cluster: Cluster, namespace: str
) -> None:
    leader, standby = pair
    lease = Ref("Lease", "auren-system", "auren-operator")
    held = await cluster.get(lease)
    assert held["spec"]["holderIdentity"] == leader.name
    taken = {**held["spec"], "holderIdentity": "somebody-else"}
    await cluster.patch(lease, {"spec": taken})
    assert await asyncio.to_thread(leader.server.wait_ended, LEASE_SECONDS * 4) != 0
    await standby.until(standby.leads, "leading", LEASE_SECONDS * 4)


async def test_a_deleted_stack_takes_its_children_along(operator: Operator, cluster: Cluster, namespace: str) -> None:
    await install(cluster, namespace)
    await _all_go(cluster, namespace, "Background")


async def test_a_stack_deleted_with_the_operator_absent_takes_its_children_along(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await install(cluster, namespace)
    await operator.stop()
    await _all_go(cluster, namespace, "Background")
    await operator.start()
    await _nothing_is_made(operator, cluster, namespace)


async def test_a_stack_deleted_in_the_foreground_goes_and_nothing_is_made_again(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await install(cluster, namespace)
    await _all_go(cluster, namespace, "Foreground")
    await _nothing_is_made(operator, cluster, namespace)


async def test_a_stack_goes_with_its_namespace(operator: Operator, cluster: Cluster, namespace: str) -> None:
    await install(cluster, namespace)
    await operator.quiet()
    before = len(operator.writes())
    await cluster.delete(Ref("Namespace", "", namespace))
    await cluster.gone(Ref("Namespace", "", namespace), 120)
    writes = [write for write in operator.writes()[before:] if write.endswith((" 200", " 201"))]
    made = [write for write in writes if not write.startswith("patch aurenstacks/status")]
    assert not made, "an object was written into a namespace that goes"


async def test_an_idle_stack_costs_no_write(operator: Operator, cluster: Cluster, namespace: str) -> None:
    await install(cluster, namespace)
    await operator.quiet()
    before = operator.writes()
    # a write of ours that must cause none of the operator's is the clock here: its watch brings each one
    ref = Ref("Deployment", namespace, "demo-neuros-advanced")
    for round_ in range(5):
        await cluster.patch(ref, {"metadata": {"annotations": {"example.com/round": str(round_)}}})
        await asyncio.sleep(1)
    assert operator.writes() == before


async def _all_go(cluster: Cluster, namespace: str, propagation: str) -> None:
    children = await cluster.children(namespace, "demo")
    await cluster.delete(Ref("AurenStack", namespace, "demo"), propagation)
    for ref, obj in children.items():
        if not is_key_secret(ref, obj):
            await cluster.gone(ref)
    await cluster.gone(Ref("AurenStack", namespace, "demo"))


async def _nothing_is_made(operator: Operator, cluster: Cluster, namespace: str) -> None:
    """Another stack is brought up by the same operator: by then it has also seen the end of the first."""
    other = f"{namespace}-after"
    await make_namespace(cluster, other)
    await install(cluster, other)
    left = await cluster.children(namespace, "demo")
    assert all(is_key_secret(ref, obj) for ref, obj in left.items()), sorted(left)
    await cluster.delete(Ref("Namespace", "", other))


async def test_a_paused_stack_is_not_touched(operator: Operator, cluster: Cluster, namespace: str) -> None:
    await install(cluster, namespace)
    stack_ref = Ref("AurenStack", namespace, "demo")
    await cluster.patch(stack_ref, {"spec": {"paused": True}})
    await cluster.until(stack_ref, lambda s: condition(s, "Paused").get("status") == "True", "paused")
    ref = Ref("Service", namespace, "demo-redis")
    await cluster.delete(ref)
    await operator.quiet()
    assert await cluster.read(ref) is None
    await cluster.patch(stack_ref, {"spec": {"paused": False}})
    await cluster.exists(ref)
