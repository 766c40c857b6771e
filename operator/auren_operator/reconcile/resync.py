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

Listed = Mapping[str, Mapping[str, Any]]
"""An item of a metadata-only list."""


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
        because its watch was slower than another's."""
        for kind in (STACK, *WATCHED.values()):
            while lacking := await self._lacking(kind):
                for _ in range(round(RETRY_SECONDS / BROUGHT_SECONDS)):
                    await asyncio.sleep(BROUGHT_SECONDS)
                    lacking = [item for item in lacking if self._is_behind(kind, item)]
                    if not lacking:
                        break

    async def _lacking(self, kind: Kind) -> list[Listed]:
        """What a list has newer than the view, or at all. What vanishes meanwhile the next list will lack."""
        found: list[Listed] = []
        for namespace in self._namespaces:
            async for page in self._pages(kind, namespace):
                found += [_identity(item) for item in page.get("items") or () if self._is_behind(kind, item)]
        return found

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


def _identity(item: Listed) -> Listed:
    """As much of it as tells whether the view has it."""
    meta = item["metadata"]
    kept = {name: meta[name] for name in ("name", "namespace", "uid", "resourceVersion")}
    return {"metadata": {**kept, "labels": {names.LABEL_STACK: stack_of(item)}}}


def _jittered() -> float:
    return PERIOD_SECONDS * random.uniform(0.8, 1.2)
