"""Outbound limits: the buckets keep every window within the quota, also while Redis is away; pauses hold for all."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from auren.bridge.vendors import RetryLaterError
from auren.bridge.vendors.breaker import Breaker
from auren.bridge.vendors.limits import LocalLimits, Quota, SharedLimits
from auren.bridge.vendors.whoop import QUOTAS
from auren.link import OPEN
from tests.unit.services.test_vendors_breaker import Time

SECOND = 1_000_000


class FakeRedis:
    """Answers scripts in turn with what it is given; raises when that is an error."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, Sequence[Any]]] = []

    def register_script(self, script: str) -> Any:
        kind = "pause" if "not_before', string" in script else "spend"

        async def call(keys: Sequence[str], args: Sequence[Any]) -> int:
            self.calls.append((kind, args))
            assert keys == ["limits:whoop"]
            answer = self.answers.pop(0) if self.answers else RedisConnectionError("away")
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def limits(redis: FakeRedis, clock: Time, quotas: Sequence[Quota] = QUOTAS, failures: int = 100) -> SharedLimits:
    breaker = Breaker("redis", clock, failures=failures)
    return SharedLimits("whoop", quotas, cast("Redis", redis), breaker, clock)


@given(
    requests=st.integers(2, 60),
    seconds=st.integers(1, 100),
    gaps=st.lists(st.integers(0, 20 * SECOND), min_size=1, max_size=300),
)
def test_no_window_sees_more_than_the_quota(requests: int, seconds: int, gaps: list[int]) -> None:
    buckets = LocalLimits([Quota(requests, seconds)])
    now, made = 0, []
    for gap in gaps:
        now += gap
        if not buckets.wait(now):
            buckets.count(now)
            made.append(now)
    for i, first in enumerate(made):
        assert sum(first <= time <= first + seconds * SECOND for time in made[i:]) <= requests


@given(seed=st.integers(), requests=st.integers(2, 200))
def test_the_time_to_wait_is_exact(seed: int, requests: int) -> None:
    buckets = LocalLimits([Quota(requests, 60)])
    rng, now = random.Random(seed), 0
    for _ in range(50):
        now += rng.randrange(SECOND)
        wait = buckets.wait(now)
        if wait:
            assert buckets.wait(now + wait - 1) == 1
            now += wait
        assert buckets.wait(now) == 0
        buckets.count(now)


def test_a_greedy_caller_gets_nine_tenths_of_the_quota_and_more() -> None:
    buckets, made = LocalLimits(QUOTAS), 0
    for now in range(0, 60 * SECOND, SECOND // 10):
        while not buckets.wait(now):
            buckets.count(now)
            made += 1
    assert 90 <= made <= 100


def test_the_longer_quota_holds_too() -> None:
    buckets, now, made = LocalLimits(QUOTAS), 0, 0
    while now <= 86_400 * SECOND:
        wait = buckets.wait(now)
        if wait:
            now += wait
        else:
            buckets.count(now)
            made += 1
    assert 9_900 <= made <= 10_000


async def test_without_redis_the_same_rate_holds_in_this_process() -> None:
    clock = Time()
    alone = limits(FakeRedis(), clock)
    for _ in range(QUOTAS[0].burst):
        await alone.spend()
    with pytest.raises(RetryLaterError) as refused:
        await alone.spend()
    assert refused.value.seconds == pytest.approx(60 / 90, abs=1e-5)
    clock.now += refused.value.seconds
    await alone.spend()


async def test_losing_redis_gives_no_fresh_burst() -> None:
    clock = Time()
    shared = limits(FakeRedis(*[0] * QUOTAS[0].burst), clock)
    for _ in range(QUOTAS[0].burst):
        await shared.spend()
    with pytest.raises(RetryLaterError):
        await shared.spend()


async def test_what_redis_refuses_is_not_counted() -> None:
    clock = Time()
    redis = FakeRedis(*[1_500_000] * 50)
    shared = limits(redis, clock)
    for _ in range(50):
        with pytest.raises(RetryLaterError) as refused:
            await shared.spend()
        assert refused.value.seconds == 1.5
    await shared.spend()  # Redis is away now, and this process has used nothing yet


async def test_a_pause_holds_here_even_when_redis_missed_it() -> None:
    clock = Time()
    redis = FakeRedis(RedisConnectionError("away"), 0)
    shared = limits(redis, clock)
    await shared.pause(40)
    clock.now += 10
    with pytest.raises(RetryLaterError) as refused:
        await shared.spend()
    assert refused.value.seconds == 30
    clock.now += 30
    await shared.spend()
    assert redis.calls == [("pause", [40 * SECOND]), ("spend", redis.calls[1][1])]


async def test_a_dead_redis_is_not_asked_each_time() -> None:
    clock = Time()
    redis = FakeRedis()
    breaker = Breaker("redis", clock, failures=2)
    alone = SharedLimits("whoop", QUOTAS, cast("Redis", redis), breaker, clock)
    for _ in range(5):
        await alone.spend()
    assert breaker.state == OPEN
    assert len(redis.calls) == 2


async def test_without_quotas_only_pauses_hold() -> None:
    clock = Time()
    free = limits(FakeRedis(), clock, quotas=())
    for _ in range(1000):
        await free.spend()
    await free.pause(5)
    with pytest.raises(RetryLaterError):
        await free.spend()
