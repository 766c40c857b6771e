"""What is observed of each component, and the one row that the status shows for it. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from auren_operator.api.observed import JobSeen, PodSeen, WorkloadSeen
from auren_operator.api.reasons import Reason
from auren_operator.api.status import ComponentState

POD_REASONS: Final[Mapping[str, Reason]] = {
    "ErrImagePull": Reason.CANNOT_PULL_IMAGE,
    "ImagePullBackOff": Reason.CANNOT_PULL_IMAGE,
    "InvalidImageName": Reason.CANNOT_PULL_IMAGE,
    "ErrImageNeverPull": Reason.CANNOT_PULL_IMAGE,
    "CrashLoopBackOff": Reason.CRASH_LOOP,
    "Error": Reason.CRASH_LOOP,
    "RunContainerError": Reason.CRASH_LOOP,
    "OOMKilled": Reason.OUT_OF_MEMORY,
    "Unschedulable": Reason.UNSCHEDULABLE,
    "CreateContainerConfigError": Reason.CONTAINER_CONFIG_ERROR,
    "CreateContainerError": Reason.CONTAINER_CONFIG_ERROR,
    "Evicted": Reason.PODS_NOT_READY,
}
"""What Kubernetes calls a pod's trouble → what the status calls it."""

WELL: Final[frozenset[ComponentState]] = frozenset({"Ready", "External"})
"""States in which a component does all that it should."""

LEAVING: Final = "it is switched off; its workload is being removed"

UNBOUND: Final = "unbound immediate PersistentVolumeClaims"
"""What the scheduler says while a volume is being made: no trouble yet, the claim's own phase tells more."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that one reconcile could not do, or found broken, in one component."""

    component: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Lacking:
    """A Secret or ConfigMap of a person's that is not as it should be: ``problem`` says how, ``purpose`` what is off
    until then.
    """

    name: str
    problem: str
    purpose: str
    kind: str = "Secret"

    @property
    def reason(self) -> Reason:
        """As the component's row gives it."""
        return Reason.WAITING_FOR_SECRETS if self.kind == "Secret" else Reason.WAITING_FOR_CONFIG_MAPS

    @property
    def what(self) -> str:
        """As ``waitingFor`` lists it."""
        return f"{self.kind} {self.name}"

    @property
    def sentence(self) -> str:
        """For people."""
        return f"Waiting: {self.what} ({self.problem}; {self.purpose} is off until then)"


@dataclass(frozen=True, slots=True)
class Claim:
    """A volume of a store: its uid, whether it is on its way out, and whether it is bound."""

    uid: str
    deleting: bool
    bound: bool


@dataclass(frozen=True, slots=True)
class Observed:
    """One component as it stands.

    ``wanted_replicas`` is what the spec asks for; ``claims`` maps the names of its volumes. ``held`` names what an
    update of a running workload waits for; ``waiting_for`` what its creation waits for, and ``blockers`` says what is
    wrong with those (Jobs have no row of their own). ``unfilled`` names the Jobs that prepare it and are not done.
    ``lacking``: Secrets and ConfigMaps of the person's that it does without. ``external``: it runs elsewhere.
    ``leaving``: it is switched off, but its workload is still there. ``deleting``: its workload is on its way out.
    """

    name: str
    enabled: bool
    version: str = ""
    wanted_replicas: int = 1
    workload: WorkloadSeen | JobSeen | None = None
    pods: tuple[tuple[str, PodSeen], ...] = ()
    claims: Mapping[str, Claim] = field(default_factory=dict)
    troubles: tuple[Trouble, ...] = ()
    waiting_for: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    blockers: tuple[Trouble, ...] = ()
    notes: tuple[str, ...] = ()
    unfilled: tuple[str, ...] = ()
    lacking: tuple[Lacking, ...] = ()
    external: bool = False
    leaving: bool = False
    deleting: bool = False
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """State, reason and message of a row, before the clock is asked since when."""

    state: ComponentState
    reason: Reason
    message: str = ""


def judge(seen: Observed, hibernated: bool, volumes_before: Mapping[str, str]) -> Verdict:
    """What holds for the workload, and beside it the people's objects that the component does without.

    Those never change its state: its pods run and do all the rest, so it stays Ready, with a reason of its own.
    """
    verdict = _judge(seen, hibernated, volumes_before)
    if not seen.lacking:
        return verdict
    waits = [lacking.sentence for lacking in seen.lacking]
    if verdict.state not in WELL:
        return Verdict(verdict.state, verdict.reason, _sentences([verdict.message, *waits]))
    return Verdict(verdict.state, seen.lacking[0].reason, _sentences([*waits, verdict.message]))


