"""From a round to the stack's status and Events: what was observed is judged, and written only when it changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from auren_operator import components, metrics
from auren_operator.api.observed import JobSeen, PodSeen, Seen, VolumeSeen, WorkloadSeen
from auren_operator.api.reasons import Reason
from auren_operator.api.spec import Stack
from auren_operator.kube.client import Kube, Refused
from auren_operator.kube.view import ChildKey, StackKey, StackSeen, View
from auren_operator.reconcile.apply import Outcome
from auren_operator.reconcile.desired import Desired, Part
from auren_operator.reconcile.events import Events
from auren_operator.reconcile.order import is_ready, workload_seen
from auren_operator.status.rows import WELL, Claim, Lacking, Observed, Trouble
from auren_operator.status.stack import Round, refused, status_of

SERVICES = {"neuros-advanced": "neuros", "biometric-production": "biometric", "biometric-bridge": "bridge"}
"""Component → its name in the spec, for the services."""

SWITCHED = {**SERVICES, "local-model": "local_model"}
"""Component → its name in a `Stack`, for those that can be switched off."""


def enabled_components(stack: Stack) -> dict[str, bool]:
    """Component with a row → whether the spec wants it."""
    rows = [
        module.COMPONENT for module in components.MODULES if module.COMPONENT.workload in {"Deployment", "StatefulSet"}
    ]
    return {c.name: getattr(stack, SWITCHED[c.name]).enabled if c.name in SWITCHED else True for c in rows}


def observe(
    stack: Stack,
    desired: Desired,
    children: Mapping[ChildKey, Seen],
    troubles: Iterable[Trouble],
    waiting: Mapping[str, tuple[str, ...]],
    held: Mapping[str, tuple[str, ...]],
    notes: Mapping[str, str],
    lacking: Mapping[str, tuple[Lacking, ...]],
) -> Round:
    """Everything that the status is judged from. Pure."""
    enabled = enabled_components(stack)
    found = [*troubles, *_build_failures(desired)]
    pods = _pods(children)
    rows = tuple(
        replace(
            _observed(stack, name, on, desired, children, found, pods, waiting.get(name, ()), held.get(name, ())),
            notes=(*desired.parts[name].notes, *((notes[name],) if name in notes else ())),
            lacking=lacking.get(name, ()),
        )
        for name, on in enabled.items()
    )
    return Round(
        generation=stack.generation,
        version=stack.version,
        hibernated=stack.hibernated,
        components=rows,
        endpoints=_endpoints(stack, enabled),
        stack_troubles=tuple(trouble.message for trouble in found if trouble.component == "stack"),
        paused=stack.paused,
    )


def _observed(
    stack: Stack,
    name: str,
    enabled: bool,
    desired: Desired,
    children: Mapping[ChildKey, Seen],
    troubles: list[Trouble],
    pods: Mapping[str, list[tuple[str, PodSeen]]],
    waiting: tuple[str, ...],
    held: tuple[str, ...],
) -> Observed:
    part = desired.parts[name]
    seen = workload_seen(part, children)
    detail = seen.detail if seen is not None and isinstance(seen.detail, WorkloadSeen | JobSeen) else None
    unfilled = _unfilled(name, desired, children)
    blocking = {*waiting, *held, *_undone_jobs(part, desired, children), *(unfilled if part.external else ())}
    return Observed(
        name=name,
        enabled=enabled,
        version=_tag(stack.images.get(name, "")),
        wanted_replicas=_wanted(stack, name, detail),
        workload=detail,
        pods=tuple(pods.get(name, ())),
        claims={} if part.external else _claims(name, stack, children),
        troubles=tuple(trouble for trouble in troubles if trouble.component == name),
        waiting_for=waiting,
        held=held,
        blockers=tuple(trouble for trouble in troubles if trouble.component in blocking) + _sick_jobs(blocking, pods),
        unfilled=unfilled,
        external=part.external,
        leaving=not enabled and ChildKey(str(part.component.workload), f"{stack.name}-{name}") in children,
        deleting=seen is not None and seen.deleting,
        paused=stack.paused,
    )


def _undone_jobs(part: Part, desired: Desired, children: Mapping[ChildKey, Seen]) -> set[str]:
    """The Jobs that this component needs and that are not done: what is wrong with them is wrong with it."""
    needs = (desired.parts[need] for need in part.component.needs)
    return {p.component.name for p in needs if p.component.workload == "Job" and not is_ready(p, children)}


def _unfilled(name: str, desired: Desired, children: Mapping[ChildKey, Seen]) -> tuple[str, ...]:
    """The Jobs that prepare this component and are not done."""
    jobs = (part for part in desired.parts.values() if part.component.workload == "Job")
    return tuple(j.component.name for j in jobs if name in j.component.needs and not is_ready(j, children))


def _build_failures(desired: Desired) -> list[Trouble]:
    return [
        Trouble(name, Reason.BUILD_FAILED, f"the operator cannot build it: {part.failure}")
        for name, part in desired.parts.items()
        if part.failure
    ]


def _wanted(stack: Stack, name: str, detail: WorkloadSeen | JobSeen | None) -> int:
    """Pods that should run: what the spec says, or what the workload asks for where others may decide."""
    if isinstance(detail, WorkloadSeen) and detail.replicas:
        return detail.replicas
    spec = getattr(stack, SWITCHED.get(name, name))
    replicas: int = spec.replicas
    return replicas


def _pods(children: Mapping[ChildKey, Seen]) -> dict[str, list[tuple[str, PodSeen]]]:
    found: dict[str, list[tuple[str, PodSeen]]] = {}
    for key, seen in children.items():
        if isinstance(seen.detail, PodSeen) and not seen.deleting:
            found.setdefault(seen.detail.component, []).append((key.name, seen.detail))
    return found


def _sick_jobs(blocking: set[str], pods: Mapping[str, list[tuple[str, PodSeen]]]) -> tuple[Trouble, ...]:
    """What keeps the pods of a Job that somebody waits for from running."""
    jobs = {module.COMPONENT.name for module in components.MODULES if module.COMPONENT.workload == "Job"}
    return tuple(
        Trouble(job, Reason.JOB_FAILED, f"pod {name}: {pod.reason}: {pod.message}")
        for job in sorted(blocking & jobs)
        for name, pod in pods.get(job, ())
        if pod.reason
    )


def _claims(name: str, stack: Stack, children: Mapping[ChildKey, Seen]) -> dict[str, Claim]:
    prefix = f"data-{stack.name}-{name}-"
    return {
        key.name: Claim(seen.uid, seen.deleting, seen.detail.bound)
        for key, seen in children.items()
        if isinstance(seen.detail, VolumeSeen) and key.name.startswith(prefix)
    }


def _tag(image: str) -> str:
    """What a person calls the version of an image: its tag, or the start of its digest."""
    name, _, digest = image.partition("@")
    return name.rpartition(":")[2] if ":" in name.rpartition("/")[2] else digest[:19]


def _endpoints(stack: Stack, enabled: Mapping[str, bool]) -> dict[str, str]:
    return {
        SERVICES[module.COMPONENT.name]: (
            f"http://{stack.name}-{module.COMPONENT.name}.{stack.namespace}.svc:{module.COMPONENT.port}"
        )
        for module in components.MODULES
        if module.COMPONENT.name in SERVICES and enabled[module.COMPONENT.name]
    }


class Reporter:
    """Writes the status when it differs from what stands there, and posts an Event for each transition."""

    def __init__(self, kube: Kube, view: View, events: Events, now: Callable[[], str]) -> None:
        self._kube, self._view, self._events, self._now = kube, view, events, now

    async def report(self, seen: StackSeen, found: Round, outcome: Outcome) -> None:
        """The status after a round that was worked."""
        previous = self._previous(seen)
        found = replace(found, healed=tuple(outcome.healed()))
        status = status_of(found, previous, self._now()).as_dict()
        self._measure(seen, status)
        await self._write(seen, previous, status)
        self._tell(seen, previous, status, outcome)  # after it: what could not be written is told the next time

    async def invalid(self, seen: StackSeen, violations: Iterable[str]) -> None:
        """The spec breaks rules: all of them are shown, nothing was touched."""
        message = "; ".join(violations)[:4000]
        previous = self._previous(seen)
        status = refused(message, seen.generation, previous, self._now())
        self._measure(seen, status)
        if _flag(previous, "SpecValid") != "False":
            self._events.post(seen, Reason.SPEC_INVALID, message)
        await self._write(seen, previous, status)

    def _previous(self, seen: StackSeen) -> Mapping[str, Any]:
        """What the status says now; the round may have begun before the view saw our own last write."""
        newest = self._view.stack(StackKey(seen.namespace, seen.name))
        return newest.status if newest is not None and newest.uid == seen.uid else seen.status

    async def _write(self, seen: StackSeen, previous: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        if status == previous:
            return
        try:
            self._view.observe_stack(await self._kube.report(seen.namespace, seen.name, seen.uid, status))
        except Refused as refused:
            if not (refused.missing or refused.conflict):  # the stack went, or a namesake took its place
                raise

    def _measure(self, seen: StackSeen, status: Mapping[str, Any]) -> None:
        metrics.stack_ready.labels(seen.namespace, seen.name).set(_flag(status, "Ready") == "True")
        for row in status.get("components") or ():
            gauge = metrics.component_ready.labels(seen.namespace, seen.name, row["name"])
            gauge.set(row["state"] in WELL)

    def _tell(self, seen: StackSeen, previous: Mapping[str, Any], status: Mapping[str, Any], outcome: Outcome) -> None:
        for done in outcome.done:
            if done.what == "healed":
                self._events.post(seen, Reason.HEALED, f"{done.key.kind} {done.key.name} had been deleted: it is back")
            elif done.what == "reverted":
                where = ", ".join(done.paths) or "fields that the operator sets"
                self._events.post(seen, Reason.REVERTED, f"{done.key.kind} {done.key.name}: set back {where}")
            elif done.what == "created" and done.key.kind in {"Deployment", "StatefulSet", "Job"}:
                self._events.post(seen, Reason.CREATED, f"{done.key.kind} {done.key.name}")
        self._tell_transitions(seen, previous, status)

    def _tell_transitions(self, seen: StackSeen, previous: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        if _flag(status, "Ready") == "True" and _flag(previous, "Ready") != "True":
            self._events.post(seen, Reason.READY, _message(status, "Ready"))
        if _flag(status, "Degraded") == "True" and _flag(previous, "Degraded") != "True":
            self._events.post(seen, Reason.DEGRADED, _message(status, "Degraded"))
        before = {row["name"]: row for row in previous.get("components") or ()}
        for row in status["components"]:
            if _begins_to_wait(row, before.get(row["name"], {})):
                self._events.post(seen, Reason.WAITING, f"{row['name']} {row.get('message', '')}")


def _begins_to_wait(row: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a row has just come to wait: for other components, or, running, for one more object of a person's."""
    if row["state"] == "Waiting":
        return before.get("state") != "Waiting"
    missed = set(row.get("waitingFor") or ()) - set(before.get("waitingFor") or ())
    return any(what.startswith(("Secret ", "ConfigMap ")) for what in missed)


def _flag(status: Mapping[str, Any], kind: str) -> str:
    return next((str(c["status"]) for c in status.get("conditions") or () if c["type"] == kind), "")


def _message(status: Mapping[str, Any], kind: str) -> str:
    return next((str(c.get("message", "")) for c in status.get("conditions") or () if c["type"] == kind), "")
