"""One stack, from what is observed to what is desired. Level-triggered: a round may run at any time, for any reason."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from auren_operator import components, metrics
from auren_operator.api.observed import Seen, WorkloadSeen
from auren_operator.api.parse import parse
from auren_operator.api.reasons import Reason
from auren_operator.api.release import Release
from auren_operator.api.spec import Stack
from auren_operator.kube.client import Kube, Refused, Unreachable
from auren_operator.kube.kinds import CHILDREN
from auren_operator.kube.view import ChildKey, StackKey, StackSeen, View
from auren_operator.manifests.model import Facts, SecretSpec
from auren_operator.reconcile.apply import (
    Applier,
    Memory,
    NamespaceGoing,
    Outcome,
    Outrun,
    Result,
    needs_new_statefulset,
)
from auren_operator.reconcile.desired import Child, Desired, build_all, secrets_of
from auren_operator.reconcile.events import Events
from auren_operator.reconcile.facts import facts_of, secret_is_complete
from auren_operator.reconcile.order import Gate, gates, workload_seen
from auren_operator.reconcile.queue import WorkQueue
from auren_operator.reconcile.report import Reporter, observe
from auren_operator.reconcile.secrets import Secrets, frame
from auren_operator.reconcile.upkeep import JobRetries, Upkeep, claims, leftovers, stuck_pods
from auren_operator.reconcile.user_objects import LOOK_SECONDS, UserObjects, given_of
from auren_operator.status.rows import Trouble

log = logging.getLogger(__name__)

HELD_SECONDS: Final = 0.5
"""How soon a round follows another where the first made way for something, and no event will tell."""

CLOSED_SECONDS: Final = 30.0
"""How long a stack is left alone whose namespace is being deleted: each object that goes would be missed in vain."""

NEVER_MADE: Final = frozenset(
    {
        Reason.NAME_CONFLICT,
        Reason.QUOTA_EXCEEDED,
        Reason.FORBIDDEN,
        Reason.APPLY_FAILED,
        Reason.KIND_MISSING,
        Reason.KEYS_LOST,
        Reason.BUILD_FAILED,
    }
)
"""Reasons of a row whose workload may not have been made at all."""


@dataclass(slots=True)
class Plan:
    """What was worked out for one stack; kept until its spec or its facts change."""

    uid: str
    generation: int
    stack: Stack
    secrets: list[SecretSpec]
    given: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    facts: Facts | None = None
    desired: Desired | None = None


@dataclass(slots=True)
class Round:
    """The state of one reconcile, as its steps fill it in."""

    key: StackKey
    stack: Stack
    memory: Memory
    outcome: Outcome = field(default_factory=Outcome)
    gates: Mapping[str, Gate] = field(default_factory=dict)
    held: dict[str, tuple[str, ...]] = field(default_factory=dict)
    waiting: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    again_in_seconds: float | None = None

    def look_again_in(self, seconds: float | None) -> None:
        """Have the stack looked at no later than in so many seconds; None and 0 ask for nothing."""
        if seconds and (self.again_in_seconds is None or seconds < self.again_in_seconds):
            self.again_in_seconds = seconds

    def may_write(self, child: Child) -> bool:
        """Whether an object is written now, or left for later because somebody undoes each of our writes."""
        wait = self.memory.patience.wait_seconds(child.key)
        self.look_again_in(wait)
        return not wait


class Reconciler:
    """Brings stacks to what they should be. One for the process; rounds of different stacks run side by side."""

    def __init__(
        self,
        kube: Kube,
        view: View,
        queue: WorkQueue[StackKey],
        release: Release,
        events: Events,
        now: Callable[[], str],
    ) -> None:
        self._view, self._queue, self._release = view, queue, release
        self._applier, self._secrets, self._upkeep = Applier(kube, view), Secrets(kube, view), Upkeep(kube)
        self._reporter, self._user_objects = Reporter(kube, view, events, now), UserObjects(kube, view)
        self._plans: dict[StackKey, Plan] = {}
        self._memories: dict[StackKey, Memory] = {}
        self._retries: dict[StackKey, JobRetries] = {}
        self._closed: dict[StackKey, float] = {}

    async def work(self) -> None:
        """Take keys from the queue and reconcile them, until cancelled."""
        while True:
            key = await self._queue.get()
            started = time.monotonic()
            try:
                result = await self._attempt(key)
            finally:
                self._queue.done(key)
            metrics.reconciles.labels(result).inc()
            metrics.reconcile_seconds.observe(time.monotonic() - started)

    async def _attempt(self, key: StackKey) -> str:
        """One round; whatever goes wrong is logged and tried again later. Returns the result's name."""
        try:
            if await self.reconcile(key):
                self._queue.forget(key)
                return "ok"
            self._queue.retry(key)
            return "incomplete"
        except NamespaceGoing:
            self._queue.forget(key)
            self._closed[key] = time.monotonic() + CLOSED_SECONDS
            return "namespace_going"
        except (Refused, Unreachable) as error:
            log.warning("stack %s/%s: %s", *key, error)
            self._queue.retry(key)
            return "api_error"
        except Exception:  # a bug must not end the worker: every other stack needs it
            log.exception("stack %s/%s: this is a bug in the operator", *key)
            self._queue.retry(key)
            return "bug"

    async def reconcile(self, key: StackKey) -> bool:
        """Bring one stack from what is observed to what is desired; False when something is left to be tried again."""
        seen = self._view.stack(key)
        if seen is None or seen.going:
            self._forget(key)
            return True
        if self._closed.get(key, 0.0) > time.monotonic():
            return True
        stack, violations = self._parse(key, seen)
        if stack is None:
            await self._reporter.invalid(seen, violations)
            return True
        memory, plan = self._memory(key, seen), self._plans[key]
        now = Round(key, stack, memory, Outcome(memory.untold))
        asked = components.user_objects(stack)
        looks = await self._user_objects.look(stack, (one for one in asked if one.is_built_in))
        plan.given, plan.texts = given_of(asked, looks, "Secret"), given_of(asked, looks, "ConfigMap")
        desired = self._look(now, plan) if stack.paused else await self._work(now, plan)
        lacking = await self._user_objects.lacking(stack, asked, looks)
        now.look_again_in(LOOK_SECONDS if lacking else None)
        children = self._view.children(key)
        found = observe(stack, desired, children, now.outcome.troubles, now.waiting, now.held, now.notes, lacking)
        await self._reporter.report(seen, found, now.outcome)
        memory.untold.clear()
        if now.again_in_seconds is not None:
            self._queue.add_after(key, now.again_in_seconds)
        return not now.outcome.outrun and all(t.reason == Reason.JOB_FAILED for t in now.outcome.troubles)

    async def _work(self, now: Round, plan: Plan) -> Desired:
        """Everything that changes the cluster, in its order."""
        await self._ensure_secrets(now, plan.secrets)
        desired = self._build(now.key, plan)
        now.gates = gates(now.stack, desired, self._view.children(now.key))
        await self._apply_all(now, desired)
        await self._tidy(now, desired, plan.facts or Facts())
        if self._is_free_now(now, desired):
            now.look_again_in(HELD_SECONDS)
        return desired

    def _is_free_now(self, now: Round, desired: Desired) -> bool:
        """Whether something that waited in this round need not any more: by what the round itself did (an update that
        rolls nothing, a Job that got its label back), so that no event will tell."""
        after = gates(now.stack, desired, self._view.children(now.key))
        created = any(not after[name].waiting_for for name in now.waiting)
        return created or any(not after[name].held_by for name in now.held)

    def _look(self, now: Round, plan: Plan) -> Desired:
        """The same without changing anything: what would be wanted, and what it would wait for."""
        desired, children = self._build(now.key, plan), self._view.children(now.key)
        now.gates = gates(now.stack, desired, children)
        now.waiting = {
            name: gate.waiting_for
            for name, gate in now.gates.items()
            if gate.waiting_for and workload_seen(desired.parts[name], children) is None
        }
        return desired

    def _parse(self, key: StackKey, seen: StackSeen) -> tuple[Stack | None, tuple[str, ...]]:
        plan = self._plans.get(key)
        if plan is not None and (plan.uid, plan.generation) == (seen.uid, seen.generation):
            return plan.stack, ()
        stack, violations = parse(seen.resource(), self._release)
        if stack is None or violations:
            self._plans.pop(key, None)
            return None, violations
        self._plans[key] = Plan(seen.uid, seen.generation, stack, secrets_of(stack))
        return stack, ()

    def _memory(self, key: StackKey, seen: StackSeen) -> Memory:
        """The stack's memory. In the first round of this process it starts from what exists, and from what must
        have existed: everything, where the status says that this very spec had been brought up whole."""
        memory = self._memories.get(key)
        if memory is None or memory.uid != seen.uid:
            memory = self._memories[key] = Memory(seen.uid)
            if _was_whole(seen, self._release):
                plan = self._plans[key]
                facts = facts_of(plan.secrets, self._view.children(key))
                memory.known.update(child for child in build_all(plan.stack, facts).children if child.kind != "Job")
                memory.known.update(ChildKey("Secret", spec.name) for spec in plan.secrets)
            memory.known.update(_existed(seen))
            memory.known.update(_marked(seen, self._plans[key]))
        own = {
            child for child, s in self._view.children(key).items() if child.kind in CHILDREN and _is_its(s, seen.uid)
        }
        memory.known |= own
        memory.witnessed |= own
        return memory

    def gone(self, key: StackKey, child: ChildKey, uid: str) -> None:
        """A child vanished (or lost its label): remember when, for the healing time."""
        memory = self._memories.get(key)
        if memory is not None and child.kind in CHILDREN:
            memory.applied.pop(child, None)
            memory.gone[child] = (time.monotonic(), uid)

    def _forget(self, key: StackKey) -> None:
        for kept in (self._plans, self._memories, self._retries, self._closed):
            kept.pop(key, None)
        if self._view.stack(key) is None:
            metrics.forget_stack(*key)

    def _build(self, key: StackKey, plan: Plan) -> Desired:
        facts = facts_of(plan.secrets, self._view.children(key), plan.given, plan.texts)
        if plan.desired is None or plan.facts != facts:
            plan.desired, plan.facts = build_all(plan.stack, facts), facts
        for part in plan.desired.parts.values():
            if part.failure:
                log.error("stack %s/%s: building %s failed: %s", *key, part.component.name, part.failure)
        return plan.desired

    async def _ensure_secrets(self, now: Round, specs: Iterable[SecretSpec]) -> None:
        ensured = (self._secrets.ensure(now.stack, spec, now.memory) for spec in specs)
        made = await asyncio.gather(*ensured, return_exceptions=True)
        self._collect(now, made)

    async def _apply_all(self, now: Round, desired: Desired) -> None:
        """What is gone comes first; then what no pod waits for; then the workloads, each when its turn has come."""
        children = self._view.children(now.key)
        frames = [
            frame(now.stack, spec, seen.uid)
            for spec in self._plans[now.key].secrets
            if (seen := children.get(ChildKey("Secret", spec.name))) and (seen.ours or secret_is_complete(spec, seen))
        ]
        plain = [*frames, *(child for child in desired.children.values() if not child.is_workload)]
        gone = [
            c
            for c in desired.children.values()
            if c.key not in children and c.key in now.memory.known and not _sleeps(now.stack, c)
        ]
        await self._applier.scout(now.key, desired.children.values(), now.memory)
        await self._apply_each(now, desired, gone)
        await self._apply_each(now, desired, [c for c in plain if c.key not in {g.key for g in gone}])
        await self._apply_each(now, desired, self._workloads_whose_turn_it_is(now, desired))

    def _workloads_whose_turn_it_is(self, now: Round, desired: Desired) -> list[Child]:
        children, chosen, updating = self._view.children(now.key), [], False
        for name, gate in now.gates.items():
            child = desired.parts[name].workload
            if child is None or _sleeps(now.stack, child):
                continue
            seen = workload_seen(desired.parts[name], children)
            if child.autoscaled and seen is not None and isinstance(seen.detail, WorkloadSeen) and seen.detail.replicas:
                now.memory.replicas[child.key] = seen.detail.replicas
            if seen is None:
                if gate.waiting_for and child.key not in now.memory.known:
                    now.waiting[name] = gate.waiting_for
                else:
                    chosen.append(child)
            elif self._applier.differs(child, seen, now.memory):
                if not self._applier.is_update(child, seen, now.memory):
                    chosen.append(child)
                elif gate.held_by or updating:
                    now.held[name] = gate.held_by or ("another component's roll-out",)
                    if (before := self._applier.edited(child.key, seen, now.memory)) is not None:
                        chosen.append(before)
                else:
                    updating = True
                    chosen.append(child)
        return chosen

    async def _apply_each(self, now: Round, desired: Desired, wanted: Iterable[Child]) -> None:
        children = self._view.children(now.key)
        differing = [
            c for c in wanted if self._applier.differs(c, children.get(c.key), now.memory) and now.may_write(c)
        ]
        results = await asyncio.gather(
            *(
                self._applier.apply(
                    now.key,
                    c,
                    children.get(c.key),
                    now.memory,
                    autoscaled=c.is_workload and c.key.name in desired.autoscaled,
                )
                for c in differing
            ),
            return_exceptions=True,
        )
        outcomes = list(zip(differing, results, strict=True))
        self._collect(now, (result for child, result in outcomes if not needs_new_statefulset(child, result)))
        for child, result in outcomes:
            if needs_new_statefulset(child, result):
                seen = children.get(child.key) or await self._upkeep.hidden(now.key.namespace, child.key)
                self._collect(now, [await self._upkeep.replace(child, seen, now.memory) if seen else result])
                now.look_again_in(HELD_SECONDS)  # nobody tells us of the end of one that lost its label

    async def _tidy(self, now: Round, desired: Desired, facts: Facts) -> None:
        """Volumes, leftovers, failed Jobs and stuck pods; a refusal here is one more trouble, not the end."""
        children = self._view.children(now.key)
        await self._mend_claims(now, components.desired_claims(now.stack, facts))
        doomed = stuck_pods(children)
        if desired.whole:
            doomed += leftovers(now.stack, desired, children)
        self._collect(now, [await self._upkeep.delete(key, seen, now.memory) for key, seen in doomed])
        if not now.stack.hibernated:
            retries = self._retries.setdefault(now.key, JobRetries())
            troubles, seconds = await self._upkeep.retry_jobs(desired, children, now.memory, retries)
            now.outcome.troubles.extend(troubles)
            now.look_again_in(seconds)

    async def _mend_claims(self, now: Round, wanted: Mapping[str, int]) -> None:
        """Volumes grow, and gain or lose their owner. One that cannot grow stays as it is, and its row says so."""
        found = await self._upkeep.hidden_claims(now.stack, wanted, self._view.children(now.key))
        if isinstance(found, Trouble):
            self._collect(now, [found])
            return
        for claim in found:
            self._view.observe("PersistentVolumeClaim", claim)
        for child, seen in claims(now.stack, wanted, self._view.children(now.key)):
            result = await self._applier.apply(now.key, child, seen, now.memory)
            if isinstance(result, Trouble) and result.reason == Reason.FORBIDDEN:
                now.notes[child.component] = f"its storage stays as it is: {result.message}"
            else:
                self._collect(now, [result])

    def _collect(self, now: Round, results: Iterable[Result | BaseException | None]) -> None:
        """Take in what calls side by side came to; then raise the first error among them, if there is one."""
        errors = []
        for result in results:
            if isinstance(result, BaseException):
                errors.append(result)
            elif isinstance(result, Trouble):
                now.outcome.troubles.append(result)
            elif isinstance(result, Outrun):
                now.outcome.outrun = True
            elif result is not None and result.what:
                now.outcome.done.append(result)
        if errors:
            raise errors[0]


