"""The status of an AurenStack as typed values; ``as_dict`` gives what stands in the resource."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ConditionType = Literal["Ready", "Progressing", "Degraded", "SpecValid", "Paused"]
ConditionStatus = Literal["True", "False", "Unknown"]
ComponentState = Literal["Ready", "Progressing", "Waiting", "Failed", "Disabled", "External", "Hibernated"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; ``last_transition_time`` (RFC 3339, UTC) is when ``status`` last changed."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str
    last_transition_time: str
    observed_generation: int

    def as_dict(self) -> dict[str, Any]:
        """The condition as it stands in ``status.conditions``."""
        return {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "lastTransitionTime": self.last_transition_time,
            "observedGeneration": self.observed_generation,
        }


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """One row of ``status.components``; ``ready`` is ``2/2``, ``since`` (RFC 3339) when ``state`` last changed.

    ``volumes`` maps a claim's name to its uid, for stores. ``version`` is the tag of the image that runs.
    """

    name: str
    state: ComponentState
    ready: str
    reason: str
    since: str
    message: str = ""
    waiting_for: tuple[str, ...] = ()
    version: str = ""
    volumes: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The row as it stands in the resource; what is empty is left out."""
        optional = {
            "message": self.message,
            "waitingFor": list(self.waiting_for),
            "version": self.version,
            "volumes": dict(self.volumes),
        }
        row = {"name": self.name, "state": self.state, "ready": self.ready, "reason": self.reason, "since": self.since}
        return row | {key: value for key, value in optional.items() if value}


@dataclass(frozen=True, slots=True)
class HealedChild:
    """The child that was last created again or set back, and when (RFC 3339)."""

    kind: str
    name: str
    time: str

    def as_dict(self) -> dict[str, Any]:
        """The child as it stands in ``status.healed.last``."""
        return {"kind": self.kind, "name": self.name, "time": self.time}


@dataclass(frozen=True, slots=True)
class Healed:
    """How often children of this stack were brought back, and the last of them."""

    count: int = 0
    last: HealedChild | None = None

    def as_dict(self) -> dict[str, Any]:
        """``status.healed``."""
        return {"count": self.count} | ({"last": self.last.as_dict()} if self.last else {})


@dataclass(frozen=True, slots=True)
class StackStatus:
    """The whole status; ``components_ready`` (``7/7``) counts the rows that should run."""

    observed_generation: int
    version: str
    conditions: tuple[Condition, ...]
    components: tuple[ComponentStatus, ...] = ()
    components_ready: str = "0/0"
    endpoints: Mapping[str, str] = field(default_factory=dict)
    healed: Healed = Healed()

    def as_dict(self) -> dict[str, Any]:
        """``status`` of the resource."""
        return {
            "observedGeneration": self.observed_generation,
            "version": self.version,
            "conditions": [condition.as_dict() for condition in self.conditions],
            "components": [component.as_dict() for component in self.components],
            "componentsReady": self.components_ready,
            "endpoints": dict(self.endpoints),
            "healed": self.healed.as_dict(),
        }
