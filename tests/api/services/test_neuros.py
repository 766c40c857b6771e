"""NEUROS on real stores: answers from the person's own values, resumes sessions, and says what it lacks."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from auren.events import Event
from auren.modes import DEFAULTS, Mode
from auren.neuros.guard.emergencies import TEXTS
from auren.neuros.settings import NeurosSettings
from auren.neuros.wording import NO_ACCESS, NO_BASELINE, NO_VALUES
from tests.api import stores
from tests.api.processes import Servers
from tests.api.services.measurements import event, publish, query, values
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.waiting import until

USER = "neuros-advanced"
MEMORY_MIB = 200
AUDIT_ROWS = "SELECT service, action, detail::text AS d FROM audit_log WHERE detail->>'session_id' = $1"


def start(platform: Platform, chroma: stores.Chroma) -> Service:
    address = {"AUREN_CHROMA_HOST": chroma.host, "AUREN_CHROMA_PORT": str(chroma.port)}
    return platform.service("auren.neuros", user=USER, environment=address)


@pytest.fixture(scope="module")
def shared(prepared_platform: Platform, chroma: stores.Chroma) -> Iterator[tuple[Service, Service]]:
    """NEUROS, and the biometric service that stores what it answers from."""
    with Servers("neuros") as servers:
        prepared_platform.servers = servers
        yield (
            start(prepared_platform, chroma),
            prepared_platform.service("auren.biometric", user="biometric-production"),
        )


@pytest.fixture
def neuros(shared: tuple[Service, Service], platform: Platform) -> Service:
    """NEUROS with all it needs; the biometric service runs as well."""
    for service in shared:
        service.server.start()
        service.wait_ready()
    return shared[0]


def ask(platform: Platform, neuros: Service, user: str, message: str, **question: Any) -> dict[str, Any]:
    answer = httpx.post(
        neuros.url("/api/agents/neuros/analyze"),
        json={"message": message, **question},
        headers=platform.bearer(user, "chat:neuros"),
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def now(*, hours_ago: float = 0) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours_ago)


async def measured(platform: Platform, user: str, *events: Event) -> None:
    """Publish and wait until the rows are there."""
    await publish(platform, events)
    count = sum(len(event.readings) for event in events)

    async def there() -> bool:
        return len(await values(platform, user)) >= count

    await until(there)


async def test_an_answer_holds_the_persons_own_values(platform: Platform, neuros: Service) -> None:
    user = new_user()
    await measured(
        platform,
        user,
        event(user, [61], start=now(hours_ago=0.1)),
        event(user, [22], metric="hrv_rmssd", document="d2", start=now(hours_ago=3)),
    )
    answer = ask(platform, neuros, user, "How am I doing?")
    assert answer["mode"] == "reflex"
    assert "22 ms" in answer["mode_reason"]
    assert "22 ms, 3 hours ago" in answer["response"]
    assert "61 beats per minute" in answer["response"]
    assert NO_BASELINE in answer["response"]
    assert {(i["metric"], i["value"], i["unit"]) for i in answer["biometric_insights"]} == {
        ("hrv_rmssd", 22, "ms"),
        ("heart_rate", 61, "/min"),
    }
    assert [i["protocol"] for i in answer["interventions"]] == ["breathing-4-7-8"]
    assert answer["model"] == "rules"
    assert answer["timings"].keys() >= {"load_context", "choose_mode", "total"}
    assert answer["data_quality"]["without_baseline"] == ["hrv_rmssd", "heart_rate"]
    assert re.fullmatch(r"[0-9a-f]{32}", answer["session_id"])


async def test_nobody_elses_values_are_told(platform: Platform, neuros: Service) -> None:
    owner, other = new_user(), new_user()
    await measured(platform, owner, event(owner, [77], start=now()))
    assert "77" in ask(platform, neuros, owner, "pulse?", session_id="shared-name")["response"]
    answer = ask(platform, neuros, other, f"Tell me the pulse of {owner}", session_id="shared-name")
    assert NO_VALUES in answer["response"]
    assert "77" not in answer["response"]
    assert answer["biometric_insights"] == []
    await measured(platform, other, event(other, [64], start=now()))
    # Once Redis has an empty, complete hash of a person, new values still reach it.
    assert "64" in ask(platform, neuros, other, "pulse?")["response"]
    again = ask(platform, neuros, other, "pulse?", session_id="shared-name")
    assert "last spoke" not in again["response"]


async def test_a_session_resumes_after_a_restart(platform: Platform, neuros: Service) -> None:
    user = new_user()
    await measured(platform, user, event(user, [61], start=now(hours_ago=0.2)))
    first = ask(platform, neuros, user, "How is my pulse?")
    neuros.server.kill()
    neuros.server.start()
    neuros.wait_ready()
    await measured(platform, user, event(user, [82], document="d2", start=now()))
    second = ask(platform, neuros, user, "Hello again, and my pulse now?", session_id=first["session_id"])
    assert "82 beats per minute" in second["response"]
    assert "When we last spoke in this session, your heart rate was 61 beats per minute." in second["response"]
    fresh = ask(platform, neuros, user, "How is my pulse?")
    assert "last spoke" not in fresh["response"]


async def test_no_message_and_no_token_is_kept(platform: Platform, neuros: Service) -> None:
    user, secret = new_user(), "a-very-private-sentence"
    answer = ask(platform, neuros, user, f"I feel off: {secret}")
    assert answer["mode"] == "companion"
    kept = await query(platform, "SELECT c::text AS c FROM langgraph.checkpoints c")
    kept += await query(platform, "SELECT encode(blob, 'escape') AS c FROM langgraph.checkpoint_blobs")
    kept += await query(platform, "SELECT encode(blob, 'escape') AS c FROM langgraph.checkpoint_writes")
    assert any(user in row["c"] for row in kept)
    assert not [row for row in kept if secret in (row["c"] or "")]
    log = neuros.server.log.read_text()
    assert user not in log
    assert secret not in log
    assert user not in neuros.metrics()


async def test_an_emergency_is_answered_at_once_and_leaves_an_audit_row(platform: Platform, neuros: Service) -> None:
    user, session = new_user(), new_user()
    answer = ask(platform, neuros, user, "I have chest pain", session_id=session)
    assert answer["response"] == TEXTS["chest", "en"]
    assert answer["mode"] is None
    rows: list[Any] = []

    async def written() -> bool:
        rows[:] = await query(platform, AUDIT_ROWS, session)
        return bool(rows)

    await until(written)  # the reply does not wait for the row
    assert [(row["service"], row["action"]) for row in rows] == [("neuros-advanced", "emergency.chest")]
    assert "chest" not in rows[0]["d"]


async def test_redis_away_changes_the_origin_and_not_the_answer(platform: Platform, neuros: Service) -> None:
    user = new_user()
    await measured(platform, user, event(user, [61], start=now()))
    platform.redis.server.stop()
    answer = ask(platform, neuros, user, "How is my pulse?")
    assert "61 beats per minute" in answer["response"]
    assert answer["data_quality"]["origin"] == "postgres"
    assert any(note.startswith("redis: ") for note in answer["data_quality"]["notes"])


async def test_the_database_away_is_said_and_answers_go_on(platform: Platform, neuros: Service) -> None:
    user = new_user()
    platform.postgres.server.kill()
    answer = ask(platform, neuros, user, "How is my pulse?")
    assert NO_ACCESS in answer["response"]
    assert not re.search(r"\d", answer["response"])
    notes = answer["data_quality"]["notes"]
    assert any(note.startswith("session: ") for note in notes)
    assert any(note.startswith("measurements: database") for note in notes)
    assert ask(platform, neuros, user, "I want to die")["response"] == TEXTS["self-harm", "en"]

    async def named() -> bool:  # what was found of the health may be a second old
        return {"database", "agent"} <= {one["name"] for one in neuros.health().json().get("missing", ())}

    await until(named)
    platform.postgres.server.start()
    neuros.wait_ready()
    assert NO_VALUES in ask(platform, neuros, user, "How is my pulse?")["response"]


async def test_chroma_away_is_told_by_readiness_alone(
    platform: Platform, neuros: Service, chroma: stores.Chroma
) -> None:
    user = new_user()
    chroma.server.stop()

    async def says_so() -> bool:
        ready = neuros.health()
        return ready.status_code == 503 and [m["name"] for m in ready.json()["missing"]] == ["chroma"]

    await until(says_so)
    assert ask(platform, neuros, user, "hi")["mode"] == "companion"
    chroma.server.start()
    neuros.wait_ready()


def test_the_thresholds_can_be_read(platform: Platform, neuros: Service) -> None:
    answer = httpx.get(neuros.url("/modes"), headers=platform.bearer(new_user(), "chat:neuros"))
    assert answer.json()["modes"] == [mode.value for mode in Mode]
    assert [rule["id"] for rule in answer.json()["rules"]] == [rule.id for rule in DEFAULTS.rules]
    assert answer.json()["rules"][0]["conditions"][0]["is"] == "below"


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({}, "body.message"),
        ({"message": ""}, "body.message"),
        ({"message": "x" * 4001}, "body.message"),
        ({"message": "hi", "session_id": "a/b"}, "body.session_id"),
        ({"message": "hi", "user": "anna"}, "body"),
        ({"message": "hi", "context": {"feeling": "great"}}, "body.context.feeling"),
    ],
)
def test_a_wrong_question_names_the_field(
    platform: Platform, neuros: Service, question: dict[str, Any], field: str
) -> None:
    answer = httpx.post(
        neuros.url("/api/agents/neuros/analyze"), json=question, headers=platform.bearer(new_user(), "chat:neuros")
    )
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_without_a_token_nothing_is_answered(neuros: Service) -> None:
    assert httpx.post(neuros.url("/api/agents/neuros/analyze"), json={"message": "hi"}).status_code == 401
    assert httpx.get(neuros.url("/modes")).status_code == 401


def test_it_stays_small(platform: Platform, neuros: Service) -> None:
    headers = platform.bearer(new_user(), "chat:neuros")
    with httpx.Client(base_url=neuros.url(""), headers=headers) as client:
        for _ in range(100):
            question = {"message": "How am I doing?", "session_id": "s"}
            client.post("/api/agents/neuros/analyze", json=question).raise_for_status()
    with open(f"/proc/{neuros.server.pid}/statm") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    assert resident < MEMORY_MIB


async def test_it_opens_no_more_connections_than_it_was_given(
    platform: Platform, neuros: Service, chroma: stores.Chroma
) -> None:
    settings = NeurosSettings.model_validate(
        {
            "kafka_bootstrap": "a:1",
            "kafka_security": "PLAINTEXT",
            "database_host": "a",
            "database_user": "a",
            "database_password": "a",
            "database_pool_size": 5,
            "redis_host": "a",
            "redis_password": "a",
            "chroma_host": "a",
        }
    )
    assert settings.session_connections + settings.without_sessions().database_pool_size == 5
    user = new_user()

    async def one() -> None:
        async with httpx.AsyncClient(
            base_url=neuros.url(""), headers=platform.bearer(user, "chat:neuros"), timeout=60
        ) as client:
            for _ in range(5):
                question = {"message": "hi", "session_id": new_user()}
                (await client.post("/api/agents/neuros/analyze", json=question)).raise_for_status()

    await asyncio.gather(*(one() for _ in range(20)))
    (row,) = await query(platform, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'neuros_advanced'")
    assert 2 <= row["count"] <= NeurosSettings.model_fields["database_pool_size"].default


def test_it_stops_gracefully(neuros: Service) -> None:
    neuros.server.terminate()
    assert neuros.server.wait_ended(20) == 0
