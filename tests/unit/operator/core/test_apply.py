"""Apply: what differs is written, what does not costs nothing; what goes missing or is edited comes back."""

from __future__ import annotations

from typing import Any

import pytest

from auren_operator.api import names
from tests.unit.operator.core.world import KEY, World

CHILDREN = (
    "ConfigMap",
    "ServiceAccount",
    "Service",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "StatefulSet",
    "Deployment",
)
CONFIG = ("ConfigMap", "demo-redis")
BRIDGE = ("Deployment", "demo-biometric-bridge")


def versions(world: World) -> dict[tuple[str, str, str], str]:
    return {key: stored.obj["metadata"]["resourceVersion"] for key, stored in world.kube.objects.items()}


async def test_a_stack_that_is_well_costs_no_call_at_all(world: World) -> None:
    await world.up()
    assert await world.round()
    assert await world.round()
    assert world.kube.calls == []


async def test_a_fresh_install_is_ready_after_few_rounds_and_tells_of_it_once(world: World) -> None:
    world.stack()
    assert await world.until_quiet() <= 6
    assert world.condition("Ready")["status"] == "True"
    assert world.status["componentsReady"] == "7/7"
    assert [reason for reason, _ in world.told].count("Ready") == 1
    assert world.status["healed"] == {"count": 0}


async def test_an_operator_that_starts_again_looks_at_each_child_once_and_changes_none(world: World) -> None:
    await world.up()
    before = versions(world)
    world.restart()
    assert await world.round()
    assert versions(world) == before
    assert world.told == []
    world.kube.calls.clear()
    await world.round()
    assert world.kube.calls == []


