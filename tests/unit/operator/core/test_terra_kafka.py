"""Terra's Kafka destination in a whole operator: its certificate comes, is renewed, spoils and goes, and Kafka runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest

from auren_operator.api import names
from auren_operator.handlers import SETTLE_SECONDS
from auren_operator.kube.client import Refused, Unreachable
from auren_operator.reconcile import queue as queue_module
from tests.unit.operator.core.clock import Clock
from tests.unit.operator.core.test_queue import on
from tests.unit.operator.core.test_user_objects import make
from tests.unit.operator.core.world import KEY, World
from tests.unit.operator.people_certificates import certificate, data, good_pair, key_pem, new_key, pem
from tests.unit.operator.provider_cases import terra

NAME: Final = "terra-kafka-tls"
SPEC: Final = terra(tls={"name": NAME})


def bring(world: World, pair: Mapping[str, str] | None = None, *, labelled: bool = False) -> None:
    """A person makes the certificate's Secret, or renews it."""
    content = dict(pair or good_pair())
    if world.kube.has("Secret", NAME):
        world.kube.edit("Secret", NAME, lambda secret: secret.update(data=content))
        return
    meta: dict[str, Any] = {"name": NAME, "namespace": "people"}
    if labelled:
        meta["labels"] = {names.LABEL_STACK: "demo"}
    world.kube.put("Secret", {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": content})


async def up(world: World) -> None:
    """A stack with the destination has come up; Terra's own credentials are there."""
    make(world, ["signing-secret"], "t")
    await world.up(SPEC)


def pod(world: World) -> dict[str, Any]:
    """The template of Kafka's pods."""
    template: dict[str, Any] = world.kube.get("StatefulSet", "demo-kafka")["spec"]["template"]
    return template


def is_open(world: World) -> bool:
    """Whether the pods have what opens the listener."""
    return "terra-tls" in {volume["name"] for volume in pod(world)["spec"]["volumes"]}


async def test_without_its_certificate_all_runs_and_kafka_s_row_says_what_it_waits_for(world: World) -> None:
    await up(world)
    row = world.row("kafka")
    assert (row["state"], row["ready"], row["reason"]) == ("Ready", "1/1", "WaitingForSecrets")
    assert row["waitingFor"] == [f"Secret {NAME}"]
    assert row["message"] == f"Waiting: Secret {NAME} (it is missing; Terra's Kafka destination is off until then)"
    assert world.condition("Ready")["status"] == "True"
    assert world.status["componentsReady"] == "7/7"
    assert world.row("biometric-bridge")["reason"] == "Running"
    assert not is_open(world)
    assert world.kube.has("Service", "demo-kafka-terra-0")


async def test_one_that_comes_opens_the_listener_and_one_renewed_rolls_kafka_alone(world: World) -> None:
    await up(world)
    others = {name: world.kube.get("Deployment", name) for name in world.kube.of("Deployment")}
    bring(world)
    await world.until_quiet()
    assert is_open(world)
    assert world.row("kafka")["reason"] == "Running"
    first = pod(world)
    bring(world)
    await world.until_quiet()
    assert pod(world) != first
    assert pod(world)["spec"] == first["spec"]
    assert {name: world.kube.get("Deployment", name) for name in world.kube.of("Deployment")} == others


async def test_with_our_label_a_renewal_is_seen_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(world, labelled=True)
    await up(world)
    first, clock = pod(world), Clock()
    monkeypatch.setattr(queue_module, "asyncio", on(clock))
    bring(world)
    await world.run_queue(clock, SETTLE_SECONDS)
    assert pod(world) != first
    assert not [call for call in world.kube.calls if (call.method, call.name) == ("GET", NAME)]


async def test_one_without_it_is_seen_at_the_next_look_at_everything(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(world)
    await up(world)
    first, clock = pod(world), Clock()
    monkeypatch.setattr(queue_module, "asyncio", on(clock))
    bring(world)
    world.queue.add(KEY)  # as the resync does, every five minutes
    await world.run_queue(clock, SETTLE_SECONDS)
    assert pod(world) != first


async def test_one_that_will_not_do_is_told_in_words_and_ends_no_broker(world: World) -> None:
    await up(world)
    bring(world, data(pem(certificate("kafka", new_key())), key_pem(new_key())))
    await world.until_quiet()
    assert not is_open(world)
    assert f"Waiting: Secret {NAME} (tls.key is not the key of the first certificate" in world.row("kafka")["message"]
    bring(world)
    await world.until_quiet()
    assert is_open(world)
    bring(world, {"tls.crt": good_pair()["tls.crt"]})
    await world.until_quiet()
    assert not is_open(world), "a broker that restarts would find half of it"
    assert "(it lacks tls.key;" in world.row("kafka")["message"]


async def test_one_that_goes_closes_the_listener_and_nothing_else(world: World) -> None:
    bring(world)
    await up(world)
    assert is_open(world)
    world.kube.remove("Secret", NAME)
    await world.until_quiet()
    assert not is_open(world)
    assert world.row("kafka")["state"] == "Ready"
    assert not world.kube.has("Secret", NAME), "it is a person's"


async def test_a_sleeping_stack_keeps_the_listener_for_its_next_day(world: World) -> None:
    bring(world)
    await up(world)
    template = pod(world)
    world.stack({**SPEC, "hibernated": True})
    await world.until_quiet()
    assert pod(world) == template
    assert "waitingFor" not in world.row("kafka")


async def test_a_round_that_cannot_look_changes_nothing(world: World) -> None:
    bring(world)
    await up(world)
    template = pod(world)
    world.kube.rules.append(lambda call: Unreachable("cut") if call.name == NAME else None)
    assert await world.attempt() == "api_error"
    assert pod(world) == template
    world.kube.rules.clear()
    refusal = Refused(403, "Forbidden", "no")
    world.kube.rules.append(lambda call: refusal if call.name == NAME else None)
    await world.until_quiet()
    assert f"Secret {NAME} (it cannot be read: 403 Forbidden;" in world.row("kafka")["message"]


async def test_a_new_password_is_made_for_one_that_is_deleted_and_rolls_kafka_once(world: World) -> None:
    bring(world)
    await up(world)
    before = world.kube.get("Secret", "demo-kafka-terra")["data"]
    rolls = pod(world)
    world.kube.remove("Secret", "demo-kafka-terra")
    await world.until_quiet()
    assert world.kube.get("Secret", "demo-kafka-terra")["data"].keys() == before.keys()
    assert world.kube.get("Secret", "demo-kafka-terra")["data"] != before
    assert pod(world) != rolls
    assert is_open(world)
    written = [call for call in world.kube.writes() if "StatefulSet demo-kafka" in str(call)]
    assert len(written) == 1


async def test_switched_off_its_services_go_and_its_password_stays_for_another_time(world: World) -> None:
    bring(world)
    await up(world)
    password = world.kube.get("Secret", "demo-kafka-terra")["data"]
    world.stack(terra(enabled=False))
    await world.until_quiet()
    assert [name for name in world.kube.of("Service") if "terra" in name] == []
    assert not is_open(world)
    assert world.row("kafka")["reason"] == "Running"
    world.stack(SPEC)
    await world.until_quiet()
    assert is_open(world)
    assert world.kube.get("Secret", "demo-kafka-terra")["data"] == password


async def test_nothing_of_the_key_is_kept_or_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    pair = good_pair()
    bring(world, pair, labelled=True)
    await up(world)
    kept = (world.view._children, world.reconciler._memories, world.reconciler._plans, world.status, caplog.text)
    assert not [part for part in kept if pair["tls.key"] in repr(part)]
    assert not [child for child in (world.kube.get("StatefulSet", "demo-kafka"),) if pair["tls.key"] in repr(child)]
