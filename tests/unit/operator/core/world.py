"""A whole operator in a test: cluster, view, queue and reconciler, with watches and controllers moved by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from auren_operator.api import names
from auren_operator.handlers import Intake
from auren_operator.kube.kinds import WATCHED
from auren_operator.kube.view import StackKey, View
from auren_operator.reconcile.events import Events
from auren_operator.reconcile.queue import WorkQueue
from auren_operator.reconcile.reconciler import Reconciler
from auren_operator.reconcile.resync import Resync
from tests.unit.operator.built import RELEASE
from tests.unit.operator.core.clock import Clock
from tests.unit.operator.core.cluster import FakeKube, our_stack

KEY: Final = StackKey("people", "demo")
MANY_ROUNDS: Final = 30


class World:
    """One stack, ``people/demo``, and everything around it. ``clock`` is what the status takes for now."""

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.clock = "2026-01-01T00:00:00Z"
        self.told: list[tuple[str, str]] = []
        self._boot()

    def _boot(self) -> None:
        self.view, self.queue = View(), WorkQueue[StackKey]()
        self.reconciler = Reconciler(self.kube, self.view, self.queue, RELEASE, Told(self), lambda: self.clock)
        self.resync = Resync(self.kube, self.view, self.queue, self.reconciler, ())
        self.intake = Intake(self.view, self.queue, self.reconciler, self.resync)

    def restart(self) -> None:
        """The operator's process ends and starts again: it lists what there is and remembers nothing."""
        self.kube.events.clear()
        self._boot()
        for (kind, _, _), stored in self.kube.objects.items():
            obj = self.kube.get(kind, stored.obj["metadata"]["name"])
            self._bring("ADDED", kind, obj)

    def stack(self, spec: Mapping[str, Any] | None = None) -> None:
        """Somebody makes the stack, or gives it another spec."""
        if self.kube.has(names.KIND, "demo"):
            self.kube.edit(names.KIND, "demo", lambda obj: obj.update(spec=dict(spec or {})))
        else:
            self.kube.put(names.KIND, our_stack(spec))
        self.deliver()

    def deliver(self) -> None:
        """The watches bring what happened."""
        events, self.kube.events = self.kube.events, []
        for event, kind, obj in events:
            self._bring(event, kind, obj)

    def _bring(self, event: str, kind: str, obj: Mapping[str, Any]) -> None:
        if kind == names.KIND:
            self.intake.stack_event(event, obj)
        elif kind in WATCHED and names.LABEL_STACK in obj["metadata"].get("labels", {}):
            self.intake.child_event(WATCHED[kind], event, obj)

    def strip(self, kind: str, name: str, label: str = names.LABEL_STACK) -> None:
        """Somebody takes the stack's label from an object: the watch, which selects by it, calls that a deletion."""
        before = self.kube.get(kind, name)
        after = self.kube.edit(kind, name, lambda obj: obj["metadata"]["labels"].pop(label))
        self.kube.events.pop()
        before["metadata"]["resourceVersion"] = after["metadata"]["resourceVersion"]
        self.kube.events.append(("DELETED", kind, before))

    async def round(self) -> bool:
        """Events come in, one reconcile runs, and its own events come in."""
        self.deliver()
        result = await self.reconciler.reconcile(KEY)
        self.deliver()
        return result

    async def attempt(self) -> str:
        """As `round`, but as a worker does it: whatever goes wrong is its result."""
        self.deliver()
        result = await self.reconciler._attempt(KEY)
        self.deliver()
        return result

    def control(self, *, jobs: bool = True) -> None:
        """Kubernetes' controllers do all that they have to: volumes are bound, pods ready, and ``jobs`` complete."""
        for name, obj in self.kube.of("StatefulSet").items():
            self._claims(name, obj)
            self.kube.set_status("StatefulSet", name, _stateful_set_status(obj))
        for name, obj in self.kube.of("Deployment").items():
            self.kube.set_status("Deployment", name, _deployment_status(obj))
        for name in self.kube.of("Job") if jobs else ():
            conditions = [{"type": "Complete", "status": "True"}]
            self.kube.set_status("Job", name, {"conditions": conditions, "succeeded": 1})
        self.deliver()

    def _claims(self, name: str, obj: Mapping[str, Any]) -> None:
        for ordinal in range(obj["spec"]["replicas"]):
            for template in obj["spec"]["volumeClaimTemplates"]:
                claim = f"{template['metadata']['name']}-{name}-{ordinal}"
                if not self.kube.has("PersistentVolumeClaim", claim):
                    meta = {**template["metadata"], "name": claim, "namespace": "people"}
                    made = {"metadata": meta, "spec": template["spec"], "status": {"phase": "Bound"}}
                    self.kube.put("PersistentVolumeClaim", made, "kube-controller-manager")

    async def until_quiet(self) -> int:
        """Rounds and controllers take turns until nothing changes any more; how many rounds that took."""
        for number in range(MANY_ROUNDS):
            before = self.kube.changes
            await self.round()
            self.control()
            if self.kube.changes == before:
                return number
        raise AssertionError(f"it never comes to rest: {self.kube.writes()[-10:]}")

    async def run_queue(self, clock: Clock, seconds: float) -> None:
        """A worker does what the queue says while time passes; controllers do their part after each round."""
        self.deliver()
        end = clock.now + seconds
        for _ in range(10 * MANY_ROUNDS):
            while len(self.queue):
                key = await self.queue.get()
                await self.reconciler._attempt(key)
                self.queue.done(key)
                self.deliver()
                self.control()
            if not clock.pending or clock.now + clock.pending[0] > end:
                return
            clock.advance(clock.pending[0])
        raise AssertionError("it never comes to rest")

    async def up(self, spec: Mapping[str, Any] | None = None) -> None:
        """A stack that has come up, with nothing left to do and no calls or Events on record."""
        self.stack(spec)
        await self.until_quiet()
        self.kube.calls.clear()
        self.told.clear()

    @property
    def status(self) -> dict[str, Any]:
        """The stack's status."""
        found: dict[str, Any] = self.kube.get(names.KIND, "demo").get("status", {})
        return found

    def row(self, component: str) -> dict[str, Any]:
        """The component's row in the status."""
        found: dict[str, Any] = next(row for row in self.status["components"] if row["name"] == component)
        return found

    def condition(self, kind: str) -> dict[str, Any]:
        """The stack's condition of that type."""
        found: dict[str, Any] = next(c for c in self.status["conditions"] if c["type"] == kind)
        return found


class Told(Events):
    """Events as pairs of reason and message, in order."""

    def __init__(self, world: World) -> None:
        self._world = world

    def post(self, stack: Any, reason: Any, message: str) -> None:
        """Keep it."""
        self._world.told.append((str(reason), message))


def _stateful_set_status(obj: Mapping[str, Any]) -> dict[str, Any]:
    replicas, revision = obj["spec"]["replicas"], f"rev-{hash_of(obj['spec']['template'])}"
    return {
        "observedGeneration": obj["metadata"]["generation"],
        "replicas": replicas,
        "readyReplicas": replicas,
        "availableReplicas": replicas,
        "currentReplicas": replicas,
        "updatedReplicas": replicas,
        "currentRevision": revision,
        "updateRevision": revision,
    }


def _deployment_status(obj: Mapping[str, Any]) -> dict[str, Any]:
    replicas = obj["spec"]["replicas"]
    return {
        "observedGeneration": obj["metadata"]["generation"],
        "replicas": replicas,
        "readyReplicas": replicas,
        "availableReplicas": replicas,
        "updatedReplicas": replicas,
    }


def hash_of(value: Any) -> str:
    """A short name for plain data."""
    return f"{hash(repr(value)) & 0xFFFFFFFF:08x}"
