"""The tokens of a day on a real Redis: replicas share them, grant no more than the limit, and give back the rest."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from auren.neuros.models import BudgetSpentError
from auren.neuros.models.budget import CONNECTIONS, DAY_SECONDS, KEPT_SECONDS, Budget
from auren.redis_client import redis_client
from auren.settings import RedisSettings
from tests.api import stores

PATIENCE_SECONDS = 60.0
"""So that a busy machine is not taken for an absence of Redis."""

NOON = 30_000.5 * DAY_SECONDS


@pytest.fixture
async def redis(redis_store: stores.Redis) -> AsyncIterator[Redis]:
    settings = RedisSettings(
        redis_host=redis_store.host, redis_port=redis_store.port, redis_password=SecretStr(redis_store.password)
    )
    async with redis_client(settings, connections=CONNECTIONS, timeout_seconds=PATIENCE_SECONDS) as client:
        yield client


@pytest.fixture
def user_id() -> str:
    """A user of one test only."""
    return f"user-{uuid.uuid4().hex[:8]}"


def replica(redis: Redis, daily_tokens: int = 1000) -> Budget:
    return Budget(redis, daily_tokens, lambda: NOON, timeout_seconds=PATIENCE_SECONDS)


async def counted(redis: Redis, user_id: str) -> int:
    return int(await redis.get(f"llm-tokens:30000:{user_id}") or 0)


async def test_replicas_grant_no_more_than_the_limit_together(redis: Redis, user_id: str) -> None:
    replicas = [replica(redis) for _ in range(4)]
    asked = [budget.reserve(user_id, 90) for budget in replicas for _ in range(5)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(result, BudgetSpentError) for result in results) == 9
    assert await counted(redis, user_id) == 990


async def test_what_is_given_back_can_be_spent_by_another_replica(redis: Redis, user_id: str) -> None:
    first, second = replica(redis), replica(redis)
    reserved = await first.reserve(user_id, 1000)
    with pytest.raises(BudgetSpentError):
        await second.reserve(user_id, 1)
    await first.settle(reserved, 400)
    await second.reserve(user_id, 600)
    assert await counted(redis, user_id) == 1000


async def test_a_count_ends_with_its_day(redis: Redis, user_id: str) -> None:
    await replica(redis).reserve(user_id, 1)
    left = await redis.ttl(f"llm-tokens:30000:{user_id}")
    assert DAY_SECONDS / 2 - 60 < left <= DAY_SECONDS / 2 + KEPT_SECONDS


async def test_a_count_that_redis_lost_does_not_go_below_nothing(redis: Redis, user_id: str) -> None:
    budget = replica(redis)
    reserved = await budget.reserve(user_id, 500)
    await redis.delete(f"llm-tokens:30000:{user_id}")
    await budget.settle(reserved, 100)
    assert await counted(redis, user_id) == 0
