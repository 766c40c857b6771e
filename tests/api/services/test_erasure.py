"""Erasure where it is hard: writers that come late, stores that are away, and what is kept outside the tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from auren import live
from auren.biometric import erasure
from auren.latest import HotValues, LatestValue
from auren.settings import RedisSettings
from tests.api import stores
from tests.api.services.measurements import query
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.test_neuros import start as start_neuros

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

USER = "biometric-production"
READ = "read:biometrics"
NOW = datetime.now(UTC)


def start(platform: Platform, **environment: str) -> Service:
    service = platform.service("auren.biometric", user=USER, environment=environment)
    service.wait_ready()
    return service


def erase(platform: Platform, service: Service, user: str) -> httpx.Response:
    return httpx.delete(service.url(f"/users/{user}"), headers=platform.bearer(user, READ), timeout=60)


def hot_values(platform: Platform) -> HotValues:
    redis = platform.redis
    return HotValues(
        RedisSettings(redis_host=redis.host, redis_port=redis.port, redis_password=SecretStr(redis.password))
    )


async def test_a_writer_that_comes_after_the_erasure_leaves_nothing_in_redis(platform: Platform) -> None:
    user = new_user()
    hot = hot_values(platform)
    value = LatestValue(metric="heart_rate", value=61, time=NOW, version=1, source="oura/ring", provider="oura")
    await hot.put({user: [value]})
    assert await hot.erase(user) == 1
    redis = hot._redis
    await redis.set(live.watched(user), "1")  # somebody still has the live stream open
    await hot.put({user: [value]})
    await hot.announce([(user, "mode", b"{}")])
    await hot.forget([user])
    await hot.put({user: [value]})
    assert "heart_rate" not in await redis.hgetall(f"hot:{user}")
    assert await redis.exists(live.stream(user)) == 0
    epoch = await hot.begin(user)
    assert not await hot.complete(user, [value], epoch, NOW)  # a reader of the tables, whatever it has found
    assert await hot.read(user, NOW) is None
    await hot.stop()


async def test_a_redis_that_is_away_is_named_and_the_erasure_completed_later(platform: Platform) -> None:
    user = new_user()
    service = start(platform)
    platform.redis.server.stop()
    try:
        answer = erase(platform, service, user)
        assert answer.status_code == 503
        assert answer.json()["type"].endswith(":erasure-incomplete")
        assert "redis" in answer.json()["detail"]
    finally:
        platform.redis.server.start()
    service.wait_ready()
    assert erase(platform, service, user).status_code == 200


async def test_neuros_keeps_nothing_of_somebody_who_was_erased(platform: Platform, chroma: stores.Chroma) -> None:
    user, other = new_user(), new_user()
    neuros = start_neuros(platform, chroma)
    neuros.wait_ready()
    service = start(platform, AUREN_NEUROS_URL=neuros.url(""))
    for asking in (user, other):
        assert say(platform, neuros, asking, "hello").status_code == 200
    assert erase(platform, service, user).status_code == 200
    refused = say(platform, neuros, user, "hello again")
    assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (410, "erased")
    kept = "SELECT FROM langgraph.checkpoints WHERE starts_with(thread_id, $1)"
    assert await query(platform, kept, user) == []
    assert await query(platform, kept, other) != []


async def test_an_emergency_is_answered_also_after_an_erasure_and_names_nobody(
    platform: Platform, chroma: stores.Chroma
) -> None:
    user = new_user()
    neuros = start_neuros(platform, chroma)
    neuros.wait_ready()
    service = start(platform, AUREN_NEUROS_URL=neuros.url(""))
    before = await query(platform, "SELECT count(*) FROM audit_log")
    for _ in range(2):
        assert say(platform, neuros, user, "I want to kill myself").status_code == 200
        assert erase(platform, service, user).status_code == 200
    neuros.server.stop()  # it waits for the rows that are being written
    after = await query(platform, "SELECT count(*) FROM audit_log")
    assert after[0]["count"] == before[0]["count"] + 4
    assert await query(platform, "SELECT FROM audit_log WHERE user_id = $1", user) == []


def say(platform: Platform, neuros: Service, user: str, message: str) -> httpx.Response:
    question = {"message": message, "session_id": "s1"}
    return neuros.post("/api/agents/neuros/analyze", question, platform.bearer(user, "chat:neuros"))


@pytest.mark.parametrize("year", [1970, 2999])
async def test_a_reading_of_an_odd_year_does_not_make_the_erasure_long(platform: Platform, year: int) -> None:
    user = new_user()
    for time in (NOW - timedelta(days=1), datetime(year, 1, 1, tzinfo=UTC)):
        await query(
            platform,
            "INSERT INTO readings (time, user_id, metric, source, value, provider, document_id, version, event_id,"
            " received_at) VALUES ($1, $2, 'heart_rate', 'oura/ring', 61, 'oura', 'd1', 1, gen_random_uuid(), now())",
            time,
            user,
        )
    statements: list[str] = []
    connection = await asyncpg.connect(platform.postgres.dsn(platform.database))
    with connection.query_logger(lambda told: statements.append(told.query)):
        assert await erasure._readings(cast("PoolConnectionProxy", connection), user) == 2
    await connection.close()
    assert len(statements) < 40
