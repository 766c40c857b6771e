"""The slow second look: lists of what exists, against the view that the watches feed.

A watch that was cut for so long that its history is compacted starts again with a list, and says nothing about what
vanished in between. And a watch may hang. So now and then, and soon after a watch had to start again, each kind is
listed (metadata only): what the view holds and the list lacks is gone; what the list has newer than the view for two
rounds means that a watch is dead.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from auren_operator.api import names
from auren_operator.api.observed import stack_of
from auren_operator.kube.client import Answer, Kube, Refused, Unreachable
from auren_operator.kube.kinds import STACK, WATCHED, Kind
from auren_operator.kube.view import SELECTOR, ChildKey, StackKey, View
from auren_operator.reconcile.queue import WorkQueue
from auren_operator.reconcile.reconciler import Reconciler

log = logging.getLogger(__name__)

PERIOD_SECONDS: Final = 300.0
SOON_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 5.0
BROUGHT_SECONDS: Final = 0.05
"""How often it is asked, at the start, whether the watches have brought what a list has."""

START_SECONDS: Final = 60.0
"""How long a watch may take to bring what a list has."""

Listed = Mapping[str, Mapping[str, Any]]
"""An item of a metadata-only list."""


class WatchSilent(Exception):
    """A watch does not bring what a list has: the process has to start anew."""


class Resync:
    """Lists every kind in turn and mends the view. ``stale_rounds`` counts rounds in a row that found a dead watch."""

    def __init__(
        self, kube: Kube, view: View, queue: WorkQueue[StackKey], reconciler: Reconciler, namespaces: tuple[str, ...]
    ) -> None:
        self._kube, self._view, self._queue, self._reconciler = kube, view, queue, reconciler
        self._namespaces: tuple[str | None, ...] = namespaces or (None,)
        self._soon: float | None = None
        self._wakeup = asyncio.Event()
        self._behind: set[tuple[str, str]] = set()
        self.stale_rounds = 0

    def soon(self) -> None:
        """A watch had to start again: look at every kind soon.

        At all of them, because a kind of which nothing is left lists nothing, and so cannot say that it started again.
        """
        if self._soon is None:
            self._soon = time.monotonic() + SOON_SECONDS
            self._wakeup.set()

    async def until_whole(self) -> None:
        """Wait, at the start, until the watches have brought all that a list has: nothing may be made anew or pruned
        because its watch was slower than another's.

        Raises WatchSilent when a watch brings none of several that are there, and Refused for a right that is gone.
        """
        for kind in (STACK, *WATCHED.values()):
            listed = await self._listed(kind)
            lacking = await self._brought(kind, listed)
            if 1 < len(lacking) == len(listed):  # one alone may be the fault of that object, not of its watch
                raise WatchSilent(f"the watch of {kind.plural} has brought nothing in {START_SECONDS:.0f} s")
            for item in lacking:  # whatever is wrong with one object, every other stack needs its operator
                meta = item["metadata"]
                log.error("%s %s/%s is listed and not brought: going on without it", kind.name, *_place(meta))

    async def _brought(self, kind: Kind, listed: list[Listed]) -> list[Listed]:
        """Wait for what was listed; what is still lacking after a time. What vanishes meanwhile is not waited for."""
        lacking = [item for item in listed if self._lacks(kind, item)]
        began = looked = time.monotonic()
        while lacking and time.monotonic() - began < START_SECONDS:
            await asyncio.sleep(BROUGHT_SECONDS)
            lacking = [item for item in lacking if self._lacks(kind, item)]
            if lacking and time.monotonic() - looked > SOON_SECONDS:
                looked = time.monotonic()
                present = {item["metadata"]["uid"] for item in await self._listed(kind)}
                lacking = [item for item in lacking if item["metadata"]["uid"] in present]
        return lacking

    def _lacks(self, kind: Kind, item: Listed) -> bool:
        meta = item["metadata"]
        return self._is_behind(kind, item) and not self._view.is_over(meta["uid"], int(meta["resourceVersion"]))

    async def _listed(self, kind: Kind) -> list[Listed]:
        """Everything of a kind, tried until the API server answers. Raises Refused for what no patience helps."""
        while True:
            try:
                return [
                    _identity(item)
                    for namespace in self._namespaces
                    async for page in self._pages(kind, namespace)
                    for item in page.get("items") or ()
                ]
            except Unreachable as error:
                log.warning("the first list of %s: %s", kind.name, error)
            except Refused as refused:
                if refused.code in (403, 404):
                    raise
                log.warning("the first list of %s: %s", kind.name, refused)
            await asyncio.sleep(SOON_SECONDS)

    def _pages(self, kind: Kind, namespace: str | None) -> AsyncIterator[Answer]:
        return self._kube.list_metadata(kind, namespace, "" if kind is STACK else SELECTOR)

    async def run(self) -> None:
        """Look at everything each period, and when asked to; until cancelled."""
        due = time.monotonic() + _jittered()
        while True:
            wait = min(due, self._soon or due) - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, wait)):
                    await self._wakeup.wait()
                    self._wakeup.clear()
                    continue
            except TimeoutError:
                pass
            periodic, self._soon = time.monotonic() >= due, None
            await self.look([STACK, *WATCHED.values()], judge=periodic)
            if periodic:
                due = time.monotonic() + _jittered()
                for key in self._view.stacks():
                    self._queue.add(key)

    async def look(self, kinds: list[Kind], *, judge: bool) -> None:
        """List these kinds and mend the view by what the lists say; with ``judge``, also say which watches are dead.

        (Not right after a watch started again: it may still be catching up.)
        """
        behind: set[tuple[str, str]] = set()
        for kind in kinds:
            try:
                behind |= await self._look_at(kind)
            except (Refused, Unreachable) as error:
                log.warning("resync of %s: %s; once more in %.0f s", kind.name, error, RETRY_SECONDS)
                self._soon = time.monotonic() + RETRY_SECONDS
        if judge:
            stale = behind & self._behind
            self.stale_rounds = self.stale_rounds + 1 if stale else 0
            self._behind = behind
            if stale:
                log.error("a watch lags behind the cluster: %s", sorted(stale)[:5])

    async def _look_at(self, kind: Kind) -> set[tuple[str, str]]:
        """One kind in all namespaces; what the list has newer than the view, as (uid, version)."""
        behind: set[tuple[str, str]] = set()
        present: dict[str, str] = {}
        versions: list[int] = []
        for namespace in self._namespaces:
            async for page in self._pages(kind, namespace):
                versions.append(int(page["metadata"].get("resourceVersion") or 0))
                for item in page.get("items") or ():
                    meta = item["metadata"]
                    present[meta["uid"]] = meta["name"]
                    if self._is_behind(kind, item):
                        behind.add((meta["uid"], meta["resourceVersion"]))
        self._forget_missing(kind, present, min(versions))
        return behind

    def _is_behind(self, kind: Kind, item: Listed) -> bool:
        meta = item["metadata"]
        if kind is STACK:
            stack = self._view.stack(StackKey(meta["namespace"], meta["name"]))
            return stack is None or stack.version < int(meta["resourceVersion"])
        seen = self._view.children(StackKey(meta["namespace"], stack_of(item))).get(ChildKey(kind.name, meta["name"]))
        return seen is None or seen.version < int(meta["resourceVersion"])

    def _forget_missing(self, kind: Kind, present: dict[str, str], version: int) -> None:
        if kind is STACK:
            for key in self._view.stacks():
                stack = self._view.stack(key)
                if stack is not None and stack.uid not in present and stack.version <= version:
                    self._view.forget_stack(key, stack.uid)
                    self._queue.add(key)
            return
        for seen in self._view.missing_from(kind.name, present, version):
            key, child = StackKey(seen.namespace, seen.stack), ChildKey(seen.kind, seen.name)
            if self._view.forget(seen.kind, seen.namespace, seen.name, seen.stack, seen.uid):
                log.info("%s %s/%s had vanished unnoticed", seen.kind, seen.namespace, seen.name)
                self._reconciler.gone(key, child, seen.uid)
                self._queue.add(key)


def _place(meta: Mapping[str, Any]) -> tuple[str, str]:
    return meta["namespace"], meta["name"]


def _identity(item: Listed) -> Listed:
    """As much of it as tells whether the view has it."""
    meta = item["metadata"]
    kept = {name: meta[name] for name in ("name", "namespace", "uid", "resourceVersion")}
    return {"metadata": {**kept, "labels": {names.LABEL_STACK: stack_of(item)}}}


def _jittered() -> float:
    return PERIOD_SECONDS * random.uniform(0.8, 1.2)