def _is_its(seen: Seen, uid: str) -> bool:
    """Whether an object belongs to this very stack, not to a namesake before it; keys outlive their stacks."""
    return uid in seen.owners or (seen.kind == "Secret" and seen.ours and not seen.owners)


def _sleeps(stack: Stack, child: Child) -> bool:
    """Jobs do not run in a stack that is hibernated: what they prepare is asleep."""
    return stack.hibernated and child.key.kind == "Job"


def _was_whole(seen: StackSeen, release: Release) -> bool:
    """Whether the status says that every object of this very spec and release had been applied before."""
    status = seen.status
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
    return ready and status.get("observedGeneration") == seen.generation and status.get("version") == release.version


def _marked(seen: StackSeen, plan: Plan) -> set[ChildKey]:
    """The marks of external data that must have been made: the status says that the server was prepared."""
    if all(row.get("state") != "External" for row in seen.status.get("components") or ()):
        return set()
    return {ChildKey("ConfigMap", mark) for spec in plan.secrets for mark in spec.guarded_marks}


def _existed(seen: StackSeen) -> set[ChildKey]:
    """Workloads that the status says had been created, whatever became of them since."""
    kinds = {module.COMPONENT.name: module.COMPONENT.workload for module in components.MODULES}
    return {
        ChildKey(str(kinds[row["name"]]), f"{seen.name}-{row['name']}")
        for row in seen.status.get("components") or ()
        if row["name"] in kinds
        and row.get("state") in {"Ready", "Progressing", "Hibernated", "Failed"}
        and row.get("reason") not in NEVER_MADE
    }
