"""Each pattern is found just beyond its bounds and not before, with the numbers that show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren.patterns import WEEKDAYS, History, Known, Pattern, changes, find

TODAY = date(2026, 3, 29)
"""A Sunday, and in Berlin a day of 23 hours."""
CLOCK = datetime(2026, 3, 29, 18, tzinfo=UTC)
NOBODY = History(clock=CLOCK, today=TODAY, starts={}, recent=[], days={}, hours={})


class Sum(NamedTuple):
    readings: int
    total: int


def one(value: float) -> dict[str, Sum]:
    return {"ring": Sum(1, round(value * 1_000_000))}


def days(values: Mapping[int, float]) -> dict[date, dict[str, Sum]]:
    """By how many days before today."""
    return {TODAY - timedelta(days=ago): one(value) for ago, value in values.items()}


def nights(*minutes_after_noon: float, first_ago: int = 1) -> dict[date, datetime]:
    """Starts of sleep, each in the winter's or the summer's offset of its day."""
    found = {}
    for number, minutes in enumerate(minutes_after_noon):
        day = TODAY - timedelta(days=first_ago + number)
        zone = timezone(timedelta(hours=1 + (number % 2)))
        found[day] = datetime.combine(day - timedelta(days=1), time(12), zone) + timedelta(minutes=minutes)
    return found


def found(history: History, kind: str) -> list[Pattern]:
    return [pattern for pattern in find(history) if pattern.kind == kind]


def test_of_nobody_nothing_is_found() -> None:
    assert find(NOBODY) == ()


# Five nights of which every second begins 2a later have a standard deviation of a * sqrt(1.2).
@pytest.mark.parametrize(
    ("half", "level"), [(120 / 1.2**0.5 - 1, None), (120 / 1.2**0.5 + 1, "notice"), (180 / 1.2**0.5 + 1, "high")]
)
def test_sleep_that_begins_at_any_hour(half: float, level: str | None) -> None:
    starts = nights(*(700 + half * sign for sign in (1, -1, 1, -1, 1)))
    history = replace(NOBODY, starts=starts)
    assert [pattern.level for pattern in found(history, "circadian-disruption")] == ([level] if level else [])
    if level:
        (pattern,) = found(history, "circadian-disruption")
        assert pattern.evidence["nights"] == 5
        assert pattern.evidence["starts"] == {
            day.isoformat(): starts[day].isoformat(timespec="minutes") for day in sorted(starts)
        }


def test_four_nights_are_too_few_and_a_fortnight_ago_is_too_long() -> None:
    irregular = (300, 1000, 300, 1000, 300)
    assert not found(replace(NOBODY, starts=nights(*irregular[:4])), "circadian-disruption")
    assert not found(replace(NOBODY, starts=nights(*irregular, first_ago=10)), "circadian-disruption")
    assert found(replace(NOBODY, starts=nights(*irregular, first_ago=9)), "circadian-disruption")


def test_midnight_does_not_make_a_night_irregular() -> None:
    around = (715, 725, 710, 730, 720)  # from 23:50 to 00:10
    assert not found(replace(NOBODY, starts=nights(*around)), "circadian-disruption")


def hrv(value: float, count: int = 5) -> list[tuple[str, datetime, float]]:
    return [("hrv_sdnn", CLOCK - timedelta(hours=number), value) for number in range(count)]


USUAL = {"hrv_sdnn": days({ago: 60 + (4 if ago % 2 else -4) for ago in range(1, 29)})}
"""Mean 60, standard deviation 4.07."""


@pytest.mark.parametrize(("value", "level"), [(56, None), (55.9, "notice"), (48, "notice"), (47.9, "high")])
def test_five_low_readings_of_a_day(value: float, level: str | None) -> None:
    history = replace(NOBODY, recent=hrv(value), days=USUAL)
    assert [pattern.level for pattern in found(history, "recovery-deficit")] == ([level] if level else [])


def test_four_readings_or_old_ones_or_few_days_are_no_deficit() -> None:
    old = [*hrv(30, 4), ("hrv_sdnn", CLOCK - timedelta(hours=24), 30.0)]
    for history in (
        replace(NOBODY, recent=hrv(30, 4), days=USUAL),
        replace(NOBODY, recent=old, days=USUAL),
        replace(NOBODY, recent=hrv(30), days={"hrv_sdnn": days(dict.fromkeys(range(1, 7), 60))}),
        replace(NOBODY, recent=hrv(30), days={"hrv_rmssd": USUAL["hrv_sdnn"]}),
    ):
        assert not found(history, "recovery-deficit")


def hours(low_days: int, first_ago: int = 0) -> dict[tuple[date, int], dict[str, Sum]]:
    """Ten days of four hours; at two in the afternoon of some the value is low."""
    return {
        (TODAY - timedelta(days=first_ago + ago), hour): one(25 if hour == 14 and ago < low_days else 50 + hour / 10)
        for ago in range(10)
        for hour in (8, 11, 14, 17)
    }


def test_the_same_hour_is_low_on_five_days_and_not_on_four() -> None:
    assert not found(replace(NOBODY, hours={"hrv_sdnn": hours(4)}), "recurring-dip")
    (pattern,) = found(replace(NOBODY, hours={"hrv_sdnn": hours(5)}), "recurring-dip")
    assert (pattern.detail, pattern.level, pattern.confidence) == ("hrv_sdnn at 14", "notice", 0.5)
    assert pattern.evidence["days"] == [(TODAY - timedelta(days=ago)).isoformat() for ago in range(4, -1, -1)]
    (pattern,) = found(replace(NOBODY, hours={"hrv_sdnn": hours(10)}), "recurring-dip")
    assert (pattern.level, pattern.confidence) == ("high", 1)
    assert not found(replace(NOBODY, hours={"hrv_sdnn": hours(5, first_ago=26)}), "recurring-dip")


@pytest.mark.parametrize(("low", "level"), [(2, None), (3, "notice"), (4, "notice"), (5, "high")])
def test_a_weekday_of_low_recovery(low: int, level: str | None) -> None:
    values = dict.fromkeys(range(56), 70.0) | {7 * week + 2: 39.9 for week in range(low)}
    patterns = found(replace(NOBODY, days={"recovery_score": days(values)}), "low-recovery-weekday")
    assert [(pattern.level, pattern.detail) for pattern in patterns] == ([(level, "friday")] if level else [])
    at_the_bound = values | {7 * week + 2: 40.0 for week in range(low)}
    assert not found(replace(NOBODY, days={"recovery_score": days(at_the_bound)}), "low-recovery-weekday")
    assert WEEKDAYS[TODAY.weekday()] == "sunday"


def test_recovery_of_more_than_eight_weeks_ago_is_forgotten() -> None:
    values = dict.fromkeys(range(56, 90), 20.0)
    assert not found(replace(NOBODY, days={"recovery_score": days(values)}), "low-recovery-weekday")


@given(
    st.dictionaries(st.integers(0, 60), st.floats(1, 100), max_size=60),
    st.lists(st.tuples(st.integers(0, 30), st.floats(1, 200)), max_size=12),
    st.lists(st.floats(0, 1439), max_size=14),
)
def test_whatever_is_found_is_told_within_bounds(
    recovery: dict[int, float], readings: list[tuple[int, float]], starts: list[float]
) -> None:
    history = replace(
        NOBODY,
        days={"recovery_score": days(recovery), "hrv_sdnn": days(recovery)},
        recent=[("hrv_sdnn", CLOCK - timedelta(hours=ago), value) for ago, value in readings],
        starts=nights(*starts),
    )
    for pattern in find(history):
        assert 0 <= pattern.confidence <= 1
        assert pattern.evidence
    assert find(history) == find(replace(history, recent=history.recent[::-1]))


# What becomes of them


def pattern(level: str = "notice", **evidence: object) -> Pattern:
    return Pattern(kind="recovery-deficit", detail="hrv_sdnn", level=level, confidence=0.7, evidence=evidence)  # type: ignore[arg-type]


def test_a_pattern_begins_changes_and_ends() -> None:
    key = ("recovery-deficit", "hrv_sdnn")
    begun = changes({}, [pattern(mean=40)], CLOCK)
    assert begun[key] == Known(
        kind="recovery-deficit",
        detail="hrv_sdnn",
        level="notice",
        confidence=0.7,
        evidence={"mean": 40},
        since=CLOCK,
        last_seen=CLOCK,
    )
    later = CLOCK + timedelta(hours=3)
    assert changes(begun, [pattern(mean=40)], later) == {}
    worse = changes(begun, [pattern("high", mean=30)], later)[key]
    assert (worse.level, worse.since, worse.last_seen, worse.ended_at) == ("high", CLOCK, later, None)
    assert changes(begun, [], later)[key].ended_at == later