async def test_reports_of_controllers_and_fields_of_others_cost_nothing_and_stay(world: World) -> None:
    await world.up()

    def theirs(obj: dict[str, Any]) -> None:
        obj["metadata"]["labels"]["example.com/theirs"] = "stays"
        obj["metadata"].setdefault("annotations", {})["example.com/theirs"] = "stays"
        obj["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"

    world.kube.edit(*BRIDGE, theirs)
    world.kube.set_status(*BRIDGE, world.kube.get(*BRIDGE)["status"] | {"observedGeneration": 2})
    await world.round()
    assert world.kube.writes() == []
    after = world.kube.get(*BRIDGE)
    assert after["metadata"]["labels"]["example.com/theirs"] == "stays"
    assert "kubectl.kubernetes.io/restartedAt" in after["spec"]["template"]["metadata"]["annotations"]


def set_image(obj: dict[str, Any]) -> None:
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = "evil"


def drop_owner(obj: dict[str, Any]) -> None:
    obj["metadata"]["ownerReferences"] = []


def drop_label(obj: dict[str, Any]) -> None:
    del obj["metadata"]["labels"][names.LABEL_COMPONENT]


def drop_variable(obj: dict[str, Any]) -> None:
    obj["spec"]["template"]["spec"]["containers"][0]["env"].pop(0)


def drop_hash(obj: dict[str, Any]) -> None:
    del obj["spec"]["template"]["metadata"]["annotations"][names.ANNOTATION_SECRETS_HASH]


def scale(obj: dict[str, Any]) -> None:
    obj["spec"]["replicas"] = 7


EDITS = {
    "an image": (set_image, "containers.[serve].image"),
    "the owner": (drop_owner, "metadata.ownerReferences.owner"),
    "a label": (drop_label, "metadata.labels.app.kubernetes.io/component"),
    "a variable": (drop_variable, "containers.[serve].env.["),
    "an annotation of the pods": (drop_hash, "annotations.aupex.ai/secrets-hash"),
    "the replicas": (scale, "spec.replicas"),
}


@pytest.mark.parametrize("restarted", [False, True], ids=["while it ran", "while it was down"])
@pytest.mark.parametrize(("edit", "path"), EDITS.values(), ids=EDITS)
async def test_what_somebody_edits_is_set_back_counted_and_named(
    world: World, edit: Any, path: str, restarted: bool
) -> None:
    await world.up()
    before = world.kube.get(*BRIDGE)
    world.kube.edit(*BRIDGE, edit)
    if restarted:
        world.restart()
    await world.round()
    after = world.kube.get(*BRIDGE)
    for part in ("labels", "annotations", "ownerReferences"):
        assert after["metadata"][part] == before["metadata"][part]
    assert after["spec"]["replicas"] == before["spec"]["replicas"]
    assert after["spec"]["template"]["metadata"] == before["spec"]["template"]["metadata"]
    containers = zip(
        after["spec"]["template"]["spec"]["containers"], before["spec"]["template"]["spec"]["containers"], strict=True
    )
    for now, then in containers:
        assert now["image"] == then["image"]
        assert sorted(map(str, now["env"])) == sorted(map(str, then["env"]))
    assert world.status["healed"]["count"] == 1
    assert world.status["healed"]["last"]["name"] == BRIDGE[1]
    ((reason, message),) = [told for told in world.told if told[0] == "Reverted"]
    assert path in message, (reason, message)
    world.control()
    world.kube.calls.clear()
    await world.round()
    assert not any(call.kind == "Deployment" for call in world.kube.calls)


@pytest.mark.parametrize("kind", CHILDREN)
async def test_a_deleted_child_exists_again_and_is_counted(world: World, kind: str) -> None:
    await world.up()
    name = next(iter(world.kube.of(kind)))
    before = world.kube.remove(kind, name)
    await world.round()
    after = world.kube.get(kind, name)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after.get("spec") == before.get("spec")
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert world.status["healed"]["count"] == 1
    last = world.status["healed"]["last"]
    assert (last["kind"], last["name"]) == (kind, name)
    assert ("Healed", f"{kind} {name} had been deleted: it is back") in world.told


@pytest.mark.parametrize("restarted", [False, True], ids=["while it ran", "while it was down"])
async def test_all_children_deleted_at_once_are_back_after_one_round(world: World, restarted: bool) -> None:
    await world.up()
    gone = [(kind, name) for kind in CHILDREN for name in world.kube.of(kind)]
    for kind, name in gone:
        world.kube.remove(kind, name)
    if restarted:
        world.restart()
    await world.round()
    assert all(world.kube.has(kind, name) for kind, name in gone)
    assert world.status["healed"]["count"] == len(gone)
    await world.until_quiet()
    assert world.condition("Ready")["status"] == "True"


async def test_a_workload_comes_back_although_all_that_it_needs_is_down(world: World) -> None:
    await world.up()
    for name, obj in world.kube.of("StatefulSet").items():
        world.kube.set_status("StatefulSet", name, obj["status"] | {"readyReplicas": 0})
    world.kube.remove(*BRIDGE)
    await world.round()
    assert world.kube.has(*BRIDGE)


async def test_a_child_that_is_being_deleted_is_awaited(world: World) -> None:
    await world.up()
    world.kube.edit(*CONFIG, drop_label)
    world.kube.edit(*CONFIG, lambda obj: obj["metadata"].update(deletionTimestamp="now"))
    await world.round()
    assert not any(call.name == CONFIG[1] and call.kind == CONFIG[0] for call in world.kube.calls)
    world.kube.remove(*CONFIG)
    await world.round()
    assert world.kube.has(*CONFIG)


@pytest.mark.parametrize("kind", [*CHILDREN, "Secret"])
async def test_a_child_that_lost_the_stacks_label_gets_it_back(world: World, kind: str) -> None:
    await world.up()
    for name in world.kube.of(kind):
        before = world.kube.get(kind, name)
        world.strip(kind, name)
        await world.round()
        after = world.kube.get(kind, name)
        assert after["metadata"]["labels"] == before["metadata"]["labels"], name
        assert after["metadata"]["uid"] == before["metadata"]["uid"], name
        assert after.get("data") == before.get("data"), name


@pytest.mark.parametrize("kind", [*CHILDREN, "Secret"])
async def test_a_child_that_was_given_another_stacks_label_gets_its_own_back(world: World, kind: str) -> None:
    await world.up()
    name = next(iter(world.kube.of(kind)))
    world.kube.edit(kind, name, lambda obj: obj["metadata"]["labels"].update({names.LABEL_STACK: "other"}))
    await world.round()
    assert world.kube.get(kind, name)["metadata"]["labels"][names.LABEL_STACK] == "demo"


# -- stacks that come and go ---------------------------------------------------------------------------------------


async def test_a_stack_on_its_way_out_is_never_applied_to(world: World) -> None:
    await world.up()
    world.kube.edit(names.KIND, "demo", lambda obj: obj["metadata"].update(deletionTimestamp="now"))
    world.kube.remove(*BRIDGE)
    await world.round()
    assert world.kube.calls == []


async def test_a_stack_that_is_gone_is_not_brought_back_and_leaves_no_memory(world: World) -> None:
    await world.up()
    world.kube.remove(names.KIND, "demo")
    for kind in CHILDREN:
        for name in world.kube.of(kind):
            world.kube.remove(kind, name)
    await world.round()
    assert world.kube.calls == []
    assert KEY not in world.reconciler._memories


async def test_the_next_stack_of_the_name_counts_from_nothing_and_heals_nothing(world: World) -> None:
    await world.up()
    world.kube.remove(*BRIDGE)
    await world.round()
    world.kube.remove(names.KIND, "demo")
    for kind in CHILDREN:
        for name in world.kube.of(kind):
            world.kube.remove(kind, name)
    await world.up()
    assert world.status["healed"] == {"count": 0}
    owner = world.kube.get(*BRIDGE)["metadata"]["ownerReferences"][0]["uid"]
    assert owner == world.kube.get(names.KIND, "demo")["metadata"]["uid"]
