"""The key and the texts that NEUROS takes from people: missing ones are told and hold nothing up, changed ones roll."""

from __future__ import annotations

import base64
from typing import Any, Final

from auren_operator.api import names
from tests.unit.operator.core.world import World
from tests.unit.operator.model_cases import API_KEY

VOICE: Final = {"configMapRef": {"name": "voice", "key": "voice.yaml"}}
MODEL: Final = {"mode": "openai", "model": "gpt", "apiKeySecretRef": API_KEY}
SPEC: Final = {"neuros": {"llm": MODEL, "personality": VOICE}}


def make(world: World, kind: str, name: str, data: dict[str, str], *, labelled: bool = False) -> None:
    """A person makes an object."""
    meta: dict[str, Any] = {"name": name, "namespace": "people"}
    if labelled:
        meta["labels"] = {names.LABEL_STACK: "demo"}
    if kind == "Secret":
        data = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    world.kube.put(kind, {"apiVersion": "v1", "kind": kind, "metadata": meta, "data": data})


def neuros(world: World) -> dict[str, Any]:
    return world.row("neuros-advanced")


def marks(world: World) -> dict[str, str]:
    """Of NEUROS' pods."""
    found: dict[str, str] = world.kube.get("Deployment", "demo-neuros-advanced")["spec"]["template"]["metadata"][
        "annotations"
    ]
    return found


async def test_what_is_missing_is_told_on_a_stack_that_is_ready(world: World) -> None:
    await world.up(SPEC)
    assert (neuros(world)["state"], neuros(world)["reason"]) == ("Ready", "WaitingForSecrets")
    assert neuros(world)["waitingFor"] == ["Secret openai", "ConfigMap voice"]
    assert "Secret openai (it is missing; the model's API key is off until then)" in neuros(world)["message"]
    assert "ConfigMap voice (it is missing; its own personality is off until then)" in neuros(world)["message"]
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("Degraded")["status"] == "False"


async def test_a_missing_text_alone_has_a_reason_of_its_own(world: World) -> None:
    await world.up({"neuros": {"personality": VOICE}})
    assert neuros(world)["reason"] == "WaitingForConfigMaps"
    assert world.condition("Ready")["reason"] == "WaitingForConfigMaps"


async def test_what_comes_rolls_neuros_into_it(world: World) -> None:
    await world.up(SPEC)
    before = marks(world)
    make(world, "Secret", "openai", {"api-key": "k"})
    await world.round()
    await world.until_quiet()
    with_key = marks(world)
    assert with_key[names.ANNOTATION_SECRETS_HASH] != before[names.ANNOTATION_SECRETS_HASH]
    make(world, "ConfigMap", "voice", {"voice.yaml": "tone: calm"})
    await world.round()
    world.control()
    await world.until_quiet()
    assert names.ANNOTATION_CONFIG_HASH in marks(world)
    assert neuros(world)["reason"] == "Running"


async def test_a_labelled_text_that_changes_brings_a_round_by_itself(world: World) -> None:
    make(world, "Secret", "openai", {"api-key": "k"})
    make(world, "ConfigMap", "voice", {"voice.yaml": "tone: calm"}, labelled=True)
    await world.up(SPEC)
    await world.until_quiet()
    before = marks(world)
    world.kube.calls.clear()
    world.kube.edit("ConfigMap", "voice", lambda obj: obj["data"].update({"voice.yaml": "tone: warm"}))
    world.deliver()
    assert len(world.queue) == 1
    await world.round()
    assert marks(world)[names.ANNOTATION_CONFIG_HASH] != before[names.ANNOTATION_CONFIG_HASH]
    assert ("GET", "ConfigMap") not in {(call.method, call.kind) for call in world.kube.calls}


async def test_one_that_goes_leaves_neuros_with_the_built_in_text(world: World) -> None:
    make(world, "ConfigMap", "voice", {"voice.yaml": "tone: calm"})
    await world.up({"neuros": {"personality": VOICE}})
    await world.until_quiet()
    world.kube.remove("ConfigMap", "voice")
    await world.round()
    assert [m.partition(" (")[0] for reason, m in world.told if reason == "Waiting"] == [
        "neuros-advanced Waiting: ConfigMap voice"
    ]
    world.control()
    await world.until_quiet()
    assert names.ANNOTATION_CONFIG_HASH not in marks(world)
    assert neuros(world)["reason"] == "WaitingForConfigMaps"


async def test_a_text_is_told_to_lack_its_key_and_is_never_touched(world: World) -> None:
    make(world, "ConfigMap", "voice", {"other.yaml": "tone: calm"})
    made = world.kube.get("ConfigMap", "voice")
    await world.up({"neuros": {"personality": VOICE}})
    assert "ConfigMap voice (it lacks voice.yaml;" in neuros(world)["message"]
    assert world.kube.get("ConfigMap", "voice") == made


async def test_the_local_model_has_a_row_and_neuros_does_not_wait_for_it(world: World) -> None:
    await world.up({"neuros": {"llm": {"mode": "local"}}})
    assert world.row("local-model")["state"] == "Ready"
    assert world.status["componentsReady"] == "8/8"
    world.stack({})
    await world.round()
    world.control()
    await world.until_quiet()
    assert world.row("local-model")["state"] == "Disabled"
    assert not world.kube.has("Deployment", "demo-local-model")
    assert world.status["componentsReady"] == "7/7"
