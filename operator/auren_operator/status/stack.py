"""From the rows of a stack to its whole status. Pure: ``now`` is an argument, and so is what the status said before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from auren_operator.api.observed import WorkloadSeen
from auren_operator.api.reasons import Reason
from auren_operator.api.status import (
    ComponentStatus,
    Condition,
    ConditionStatus,
    ConditionType,
    Healed,
    HealedChild,
    StackStatus,
)
from auren_operator.status.rows import WELL, Observed, Verdict, judge

STORES: Final = frozenset({"kafka", "timescaledb", "redis", "chromadb"})
WITHOUT: Final = frozenset({Reason.WAITING_FOR_SECRETS, Reason.WAITING_FOR_CONFIG_MAPS})
"""Reasons of a component that does all but what an object of a person's is for."""
CONDITIONS: Final[Sequence[ConditionType]] = ("Ready", "Progressing", "Degraded", "SpecValid", "Paused")
"""In the order in which people read them."""


@dataclass(frozen=True, slots=True)
class Round:
    """Everything that one reconcile found out about a stack."""

    generation: int
    version: str
    hibernated: bool
    components: tuple[Observed, ...]
    endpoints: Mapping[str, str]
    healed: tuple[tuple[str, str], ...] = ()
    stack_troubles: tuple[str, ...] = ()
    paused: bool = False


def status_of(found: Round, previous: Mapping[str, Any], now: str) -> StackStatus:
    """The status after one round; times of what did not change are kept."""
    before = {row["name"]: row for row in previous.get("components") or ()}
    rows = tuple(_row(seen, found.hibernated, before.get(seen.name, {}), now) for seen in found.components)
    running = [row for row in rows if row.state != "Disabled"]
    ready = _ready(found, running)
    installing = ready[1] != "True" and _installing(previous)
    waking = ready[1] != "True" and not found.hibernated and _waking(previous)
    made = [
        ready,
        _progressing(found, running, installing, waking),
        _degraded(found, rows, installing or waking),
        ("SpecValid", "True", Reason.SPEC_VALID, ""),
        ("Paused", "True", Reason.PAUSED, PAUSED) if found.paused else ("Paused", "False", Reason.NOT_PAUSED, ""),
    ]
    return StackStatus(
        observed_generation=found.generation,
        version=found.version,
        conditions=_stamped(made, previous, found.generation, now),
        components=rows,
        components_ready=f"{sum(row.state in WELL for row in running)}/{len(running)}",
        endpoints=found.endpoints,
        healed=_healed(found.healed, previous, now),
    )


