"""Secrets that people make: a missing one is told and switches off only what needs it; none is ever touched."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, Final

import pytest

from auren_operator.api import names
from auren_operator.api.reasons import Reason
from auren_operator.api.status import ComponentStatus
from auren_operator.handlers import SETTLE_SECONDS
from auren_operator.kube.client import Refused, Unreachable
from auren_operator.reconcile import queue as queue_module
from auren_operator.reconcile.user_objects import LOOK_SECONDS
from auren_operator.status.rows import Lacking, Observed, judge
from tests.unit.operator.core.clock import Clock
from tests.unit.operator.core.test_order import workload
from tests.unit.operator.core.test_queue import on
from tests.unit.operator.core.test_status import condition, found, row, said
from tests.unit.operator.core.world import KEY, World
from tests.unit.operator.test_crd import STATUS_SCHEMA

NAME: Final = "whoop-credentials"
KEYS: Final = ("client-id", "client-secret")
WHOOP: Final = {"whoop": {"enabled": True, "credentials": {"name": NAME}}}
URL: Final = "https://bridge.example.com"
SPEC: Final = {"bridge": {"publicURL": URL, "providers": WHOOP}}
TERRA: Final = {"terra": {"enabled": True, "credentials": {"name": "terra-credentials"}}}
TERRA_TOO: Final = {"bridge": {"publicURL": URL, "providers": {**WHOOP, **TERRA}}}


def make(world: World, keys: Iterable[str] = KEYS, name: str = NAME, *, labelled: bool = False) -> dict[str, Any]:
    """A person makes the Secret."""
    meta: dict[str, Any] = {"name": name, "namespace": "people"}
    if labelled:
        meta["labels"] = {names.LABEL_STACK: "demo"}
    data = {key: base64.b64encode(f"value of {key}".encode()).decode() for key in keys}
    return world.kube.put("Secret", {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data})


def bridge(world: World) -> dict[str, Any]:
    return world.row("biometric-bridge")


def looks(world: World) -> list[str]:
    """The Secrets that were read, in order."""
    return [call.name for call in world.kube.calls if (call.method, call.kind) == ("GET", "Secret")]


async def test_a_missing_secret_is_told_on_a_stack_that_is_ready(world: World) -> None:
    await world.up(SPEC)
    assert (bridge(world)["state"], bridge(world)["ready"]) == ("Ready", "2/2")
    assert bridge(world)["reason"] == "WaitingForSecrets"
    assert bridge(world)["waitingFor"] == ["Secret whoop-credentials"]
    assert bridge(world)["message"].startswith("Waiting: Secret whoop-credentials (it is missing; provider whoop")
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("True", "WaitingForSecrets")
    assert "7 of 7" in ready["message"]
    assert "Secret whoop-credentials" in ready["message"]
    assert world.condition("Degraded")["status"] == "False"
    assert world.status["componentsReady"] == "7/7"


async def test_it_is_told_from_the_start_beside_what_the_bridge_waits_for(world: World) -> None:
    world.stack(SPEC)
    await world.round()
    assert bridge(world)["state"] == "Waiting"
    assert bridge(world)["reason"] == "WaitingForComponents"
    assert bridge(world)["waitingFor"][-2:] == ["topics", "Secret whoop-credentials"]
    assert bridge(world)["message"].startswith("waits for kafka, ")
    assert "Waiting: Secret whoop-credentials" in bridge(world)["message"]


async def test_one_that_comes_is_found_and_nothing_rolls(world: World) -> None:
    await world.up(SPEC)
    before = world.kube.get("Deployment", "demo-biometric-bridge")
    made = make(world)
    await world.round()
    assert bridge(world)["reason"] == "Running"
    assert "waitingFor" not in bridge(world)
    assert world.condition("Ready")["reason"] == "AllReady"
    assert world.kube.get("Deployment", "demo-biometric-bridge") == before
    assert world.kube.get("Secret", NAME) == made


async def test_a_missing_key_is_named_and_an_empty_one_is_missing(world: World) -> None:
    make(world, ["client-id"])
    world.kube.edit("Secret", NAME, lambda o: o["data"].update({"client-secret": ""}))
    await world.up(SPEC)
    assert "Secret whoop-credentials (it lacks client-secret; provider whoop is off" in bridge(world)["message"]
    assert bridge(world)["waitingFor"] == ["Secret whoop-credentials"]


async def test_each_provider_is_told_apart(world: World) -> None:
    make(world)
    await world.up(TERRA_TOO)
    assert bridge(world)["waitingFor"] == ["Secret terra-credentials"]
    world.kube.remove("Secret", NAME)
    await world.round()
    assert bridge(world)["waitingFor"] == ["Secret whoop-credentials", "Secret terra-credentials"]
    assert "provider whoop is off" in bridge(world)["message"]
    assert "provider terra is off" in bridge(world)["message"]


async def test_it_is_told_once_by_an_event_and_again_when_another_is_missed(world: World) -> None:
    make(world)
    make(world, ["signing-secret"], "terra-credentials")
    await world.up(TERRA_TOO)
    world.kube.remove("Secret", NAME)
    for _ in range(3):
        await world.round()
    world.kube.remove("Secret", "terra-credentials")
    for _ in range(3):
        await world.round()
    told = [message for reason, message in world.told if reason == "Waiting"]
    assert len(told) == len(world.told) == 2
    assert told[0].startswith("biometric-bridge Waiting: Secret whoop-credentials")


# -- how often it is looked at -------------------------------------------------------------------------------------


async def test_a_missing_one_is_looked_for_every_ten_seconds_and_that_writes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.up(SPEC)
    clock = Clock()
    monkeypatch.setattr(queue_module, "asyncio", on(clock))
    world.queue.add(KEY)
    await world.run_queue(clock, 3 * LOOK_SECONDS + 1)
    assert looks(world) == [NAME] * 4
    assert world.kube.writes() == []
    make(world)
    await world.run_queue(clock, LOOK_SECONDS)
    assert bridge(world)["reason"] == "Running"
    world.kube.calls.clear()
    await world.run_queue(clock, 100 * LOOK_SECONDS)
    assert world.kube.calls == [], "one that is whole is looked at when something else happens, and not by itself"


async def test_one_that_is_whole_is_looked_at_in_each_round_and_only_read(world: World) -> None:
    make(world)
    await world.up(SPEC)
    await world.round()
    assert [str(call) for call in world.kube.calls] == ["GET Secret whoop-credentials"]
    world.kube.remove("Secret", NAME)
    await world.round()
    assert bridge(world)["reason"] == "WaitingForSecrets"


@pytest.mark.parametrize("spec", [{"hibernated": True}, {"bridge": {**SPEC["bridge"], "enabled": False}}])
async def test_nobody_looks_for_what_nobody_would_read(world: World, spec: dict[str, Any]) -> None:
    await world.up({**SPEC, **spec})
    await world.round()
    assert looks(world) == []
    assert "waitingFor" not in bridge(world)


async def test_a_paused_stack_tells_it_too(world: World) -> None:
    make(world)
    await world.up(SPEC)
    world.stack({**SPEC, "paused": True})
    world.kube.remove("Secret", NAME)
    await world.round()
    assert bridge(world)["waitingFor"] == ["Secret whoop-credentials"]


async def test_an_install_takes_no_more_rounds_for_it(world: World) -> None:
    world.stack({})
    without = await world.until_quiet()
    other = World()
    other.stack(SPEC)
    assert await other.until_quiet() == without


async def test_one_that_cannot_be_read_is_told_and_stops_nothing(world: World) -> None:
    refusal = Refused(403, "Forbidden", "no")
    world.kube.rules.append(lambda call: refusal if call.method == "GET" and call.name == NAME else None)
    await world.up(SPEC)
    assert bridge(world)["state"] == "Ready"
    assert "Secret whoop-credentials (it cannot be read: 403 Forbidden;" in bridge(world)["message"]


async def test_a_round_without_an_answer_is_tried_again(world: World) -> None:
    await world.up(SPEC)
    world.kube.rules.append(lambda call: Unreachable("cut") if call.name == NAME else None)
    assert await world.attempt() == "api_error"
    world.kube.rules.clear()
    assert await world.attempt() == "ok"


# -- with our label ------------------------------------------------------------------------------------------------


async def test_with_our_label_it_is_noticed_at_once_and_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.up(SPEC)
    clock = Clock()
    monkeypatch.setattr(queue_module, "asyncio", on(clock))
    make(world, labelled=True)
    await world.run_queue(clock, SETTLE_SECONDS)
    assert bridge(world)["reason"] == "Running"
    world.kube.edit("Secret", NAME, lambda o: o["data"].pop("client-secret"))
    await world.run_queue(clock, 0)
    assert "it lacks client-secret" in bridge(world)["message"]
    world.kube.remove("Secret", NAME)
    await world.run_queue(clock, 0)
    assert "it is missing" in bridge(world)["message"]
    assert looks(world) == [NAME], "once it was gone"


async def test_one_that_loses_the_label_is_read_instead(world: World) -> None:
    make(world, labelled=True)
    await world.up(SPEC)
    world.strip("Secret", NAME)
    await world.round()
    assert bridge(world)["reason"] == "Running"
    assert looks(world) == [NAME]


@pytest.mark.parametrize("spec", [SPEC, {}, {"bridge": {"enabled": False}}, {"hibernated": True}])
async def test_a_labelled_one_is_never_touched(world: World, spec: dict[str, Any]) -> None:
    made = make(world, labelled=True)
    await world.up(SPEC)
    world.stack(spec)
    await world.until_quiet()
    world.restart()
    await world.until_quiet()
    assert world.kube.get("Secret", NAME) == made
    assert not [call for call in world.kube.calls if call.name == NAME and call.method != "GET"]
    assert world.status["healed"]["count"] == 0


async def test_one_that_goes_is_not_made_again(world: World) -> None:
    make(world, labelled=True)
    await world.up(SPEC)
    world.kube.remove("Secret", NAME)
    await world.until_quiet()
    assert not world.kube.has("Secret", NAME)
    assert world.status["healed"]["count"] == 0


@pytest.mark.parametrize("name", ["demo-redis", "demo-kafka"])
async def test_one_that_has_the_name_of_ours_is_a_conflict_and_stays(world: World, name: str) -> None:
    made = make(world, name=name, labelled=True)
    whoop = {"enabled": True, "credentials": {"name": name}}
    world.stack({"bridge": {"publicURL": URL, "providers": {"whoop": whoop}}})
    for _ in range(3):
        await world.round()
        world.control()
    assert world.kube.get("Secret", name) == made
    assert world.row(name.removeprefix("demo-"))["reason"] == "NameConflict"


async def test_nothing_of_its_values_is_kept_or_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    make(world, [*KEYS, "other"])
    await world.up(TERRA_TOO)
    value = base64.b64encode(b"value of client-secret").decode()
    assert value in str(world.kube.get("Secret", NAME))
    kept = (world.view._children, world.reconciler._memories, world.reconciler._plans, world.status, caplog.text)
    assert not [part for part in kept if value in repr(part) or "value of" in repr(part)]


# -- rows ----------------------------------------------------------------------------------------------------------

MISSING: Final = Lacking(NAME, "it is missing", "provider whoop")


@pytest.mark.parametrize(
    ("seen", "state", "reason"),
    [
        ({"workload": workload()}, "Ready", Reason.WAITING_FOR_SECRETS),
        ({"workload": workload(2, 0)}, "Progressing", Reason.STARTING),
        ({"workload": workload(), "held": ("kafka",)}, "Ready", Reason.WAITING_FOR_SECRETS),
        ({"waiting_for": ("kafka",)}, "Waiting", Reason.WAITING_FOR_COMPONENTS),
    ],
)
def test_it_stands_in_the_message_and_never_changes_the_state(seen: dict[str, Any], state: str, reason: Reason) -> None:
    without = judge(Observed("biometric-bridge", True, **seen), False, {})
    verdict = judge(Observed("biometric-bridge", True, **seen, lacking=(MISSING,)), False, {})
    assert (verdict.state, verdict.reason) == (state, reason)
    assert verdict.state == without.state
    assert MISSING.sentence in verdict.message
    assert without.message in verdict.message


def test_a_stack_that_lacks_a_secret_and_something_worse_tells_the_worse() -> None:
    lacking = Observed("biometric-bridge", True, workload=workload(), lacking=(MISSING,))
    starting = Observed("redis", True, workload=workload(1, 0))
    status = said(found(lacking, starting))
    assert condition(status, "Ready")["reason"] == "ComponentsNotReady"
    assert row(status, "biometric-bridge")["reason"] == "WaitingForSecrets"


def test_two_purposes_of_one_secret_are_listed_once() -> None:
    twice = (MISSING, Lacking(NAME, "it is missing", "provider oura"))
    status = said(found(Observed("biometric-bridge", True, workload=workload(), lacking=twice)))
    assert row(status, "biometric-bridge")["waitingFor"] == ["Secret whoop-credentials"]
    assert "provider oura" in row(status, "biometric-bridge")["message"]


def test_the_longest_name_fits_into_the_schema() -> None:
    items = STATUS_SCHEMA["properties"]["components"]["items"]["properties"]["waitingFor"]["items"]
    shown = ComponentStatus("b", "Ready", "1/1", "r", "t", waiting_for=(Lacking("a" * 253, "", "").what,))
    assert all(len(what) <= items["maxLength"] for what in shown.waiting_for)
