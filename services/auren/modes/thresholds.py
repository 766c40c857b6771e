"""The modes, and the typed content of thresholds.toml."""

from enum import StrEnum
from importlib.resources import files
from typing import Annotated, Final, Literal

import msgspec


class Mode(StrEnum):
    """What NEUROS attends to. The values are stored, sent and shown: they do not change."""

    HYPOTHESIS = "hypothesis"
    REFLEX = "reflex"
    GUARDIAN = "guardian"
    SENTINEL = "sentinel"
    PATTERN = "pattern"
    COMPANION = "companion"
    BASELINE = "baseline"


Comparison = Literal["below", "above", "drop", "rise", "drop_ratio", "times_baseline"]
Cue = Literal["feels-off", "greeting"]
"""What a message may express."""

NEEDS_BASELINE: Final[frozenset[Comparison]] = frozenset({"drop", "rise", "drop_ratio", "times_baseline"})

Positive = Annotated[float, msgspec.Meta(gt=0)]


class MetricRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One metric as the rules see it: how people call it and its unit, and how long a value counts."""

    name: str
    unit: str
    shown_unit: str
    source: str
    stale_after_hours: Positive
    absent: str


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"comparison": "is"}):
    """One comparison of a metric's latest value; strict, see thresholds.toml."""

    metric: str
    comparison: Comparison
    threshold: Positive


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of the table: the mode it leads to, and when."""

    id: str
    mode: Mode
    conditions: tuple[Condition, ...] = ()
    at_least: int | None = None
    within_minutes: Positive | None = None
    said: tuple[Cue, ...] = ()

    @property
    def needed(self) -> int:
        """How many conditions must be met."""
        return len(self.conditions) if self.at_least is None else self.at_least


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file as a whole. Construction raises ValueError for rules that could never hold or name no metric."""

    metrics: dict[str, MetricRule]
    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        """What types cannot say."""
        for rule in self.rules:
            if bool(rule.conditions) == bool(rule.said):
                raise ValueError(f"rule {rule.id} needs either conditions or said")
            if not 1 <= rule.needed <= len(rule.conditions) and not rule.said:
                raise ValueError(f"rule {rule.id}: at_least must lie between 1 and the number of conditions")
            for condition in rule.conditions:
                if condition.metric not in self.metrics:
                    raise ValueError(f"rule {rule.id} names {condition.metric}, which is no metric of this file")


def parse(text: str) -> Thresholds:
    """Thresholds from TOML. Raises msgspec.ValidationError or msgspec.DecodeError naming the place."""
    return msgspec.toml.decode(text, type=Thresholds)


DEFAULTS: Final = parse(files(__package__ or "auren.modes").joinpath("thresholds.toml").read_text())
"""The thresholds that ship with this version."""
