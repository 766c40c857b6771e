"""The day's tokens: never more than the limit, given back by what was used, counted with Redis and without."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren.neuros.models import BudgetSpentError
from auren.neuros.models.budget import AWAY_SECONDS, DAY_SECONDS, KEPT_SECONDS, Budget
from tests.unit.services.model_counts import Counts
from tests.unit.services.test_vendors_breaker import Time

NOON = 20_000.5 * DAY_SECONDS
KEY = "llm-tokens:20000:anna"


def budget(counts: Counts, clock: Time, daily_tokens: int = 100) -> Budget:
    return Budget(counts.redis, daily_tokens, clock)


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def clock() -> Time:
    return Time(NOON)


async def test_what_was_not_used_is_given_back(counts: Counts, clock: Time) -> None:
    tokens = budget(counts, clock)
    reserved = await tokens.reserve("anna", 80)
    assert counts.of == {KEY: 80}
    await tokens.settle(reserved, 30)
    assert counts.of == {KEY: 30}
    await tokens.reserve("anna", 70)
    with pytest.raises(BudgetSpentError):
        await tokens.reserve("anna", 1)
    assert counts.of == {KEY: 100}


async def test_more_than_was_reserved_is_counted_too(counts: Counts, clock: Time) -> None:
    tokens = budget(counts, clock)
    await tokens.settle(await tokens.reserve("anna", 80), 120)
    assert counts.of == {KEY: 120}


async def test_the_end_of_the_day_is_named_and_counts_do_not_stay(counts: Counts, clock: Time) -> None:
    with pytest.raises(BudgetSpentError) as spent:
        await budget(counts, clock).reserve("anna", 101)
    assert spent.value.retry_after_seconds == DAY_SECONDS / 2
    assert counts.kept_seconds == {KEY: DAY_SECONDS / 2 + KEPT_SECONDS}


async def test_a_second_is_the_shortest_wait(counts: Counts) -> None:
    with pytest.raises(BudgetSpentError) as spent:
        await budget(counts, Time(20_001 * DAY_SECONDS - 0.01)).reserve("anna", 101)
    assert spent.value.retry_after_seconds == 1


async def test_everybody_has_their_own_and_a_new_one_each_day(counts: Counts, clock: Time) -> None:
    tokens = budget(counts, clock)
    reserved = await tokens.reserve("anna", 100)
    await tokens.reserve("ben", 100)
    clock.now += DAY_SECONDS / 2
    await tokens.reserve("anna", 100)
    await tokens.settle(reserved, 1)  # the day before is over
    assert counts.of == {KEY: 100, "llm-tokens:20000:ben": 100, "llm-tokens:20001:anna": 100}


async def test_without_redis_the_process_counts_alone(counts: Counts, clock: Time) -> None:
    tokens = budget(counts, clock)
    await tokens.settle(await tokens.reserve("anna", 60), 40)
    counts.away = True
    await tokens.settle(await tokens.reserve("anna", 60), 50)
    with pytest.raises(BudgetSpentError):
        await tokens.reserve("anna", 11)
    await tokens.reserve("anna", 10)
    assert counts.of == {KEY: 40}


async def test_redis_is_not_asked_again_at_once_and_then_told_what_it_missed(counts: Counts, clock: Time) -> None:
    tokens = budget(counts, clock, 1000)
    counts.away = True
    reserved = await tokens.reserve("anna", 60)
    await tokens.settle(reserved, 50)
    assert counts.asked == 1
    counts.away, clock.now = False, clock.now + AWAY_SECONDS
    await tokens.reserve("anna", 5)
    assert counts.of == {KEY: 55}


async def test_a_reservation_that_redis_has_is_settled_when_it_is_back(counts: Counts, clock: Time) -> None:
    tokens = budget(counts, clock, 1000)
    reserved = await tokens.reserve("anna", 60)
    counts.away = True
    await tokens.settle(reserved, 50)
    assert counts.of == {KEY: 60}
    counts.away, clock.now = False, clock.now + AWAY_SECONDS
    await tokens.reserve("anna", 1)
    assert counts.of == {KEY: 51}


async def test_a_redis_that_does_not_answer_is_away(clock: Time) -> None:
    class Silent(Counts):
        async def _count(self, *_: object, **__: object) -> int:
            await asyncio.Event().wait()
            raise AssertionError

    tokens = Budget(Silent().redis, 100, clock, timeout_seconds=0.01)
    await tokens.reserve("anna", 100)
    with pytest.raises(BudgetSpentError):
        await tokens.reserve("anna", 1)


@given(
    steps=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60), st.booleans()), max_size=40),
)
async def test_reserved_and_used_tokens_never_exceed_the_limit(steps: list[tuple[int, int, bool]]) -> None:
    counts, clock = Counts(), Time(NOON)
    tokens, used = budget(counts, clock), 0
    for wanted, cost, away in steps:
        counts.away, clock.now = away, clock.now + AWAY_SECONDS
        try:
            reserved = await tokens.reserve("anna", wanted)
        except BudgetSpentError:
            assert used + wanted > 100
            continue
        await tokens.settle(reserved, min(cost, wanted))
        used += min(cost, wanted)
        assert used <= 100
    counts.away, clock.now = False, clock.now + AWAY_SECONDS
    await tokens.settle(await tokens.reserve("anna", 0), 0)
    assert counts.total == used