def _judge(seen: Observed, hibernated: bool, volumes_before: Mapping[str, str]) -> Verdict:
    """The first of these that holds: off, broken, waiting, asleep, starting, rolling, running."""
    if not seen.enabled:
        return _judge_leaving(seen)
    if seen.external:
        return _judge_external(seen, hibernated)
    if lost := _lost_volume(seen.claims, volumes_before):
        return Verdict("Failed", Reason.VOLUME_LOST, lost)
    if seen.troubles:
        first = seen.troubles[0]
        return Verdict("Failed", first.reason, _sentences([trouble.message for trouble in seen.troubles]))
    if seen.waiting_for:
        reason = seen.blockers[0].reason if seen.blockers else Reason.WAITING_FOR_COMPONENTS
        return Verdict(
            "Waiting", reason, _sentences([f"waits for {', '.join(seen.waiting_for)}", *_told(seen.blockers)])
        )
    if not isinstance(seen.workload, WorkloadSeen):
        if seen.paused:
            return Verdict(
                "Failed", Reason.PAUSED, "its workload is gone, and nothing is made while spec.paused is true"
            )
        return Verdict("Progressing", Reason.STARTING, "its workload is being created")
    if seen.deleting:
        return Verdict("Progressing", Reason.STARTING, "its workload is being deleted; it is made again after that")
    if hibernated:
        asleep = seen.workload.current == 0 and seen.workload.replicas == 0
        return Verdict("Hibernated", Reason.HIBERNATED) if asleep else Verdict("Progressing", Reason.HIBERNATING)
    return _judge_pods(seen, seen.workload)


def _judge_leaving(seen: Observed) -> Verdict:
    """A component that is switched off: gone, going, or refused to go."""
    if not seen.leaving:
        return Verdict("Disabled", Reason.DISABLED)
    if seen.troubles:
        return Verdict("Failed", seen.troubles[0].reason, _sentences([LEAVING, *(t.message for t in seen.troubles)]))
    return Verdict("Progressing", Reason.DISABLED, LEAVING)


def _judge_external(seen: Observed, hibernated: bool) -> Verdict:
    """A server of the person's own is as good as the Job that prepares it says."""
    failed = [trouble for trouble in seen.blockers if trouble.reason == Reason.JOB_FAILED]
    if troubles := [*seen.troubles, *failed]:
        told = [*(trouble.message for trouble in seen.troubles), *_told(failed)]
        return Verdict("Failed", troubles[0].reason, _sentences(told))
    if hibernated or not seen.unfilled:
        return Verdict("External", Reason.EXTERNAL)
    if seen.lacking:
        return Verdict("Waiting", Reason.WAITING_FOR_SECRETS)
    return Verdict("Progressing", Reason.STARTING, f"{', '.join(seen.unfilled)} prepares it")


def _judge_pods(seen: Observed, workload: WorkloadSeen) -> Verdict:
    notes = _sentences(seen.notes)
    if workload.replicas == 0 and seen.wanted_replicas > 0:
        waits = f"it wakes after {', '.join(seen.held)}" if seen.held else "it is scaled to zero"
        return Verdict("Progressing", Reason.STARTING, _sentences([waits, *_told(seen.blockers), notes]))
    failed = [trouble for trouble in seen.blockers if trouble.reason == Reason.JOB_FAILED]
    if failed:
        return Verdict("Failed", Reason.JOB_FAILED, _sentences([*_told(failed), notes]))
    sick = [(name, pod) for name, pod in seen.pods if pod.reason and not pod.ready and UNBOUND not in pod.message]
    if workload.is_ready and workload.ready >= min(seen.wanted_replicas, workload.replicas):
        if seen.held:
            held = f"its update waits for {', '.join(seen.held)}"
            return Verdict("Ready", Reason.RUNNING, _sentences([held, *_told(seen.blockers), notes]))
        return Verdict("Ready", Reason.RUNNING, notes)
    if sick:
        name, pod = sick[0]
        reason = POD_REASONS.get(pod.reason, Reason.PODS_NOT_READY)
        return Verdict("Failed", reason, _sentences([f"pod {name}: {pod.reason}: {pod.message}", notes]))
    if workload.failure and workload.ready < workload.replicas:
        return Verdict("Failed", Reason.POD_CREATION_FAILED, _sentences([workload.failure, notes]))
    unbound = [name for name, claim in seen.claims.items() if not claim.bound]
    if unbound and workload.ready == 0:
        return Verdict("Progressing", Reason.VOLUME_PENDING, f"volume {', '.join(unbound)} is not bound yet")
    if workload.rolling and workload.ready:
        return Verdict("Progressing", Reason.ROLLING_OUT, notes)
    return Verdict("Progressing", Reason.STARTING, notes)


def _lost_volume(claims: Mapping[str, Claim], before: Mapping[str, str]) -> str:
    """The sentence about a volume that goes, is gone, or was replaced by an empty namesake; empty when all is well."""
    for name, claim in sorted(claims.items()):
        if claim.deleting:
            return f"volume {name} is being deleted: it goes, with its data, when its pod does"
    for name, uid in sorted(before.items()):
        if name not in claims:
            return f"volume {name} is gone: what it held is lost"
        if claims[name].uid != uid:
            return f"volume {name} was replaced by an empty one: what it held is lost"
    return ""


def _told(blockers: Sequence[Trouble]) -> list[str]:
    return [f"{trouble.component}: {trouble.reason}: {trouble.message}" for trouble in blockers]


def _sentences(parts: Sequence[str]) -> str:
    return "; ".join(dict.fromkeys(part for part in parts if part))
