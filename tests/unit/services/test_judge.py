"""What is computed from days, latest values and patterns reaches the rules: from events to the mode."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from auren.events import Event
from auren.modes import Mode
from tests.unit.services.test_sequence import NOW, Tables, event, taken

DAY = timedelta(days=1)


def days(metric: str, values: Sequence[float], first: int = 1) -> list[Event]:
    """A value of each day, the last of them `first` days ago."""
    last = len(values) - 1 + first
    return [
        event(value, metric=metric, document=f"{metric}-{last - n}", time=NOW - (last - n) * DAY)
        for n, value in enumerate(values)
    ]


def rules(tables: Tables) -> list[str | None]:
    """Of the switches so far."""
    return [switch.rule for switch in tables.switches]


@pytest.mark.parametrize(
    ("minutes", "found"), [((60, 140, 70, 150, 60, 140), ["rem-varies"]), ((100, 110, 95, 105, 100, 110), [])]
)
def test_rem_sleep_that_varies_is_asked_about(minutes: tuple[float, ...], found: list[str]) -> None:
    tables = taken(days("sleep_rem", minutes), [event(60)])
    assert rules(tables) == found


def test_the_window_moves_with_the_day() -> None:
    nights = days("sleep_rem", (60, 140, 70, 150, 60, 140))
    tables = taken(nights, [event(60)], [event(60, metric="steps", document="later", time=NOW + 9 * DAY)])
    assert [(switch.rule, switch.mode) for switch in tables.switches] == [
        ("rem-varies", Mode.HYPOTHESIS),
        (None, Mode.BASELINE),
    ]


STEADY = {"respiratory_rate": 15.0, "spo2": 96.0, "skin_temperature": 34.0, "sleep_total": 430.0}
FAR = {"respiratory_rate": 22.0, "spo2": 90.0, "skin_temperature": 36.5, "sleep_total": 300.0}


def steady(first: int = 1) -> list[Event]:
    """Four weeks of days that differ by little, in the order in which they came."""
    events = [
        e for metric, value in STEADY.items() for e in days(metric, [value + n % 3 / 10 for n in range(28)], first)
    ]
    return sorted(events, key=lambda e: e.received_at)


@pytest.mark.parametrize(("count", "found"), [(3, []), (4, ["several-anomalies"])])
def test_more_than_three_values_far_off_are_asked_about(count: int, found: list[str]) -> None:
    today = [event(value, metric=metric, document="today") for metric, value in list(FAR.items())[:count]]
    assert rules(taken(steady(), today)) == found


def test_values_far_off_that_are_old_are_not_of_today() -> None:
    old = [event(value, metric=metric, document="old", time=NOW - 2 * DAY) for metric, value in FAR.items()]
    assert rules(taken(steady(first=3), old[:3], [event(60)], old[3:])) == []


@pytest.mark.parametrize(("days_before", "found"), [(28, ["known-pattern"]), (14, [])])
def test_a_pattern_that_is_sure_enough_leads_to_its_mode(days_before: int, found: list[str]) -> None:
    history = days("hrv_sdnn", [60 + n % 3 for n in range(days_before)])
    today = [event(47, 46, 47, 46, 47, metric="hrv_sdnn", document="today")]
    tables = taken(history, today)
    assert tables.patterns["anna", "recovery-deficit", "hrv_sdnn"].level == "high"
    assert rules(tables) == found