def refused(message: str, generation: int, previous: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The status of a stack whose spec breaks rules: ``SpecValid`` and ``Ready`` are False, the rest is kept.

    ``observedGeneration`` of the conditions that are kept stays, so that nobody takes an old answer for a new one.
    """
    said: list[Made] = [
        ("SpecValid", "False", Reason.SPEC_INVALID, message),
        ("Ready", "False", Reason.SPEC_INVALID, message),
    ]
    kept = [c for c in previous.get("conditions") or () if c["type"] not in {"SpecValid", "Ready"}]
    made = [condition.as_dict() for condition in _stamped(said, previous, generation, now)]
    return {**previous, "observedGeneration": generation, "conditions": sorted([*kept, *made], key=_place)}


def _row(seen: Observed, hibernated: bool, before: Mapping[str, Any], now: str) -> ComponentStatus:
    volumes_before: Mapping[str, str] = before.get("volumes") or {}
    if seen.external or _recovered(seen, volumes_before):
        volumes_before = {}
    verdict = judge(seen, hibernated, volumes_before)
    volumes = {name: claim.uid for name, claim in seen.claims.items()} | dict(volumes_before)
    ready = seen.workload.ready if isinstance(seen.workload, WorkloadSeen) else 0
    wanted = 0 if hibernated or not seen.enabled or seen.external else seen.wanted_replicas
    same = before.get("state") == verdict.state
    return ComponentStatus(
        name=seen.name,
        state=verdict.state,
        ready=f"{min(ready, wanted) if verdict.state == 'Ready' else ready}/{wanted}",
        reason=verdict.reason,
        since=before.get("since", now) if same else now,
        message=_message(verdict),
        waiting_for=(*seen.waiting_for, *dict.fromkeys(lacking.what for lacking in seen.lacking)),
        version=seen.version if seen.enabled and not seen.external else "",
        volumes=volumes,
    )


def _message(verdict: Verdict) -> str:
    return verdict.message[:1000]


def _recovered(seen: Observed, volumes_before: Mapping[str, str]) -> bool:
    """A store on a fresh volume is well again once it is ready and every Job that fills it is done."""
    workload = seen.workload
    if not isinstance(workload, WorkloadSeen) or workload.replicas == 0 or not workload.is_ready or seen.unfilled:
        return False
    return all(name in seen.claims for name in volumes_before) and not any(c.deleting for c in seen.claims.values())


def _installing(previous: Mapping[str, Any]) -> bool:
    """Whether the stack has not been ready even once."""
    conditions = {c["type"]: c for c in previous.get("conditions") or ()}
    if conditions.get("Ready", {}).get("status") == "True":
        return False
    return str(conditions.get("Progressing", {}).get("reason", Reason.INSTALLING)) == Reason.INSTALLING


def _place(condition: Mapping[str, Any]) -> int:
    return CONDITIONS.index(condition["type"])


PAUSED: Final = "spec.paused is true: the operator looks, but changes nothing"

Made = tuple[ConditionType, ConditionStatus, str, str]


def _ready(found: Round, rows: Sequence[ComponentStatus]) -> Made:
    if found.stack_troubles:
        return "Ready", "False", Reason.APPLY_FAILED, "; ".join(found.stack_troubles)
    failed = [row for row in rows if row.state == "Failed"]
    if failed:
        return "Ready", "False", Reason.COMPONENT_FAILED, _list(failed)
    if found.hibernated:
        asleep = all(row.state in {"Hibernated", "External"} for row in rows)
        reason = Reason.HIBERNATED if asleep else Reason.HIBERNATING
        return "Ready", "False", reason, "spec.hibernated is true: nothing runs, the data is kept"
    late = [row for row in rows if row.state not in WELL]
    if late:
        return "Ready", "False", Reason.COMPONENTS_NOT_READY, _list(late)
    all_ready = f"{len(rows)} of {len(rows)} components are ready"
    # A Secret or ConfigMap that only a person can make leaves the stack Ready and not Degraded: all else works, and
    # whoever waits for Ready (`kubectl wait`, a pipeline) must be able to install a stack before they are there.
    # The reason differs instead: it stands in the column that `kubectl get` prints, and an Event tells when it begins.
    without = [row for row in rows if row.reason in WITHOUT]
    if without:
        return "Ready", "True", without[0].reason, f"{all_ready}; {_list(without)}"
    return "Ready", "True", Reason.ALL_READY, all_ready


def _waking(previous: Mapping[str, Any]) -> bool:
    """Whether the stack was asleep, and has not been ready since."""
    conditions = {c["type"]: str(c["reason"]) for c in previous.get("conditions") or ()}
    asleep = conditions.get("Ready") in {Reason.HIBERNATED, Reason.HIBERNATING}
    return asleep or conditions.get("Progressing") == Reason.RESUMING


def _progressing(found: Round, rows: Sequence[ComponentStatus], installing: bool, waking: bool) -> Made:
    held = [seen.name for seen in found.components if seen.held]
    moving = [row for row in rows if row.state in {"Progressing", "Waiting"}]
    if not moving and not held:
        return "Progressing", "False", Reason.UP_TO_DATE, ""
    if installing:
        return "Progressing", "True", Reason.INSTALLING, _list(moving)
    if waking:
        return "Progressing", "True", Reason.RESUMING, _list(moving)
    waiting = f"{', '.join(held)} to be updated" if held else ""
    return "Progressing", "True", Reason.UPDATING, "; ".join(part for part in (_list(moving), waiting) if part)


def _degraded(found: Round, rows: Sequence[ComponentStatus], installing: bool) -> Made:
    failed = [row for row in rows if row.state == "Failed"]
    if failed:
        stores = any(row.name in STORES for row in failed)
        return "Degraded", "True", Reason.STORE_NOT_READY if stores else Reason.COMPONENT_FAILED, _list(failed)
    lost = [row for row in rows if row.state in {"Progressing", "Waiting"} and _has_lost(row)]
    if lost and not installing and not found.hibernated:
        stores = any(row.name in STORES for row in lost)
        return "Degraded", "True", Reason.STORE_NOT_READY if stores else Reason.COMPONENTS_NOT_READY, _list(lost)
    return "Degraded", "False", Reason.NOT_DEGRADED, ""


def _has_lost(row: ComponentStatus) -> bool:
    """A service is lost when none of its pods is ready; a store already when one is missing (there goes a quorum).

    Nothing is wanted of an external store: its Job fails when it is away.
    """
    ready, _, wanted = row.ready.partition("/")
    return wanted != "0" and (ready == "0" or (row.name in STORES and int(ready) < int(wanted)))


def _list(rows: Sequence[ComponentStatus]) -> str:
    """One clause per component: its name, its reason, and what it says about it."""
    return "; ".join(f"{row.name}: {row.reason}" + (f" ({row.message})" if row.message else "") for row in rows)[:4000]


def _stamped(made: Sequence[Made], previous: Mapping[str, Any], generation: int, now: str) -> tuple[Condition, ...]:
    before = {c["type"]: c for c in previous.get("conditions") or ()}
    return tuple(
        Condition(
            type=kind,
            status=status,
            reason=reason,
            message=message,
            last_transition_time=(
                before[kind]["lastTransitionTime"] if before.get(kind, {}).get("status") == status else now
            ),
            observed_generation=generation,
        )
        for kind, status, reason, message in made
    )


def _healed(healed: Sequence[tuple[str, str]], previous: Mapping[str, Any], now: str) -> Healed:
    before = previous.get("healed") or {}
    last = before.get("last")
    count = int(before.get("count", 0)) + len(healed)
    if healed:
        kind, name = healed[-1]
        return Healed(count, HealedChild(kind, name, now))
    return Healed(count, HealedChild(last["kind"], last["name"], last["time"]) if last else None)
