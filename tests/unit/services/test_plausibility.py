"""Readings that no body and no device can give, and those too far from their delivery, are told from the others."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from auren.baselines import LEAST_DAYS
from auren.events import METRICS
from auren.plausibility import FUTURE_SKEW, LATE_AFTER, PLAUSIBLE, UNTRUSTED, flags

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_every_metric_has_its_range_and_the_range_its_source() -> None:
    assert PLAUSIBLE.keys() == METRICS.keys()
    for bounds in PLAUSIBLE.values():
        assert bounds.low < bounds.high
        assert bounds.source


@pytest.mark.parametrize("metric", METRICS)
def test_the_bounds_themselves_are_plausible_and_nothing_beyond(metric: str) -> None:
    low, high, _ = PLAUSIBLE[metric]
    assert flags(metric, low, NOW, NOW) == flags(metric, high, NOW, NOW) == ()
    for value in (math.nextafter(low, -math.inf), math.nextafter(high, math.inf), math.nan, math.inf, -math.inf):
        assert flags(metric, value, NOW, NOW) == ("implausible",)


def test_a_time_may_lie_so_far_from_the_delivery_and_no_further() -> None:
    moment = timedelta(microseconds=1)
    assert flags("steps", 1, NOW + FUTURE_SKEW, NOW) == flags("steps", 1, NOW - LATE_AFTER, NOW) == ()
    assert flags("steps", 1, NOW + FUTURE_SKEW + moment, NOW) == ("future",)
    assert flags("steps", 1, NOW - LATE_AFTER - moment, NOW) == ("late",)
    assert flags("steps", -1, NOW - LATE_AFTER - moment, NOW) == ("implausible", "late")
    assert {"implausible", "future", "late"} == UNTRUSTED


def test_what_is_late_is_older_than_any_baseline_looks_back() -> None:
    assert timedelta(days=max(LEAST_DAYS)) < LATE_AFTER
