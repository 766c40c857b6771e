"""Where kopf calls in: an event comes in, a key goes out. The only file with kopf's decorators.

``on.event`` handlers feed the view, which keeps what is needed in a smaller form, and put the owner's key on the queue.
None of them changes an object or adds a finalizer. That no reconcile works on half a view is `Resync.until_whole`'s
care: kopf's own indices would do it too, but hold every object of all first lists in memory until the last is in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory  # kopf 1.45 has no public name for it

from auren_operator import metrics
from auren_operator.api.observed import stack_of
from auren_operator.kube.kinds import STACK, WATCHED, Kind
from auren_operator.kube.view import SELECTOR, Change, ChildKey, StackKey, View
from auren_operator.reconcile.queue import WorkQueue
from auren_operator.reconcile.reconciler import Reconciler
from auren_operator.reconcile.resync import Resync

SETTLE_SECONDS: Final = 0.3
"""Pods and controllers change several times in a moment: what only the status shows is looked at this much later."""


class Intake:
    """Takes events in. ``answered_at`` is when a watch last brought anything (monotonic seconds)."""

    def __init__(self, view: View, queue: WorkQueue[StackKey], reconciler: Reconciler, resync: Resync) -> None:
        self._view, self._queue, self._reconciler, self._resync = view, queue, reconciler, resync
        self.answered_at = time.monotonic()

    def stack_event(self, event: str | None, body: Mapping[str, Any]) -> None:
        """An AurenStack was listed, added, changed or deleted."""
        meta = body["metadata"]
        key = StackKey(meta["namespace"], meta["name"])
        change = Change.NONE if event == "DELETED" else self._view.observe_stack(body)
        self._note(STACK, event, change)
        if event == "DELETED":
            if self._view.forget_stack(key, meta["uid"], int(meta["resourceVersion"])):
                self._queue.add(key)
        else:
            self._enqueue(key, change)

    def child_event(self, kind: Kind, event: str | None, body: Mapping[str, Any]) -> None:
        """The same of an object with a stack's label; losing the label counts as being deleted."""
        meta = body["metadata"]
        key = StackKey(meta["namespace"], stack_of(body))
        whose, change = (key, Change.NONE) if event == "DELETED" else self._view.observe(kind.name, body)
        self._note(kind, event, change)
        if event == "DELETED":
            version = int(meta["resourceVersion"])
            if self._view.forget(kind.name, meta["namespace"], meta["name"], key.name, meta["uid"], version):
                self._reconciler.gone(key, ChildKey(kind.name, meta["name"]), meta["uid"])
                self._enqueue(key, Change.STATUS if kind.name == "Pod" else Change.DRIFT)
        else:
            self._enqueue(whose, change)
            if whose != key:  # somebody gave it another stack's label
                self._reconciler.gone(whose, ChildKey(kind.name, meta["name"]), meta["uid"])
                self._enqueue(key, Change.STATUS)

    def _enqueue(self, key: StackKey, change: Change) -> None:
        if change is Change.DRIFT:
            self._queue.add(key, urgent=True)
        elif change is Change.STATUS:
            self._queue.add_after(key, SETTLE_SECONDS)

    def _note(self, kind: Kind, event: str | None, change: Change) -> None:
        self.answered_at = time.monotonic()
        metrics.watch_events.labels(kind.name).inc()
        if event is None and change is Change.NONE:  # listed again although known: this watch had to start anew
            self._resync.soon()


class Forgetful(kopf.DiffBaseStorage):
    """Kopf keeps nothing on objects and compares nothing: what an object was before is not asked."""

    def build(self, *, body: Any, extra_fields: Any = None, ignored_fields: Any = None) -> Any:
        """Nothing is essential."""
        return {}

    def fetch(self, *, body: Any) -> Any:
        """Nothing was stored."""
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Nothing is stored."""


class NoMemories(ResourceMemories):
    """Kopf keeps 1.4 KB of every object it has seen, for daemons and retries; we have neither, and ten MiB less."""

    async def recall(
        self, raw_body: Any, *, memobase: Any = None, noticed_by_listing: bool = False, ephemeral: bool = False
    ) -> ResourceMemory:
        """A memory for this one event."""
        return await super().recall(raw_body, memobase=memobase, noticed_by_listing=noticed_by_listing, ephemeral=True)


def settings() -> kopf.OperatorSettings:
    """Kopf's settings: server-side selectors on every kind, no Events, no scanning for kinds that come and go."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.scanning.disabled = True
    made.persistence.diffbase_storage = Forgetful()
    made.watching.reconnect_backoff = 0.05
    made.watching.chunk_size = 20  # memory does not come down again from a first list of everything at once
    made.networking.request_timeout = 30
    made.queueing.idle_timeout = 0.1  # so long a task stands by for each object, and holds on to it
    for kind in WATCHED.values():
        made.watching.label_selectors[kind.group, kind.plural] = SELECTOR
    return made


def registry(intake: Intake) -> kopf.OperatorRegistry:
    """The handlers, bound to one intake."""
    made = kopf.OperatorRegistry()

    @kopf.on.login(registry=made, id="login")
    async def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(STACK.group, STACK.version, STACK.plural, registry=made, id="stack-events")
    async def _stack_event(type: str | None, body: kopf.Body, **_: Any) -> None:
        intake.stack_event(type, body)

    for kind in WATCHED.values():
        _register(made, intake, kind)
    return made


def _register(made: kopf.OperatorRegistry, intake: Intake, kind: Kind) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=made, id=f"{kind.plural}-events")
    async def _event(type: str | None, body: kopf.Body, **_: Any) -> None:
        intake.child_event(kind, type, body)
