"""`spec.modes`: thresholds that a stack sets otherwise. Which there are, and their names, is the services' business.

A name that no threshold has stops the start of the services that read it, with a sentence that lists all there are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from auren_operator.api.schema import Entries, Fields, Integer, Rule, Text
from auren_operator.api.syntax import matches

COMPARISONS: Final = ("below", "above", "drop", "rise", "drop_ratio", "times_baseline")
_KEY: Final = rf"[a-z][a-z-]*/[a-z][a-z0-9_]*/({'|'.join(COMPARISONS)})"

MODES: Final = Fields(
    {
        "cooldownSeconds": Integer(0, 86_400),
        "thresholds": Entries(
            Text(
                16,
                rules=(Rule("must be a positive number such as 22 or 0.25", matches(r"(0|[1-9][0-9]*)(\.[0-9]+)?")),),
            ),
            most=64,
            rules=(
                Rule(
                    "a key must be rule/metric/comparison such as hrv-low/hrv_rmssd/below",
                    lambda thresholds: all(map(matches(_KEY), thresholds)),
                ),
            ),
        ),
    }
)


def overrides(modes: Mapping[str, Any]) -> str:
    """AUREN_MODES: the JSON that the services read, empty where nothing is set otherwise."""
    found: dict[str, Any] = {}
    for key, value in sorted((modes.get("thresholds") or {}).items()):
        rule, metric, comparison = key.split("/")
        found.setdefault("rules", {}).setdefault(rule, {}).setdefault(metric, {})[comparison] = float(value)
    if "cooldownSeconds" in modes:
        found["switching"] = {"cooldown_seconds": modes["cooldownSeconds"]}
    return json.dumps(found) if found else ""
