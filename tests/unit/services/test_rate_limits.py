"""Rate limits without Redis: what happens to a request that is counted, that is one too many, or cannot be counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Depends
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError
from starlette.testclient import TestClient

from auren.auth import TooManyError, Verifier
from auren.health import Health
from auren.http import authenticated, create_app
from auren.rate_limits import AWAY_SECONDS, RateLimits
from auren.settings import RedisSettings
from auren.telemetry import Metrics
from tests.unit.services.front import SETTINGS, token, verifier

REDIS = RedisSettings(redis_host="127.0.0.1", redis_port=1, redis_password=SecretStr("x"))


class Counter:
    """Stands for the library's strategy: gives these answers, one for each request."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[Sequence[str]] = []

    async def hit(self, _item: Any, *identifiers: str) -> bool:
        self.asked.append(identifiers)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def get_window_stats(self, *_: Any) -> Any:
        return SimpleNamespace(reset_time=time.time() + 12.5)


def limits(counter: Counter, now: list[float]) -> tuple[RateLimits, Metrics]:
    metrics = Metrics("test")
    subject = RateLimits(REDIS, 600, metrics, lambda: now[0])
    subject._limiter = counter  # type: ignore[assignment]
    return subject, metrics


def total(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"auren_test_{name}_total")


async def test_each_service_counts_each_person_for_itself() -> None:
    counter = Counter(True, True)
    subject, _ = limits(counter, [0.0])
    await subject.spend("anna")
    await subject.spend("ben")
    assert counter.asked == [("test", "anna"), ("test", "ben")]


async def test_one_too_many_is_told_when_to_come_back() -> None:
    subject, metrics = limits(Counter(False), [0.0])
    with pytest.raises(TooManyError) as refused:
        await subject.spend("anna")
    assert refused.value.retry_after_seconds == 13
    assert total(metrics, "rate_limited_requests") == 1


@pytest.mark.parametrize("away", [RedisConnectionError("gone"), TimeoutError(), OSError()])
async def test_without_redis_everybody_is_let_in_and_it_is_asked_again_later(away: Exception) -> None:
    counter, now = Counter(away, False), [0.0]
    subject, metrics = limits(counter, now)
    await subject.spend("anna")
    now[0] = AWAY_SECONDS - 0.1
    await subject.spend("anna")
    assert len(counter.asked) == 1
    assert total(metrics, "uncounted_requests") == 2
    now[0] = AWAY_SECONDS
    with pytest.raises(TooManyError):
        await subject.spend("anna")


async def test_a_redis_that_cannot_be_reached_is_no_hindrance() -> None:
    metrics = Metrics("test")
    subject = RateLimits(REDIS, 600, metrics)
    await subject.start()
    await subject.spend("anna")
    await subject.stop()
    assert total(metrics, "uncounted_requests") == 1


def test_only_who_shows_a_valid_token_is_counted_and_health_is_free() -> None:
    class Spent:
        def __init__(self) -> None:
            self.by: list[str] = []

        async def spend(self, subject: str) -> None:
            self.by.append(subject)
            await asyncio.sleep(0)
            raise TooManyError(7)

    spent = Spent()
    known = verifier()
    app = create_app("test", SETTINGS, Health("test"), Metrics("test"))
    limited = Verifier(SETTINGS, known._revocations, spent)

    @app.get("/mine", dependencies=[Depends(authenticated(limited, "read:biometrics"))])
    async def mine() -> None: ...

    with TestClient(app) as client:
        assert client.get("/mine").status_code == 401
        assert client.get("/health/live").status_code == 200
        assert spent.by == []
        # Also without the scope: whoever asks too often is refused before anything else is looked at.
        for scope in ("read:biometrics", ""):
            refused = client.get("/mine", headers={"Authorization": f"Bearer {token(scope)}"})
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
            assert refused.json()["type"] == "urn:auren:problem:too-many"
        assert spent.by == ["anna", "anna"]
    document = app.openapi()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert document["paths"]["/mine"]["get"]["security"] == [{"bearer": ["read:biometrics"]}]
