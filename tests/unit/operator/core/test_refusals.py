"""Names that others have taken, refusals of the API server, and fields that it does not let change."""

from __future__ import annotations

from typing import Any

import pytest

from auren_operator.api import names
from auren_operator.kube.client import Refused, Unreachable
from auren_operator.reconcile.apply import NamespaceGoing
from tests.unit.operator.core.cluster import Call
from tests.unit.operator.core.test_apply import BRIDGE, CONFIG, drop_label, drop_owner
from tests.unit.operator.core.world import World

# -- names that are taken ------------------------------------------------------------------------------------------


async def test_somebody_elses_object_of_the_same_name_is_left_alone_and_named(world: World) -> None:
    theirs = world.kube.put("Service", {"metadata": {"name": "demo-redis", "namespace": "people"}, "spec": {"x": 1}})
    world.stack()
    for _ in range(4):
        assert not await world.round()
        world.control()
    assert world.kube.get("Service", "demo-redis") == theirs
    row = world.row("redis")
    assert (row["state"], row["reason"]) == ("Failed", "NameConflict")
    assert "Service demo-redis" in row["message"]
    assert world.row("kafka")["state"] == "Ready", "the others go on"
    world.kube.remove("Service", "demo-redis")
    await world.until_quiet()
    assert world.condition("Ready")["status"] == "True"


async def test_the_stacks_label_alone_makes_nobodys_object_ours(world: World) -> None:
    meta = {"name": "demo-redis", "namespace": "people", "labels": {names.LABEL_STACK: "demo"}}
    theirs = world.kube.put("Service", {"metadata": meta, "spec": {"x": 1}})
    world.stack()
    await world.round()
    assert world.kube.get("Service", "demo-redis") == theirs
    assert world.row("redis")["reason"] == "NameConflict"


async def test_a_name_that_was_free_at_the_first_look_may_be_taken_at_the_second(world: World) -> None:
    """A service waits for its stores for minutes: meanwhile somebody else may take its name."""
    world.stack()
    await world.round()
    theirs = world.kube.put("Deployment", {"metadata": {"name": BRIDGE[1], "namespace": "people"}, "spec": {"x": 1}})
    for _ in range(4):
        world.control()
        await world.round()
    assert world.kube.get(*BRIDGE)["spec"] == theirs["spec"]
    assert world.row("biometric-bridge")["reason"] == "NameConflict"


async def test_a_kind_that_may_not_be_listed_keeps_no_other_from_being_made(world: World) -> None:
    no = Refused(403, "Forbidden", "you may not list that")
    world.kube.rules.append(lambda call: no if (call.kind, call.method, call.name) == ("Service", "GET", "") else None)
    world.stack()
    await world.until_quiet()
    assert world.condition("Ready")["status"] == "True"


async def test_what_an_earlier_stack_of_the_name_left_behind_is_taken_in(world: World) -> None:
    await world.up()
    world.kube.edit(*CONFIG, drop_owner)
    world.kube.edit(*CONFIG, lambda obj: obj["metadata"]["labels"].clear())
    left = world.kube.objects["ConfigMap", "people", "demo-redis"]
    again = World()
    again.kube.objects["ConfigMap", "people", "demo-redis"] = left
    await again.up()
    after = again.kube.get(*CONFIG)
    assert after["metadata"]["uid"] == left.obj["metadata"]["uid"]
    assert after["metadata"]["labels"][names.LABEL_STACK] == "demo"
    assert [ref["uid"] for ref in after["metadata"]["ownerReferences"]] == [
        again.kube.get(names.KIND, "demo")["metadata"]["uid"]
    ]


# -- refusals ------------------------------------------------------------------------------------------------------


def refuse(kind: str, name: str, error: Exception) -> Any:
    def rule(call: Call) -> Exception | None:
        return error if (call.kind, call.name) == (kind, name) and call.method != "GET" else None

    return rule


QUOTA = Refused(403, "Forbidden", 'services "demo-redis" is forbidden: exceeded quota: small, requested: services=1')
REFUSALS = {
    "a quota": (QUOTA, "QuotaExceeded"),
    "a right or a webhook": (Refused(403, "Forbidden", "admission webhook denied the request"), "Forbidden"),
    "a kind that is gone": (
        Refused(404, "NotFound", "the server could not find the requested resource"),
        "KindMissing",
    ),
    "a rule": (Refused(422, "Invalid", "Service is invalid: spec.ports: Required value"), "ApplyFailed"),
}


