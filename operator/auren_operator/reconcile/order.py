"""Who may start, and who must wait: the start order of a stack, its updates and its hibernation. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from auren_operator.api.observed import JobSeen, Seen, WorkloadSeen
from auren_operator.api.spec import Stack
from auren_operator.kube.view import ChildKey
from auren_operator.reconcile.desired import Desired, Part


@dataclass(frozen=True, slots=True)
class Gate:
    """What the order says about one workload.

    ``waiting_for`` holds its creation back, ``held_by`` an update of it while it runs; both are empty when nothing
    stands in the way.
    """

    waiting_for: tuple[str, ...] = ()
    held_by: tuple[str, ...] = ()


def workload_seen(part: Part, children: Mapping[ChildKey, Seen]) -> Seen | None:
    """The component's own workload as it is observed; None when it is not wanted or not there."""
    child = part.workload
    return children.get(child.key) if child else None


def is_ready(part: Part, children: Mapping[ChildKey, Seen]) -> bool:
    """Whether a component does its work: a Job is complete, a workload has all its pods (and at least one).

    Of one that runs elsewhere nobody knows; the Job that prepares it waits for it, and the others for that Job.
    """
    if part.external:
        return True
    seen = workload_seen(part, children)
    if seen is None or seen.deleting:
        return False
    if isinstance(seen.detail, JobSeen):
        return seen.detail.complete
    return isinstance(seen.detail, WorkloadSeen) and seen.detail.replicas > 0 and seen.detail.is_ready


def gates(stack: Stack, desired: Desired, children: Mapping[ChildKey, Seen]) -> dict[str, Gate]:
    """The gate of every component that has a workload, by name.

    Creation waits for everything that the component needs. An update waits for the Jobs among its needs, and, while
    the stack wakes up, for everything; while it falls asleep, stores wait for the services. An update also waits
    for any other component that is still rolling, so that at most one rolls at a time; one that rolls already does
    not: two that are stuck would wait for each other.
    """
    ready = {name for name, part in desired.parts.items() if is_ready(part, children)}
    rolling = {name for name, part in desired.parts.items() if _is_rolling(workload_seen(part, children))}
    return {
        name: _gate(stack, part, desired, children, ready, rolling)
        for name, part in desired.parts.items()
        if part.component.workload is not None
    }


def _gate(
    stack: Stack,
    part: Part,
    desired: Desired,
    children: Mapping[ChildKey, Seen],
    ready: set[str],
    rolling: set[str],
) -> Gate:
    component = part.component
    missing = tuple(need for need in component.needs if need not in ready)
    seen = workload_seen(part, children)
    if stack.hibernated:
        awake = _awake_dependents(component.name, desired, children)
        return Gate(missing if component.workload == "Job" else (), awake)
    if component.workload == "Job":
        return Gate(missing)
    jobs = tuple(need for need in missing if desired.parts[need].component.workload == "Job")
    asleep = seen is not None and isinstance(seen.detail, WorkloadSeen) and seen.detail.replicas == 0
    others = () if component.name in rolling else tuple(sorted(rolling))
    return Gate(missing, missing if asleep else tuple(dict.fromkeys([*jobs, *others])))


def _awake_dependents(name: str, desired: Desired, children: Mapping[ChildKey, Seen]) -> tuple[str, ...]:
    """Those that need this component (or a Job of it) and still have pods."""
    awake = []
    for other, part in desired.parts.items():
        if part.component.workload == "Job" or name not in part.component.needs:
            continue
        seen = workload_seen(part, children)
        if seen is not None and isinstance(seen.detail, WorkloadSeen) and seen.detail.current > 0:
            awake.append(other)
    return tuple(awake)


def _is_rolling(seen: Seen | None) -> bool:
    """A template on its way to its pods. Pods that come back after a loss are no roll-out."""
    return seen is not None and isinstance(seen.detail, WorkloadSeen) and seen.detail.rolling
