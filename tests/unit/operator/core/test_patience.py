"""Somebody undoes each of the operator's writes: it goes on, at a pace that nobody feels."""

from __future__ import annotations

import pytest

from auren_operator.kube.view import ChildKey
from auren_operator.reconcile.patience import BURST, REFILL_SECONDS, Patience
from tests.unit.operator.core.clock import Clock
from tests.unit.operator.core.world import KEY, World

LABEL = "app.kubernetes.io/part-of"
SERVICE, OTHER = ChildKey("Service", "demo-redis"), ChildKey("Service", "demo-kafka")


def waits(patience: Patience, count: int, key: ChildKey = SERVICE) -> list[float]:
    return [patience.wait_seconds(key) for _ in range(count)]


def test_a_person_is_never_waited_for_and_a_machine_is_after_a_burst() -> None:
    clock = Clock()
    patience = Patience(clock.monotonic)
    assert waits(patience, BURST) == [0.0] * BURST
    assert waits(patience, 2) == [REFILL_SECONDS] * 2, "asking costs nothing"
    assert patience.wait_seconds(OTHER) == 0.0, "each object by itself"
    clock.advance(REFILL_SECONDS / 2)
    assert patience.wait_seconds(SERVICE) == pytest.approx(REFILL_SECONDS / 2)
    clock.advance(REFILL_SECONDS / 2)
    assert waits(patience, 2) == [0.0, REFILL_SECONDS]


def test_who_is_left_in_peace_has_the_whole_burst_again() -> None:
    clock = Clock()
    patience = Patience(clock.monotonic)
    waits(patience, BURST)
    clock.advance(BURST * REFILL_SECONDS)
    assert waits(patience, BURST + 1) == [*[0.0] * BURST, REFILL_SECONDS]


async def test_a_fight_costs_a_write_a_second_and_the_rest_of_the_stack_nothing() -> None:
    clock, world = Clock(), World()
    await world.up()
    world.reconciler._memories[KEY].patience = Patience(clock.monotonic)

    async def put_right(name: str) -> bool:
        world.kube.edit("Service", name, lambda obj: obj["metadata"]["labels"].update({LABEL: "theirs"}))
        await world.round()
        return bool(world.kube.get("Service", name)["metadata"]["labels"][LABEL] != "theirs")

    assert all([await put_right("demo-redis") for _ in range(BURST)])
    assert not await put_right("demo-redis")
    assert await put_right("demo-kafka")
    assert not await put_right("demo-redis")
    clock.advance(REFILL_SECONDS)
    assert await put_right("demo-redis")
