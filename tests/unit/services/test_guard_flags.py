"""Red flags at their limits: one step before, they are down."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren.neuros.guard.check import Known, check
from auren.neuros.guard.flags import TEXTS, Flag, Night, Sample, red_flags

NOW = datetime(2026, 3, 10, 9, tzinfo=UTC)
TODAY = NOW.date()


def samples(*pairs: tuple[float, float]) -> list[Sample]:
    """(hours ago, value) as samples."""
    return [Sample(NOW - timedelta(hours=hours), value) for hours, value in pairs]


def nights(*percents: float, last: date = TODAY) -> list[Night]:
    """Nights up to `last`, one a day."""
    return [Night(last - timedelta(days=age), percent) for age, percent in enumerate(reversed(percents))]


def names(flags: tuple[Flag, ...]) -> list[str]:
    return [flag.name for flag in flags]


def test_nothing_known_is_no_flag() -> None:
    assert red_flags(now=NOW) == ()


@pytest.mark.parametrize(
    ("pairs", "flagged"),
    [
        ([(50, 80), (3, 40)], True),
        ([(50, 80), (3, 40.01)], False),
        ([(52, 80), (3, 40)], False),  # 49 hours apart
        ([(51, 80), (3, 40)], True),  # 48 hours apart
        ([(51, 80), (27, 60), (3, 40)], True),
        ([(27, 80), (20, 40), (3, 70)], False),  # it has come back
        ([(90, 80), (49, 40)], False),  # old
        ([(3, 40)], False),
        ([(27, 40), (3, 80)], False),
        ([(27, 0), (3, 0)], True),
    ],
)
def test_hrv_that_fell_to_half(pairs: list[tuple[float, float]], flagged: bool) -> None:
    assert ("hrv-fall" in names(red_flags(now=NOW, hrv=[samples(*pairs)]))) is flagged


def test_two_scales_of_hrv_are_never_compared() -> None:
    assert red_flags(now=NOW, hrv=[samples((27, 90)), samples((3, 30))]) == ()


@pytest.mark.parametrize(
    ("given_nights", "flagged"),
    [
        (nights(69.9, 69.9, 69.9), True),
        (nights(69.9, 70, 69.9), False),
        (nights(60, 60), False),
        (nights(60, 60, 60, last=TODAY - timedelta(days=1)), True),
        (nights(60, 60, 60, last=TODAY - timedelta(days=2)), False),
        ([*nights(60, 60), Night(TODAY - timedelta(days=3), 60)], False),  # a night is missing between
        (nights(60, 60, 60, 90), False),
        (nights(90, 60, 60, 60), True),
    ],
)
def test_three_nights_of_little_sleep_in_bed(given_nights: list[Night], flagged: bool) -> None:
    assert (names(red_flags(now=NOW, nights=given_nights)) == ["sleep-efficiency"]) is flagged


@pytest.mark.parametrize(
    ("pairs", "flagged"),
    [
        ([(50, 72), (26, 72), (2, 72)], True),
        ([(50, 72), (26, 71.9), (2, 72)], False),
        ([(26, 72), (2, 72)], False),
        ([(50, 72), (2, 72)], False),  # a day is missing between
        ([(47, 72), (26, 72), (2, 72)], True),  # the time of day varies
        ([(100, 72), (76, 72), (52, 72)], False),  # old
        ([(74, 60), (50, 72), (26, 72), (2, 72)], True),
        ([(50, 72), (26, 72), (2, 60)], False),
    ],
)
def test_a_resting_heart_rate_that_stays_up(pairs: list[tuple[float, float]], flagged: bool) -> None:
    found = red_flags(now=NOW, resting_heart_rate=samples(*pairs), resting_baseline=60)
    assert (names(found) == ["resting-heart-rate"]) is flagged


def test_without_a_trusted_baseline_the_resting_heart_rate_is_not_judged() -> None:
    assert red_flags(now=NOW, resting_heart_rate=samples((50, 99), (26, 99), (2, 99))) == ()


@given(st.permutations(samples((50, 80), (26, 60), (3, 40))))
def test_the_order_of_values_does_not_matter(series: list[Sample]) -> None:
    assert names(red_flags(now=NOW, hrv=[series])) == ["hrv-fall"]


def test_flags_suggest_a_professional_and_name_nothing() -> None:
    flags = red_flags(
        now=NOW,
        hrv=[samples((27, 80), (3, 40))],
        nights=nights(60, 60, 60),
        resting_heart_rate=samples((50, 72), (26, 72), (2, 72)),
        resting_baseline=60,
    )
    assert len(flags) == 3
    for flag in flags:
        assert "professional" in flag.sentences[1]
        assert TEXTS.issuperset(flag.sentences)
        for sentence in flag.sentences:
            fault = check(sentence, Known())
            assert fault is None or fault.kind == "number"
