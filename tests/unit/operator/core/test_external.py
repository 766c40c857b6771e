"""A person's own database in a whole operator: it waits for their Secrets and the Job, and loses no key."""

from __future__ import annotations

import base64

import pytest

from auren_operator.api import names
from tests.unit.operator.core.test_user_objects import make
from tests.unit.operator.core.world import KEY, World
from tests.unit.operator.spec_cases import EXTERNAL

KEYRING = "demo-biometric-bridge-keyring"
MARK = "demo-biometric-bridge-external"


def give(world: World) -> None:
    """The person makes both Secrets."""
    make(world, ("username", "password"), "db-admin")
    make(world, ("ca.crt",), "db-ca")


def keyring(world: World) -> str:
    data: dict[str, str] = world.kube.get("Secret", KEYRING)["data"]
    return base64.b64decode(data["keyring"]).decode()


def fail_the_job(world: World) -> None:
    for name in world.kube.of("Job"):
        if "migrations" in name:
            conditions = [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "no route"}]
            world.kube.set_status("Job", name, {"conditions": conditions})
    world.deliver()


async def test_it_is_external_once_the_job_has_prepared_it(world: World) -> None:
    give(world)
    world.stack(EXTERNAL)
    await world.round()
    row = world.row("timescaledb")
    assert (row["state"], row["reason"], row["message"]) == ("Progressing", "Starting", "migrations prepares it")
    await world.until_quiet()
    row = world.row("timescaledb")
    assert (row["state"], row["reason"], row["ready"]) == ("External", "External", "0/0")
    assert "version" not in row
    assert world.condition("Ready")["status"] == "True"
    assert world.status["componentsReady"] == "7/7"
    assert "demo-timescaledb" not in world.kube.of("StatefulSet")


async def test_without_its_secrets_nothing_runs_that_needs_it_and_the_row_names_them(world: World) -> None:
    world.stack(EXTERNAL)
    await world.until_quiet()
    row = world.row("timescaledb")
    assert (row["state"], row["reason"]) == ("Waiting", "WaitingForSecrets")
    assert row["waitingFor"] == ["Secret db-admin", "Secret db-ca"]
    assert "Secret db-admin (it is missing; the database is off until then)" in row["message"]
    assert world.condition("Ready")["status"] == "False"
    assert not world.kube.of("Deployment")
    assert world.row("kafka")["state"] == "Ready"
    give(world)
    await world.until_quiet()
    assert world.row("timescaledb")["state"] == "External"
    assert world.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("secret", ["db-admin", "db-ca"])
async def test_one_that_goes_later_leaves_what_runs_alone(world: World, secret: str) -> None:
    give(world)
    await world.up(EXTERNAL)
    before = world.kube.of("Deployment")
    world.kube.remove("Secret", secret)
    await world.until_quiet()
    row = world.row("timescaledb")
    assert (row["state"], row["waitingFor"]) == ("Waiting", [f"Secret {secret}"])
    assert world.kube.of("Deployment") == before


async def test_a_job_that_fails_is_the_row_s_failure(world: World) -> None:
    give(world)
    world.stack(EXTERNAL)
    await world.round()
    fail_the_job(world)
    await world.round()
    row = world.row("timescaledb")
    assert (row["state"], row["reason"]) == ("Failed", "JobFailed")
    assert "no route" in row["message"]
    assert world.condition("Degraded")["reason"] == "StoreNotReady"


async def test_a_store_that_ran_before_goes_and_its_volume_stays(world: World) -> None:
    await world.up()
    give(world)
    world.stack(EXTERNAL)
    await world.until_quiet()
    assert "demo-timescaledb" not in world.kube.of("StatefulSet")
    assert "data-demo-timescaledb-0" in world.kube.of("PersistentVolumeClaim")
    assert world.row("timescaledb")["state"] == "External"
    assert "volumes" not in world.row("timescaledb")
    world.stack({})
    await world.until_quiet()
    assert world.row("timescaledb")["state"] == "Ready"


async def test_asleep_it_stays_external(world: World) -> None:
    give(world)
    await world.up(EXTERNAL)
    world.stack({**EXTERNAL, "hibernated": True})
    await world.until_quiet()
    assert world.row("timescaledb")["state"] == "External"
    assert world.condition("Ready")["reason"] == "Hibernated"


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_keyring_that_is_lost_is_never_made_anew(world: World, restarted: bool) -> None:
    give(world)
    await world.up(EXTERNAL)
    world.kube.remove("Secret", KEYRING)
    if restarted:
        world.restart()
    await world.round()
    assert not world.kube.has("Secret", KEYRING)
    row = world.row("biometric-bridge")
    assert (row["state"], row["reason"]) == ("Failed", "KeysLost")
    assert f"in the external database of ConfigMap {MARK} cannot be read without it" in row["message"]
    assert world.kube.has("ConfigMap", MARK)


@pytest.mark.parametrize("restarted", [False, True])
async def test_not_even_when_all_that_is_the_stack_s_is_deleted_at_once(world: World, restarted: bool) -> None:
    give(world)
    await world.up(EXTERNAL)
    for kind in ("Secret", "ConfigMap", "Deployment", "StatefulSet", "Job", "Service"):
        for name in list(world.kube.of(kind)):
            if names.LABEL_STACK in world.kube.get(kind, name)["metadata"].get("labels", {}):
                world.kube.remove(kind, name)
    if restarted:
        world.restart()
    await world.round()
    await world.round()
    assert not world.kube.has("Secret", KEYRING)
    assert world.row("biometric-bridge")["reason"] == "KeysLost"


async def test_a_keyring_from_a_backup_is_taken_in(world: World) -> None:
    give(world)
    await world.up(EXTERNAL)
    kept = world.kube.get("Secret", KEYRING)
    world.kube.remove("Secret", KEYRING)
    await world.round()
    restored = {"name": KEYRING, "namespace": "people", "labels": kept["metadata"]["labels"]}
    world.kube.put("Secret", {"apiVersion": "v1", "kind": "Secret", "metadata": restored, "data": kept["data"]})
    await world.until_quiet()
    assert world.row("biometric-bridge")["state"] == "Ready"
    assert keyring(world) == base64.b64decode(kept["data"]["keyring"]).decode()


async def test_a_mark_that_lost_its_label_still_guards(world: World) -> None:
    give(world)
    await world.up(EXTERNAL)
    world.strip("ConfigMap", MARK)
    world.kube.remove("Secret", KEYRING)
    await world.round()
    assert not world.kube.has("Secret", KEYRING)


async def test_the_next_stack_of_that_name_is_held_to_the_keys_of_the_one_before(world: World) -> None:
    give(world)
    await world.up(EXTERNAL)
    assert not world.kube.get("ConfigMap", MARK)["metadata"].get("ownerReferences")
    first = keyring(world)
    world.kube.remove(names.KIND, "demo")
    world.deliver()
    await world.reconciler.reconcile(KEY)
    for kind in ("Deployment", "StatefulSet", "Job"):
        for name in list(world.kube.of(kind)):
            world.kube.remove(kind, name)
    world.stack(EXTERNAL)
    await world.until_quiet()
    assert keyring(world) == first
    world.kube.remove("Secret", KEYRING)
    await world.round()
    assert not world.kube.has("Secret", KEYRING)
