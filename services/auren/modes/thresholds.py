"""The modes, and the typed content of thresholds.toml."""

from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from importlib.resources import files
from typing import Annotated, Final, Literal, NamedTuple

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
    """One metric as the rules see it: how people call it and its unit, and how long a value counts.

    A `signal` is no metric of an event: it is computed (signals.py), and nobody misses it where it cannot be.
    """

    name: str
    unit: str
    shown_unit: str
    source: str
    stale_after_hours: Positive
    absent: str
    signal: bool = False


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


class Limit(NamedTuple):
    """What a condition's metric is compared with: `fixed`, and `share` of the usual where it is `relative`.

    `falls`: the value must lie below it, else above it.
    """

    condition: Condition
    metric: str
    falls: bool
    relative: bool
    share: float
    fixed: float


class Check(NamedTuple):
    """A rule made ready to be tried for every event: the limits that lead to its mode, and those that keep it there.

    `spare` is how many conditions need not be met.
    """

    rule: Rule
    standing: tuple[Mode, str]
    spare: int
    entering: tuple[Limit, ...]
    leaving: tuple[Limit, ...]


Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class Switching(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How readily a mode is left for another one; see thresholds.toml."""

    cooldown_seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 300
    urgent: tuple[Mode, ...] = (Mode.REFLEX,)
    urgent_factor: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.7
    least_confidence: Share = 0.5
    hysteresis: Share = 0.05

    def cooldown(self, mode: Mode) -> timedelta:
        """How long after a switch the next one, to `mode`, has to wait."""
        return timedelta(seconds=self.cooldown_seconds * (self.urgent_factor if mode in self.urgent else 1))


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """The file as a whole. Construction raises ValueError for rules that could never hold or name no metric."""

    metrics: dict[str, MetricRule]
    rules: tuple[Rule, ...]
    switching: Switching = Switching()

    def __post_init__(self) -> None:
        """What types cannot say."""
        if len({rule.id for rule in self.rules}) < len(self.rules):
            raise ValueError("two rules have the same id")
        for rule in self.rules:
            if bool(rule.conditions) == bool(rule.said):
                raise ValueError(f"rule {rule.id} needs either conditions or said")
            if not 1 <= rule.needed <= len(rule.conditions) and not rule.said:
                raise ValueError(f"rule {rule.id}: at_least must lie between 1 and the number of conditions")
            for condition in rule.conditions:
                if condition.metric not in self.metrics:
                    raise ValueError(f"rule {rule.id} names {condition.metric}, which is no metric of this file")

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """The rules, ready to be tried; made once."""
        return tuple(_check(rule, self.switching.hysteresis) for rule in self.rules)

    @cached_property
    def stale_after(self) -> dict[str, timedelta]:
        """How long a value counts, by metric."""
        return {name: timedelta(hours=metric.stale_after_hours) for name, metric in self.metrics.items()}


def _check(rule: Rule, hysteresis: float) -> Check:
    return Check(
        rule,
        (rule.mode, rule.id),
        len(rule.conditions) - rule.needed,
        tuple(_limit(condition, 0) for condition in rule.conditions),
        tuple(_limit(condition, hysteresis) for condition in rule.conditions),
    )


def _limit(condition: Condition, margin: float) -> Limit:
    """With a margin, a share of the threshold, the limit that the value has to come back behind."""
    comparison = condition.comparison
    threshold = condition.threshold * (1 + margin if comparison == "below" else 1 - margin)
    falls = comparison in {"below", "drop", "drop_ratio"}
    match comparison:
        case "below" | "above":
            share, fixed = 0.0, threshold
        case "drop":
            share, fixed = 1.0, -threshold
        case "rise":
            share, fixed = 1.0, threshold
        case "drop_ratio":
            share, fixed = 1 - threshold, 0.0
        case "times_baseline":
            share, fixed = threshold, 0.0
    return Limit(condition, condition.metric, falls, comparison in NEEDS_BASELINE, share, fixed)


class Overrides(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stack sets otherwise: `rules` by id, metric and comparison, `switching` by name.

    {"rules": {"hrv-low": {"hrv_rmssd": {"below": 22}}}, "switching": {"cooldown_seconds": 600}}
    """

    rules: dict[str, dict[str, dict[Comparison, Positive]]] = {}
    switching: dict[str, float] = {}


def override(base: Thresholds, overrides: Overrides) -> Thresholds:
    """`base` with other thresholds. Raises ValueError for a name that is none, or a value that is out of bounds."""
    wanted = {
        (rule, metric, comparison): value
        for rule, metrics in overrides.rules.items()
        for metric, comparisons in metrics.items()
        for comparison, value in comparisons.items()
    }
    rules = tuple(_overridden(rule, wanted) for rule in base.rules)
    if wanted:
        rule, metric, comparison = next(iter(wanted))
        known = ", ".join(f"{r.id}: {c.metric} {c.comparison}" for r in base.rules for c in r.conditions)
        raise ValueError(f"there is no condition {metric} {comparison} in a rule {rule}; there are {known}")
    settings = msgspec.to_builtins(base.switching) | overrides.switching
    try:
        switching = msgspec.convert(settings, Switching)
    except msgspec.ValidationError as error:
        raise ValueError(f"switching: {error}") from None
    return Thresholds(base.metrics, rules, switching)


def overridden(text: str) -> Thresholds:
    """DEFAULTS with the overrides of a JSON text; without any where it is empty. Raises ValueError naming the place."""
    if not text:
        return DEFAULTS
    try:
        overrides = msgspec.json.decode(text, type=Overrides)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    return override(DEFAULTS, overrides)


def _overridden(rule: Rule, wanted: dict[tuple[str, str, Comparison], float]) -> Rule:
    """The rule with what is wanted of it, which is taken out of `wanted`."""
    conditions = tuple(
        Condition(c.metric, c.comparison, wanted.pop((rule.id, c.metric, c.comparison), c.threshold))
        for c in rule.conditions
    )
    return msgspec.structs.replace(rule, conditions=conditions)


def parse(text: str) -> Thresholds:
    """Thresholds from TOML. Raises msgspec.ValidationError or msgspec.DecodeError naming the place."""
    return msgspec.toml.decode(text, type=Thresholds)


DEFAULTS: Final = parse(files(__package__ or "auren.modes").joinpath("thresholds.toml").read_text())
"""The thresholds that ship with this version."""
