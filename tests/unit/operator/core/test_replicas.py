"""Who owns a workload's replicas: the operator, or an autoscaler whose word stays; and nobody loses a pod between."""

from __future__ import annotations

from tests.unit.operator.core.test_apply import BRIDGE, scale
from tests.unit.operator.core.world import World

SCALED = {"bridge": {"autoscaling": {"minReplicas": 2, "maxReplicas": 5}}}
REPLICAS = ("f:spec", "f:replicas")


def managers(world: World) -> list[str]:
    """Who applied what to the bridge's Deployment, in order."""
    return [
        f"{call.manager} {call.body['spec'].get('replicas', '-')}"
        for call in world.kube.calls
        if call.kind == "Deployment" and call.name == BRIDGE[1] and call.method == "PATCH"
    ]


def hpa_scales(world: World, replicas: int) -> None:
    """The autoscaler writes the scale subresource."""
    world.kube.edit(*BRIDGE, lambda obj: obj["spec"].update(replicas=replicas), "kube-controller-manager")
    world.control()


async def test_an_autoscaled_workload_is_made_with_replicas_and_handed_over(world: World) -> None:
    world.stack(SCALED)
    await world.until_quiet()
    assert managers(world) == ["auren-operator 2", "auren-replicas 2", "auren-operator -"]
    assert world.kube.get(*BRIDGE)["spec"]["replicas"] == 2
    assert world.kube.owners_of(*BRIDGE, REPLICAS) == {"auren-replicas"}


async def test_what_the_autoscaler_says_stays(world: World) -> None:
    await world.up(SCALED)
    hpa_scales(world, 4)
    await world.round()
    assert managers(world) == []
    world.stack(SCALED | {"bridge": SCALED["bridge"] | {"env": [{"name": "AUREN_LOG_LEVEL", "value": "debug"}]}})
    await world.until_quiet()
    assert managers(world) == ["auren-operator -"]
    assert world.kube.get(*BRIDGE)["spec"]["replicas"] == 4
    assert world.row("biometric-bridge")["ready"] == "4/4"


async def test_autoscaling_that_is_switched_on_keeps_the_pods_there_are(world: World) -> None:
    await world.up({"bridge": {"replicas": 3}})
    assert world.kube.owners_of(*BRIDGE, REPLICAS) == {"auren-operator"}
    world.stack(SCALED)
    await world.until_quiet()
    assert managers(world) == ["auren-replicas 3", "auren-operator -"]
    assert world.kube.get(*BRIDGE)["spec"]["replicas"] == 3


async def test_autoscaling_that_is_switched_off_gives_the_number_of_the_spec(world: World) -> None:
    await world.up(SCALED)
    hpa_scales(world, 5)
    world.stack({"bridge": {"replicas": 2}})
    await world.until_quiet()
    assert world.kube.get(*BRIDGE)["spec"]["replicas"] == 2
    assert "auren-operator" in world.kube.owners_of(*BRIDGE, REPLICAS)
    assert not world.kube.has("HorizontalPodAutoscaler", "demo-biometric-bridge")


async def test_an_autoscaled_workload_falls_asleep_and_wakes_with_the_minimum(world: World) -> None:
    await world.up(SCALED)
    hpa_scales(world, 4)
    world.stack(SCALED | {"hibernated": True})
    await world.until_quiet()
    assert world.kube.get(*BRIDGE)["spec"]["replicas"] == 0
    assert managers(world) == ["auren-replicas 0", "auren-operator -"]
    world.kube.calls.clear()
    world.stack(SCALED)
    await world.until_quiet()
    assert world.kube.get(*BRIDGE)["spec"]["replicas"] == 2
    assert managers(world) == ["auren-replicas 2", "auren-operator -"]


async def test_a_deleted_autoscaled_workload_comes_back_with_pods(world: World) -> None:
    await world.up(SCALED)
    world.kube.remove(*BRIDGE)
    await world.round()
    assert world.kube.get(*BRIDGE)["spec"]["replicas"] == 2
    assert world.kube.owners_of(*BRIDGE, REPLICAS) == {"auren-replicas"}


async def test_it_comes_back_with_as_many_as_the_autoscaler_had_given_it(world: World) -> None:
    await world.up(SCALED)
    hpa_scales(world, 4)
    await world.round()
    world.kube.remove(*BRIDGE)
    await world.round()
    assert world.kube.get(*BRIDGE)["spec"]["replicas"] == 4


async def test_without_autoscaling_scaling_by_hand_is_set_back(world: World) -> None:
    await world.up()
    world.kube.edit(*BRIDGE, scale, "kubectl-scale")
    await world.round()
    assert world.kube.get(*BRIDGE)["spec"]["replicas"] == 2
