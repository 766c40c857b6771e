"""Every field that the operator sets: edited or removed by somebody, it is set back. Generated, not hand-picked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from tests.api.cluster import JSON_PATCH, Cluster, Mirror, Object, Ref, RefusedError
from tests.api.controlplane import ControlPlane
from tests.api.operator.leaves import Leaf, edits, leaves, locate
from tests.api.operator_process import Operator
from tests.api.stacks import RICH_SPEC, install, told

AT_ONCE = 6
"""Objects that are edited side by side; the edits of one object follow each other."""

INVALID = (400, 403, 422)
"""How the API server refuses an edit for what it says."""

STUCK_SECONDS = 10
"""An edit that is not set back for so long stays."""

FEWEST_EDITS = 300
"""Far fewer accepted edits than this means that this test has lost its subject."""


@pytest_asyncio.fixture
async def settled(
    operator: Operator, cluster: Cluster, control_plane: ControlPlane, namespace: str
) -> AsyncIterator[Mapping[Ref, Object]]:
    """The children of a stack that has every kind of them, with the controllers halted: no edit restarts a pod."""
    await install(cluster, namespace, spec=RICH_SPEC)
    await operator.quiet()
    control_plane.controllers.stop()
    yield await cluster.children(namespace, "demo")
    control_plane.controllers.start()


class Editor:
    """Edits leaves one by one and waits for each to be set back."""

    def __init__(self, cluster: Cluster, mirror: Mirror) -> None:
        self.cluster, self.mirror = cluster, mirror
        self.done: Counter[str] = Counter()
        self.refused: list[str] = []
        self.stuck: list[str] = []

    async def edit_all(self, ref: Ref, chosen: list[Leaf]) -> None:
        """Change every chosen leaf of one object, and then remove it."""
        for leaf in chosen:
            original = self.mirror.objects[ref]
            found = locate(original, leaf)
            assert found is not None, f"{ref.kind} {ref.name}: {leaf} is owned but not there"
            await self._edit(ref, leaf, found[1])

    async def _edit(self, ref: Ref, leaf: Leaf, original: Any) -> None:
        accepted = False
        for change in _changes(original):
            accepted = await self._try(ref, leaf, original, change) or accepted
            if accepted and change["op"] == "remove":
                break
            if accepted:
                await self._try(ref, leaf, original, {"op": "remove"})
                break
        if accepted:
            self.done[ref.kind] += 1
        else:
            self.refused.append(f"{ref.kind} {leaf}")

    async def _try(self, ref: Ref, leaf: Leaf, original: Any, change: Mapping[str, Any]) -> bool:
        """Apply one change; False where the API server refuses it or takes it for no change."""
        before = self.mirror.objects[ref]
        found = locate(before, leaf)
        assert found is not None
        try:
            edited = await self.cluster.patch(ref, [{**change, "path": found[0]}], JSON_PATCH)
        except RefusedError as refused:
            if refused.code not in INVALID:
                raise
            return False
        if edited["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]:
            return False
        version = int(edited["metadata"]["resourceVersion"])

        def set_back(objects: Mapping[Ref, Object]) -> bool:
            now = objects.get(ref)
            if now is None or int(now["metadata"]["resourceVersion"]) < version:
                return False
            at = locate(now, leaf)
            return at is not None and at[1] == original

        try:
            await self.mirror.until(set_back, "set back", STUCK_SECONDS)
        except AssertionError:
            self.stuck.append(f"{ref.kind} {ref.name}: {leaf} after {change}")
            await self.cluster.patch(ref, [{"op": "replace", "path": found[0], "value": original}], JSON_PATCH)
            await self.mirror.until(set_back, f"{leaf} mended by the test", STUCK_SECONDS)
        return True


def _changes(original: Any) -> Iterator[Mapping[str, Any]]:
    yield from ({"op": "replace", "value": other} for other in edits(original))
    yield {"op": "remove"}


def _each_path_once(children: Mapping[Ref, Object]) -> dict[Ref, list[Leaf]]:
    """Every path of every kind, on the first object that has it."""
    seen: set[tuple[str, Leaf]] = set()
    chosen: dict[Ref, list[Leaf]] = {}
    for ref, obj in children.items():
        for leaf in leaves(obj):
            generic = Leaf(tuple("k:owner" if "uid" in step else step for step in leaf.path))
            if (ref.kind, generic) not in seen:
                seen.add((ref.kind, generic))
                chosen.setdefault(ref, []).append(leaf)
    return chosen


@pytest.mark.timeout(900)
async def test_every_field_that_we_set_is_set_back(
    settled: Mapping[Ref, Object], cluster: Cluster, operator: Operator, namespace: str
) -> None:
    slots = asyncio.Semaphore(AT_ONCE)
    async with Mirror(cluster, tuple({ref.kind for ref in settled}), "", namespace) as mirror:
        editor = Editor(cluster, mirror)

        async def edit(ref: Ref, chosen: list[Leaf]) -> None:
            async with slots:
                await editor.edit_all(ref, chosen)

        await asyncio.gather(*(edit(ref, chosen) for ref, chosen in _each_path_once(settled).items()))
        now = dict(mirror.objects)
    print(f"{sum(editor.done.values())} fields edited and set back: {dict(editor.done)}")
    print(f"{len(editor.refused)} that the API server lets nobody edit:", *sorted(editor.refused), sep="\n  ")
    assert not editor.stuck, "edits that were not set back:\n" + "\n".join(editor.stuck)
    assert sum(editor.done.values()) >= FEWEST_EDITS
    assert set(editor.done) == {ref.kind for ref in settled}, "of every kind, something can be edited"
    for ref, before in settled.items():
        assert ref in now, ref
        for leaf in leaves(before):
            was, found = locate(before, leaf), locate(now[ref], leaf)
            assert was is not None
            assert found is not None
            assert found[1] == was[1], f"{ref}: {leaf}"


async def test_an_edit_that_was_set_back_is_told(operator: Operator, cluster: Cluster, namespace: str) -> None:
    before = await install(cluster, namespace)
    ref = Ref("Service", namespace, "demo-redis")
    await cluster.patch(ref, {"metadata": {"labels": {"app.kubernetes.io/name": "theirs"}}})
    await cluster.until(
        Ref("AurenStack", namespace, "demo"),
        lambda s: s is not None and s["status"]["healed"]["count"] > before["status"]["healed"]["count"],
        "counted",
    )
    await told(cluster, namespace, "Reverted", "demo-redis", "app.kubernetes.io/name")