@pytest.mark.parametrize(("error", "reason"), REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_shows_on_its_component_and_stops_nobody_else(
    world: World, error: Refused, reason: str
) -> None:
    rule = refuse("Service", "demo-redis", error)
    world.kube.rules.append(rule)
    world.stack()
    for _ in range(4):
        assert not await world.round(), "it is to be tried again"
        world.control()
    row = world.row("redis")
    assert (row["state"], row["reason"]) == ("Failed", reason)
    assert "Service demo-redis" in row["message"]
    assert world.kube.has("StatefulSet", "demo-redis")
    assert world.row("kafka")["state"] == "Ready"
    world.kube.rules.remove(rule)
    await world.until_quiet()
    assert world.condition("Ready")["status"] == "True"
    assert world.status["healed"]["count"] == 0, "it had not existed before"


async def test_a_trouble_of_the_server_itself_is_none_of_the_object_and_is_tried_again(world: World) -> None:
    await world.up()
    world.kube.remove(*CONFIG)
    rule = refuse(*CONFIG, Refused(500, "InternalError", "etcdserver: request timed out"))
    world.kube.rules.append(rule)
    assert not await world.round()
    assert world.condition("Ready")["status"] == "True"
    world.kube.rules.remove(rule)
    assert await world.round()
    assert world.kube.has(*CONFIG)


async def test_one_that_was_faster_is_no_trouble_but_a_reason_to_look_again(world: World) -> None:
    await world.up()
    world.kube.edit(*CONFIG, drop_label)
    rule = refuse(*CONFIG, Refused(409, "Conflict", "uid mismatch"))
    world.kube.rules.append(rule)
    assert not await world.round()
    assert world.condition("Ready")["status"] == "True"
    world.kube.rules.remove(rule)
    assert await world.round()
    assert names.LABEL_COMPONENT in world.kube.get(*CONFIG)["metadata"]["labels"]


async def test_nothing_is_made_in_a_namespace_that_is_going(world: World) -> None:
    await world.up()
    going = Refused(403, "Forbidden", "namespace people is being terminated", ("NamespaceTerminating",))
    world.kube.rules.append(lambda call: going if call.method in {"PATCH", "POST"} else None)
    world.kube.remove(*BRIDGE)
    with pytest.raises(NamespaceGoing):
        await world.round()


async def test_a_child_that_was_brought_back_is_counted_although_another_got_no_answer(world: World) -> None:
    await world.up()
    world.kube.remove(*BRIDGE)
    world.kube.remove(*CONFIG)
    rule = refuse(*CONFIG, Unreachable("PATCH: timeout"))
    world.kube.rules.append(rule)
    with pytest.raises(Unreachable):
        await world.round()
    world.kube.rules.remove(rule)
    await world.round()
    assert world.status["healed"]["count"] == 2


async def test_a_child_that_was_brought_back_is_counted_although_the_status_could_not_be_written(
    world: World,
) -> None:
    await world.up()
    world.kube.remove(*BRIDGE)
    rule = refuse(names.KIND, "demo", Unreachable("PATCH: timeout"))
    world.kube.rules.append(rule)
    with pytest.raises(Unreachable):
        await world.round()
    world.kube.rules.remove(rule)
    await world.round()
    assert world.status["healed"]["count"] == 1
    assert [told for told in world.told if told[0] == "Healed"] == [
        ("Healed", "Deployment demo-biometric-bridge had been deleted: it is back")
    ]


# -- fields that cannot change -------------------------------------------------------------------------------------


async def test_a_stateful_set_with_other_volumes_is_made_anew_around_its_pods(world: World) -> None:
    await world.up()
    before = world.kube.get("StatefulSet", "demo-redis")
    claim = world.kube.get("PersistentVolumeClaim", "data-demo-redis-0")["metadata"]["uid"]
    world.stack({"redis": {"storage": {"size": "9Gi"}}})
    await world.until_quiet()
    after = world.kube.get("StatefulSet", "demo-redis")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    deletions = [call for call in world.kube.calls if call.method == "DELETE" and call.kind == "StatefulSet"]
    assert [call.body["propagationPolicy"] for call in deletions] == ["Orphan"]
    assert deletions[0].body["preconditions"] == {"uid": before["metadata"]["uid"]}
    assert after["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "9Gi"
    volume = world.kube.get("PersistentVolumeClaim", "data-demo-redis-0")
    assert volume["metadata"]["uid"] == claim
    assert volume["spec"]["resources"]["requests"]["storage"] == str(9 << 30)
    assert world.status["healed"]["count"] == 0, "we had deleted it ourselves"
    assert world.condition("Ready")["status"] == "True"


async def test_a_stateful_set_that_lost_its_label_is_made_anew_like_any_other(world: World) -> None:
    await world.up()
    before = world.kube.get("StatefulSet", "demo-redis")
    world.strip("StatefulSet", "demo-redis")
    world.stack({"redis": {"storage": {"size": "9Gi"}}})
    await world.until_quiet()
    after = world.kube.get("StatefulSet", "demo-redis")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert world.condition("Ready")["status"] == "True"


async def test_a_stateful_set_is_not_deleted_before_the_api_server_would_take_the_new_one(world: World) -> None:
    await world.up()
    before = world.kube.get("StatefulSet", "demo-redis")
    no = Refused(422, "Invalid", "spec.volumeClaimTemplates: no such class")
    world.kube.rules.append(lambda call: no if (call.method, call.kind) == ("POST", "StatefulSet") else None)
    world.stack({"redis": {"storage": {"size": "9Gi"}}})
    assert not await world.round()
    assert world.kube.get("StatefulSet", "demo-redis")["metadata"]["uid"] == before["metadata"]["uid"]
    assert "no such class" in world.row("redis")["message"]
