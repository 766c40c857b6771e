"""Health tells the truth: what is missing is named, nothing is asked too often, and no check can hang it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from auren import health as module
from auren.health import Health, UnhealthyError


class Dependency:
    """Something to check, that counts how often it is asked."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.asked = 0

    async def check(self) -> None:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Dependency:
    monkeypatch.setattr(module, "CACHE_SECONDS", 0.0)
    return Dependency()


@pytest.fixture
def health(kafka: Dependency) -> Health:
    subject = Health("bridge")
    subject.add("kafka", kafka.check)
    subject.fact("edition", lambda: None)
    return subject


def get(health: Health, path: str) -> tuple[int, dict[str, Any]]:
    answer = TestClient(Starlette(routes=health.routes())).get(path)
    return answer.status_code, answer.json()


def test_the_states_of_a_life(health: Health) -> None:
    assert get(health, "/health/live") == (200, {"status": "live"})
    assert get(health, "/health/serving") == (503, {"status": "starting"})
    assert get(health, "/health/ready")[1]["missing"] == [{"name": "bridge", "reason": "starting"}]
    health.started()
    assert get(health, "/health/serving") == (200, {"status": "serving"})
    assert get(health, "/health/ready") == (200, {"status": "ready"})
    health.drain()
    assert get(health, "/health/serving") == (503, {"status": "draining"})
    assert get(health, "/health/ready")[0] == 503
    assert get(health, "/health/live")[0] == 200


def test_what_is_missing_is_named_and_serving_goes_on(health: Health, kafka: Dependency) -> None:
    health.started()
    kafka.trouble = UnhealthyError("no broker answers")
    missing = [{"name": "kafka", "reason": "no broker answers"}]
    assert get(health, "/health/ready") == (503, {"status": "not ready", "missing": missing})
    assert get(health, "/health/serving")[0] == 200
    status, summary = get(health, "/health")
    assert status == 503
    assert summary["message"] == "bridge lacks kafka (no broker answers)"
    assert summary["checks"] == {"kafka": "no broker answers"}
    assert summary["facts"] == {"edition": "unknown"}
    kafka.trouble = None
    assert get(health, "/health")[1]["message"] == "bridge has all it needs"


def test_a_check_that_breaks_has_failed_and_shows_nothing(health: Health, kafka: Dependency) -> None:
    health.started()
    kafka.trouble = KeyError("anna")
    assert get(health, "/health/ready")[1]["missing"] == [{"name": "kafka", "reason": "KeyError"}]


async def test_a_check_that_hangs_has_failed_in_time(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_TIMEOUT_SECONDS", 0.01)
    health.add("database", asyncio.Event().wait)  # type: ignore[arg-type]  # returns True, never
    assert [(r.name, r.reason) for r in await health.results()] == [
        ("kafka", None),
        ("database", "no answer within 0 s"),
    ]


async def test_a_dependency_is_asked_once_however_many_ask(kafka: Dependency, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHE_SECONDS", 3600.0)
    health = Health("bridge")
    health.add("kafka", kafka.check)
    await asyncio.gather(*(health.results() for _ in range(20)))
    assert kafka.asked == 1


def test_a_name_is_taken_once(health: Health, kafka: Dependency) -> None:
    with pytest.raises(ValueError, match="kafka"):
        health.add("kafka", kafka.check)
