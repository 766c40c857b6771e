"""Cognitive modes: what the body's latest values call for. One enum, one file of thresholds, one pure function.

decision = decide(Snapshot(values=..., now=...))
decision.mode, decision.reason, decision.evidence, decision.off
"""

from auren.modes.engine import (
    LARGEST_SKEW,
    Baseline,
    Decision,
    Evidence,
    Measured,
    Off,
    Snapshot,
    Value,
    decide,
    derived,
)
from auren.modes.thresholds import DEFAULTS, Cue, Mode, Overrides, Thresholds, overridden, override

__all__ = [
    "DEFAULTS",
    "LARGEST_SKEW",
    "Baseline",
    "Cue",
    "Decision",
    "Evidence",
    "Measured",
    "Mode",
    "Off",
    "Overrides",
    "Snapshot",
    "Thresholds",
    "Value",
    "decide",
    "derived",
    "overridden",
    "override",
]
