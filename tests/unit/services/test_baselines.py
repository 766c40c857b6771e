"""Baselines beside a plain numpy computation, and what they must not depend on."""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren.baselines import LEAST_DAYS, LONG, SHORT, DayValue, baseline, by_day, value_of_day, values_of_days

TODAY = date(2026, 3, 29)


class Sum(NamedTuple):
    readings: int
    total: int


def days_of(values: dict[int, list[int]]) -> dict[date, dict[str, Sum]]:
    """By how many days before today: readings in millionths, of one source."""
    return {TODAY - timedelta(days=n): {"ring": Sum(len(of), sum(of))} for n, of in values.items()}


READINGS = st.dictionaries(
    st.integers(0, 40), st.lists(st.integers(20_000_000, 250_000_000), min_size=1, max_size=5), max_size=41
)


@given(READINGS, st.sampled_from((SHORT, LONG)))
def test_it_is_what_numpy_says_of_the_days_before(values: dict[int, list[int]], window: int) -> None:
    found = baseline("heart_rate", days_of(values), TODAY, window)
    inside = [np.mean(np.array(values[n]) / 1e6) for n in sorted(values, reverse=True) if 1 <= n <= window]
    if not inside:
        assert found is None
        return
    assert found is not None
    days = np.array(inside)
    assert found.mean == pytest.approx(days.mean(), rel=1e-12)
    assert found.sd == pytest.approx(days.std(ddof=1) if len(days) > 1 else 0, abs=1e-9)
    assert found.median == pytest.approx(np.median(days), rel=1e-12)
    assert found.mad == pytest.approx(np.median(np.abs(days - np.median(days))), abs=1e-9)
    assert (found.days, found.as_of, found.window_days) == (len(days), TODAY, window)
    assert found.readings == sum(len(values[n]) for n in values if 1 <= n <= window)
    assert found.trusted == (len(days) >= LEAST_DAYS[window])


@given(READINGS, st.randoms(use_true_random=False))
def test_the_order_of_days_is_of_no_account(values: dict[int, list[int]], chance: st.DataObject) -> None:
    shuffled = list(values.items())
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert baseline("spo2", days_of(dict(shuffled)), TODAY, LONG) == baseline("spo2", days_of(values), TODAY, LONG)


def test_today_and_the_day_before_the_window_do_not_count() -> None:
    edges = {0: [99_000_000], 1: [60_000_000], 28: [62_000_000], 29: [99_000_000]}
    found = baseline("hrv_rmssd", days_of(edges), TODAY, LONG)
    assert found is not None
    assert (found.mean, found.days) == (61, 2)


@pytest.mark.parametrize("window", LEAST_DAYS)
def test_it_is_trusted_from_a_number_of_days_on(window: int) -> None:
    for count in (LEAST_DAYS[window] - 1, LEAST_DAYS[window]):
        found = baseline("hrv_rmssd", days_of({n: [60_000_000] for n in range(1, count + 1)}), TODAY, window)
        assert found is not None
        assert found.trusted == (count == LEAST_DAYS[window])


def test_a_sum_is_that_of_the_source_that_counted_most_and_all_else_a_mean() -> None:
    sources = [Sum(10, 4_000_000_000), Sum(2, 5_000_000_000)]
    assert value_of_day("steps", sources) == 5000
    assert value_of_day("heart_rate", [Sum(3, 180_000_000), Sum(1, 100_000_000)]) == 70
    assert value_of_day("heart_rate", [Sum(0, 0)]) is None
    assert value_of_day("heart_rate", []) is None


def test_rows_of_a_day_are_gathered_by_source() -> None:
    rows = [DayValue(TODAY, "a", 1, 60_000_000), DayValue(TODAY, "b", 1, 70_000_000)]
    assert values_of_days("heart_rate", by_day(rows), TODAY, TODAY) == {TODAY: 65}
