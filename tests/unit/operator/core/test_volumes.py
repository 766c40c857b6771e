"""Volumes and keys in whole rounds: lost, emptied, hidden, restored; and what is refused to go."""

from __future__ import annotations

from typing import Any

import pytest

from auren_operator.api import names
from auren_operator.kube.client import Refused
from tests.unit.operator.core.world import World


async def test_an_emptied_volume_shows_and_is_filled_again(world: World) -> None:
    await world.up()
    jobs = set(world.kube.of("Job"))
    claim = "data-demo-timescaledb-0"
    world.kube.edit("PersistentVolumeClaim", claim, lambda o: o["metadata"].update(deletionTimestamp="now"))
    await world.round()
    assert world.row("timescaledb")["reason"] == "VolumeLost"
    assert world.condition("Degraded")["status"] == "True"
    status = world.kube.get("StatefulSet", "demo-timescaledb")["status"]
    world.kube.set_status("StatefulSet", "demo-timescaledb", status | {"readyReplicas": 0})
    world.kube.remove("PersistentVolumeClaim", claim)
    await world.round()
    assert world.row("timescaledb")["reason"] == "VolumeLost"
    await world.until_quiet()
    assert world.condition("Ready")["status"] == "True"
    after = set(world.kube.of("Job"))
    assert len(after) == 2
    assert len(after & jobs) == 1, "the topics' Job has nothing to do with it"
    assert not any(
        call.method == "DELETE" and call.kind in {"Pod", "PersistentVolumeClaim"} for call in world.kube.calls
    )


CLAIM = "data-demo-timescaledb-0"


@pytest.mark.parametrize("other", [None, "other"], ids=["without label", "with another stack's label"])
async def test_a_volume_that_lost_the_stacks_label_is_no_lost_volume(world: World, other: str | None) -> None:
    await world.up()
    jobs = set(world.kube.of("Job"))
    if other is None:
        world.strip("PersistentVolumeClaim", CLAIM)
    else:
        label = {names.LABEL_STACK: other}
        world.kube.edit("PersistentVolumeClaim", CLAIM, lambda o: o["metadata"]["labels"].update(label))
    await world.round()
    assert world.kube.get("PersistentVolumeClaim", CLAIM)["metadata"]["labels"][names.LABEL_STACK] == "demo"
    await world.until_quiet()
    assert world.row("timescaledb")["state"] == "Ready"
    assert not any(message for reason, message in world.told if reason == "Degraded")
    assert set(world.kube.of("Job")) == jobs
    assert world.condition("Ready")["status"] == "True"


async def test_keys_are_not_made_anew_although_their_volumes_lost_their_labels(world: World) -> None:
    await world.up()
    world.strip("PersistentVolumeClaim", CLAIM)
    world.kube.remove("Secret", "demo-timescaledb")
    await world.round()
    assert not world.kube.has("Secret", "demo-timescaledb")
    assert world.row("timescaledb")["reason"] == "KeysLost"


async def test_keys_that_somebody_restores_without_labels_are_taken_in(world: World) -> None:
    await world.up()
    kept = world.kube.remove("Secret", "demo-timescaledb")
    await world.round()
    world.kube.put("Secret", {"metadata": {"name": "demo-timescaledb", "namespace": "people"}, "data": kept["data"]})
    await world.until_quiet()
    after = world.kube.get("Secret", "demo-timescaledb")
    assert after["data"] == kept["data"]
    assert after["metadata"]["labels"] == kept["metadata"]["labels"]
    assert world.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("spec", [{"networkPolicies": False}, {"neuros": {"enabled": False}}])
async def test_whatever_is_refused_to_go_keeps_the_stack_from_saying_that_all_is_done(
    world: World, spec: dict[str, Any]
) -> None:
    await world.up()
    refused = Refused(403, "Forbidden", "you may not delete that")
    world.kube.rules.append(lambda call: refused if call.method == "DELETE" else None)
    world.stack(spec)
    assert not await world.round()
    assert world.condition("Ready")["status"] == "False"
    assert "you may not delete that" in world.condition("Ready")["message"]
