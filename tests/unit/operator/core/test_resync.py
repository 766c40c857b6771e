"""The slow second look: what lists say against what watches brought."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from auren_operator.api import names
from auren_operator.kube.client import Answer, Refused, Unreachable
from auren_operator.kube.kinds import STACK, WATCHED, Kind
from auren_operator.kube.view import StackKey
from auren_operator.reconcile import resync as module
from auren_operator.reconcile.resync import Resync, WatchSilent
from tests.unit.operator.core.cluster import Call
from tests.unit.operator.core.world import KEY, World

EVERYTHING = [STACK, *WATCHED.values()]
BRIDGE = ("Deployment", "demo-biometric-bridge")


def drain(world: World) -> set[StackKey]:
    """Everybody on the queue."""
    keys = set()
    while len(world.queue):
        key = world.queue._ready.popleft()
        world.queue._waiting.discard(key)
        keys.add(key)
    return keys


async def look(world: World, *, judge: bool = False) -> None:
    drain(world)
    world.kube.calls.clear()
    await world.resync.look(EVERYTHING, judge=judge)


async def test_it_lists_metadata_only_with_the_selector_and_changes_nothing(world: World) -> None:
    await world.up()
    size = len(world.view)
    await look(world, judge=True)
    assert [call.kind for call in world.kube.calls] == [kind.name for kind in EVERYTHING]
    assert {call.method for call in world.kube.calls} == {"GET"}
    assert len(world.view) == size
    assert drain(world) == set()
    assert world.resync.stale_rounds == 0


@pytest.mark.parametrize("target", [BRIDGE, ("PersistentVolumeClaim", "data-demo-kafka-0"), ("Secret", "demo-redis")])
async def test_what_vanished_unnoticed_is_found_missing(world: World, target: tuple[str, str]) -> None:
    await world.up()
    world.kube.remove(*target)
    world.kube.events.clear()  # the watch was cut past compaction
    await look(world)
    assert drain(world) == {KEY}
    await world.round()
    if target[0] != "PersistentVolumeClaim":
        assert world.kube.has(*target)
        assert world.status["healed"]["count"] == 1


async def test_a_stack_that_vanished_unnoticed_is_forgotten_and_not_brought_back(world: World) -> None:
    await world.up()
    world.kube.remove(names.KIND, "demo")
    world.kube.remove(*BRIDGE)
    world.kube.events.clear()
    await look(world)
    world.kube.calls.clear()
    await world.round()
    assert world.kube.calls == []
    assert not world.kube.has(*BRIDGE)


async def test_what_came_after_the_list_is_not_missed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.up()
    lists = world.kube._list

    def early(kind: Kind, namespace: str, query: Mapping[str, str]) -> Answer:
        answer = lists(kind, namespace, query)
        if kind.name != BRIDGE[0]:
            return answer
        version = int(world.kube.get(*BRIDGE)["metadata"]["resourceVersion"]) - 1
        return {"metadata": {"resourceVersion": str(version)}, "items": answer["items"][:-1]}

    monkeypatch.setattr(world.kube, "_list", early)  # a list as it was before the last Deployment was made
    await look(world)
    assert drain(world) == set()


async def test_of_several_namespaces_the_earliest_list_counts(world: World) -> None:
    """What is made in the first namespace while the second is listed is missing from no list."""
    await world.up()
    resync = Resync(world.kube, world.view, world.queue, world.reconciler, ("people", "elsewhere"))
    drain(world)
    listed: list[str] = []

    def between(call: Call) -> None:
        if call.kind != "ConfigMap" or call.method != "GET":
            return
        listed.append(call.kind)
        if len(listed) == 2:
            made = {"name": "demo-new", "namespace": "people", "labels": {names.LABEL_STACK: "demo"}}
            world.kube.put("ConfigMap", {"metadata": made})
            world.deliver()

    world.kube.rules.append(between)
    await resync.look([WATCHED["ConfigMap"]], judge=False)
    assert len(listed) == 2
    assert any(child.name == "demo-new" for child in world.view.children(KEY))


@pytest.mark.parametrize("error", [Unreachable("cut"), Refused(500, "InternalError", "no")])
async def test_a_list_that_fails_is_made_again_soon_and_keeps_no_other_from_being_made(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.up()
    monkeypatch.setattr(module, "SOON_SECONDS", 0.0)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    for target in (BRIDGE, ("ConfigMap", "demo-redis")):
        world.kube.remove(*target)
    world.kube.events.clear()
    failing = [error] * 2

    def rule(call: Call) -> Exception | None:
        return failing.pop() if call.kind == "ConfigMap" and failing else None

    world.kube.rules.append(rule)
    drain(world)
    running = asyncio.create_task(world.resync.run())
    try:
        world.resync.soon()
        await until(lambda: not failing and ("ConfigMap", "demo-redis") not in world.view.children(KEY))
    finally:
        running.cancel()
    assert BRIDGE not in world.view.children(KEY)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never happened")


async def test_the_periodic_look_has_every_stack_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.up()
    monkeypatch.setattr(module, "PERIOD_SECONDS", 0.0)
    drain(world)
    running = asyncio.create_task(world.resync.run())
    try:
        await until(lambda: len(world.queue) > 0)
    finally:
        running.cancel()
    assert drain(world) == {KEY}


async def test_a_watch_that_brings_nothing_is_dead_when_two_looks_find_the_same_news(world: World) -> None:
    await world.up()
    world.kube.edit(*BRIDGE, lambda obj: obj["metadata"]["labels"].update(news="1"))
    events, world.kube.events = world.kube.events, []
    await look(world, judge=True)
    assert world.resync.stale_rounds == 0, "it may be on its way"
    await look(world, judge=False)
    assert world.resync.stale_rounds == 0
    await look(world, judge=True)
    await look(world, judge=True)
    assert world.resync.stale_rounds == 2
    world.kube.events = events
    world.deliver()
    await look(world, judge=True)
    assert world.resync.stale_rounds == 0


async def test_an_object_that_keeps_changing_is_no_dead_watch(world: World) -> None:
    await world.up()
    for number in range(4):
        world.deliver()
        world.kube.edit(*BRIDGE, lambda obj, n=number: obj["metadata"]["labels"].update(news=str(n)))  # type: ignore[misc]  # a default binds the loop's value
        await look(world, judge=True)
    assert world.resync.stale_rounds == 0


# -- the start -----------------------------------------------------------------------------------------------------


async def test_no_work_begins_before_the_watches_have_brought_all_that_is_listed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BROUGHT_SECONDS", 0.001)
    await world.up()
    world.restart()
    await asyncio.wait_for(world.resync.until_whole(), 5)
    unsee(world, BRIDGE)
    waiting = asyncio.create_task(world.resync.until_whole())
    for _ in range(20):
        await asyncio.sleep(0.002)
    assert not waiting.done()
    world.view.observe("Deployment", world.kube.get(*BRIDGE))
    await asyncio.wait_for(waiting, 5)


async def test_what_vanishes_during_the_start_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BROUGHT_SECONDS", 0.001)
    monkeypatch.setattr(module, "SOON_SECONDS", 0.005)
    await world.up()
    unsee(world, BRIDGE)
    waiting = asyncio.create_task(world.resync.until_whole())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    world.kube.remove(*BRIDGE)
    world.kube.events.clear()  # it vanished before its watch had listed it
    await asyncio.wait_for(waiting, 5)


async def test_one_object_that_is_never_brought_does_not_stop_the_operator(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BROUGHT_SECONDS", 0.001)
    monkeypatch.setattr(module, "START_SECONDS", 0.02)
    await world.up()
    unsee(world, BRIDGE)
    await asyncio.wait_for(world.resync.until_whole(), 5)


async def test_a_watch_that_brings_nothing_ends_the_start(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BROUGHT_SECONDS", 0.001)
    monkeypatch.setattr(module, "START_SECONDS", 0.02)
    await world.up()
    for name in world.kube.of("Deployment"):
        unsee(world, ("Deployment", name))
    with pytest.raises(WatchSilent, match="deployments"):
        await asyncio.wait_for(world.resync.until_whole(), 5)


async def test_the_start_outlasts_an_api_server_that_is_not_well_yet(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SOON_SECONDS", 0.001)
    await world.up()
    healthy, errors = world.kube.list_metadata, [Unreachable("cut"), Refused(503, "ServiceUnavailable", "starting")]

    async def flaky(*arguments: object) -> AsyncIterator[Answer]:
        if errors:
            raise errors.pop()
        async for page in healthy(*arguments):  # type: ignore[arg-type]
            yield page

    monkeypatch.setattr(world.kube, "list_metadata", flaky)
    await asyncio.wait_for(world.resync.until_whole(), 5)
    assert errors == []
    errors.append(Refused(403, "Forbidden", "no right"))
    with pytest.raises(Refused):
        await world.resync.until_whole()


def unsee(world: World, target: tuple[str, str]) -> None:
    """The view has not been told of this object."""
    seen = next(s for s in world.view.children(KEY).values() if (s.kind, s.name) == target)
    world.view.forget(seen.kind, seen.namespace, seen.name, seen.stack, seen.uid)
