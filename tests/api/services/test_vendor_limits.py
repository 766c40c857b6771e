"""Outbound limits on a real Redis: replicas share the buckets and the pauses, and outlive Redis' absence."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from auren.bridge.vendors import RetryLaterError
from auren.bridge.vendors.breaker import Breaker
from auren.bridge.vendors.limits import CONNECTIONS, Quota, SharedLimits
from auren.bridge.vendors.whoop import QUOTAS
from auren.redis_client import redis_client
from auren.settings import RedisSettings
from tests.api import stores

HOUR = Quota(100, 3600)
"""One request comes back in 40 seconds: none does during a test."""


PATIENCE_SECONDS = 60.0
"""So that a busy machine is not taken for an absence of Redis."""


@pytest.fixture
async def redis(redis_store: stores.Redis) -> AsyncIterator[Redis]:
    settings = RedisSettings(
        redis_host=redis_store.host, redis_port=redis_store.port, redis_password=SecretStr(redis_store.password)
    )
    async with redis_client(settings, connections=CONNECTIONS, timeout_seconds=PATIENCE_SECONDS) as client:
        yield client


@pytest.fixture
def vendor() -> str:
    """A vendor of one test only."""
    return f"vendor-{uuid.uuid4().hex[:8]}"


def replica(redis: Redis, vendor: str, *quotas: Quota) -> SharedLimits:
    return SharedLimits(vendor, quotas, redis, Breaker("redis", failures=1000), redis_seconds=PATIENCE_SECONDS)


async def spent(limits: SharedLimits, times: int) -> int:
    """How many of so many requests at once were let through."""
    results = await asyncio.gather(*(limits.spend() for _ in range(times)), return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), RetryLaterError}
    return sum(result is None for result in results)


async def patient(limits: SharedLimits) -> bool:
    """Whether a request is let through after the time that was asked for, however often that is."""
    for _ in range(20):
        try:
            await limits.spend()
        except RetryLaterError as refused:
            await asyncio.sleep(refused.seconds)
        else:
            return not limits.alone
    return False


async def test_replicas_share_one_bucket(redis: Redis, vendor: str) -> None:
    replicas = [replica(redis, vendor, HOUR) for _ in range(4)]
    through = await asyncio.gather(*(spent(limits, 10) for limits in replicas))
    assert sum(through) == HOUR.burst == 10


async def test_redis_says_how_long_to_wait(redis: Redis, vendor: str) -> None:
    limits = replica(redis, vendor, Quota(2, 600))
    await limits.spend()
    with pytest.raises(RetryLaterError) as refused:
        await limits.spend()
    assert 300 < refused.value.seconds <= 600


async def test_whoever_waits_as_long_as_told_gets_through(redis: Redis, vendor: str) -> None:
    for limits in (replica(redis, vendor, Quota(2, 0.1)) for _ in range(5)):
        assert await patient(limits)


async def test_a_refused_request_is_counted_in_no_bucket(redis: Redis, vendor: str) -> None:
    both, longer = replica(redis, vendor, HOUR, Quota(1000, 3600)), replica(redis, vendor, Quota(1000, 3600))
    assert await spent(both, 50) == HOUR.burst
    assert await spent(longer, 200) == 100 - HOUR.burst


async def test_the_quotas_of_whoop(redis: Redis, vendor: str) -> None:
    assert await spent(replica(redis, vendor, *QUOTAS), 5) == 5
    assert set(await redis.hkeys(f"limits:{vendor}")) == {b"100/60", b"10000/86400"}


async def test_a_pause_holds_for_all_replicas_and_is_never_shortened(redis: Redis, vendor: str) -> None:
    told, other = replica(redis, vendor, HOUR), replica(redis, vendor, HOUR)
    await told.pause(500)
    await replica(redis, vendor, HOUR).pause(5)
    for limits in (told, other):
        with pytest.raises(RetryLaterError) as refused:
            await limits.spend()
        assert 400 < refused.value.seconds <= 500
    assert await redis.hkeys(f"limits:{vendor}") == [b"not_before"]


async def test_a_pause_ends(redis: Redis, vendor: str) -> None:
    limits = replica(redis, vendor)
    await limits.pause(0.1)
    assert await patient(replica(redis, vendor))


async def test_nothing_is_left_in_redis_for_ever(redis: Redis, vendor: str) -> None:
    limits, key = replica(redis, vendor, HOUR), f"limits:{vendor}"
    await limits.spend()
    assert 0 < await redis.pttl(key) <= 41_000
    await limits.pause(3000)
    assert 2_000_000 < await redis.pttl(key) <= 3_001_000
    await limits.pause(10)
    assert await redis.pttl(key) > 2_000_000


async def test_a_short_pause_forgets_no_bucket(redis: Redis, vendor: str) -> None:
    limits = replica(redis, vendor, HOUR)
    assert await spent(limits, 20) == HOUR.burst
    await limits.pause(1)
    assert await redis.pttl(f"limits:{vendor}") > 200_000


async def test_scripts_are_loaded_again_after_redis_forgot_them(redis: Redis, vendor: str) -> None:
    limits = replica(redis, vendor, HOUR)
    await limits.spend()
    await redis.script_flush()
    await limits.spend()
    assert await spent(replica(redis, vendor, HOUR), 20) == HOUR.burst - 2


async def test_without_redis_the_rate_goes_on_and_comes_back_shared(
    redis: Redis, redis_store: stores.Redis, vendor: str
) -> None:
    limits = replica(redis, vendor, HOUR)
    assert await spent(limits, 4) == 4
    await asyncio.to_thread(redis_store.server.stop)
    try:
        assert await spent(limits, 20) == HOUR.burst - 4
        assert limits.alone
    finally:
        await asyncio.to_thread(redis_store.server.start)
    shared_again = [not limits.alone for _ in range(100) if await spent(limits, 1) >= 0]
    assert shared_again[-1]  # connections from before the restart fail once each
