"""Generated Secrets: written once, never again while they exist, never where that would lose data."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from auren_operator.api import names
from auren_operator.api.observed import see
from auren_operator.kube.client import Refused
from auren_operator.kube.view import ChildKey
from auren_operator.manifests.model import SecretSpec
from auren_operator.reconcile.facts import facts_of, secret_is_complete
from auren_operator.reconcile.secrets import frame, keys_are_lost
from tests.unit.operator.built import a_stack, secrets_of
from tests.unit.operator.core.cluster import Call
from tests.unit.operator.core.objects import claim, obj
from tests.unit.operator.core.world import World

STORES_KEYS = ("demo-kafka", "demo-timescaledb")
KEYRING = "demo-biometric-bridge-keyring"
GUARDING = (*STORES_KEYS, KEYRING)
RENEWABLE = ("demo-auth", "demo-redis", "demo-neuros-advanced", "demo-biometric-production", "demo-biometric-bridge")
ALL = (*GUARDING, *RENEWABLE)


def data(world: World, name: str) -> dict[str, str]:
    found: dict[str, str] = world.kube.get("Secret", name)["data"]
    return found


def all_data(world: World) -> dict[str, dict[str, str]]:
    return {name: data(world, name) for name in world.kube.of("Secret")}


def owners(world: World, name: str) -> list[str]:
    return [ref["uid"] for ref in world.kube.get("Secret", name)["metadata"].get("ownerReferences", ())]


def stack_uid(world: World) -> str:
    return str(world.kube.get(names.KIND, "demo")["metadata"]["uid"])


async def test_every_secret_is_made_once_with_all_its_keys(world: World) -> None:
    await world.up()
    specs = secrets_of(a_stack({}))
    assert set(world.kube.of("Secret")) == {spec.name for spec in specs} == set(ALL)
    for spec in specs:
        assert set(data(world, spec.name)) == set(spec.keys)
        assert all(base64.b64decode(value) for value in data(world, spec.name).values())


async def test_the_data_belongs_to_a_manager_of_its_own_and_no_apply_carries_any(world: World) -> None:
    world.stack()
    await world.until_quiet()
    applied = [call for call in world.kube.calls if call.kind == "Secret" and call.method == "PATCH"]
    assert applied
    assert all(call.manager == "auren-operator" and "data" not in call.body for call in applied)
    made = [call for call in world.kube.calls if call.kind == "Secret" and call.method == "POST"]
    assert sorted(call.name for call in made) == sorted(ALL)
    assert {call.manager for call in made} == {"auren-secrets"}
    assert world.kube.owners_of("Secret", "demo-redis", ("f:data", "f:password")) == {"auren-secrets"}


async def test_a_secret_that_exists_is_never_written_again(world: World) -> None:
    await world.up()
    before = all_data(world)
    world.restart()
    await world.round()
    world.stack({"size": "medium"})
    await world.until_quiet()
    world.kube.edit("Secret", "demo-redis", lambda o: o["metadata"]["labels"].pop(names.LABEL_NAME))
    await world.until_quiet()
    assert all_data(world) == before


async def test_every_apply_of_a_secret_is_bound_to_the_uid_it_was_seen_with(world: World) -> None:
    await world.up()
    vanished = world.kube.get("Secret", "demo-redis")
    world.kube.edit("Secret", "demo-redis", lambda o: o["metadata"]["labels"].pop(names.LABEL_NAME))
    world.deliver()
    world.kube.remove("Secret", "demo-redis")
    events, world.kube.events = world.kube.events, []  # its end is not known yet
    assert not await world.round()
    assert not world.kube.has("Secret", "demo-redis"), "no empty Secret came into being"
    world.kube.events = events + world.kube.events
    await world.round()
    assert set(data(world, "demo-redis")) == {"password"}
    assert data(world, "demo-redis") != vanished["data"]


@pytest.mark.parametrize("name", RENEWABLE)
async def test_a_deleted_secret_is_made_again_and_whoever_mounts_it_rolls(world: World, name: str) -> None:
    await world.up()
    before = all_data(world)
    revisions = {n: o["spec"]["template"]["metadata"] for n, o in world.kube.of("Deployment").items()}
    world.kube.remove("Secret", name)
    await world.until_quiet()
    after = all_data(world)
    assert after.pop(name) != before.pop(name)
    assert after == before
    assert world.status["healed"]["count"] == 1
    rolled = {n for n, o in world.kube.of("Deployment").items() if o["spec"]["template"]["metadata"] != revisions[n]}
    everyone = {"demo-neuros-advanced", "demo-biometric-production", "demo-biometric-bridge"}
    assert rolled == (everyone if name in {"demo-auth", "demo-redis"} else {name})
    assert world.condition("Ready")["status"] == "True"


async def test_new_passwords_of_a_service_run_the_jobs_again(world: World) -> None:
    await world.up()
    before = set(world.kube.of("Job"))
    world.kube.remove("Secret", "demo-neuros-advanced")
    await world.until_quiet()
    after = set(world.kube.of("Job"))
    assert len(after) == 2
    assert not before & after, "both, and the ones before are gone"


@pytest.mark.parametrize("value", [None, ""])
async def test_a_secret_that_lost_a_key_is_made_anew_as_a_whole(world: World, value: str | None) -> None:
    await world.up()
    before = world.kube.get("Secret", "demo-auth")

    def spoil(secret: dict[str, Any]) -> None:
        if value is None:
            del secret["data"]["jwks.json"]
        else:
            secret["data"]["jwks.json"] = value

    world.kube.edit("Secret", "demo-auth", spoil)
    await world.until_quiet()
    after = world.kube.get("Secret", "demo-auth")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert set(after["data"]) == set(before["data"])
    assert all(after["data"][key] != before["data"][key] for key in after["data"]), "its values belong together"
    assert world.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("name", STORES_KEYS)
async def test_keys_without_which_data_cannot_be_read_are_never_made_anew(world: World, name: str) -> None:
    await world.up()
    kept = world.kube.get("Secret", name)
    workload = world.kube.get("StatefulSet", name)
    world.kube.remove("Secret", name)
    for _ in range(3):
        assert not await world.round()
        world.control()
    assert not world.kube.has("Secret", name)
    row = world.row(name.removeprefix("demo-"))
    assert (row["state"], row["reason"]) == ("Failed", "KeysLost")
    assert f"data-{name}-0" in row["message"]
    assert world.condition("Degraded")["status"] == "True"
    assert world.kube.get("StatefulSet", name)["metadata"]["uid"] == workload["metadata"]["uid"], "it runs on"
    restored = {"metadata": {"name": name, "namespace": "people", "labels": kept["metadata"]["labels"]}}
    world.kube.put("Secret", restored | {"data": kept["data"]}, "kubectl-create")
    await world.until_quiet()
    assert world.condition("Ready")["status"] == "True"
    assert data(world, name) == kept["data"]


async def test_a_lost_keyring_stops_no_store_and_says_which_way_out_there_is(world: World) -> None:
    await world.up()
    pods = world.kube.get("Deployment", "demo-biometric-bridge")["metadata"]["uid"]
    world.kube.remove("Secret", KEYRING)
    await world.round()
    world.control()
    assert not world.kube.has("Secret", KEYRING)
    row = world.row("biometric-bridge")
    assert (row["state"], row["reason"]) == ("Failed", "KeysLost")
    assert "OAuth tokens on volume data-demo-timescaledb-0 cannot be read" in row["message"]
    assert "delete the volume" not in row["message"], "the database is worth more than the tokens in it"
    assert world.row("timescaledb")["state"] == "Ready"
    assert world.kube.get("Deployment", "demo-biometric-bridge")["metadata"]["uid"] == pods, "it runs on"
    somebody = {"metadata": {"name": KEYRING, "namespace": "people"}, "data": {"keyring": "bmV3"}}
    world.kube.put("Secret", somebody, "kubectl-create")
    await world.until_quiet()
    assert world.condition("Ready")["status"] == "True"
    assert data(world, KEYRING) == {"keyring": "bmV3"}


async def test_a_line_more_in_the_keyring_stays_and_rolls_the_bridge_alone(world: World) -> None:
    await world.up()
    before = {name: world.kube.get("Deployment", name)["spec"]["template"] for name in world.kube.of("Deployment")}
    world.kube.edit("Secret", KEYRING, lambda secret: secret["data"].update(keyring="b25lIG1vcmU="))
    await world.until_quiet()
    assert data(world, KEYRING) == {"keyring": "b25lIG1vcmU="}
    after = {name: world.kube.get("Deployment", name)["spec"]["template"] for name in world.kube.of("Deployment")}
    assert {name for name in before if before[name] != after[name]} == {"demo-biometric-bridge"}


@pytest.mark.parametrize("name", STORES_KEYS)
async def test_keys_are_made_anew_once_the_data_is_gone_too(world: World, name: str) -> None:
    await world.up()
    world.kube.remove("Secret", name)
    await world.round()
    for volume in world.kube.of("PersistentVolumeClaim"):
        if name in volume:
            world.kube.remove("PersistentVolumeClaim", volume)
    await world.round()
    assert world.kube.has("Secret", name)


def test_keys_are_lost_only_where_a_volume_depends_on_them() -> None:
    spec = next(spec for spec in secrets_of(a_stack({})) if spec.name == "demo-kafka")
    volume = see("PersistentVolumeClaim", claim("data-demo-kafka-2"))
    other = see("PersistentVolumeClaim", claim("data-demo-redis-0"))
    assert "data-demo-kafka-2" in keys_are_lost(spec, {ChildKey("PersistentVolumeClaim", "data-demo-kafka-2"): volume})
    assert keys_are_lost(spec, {ChildKey("PersistentVolumeClaim", "data-demo-redis-0"): other}) == ""
    free = SecretSpec("demo-redis", "redis", {"password": "password"})
    assert keys_are_lost(free, {ChildKey("PersistentVolumeClaim", "data-demo-redis-0"): other}) == ""


async def test_a_secret_of_somebody_else_is_left_alone_and_named(world: World) -> None:
    theirs = world.kube.put(
        "Secret", {"metadata": {"name": "demo-redis", "namespace": "people"}, "data": {"a": "YQ=="}}
    )
    world.stack()
    for _ in range(3):
        assert not await world.round()
        world.control()
    assert world.kube.get("Secret", "demo-redis") == theirs
    row = world.row("redis")
    assert (row["state"], row["reason"]) == ("Failed", "NameConflict")
    assert "Secret demo-redis" in row["message"]


async def test_a_secret_is_not_made_while_its_namesake_is_on_its_way_out(world: World) -> None:
    await world.up()
    world.kube.edit("Secret", "demo-redis", lambda o: o["metadata"].update(deletionTimestamp="now", finalizers=["x"]))
    await world.round()
    assert not any(call.method == "POST" for call in world.kube.calls)
    assert world.kube.has("StatefulSet", "demo-redis"), "what it was built from is withheld, not pruned"
    world.kube.remove("Secret", "demo-redis")
    await world.until_quiet()
    assert world.condition("Ready")["status"] == "True"


async def test_a_secret_that_a_quota_refuses_shows_on_its_component(world: World) -> None:
    def rule(call: Call) -> Refused | None:
        refused = call.kind == "Secret" and call.method == "POST" and call.name == "demo-redis"
        return Refused(403, "Forbidden", "exceeded quota: small") if refused else None

    world.kube.rules.append(rule)
    world.stack()
    assert not await world.round()
    assert world.row("redis")["reason"] == "QuotaExceeded"
    assert world.kube.has("StatefulSet", "demo-kafka")


# -- what a stack leaves behind ------------------------------------------------------------------------------------


async def test_under_retain_only_the_keys_to_data_outlive_the_stack(world: World) -> None:
    await world.up()
    assert all(owners(world, name) == [] for name in GUARDING)
    assert all(owners(world, name) == [stack_uid(world)] for name in RENEWABLE)


async def test_under_delete_the_stack_owns_all(world: World) -> None:
    await world.up({"data": {"deletionPolicy": "Delete"}})
    assert all(owners(world, name) == [stack_uid(world)] for name in ALL)


@pytest.mark.parametrize("policies", [("Delete", "Retain"), ("Retain", "Delete")])
async def test_a_change_of_mind_about_the_data_reaches_the_keys(world: World, policies: tuple[str, str]) -> None:
    first, then = policies
    await world.up({"data": {"deletionPolicy": first}})
    world.stack({"data": {"deletionPolicy": then}})
    await world.until_quiet()
    expected = [stack_uid(world)] if then == "Delete" else []
    assert all(owners(world, name) == expected for name in GUARDING)
    assert all(owners(world, name) == [stack_uid(world)] for name in RENEWABLE)


async def test_the_next_stack_of_the_name_takes_the_keys_over(world: World) -> None:
    await world.up()
    kept = {name: data(world, name) for name in GUARDING}
    world.kube.remove(names.KIND, "demo")
    for (kind, _, name), stored in list(world.kube.objects.items()):
        if stored.obj["metadata"].get("ownerReferences"):
            world.kube.remove(kind, name)
    assert set(world.kube.of("Secret")) == set(GUARDING)
    await world.up()
    assert {name: data(world, name) for name in GUARDING} == kept
    assert world.condition("Ready")["status"] == "True"


def test_the_frame_holds_labels_owner_and_uid_and_nothing_else() -> None:
    stack = a_stack({})
    by_name = {spec.name: spec for spec in secrets_of(stack)}
    framed = frame(stack, by_name["demo-redis"], "u").manifest()
    assert set(framed) == {"apiVersion", "kind", "metadata"}
    assert framed["metadata"]["uid"] == "u"
    assert set(framed["metadata"]) == {"name", "namespace", "uid", "labels", "ownerReferences"}
    kept = frame(stack, by_name["demo-kafka"], "u").manifest()
    assert "ownerReferences" not in kept["metadata"]


# -- what builders learn of them -----------------------------------------------------------------------------------


def test_a_secret_is_complete_when_it_is_there_stays_and_has_every_key() -> None:
    spec = SecretSpec("demo-redis", "redis", {"password": "password"})
    whole = obj("Secret", data={"password": "eA==", "more": "eA=="})
    assert secret_is_complete(spec, see("Secret", whole))
    assert not secret_is_complete(spec, None)
    assert not secret_is_complete(spec, see("Secret", obj("Secret", data={"more": "eA=="})))
    going = obj("Secret", data={"password": "eA=="}, metadata={"deletionTimestamp": "now"})
    assert not secret_is_complete(spec, see("Secret", going))


def test_facts_know_complete_secrets_and_volumes_that_stay() -> None:
    spec = SecretSpec("demo-redis", "redis", {"password": "password"})
    secret = see("Secret", obj("Secret", data={"password": "eA=="}))
    volume = see("PersistentVolumeClaim", claim("data-demo-redis-0", size="1Gi", uid="v"))
    going = see("PersistentVolumeClaim", claim("data-demo-redis-1", metadata={"deletionTimestamp": "now"}))
    children = {ChildKey(seen.kind, seen.name): seen for seen in (secret, volume, going)}
    found = facts_of([spec, SecretSpec("demo-auth", "stack", {"a": "key"})], children)
    assert set(found.secrets) == {"demo-redis"}
    assert {name: (v.uid, v.storage_bytes) for name, v in found.volumes.items()} == {
        "data-demo-redis-0": ("v", 1 << 30)
    }


async def test_a_number_of_nodes_that_somebody_writes_on_kafka_is_set_back_not_obeyed(world: World) -> None:
    await world.up()
    annotation = names.ANNOTATION_CREATED_REPLICAS
    before = world.kube.get("StatefulSet", "demo-kafka")
    config = world.kube.get("ConfigMap", "demo-kafka")
    world.kube.edit("StatefulSet", "demo-kafka", lambda o: o["metadata"]["annotations"].update({annotation: "3"}))
    await world.until_quiet()
    after = world.kube.get("StatefulSet", "demo-kafka")
    assert after["metadata"]["annotations"][annotation] == "1"
    assert after["spec"]["replicas"] == 1
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert world.kube.get("ConfigMap", "demo-kafka") == config
