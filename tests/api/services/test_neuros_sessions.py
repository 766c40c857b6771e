"""What NEUROS keeps of conversations and people, seen by what the model is told later; and that it can be gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest

from auren.neuros.agent import Agent
from auren.neuros.interventions.store import Store
from auren.neuros.pruning import Pruning
from auren.neuros.sessions import open_pool
from auren.neuros.settings import NeurosSettings
from auren.neuros.turn import MOST_EXCHANGES
from auren.telemetry import Metrics
from tests.api import stores
from tests.api.processes import Servers
from tests.api.services.measurements import query
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.talking import CHAT, ask, scripted, start, streaming
from tests.api.services.test_interventions import opted_in, send, switch
from tests.api.services.waiting import until
from tests.unit.services.model_double import Answer, ModelDouble, reply_text

ASKED = "How am I doing?"
NIGHTS = "I work nights"
FIRST, SECOND = "Today looks steady.", "Keep the evening calm and quiet."
REPLY = reply_text(FIRST, SECOND)
HELD = Answer(REPLY, hold_after=REPLY.index(SECOND))

KEPT = {
    "langgraph.checkpoints": "SELECT FROM langgraph.checkpoints WHERE starts_with(thread_id, $1 || '/')",
    "langgraph.checkpoint_blobs": "SELECT FROM langgraph.checkpoint_blobs WHERE starts_with(thread_id, $1 || '/')",
    "langgraph.checkpoint_writes": "SELECT FROM langgraph.checkpoint_writes WHERE starts_with(thread_id, $1 || '/')",
    "memories": "SELECT FROM memories WHERE user_id = $1",
    "interventions": "SELECT FROM interventions WHERE user_id = $1",
    "intervention_outbox": "SELECT FROM intervention_outbox WHERE user_id = $1",
    "preferences": "SELECT FROM preferences WHERE user_id = $1",
}


@pytest.fixture(scope="module")
def shared(prepared_platform: Platform, chroma: stores.Chroma, model: ModelDouble) -> Iterator[tuple[Service, Service]]:
    """NEUROS with a model, and the biometric service that tells it who is erased."""
    with Servers("sessions") as servers:
        prepared_platform.servers = servers
        neuros = start(prepared_platform, chroma, model, AUREN_LLM_TIMEOUT_SECONDS="300")
        told = {"AUREN_NEUROS_URL": neuros.url("")}
        yield neuros, prepared_platform.service("auren.biometric", user="biometric-production", environment=told)


@pytest.fixture
def neuros(shared: tuple[Service, Service], platform: Platform, model: ModelDouble) -> Service:
    """It has all it needs."""
    for service in shared:
        service.server.start()
        service.wait_ready()
    scripted(model)
    return shared[0]


@pytest.fixture
def biometric(neuros: Service, shared: tuple[Service, Service]) -> Service:
    return shared[1]


async def kept(platform: Platform, user: str) -> dict[str, int]:
    """Rows of a person by table, of those that have some."""
    found = {table: len(await query(platform, statement, user)) for table, statement in KEPT.items()}
    return {table: rows for table, rows in found.items() if rows}


def delete(platform: Platform, service: Service, path: str, user: str, scope: str = CHAT) -> dict[str, Any]:
    answer = httpx.delete(service.url(path), headers=platform.bearer(user, scope), timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def restart(neuros: Service) -> None:
    neuros.server.kill()
    neuros.server.start()
    neuros.wait_ready()


async def test_what_was_said_reaches_the_model_in_the_next_turn_and_after_a_crash(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user = new_user()
    scripted(model, Answer(reply_text(FIRST)), Answer(reply_text(SECOND)))
    await ask(platform, neuros, user, "One?", session_id="s1")
    await ask(platform, neuros, user, "Two?", session_id="s1")
    first, second = model.received
    assert first.history == []
    assert second.history == [("user", "One?"), ("assistant", FIRST)]
    restart(neuros)
    scripted(model)
    await ask(platform, neuros, user, "Three?", session_id="s1")
    await ask(platform, neuros, user, "Three?", session_id="s2")
    await ask(platform, neuros, new_user(), "Three?", session_id="s1")
    same, other_session, other_person = (one.history for one in model.received)
    assert same == [("user", "One?"), ("assistant", FIRST), ("user", "Two?"), ("assistant", SECOND)]
    assert other_session == other_person == []
    for number in range(MOST_EXCHANGES):
        await ask(platform, neuros, user, f"More {number}?", session_id="s1")
    assert len(model.received[-1].history) == 2 * MOST_EXCHANGES
    state = neuros.get("/state/s1", platform.bearer(user, CHAT)).json()["session"]
    assert state["turns"] == 3 + MOST_EXCHANGES
    assert len(state["exchanges"]) == MOST_EXCHANGES
    assert neuros.get("/state/s1", platform.bearer(new_user(), CHAT)).json() == {"session": {}}


async def test_what_a_person_asks_to_remember_is_known_in_another_session_and_to_nobody_else(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user, other = new_user(), new_user()
    await ask(platform, neuros, user, f"please remember that {NIGHTS}", session_id="s1")
    await ask(platform, neuros, user, "When should I sleep?", session_id="s2")
    assert NIGHTS in model.received[-1].data
    restart(neuros)
    await ask(platform, neuros, user, "When should I sleep?", session_id="s3")
    assert NIGHTS in model.received[-1].data
    assert model.received[-1].history == []
    await ask(platform, neuros, other, "When should I sleep, as I work nights?", session_id="s1")
    assert '"remembered"' not in model.received[-1].data
    shown = neuros.get("/memory", platform.bearer(user, CHAT)).json()
    assert shown["sessions"].keys() == {"s1", "s2", "s3"}
    (memory,) = shown["memories"]
    assert (memory["text"], memory["kind"], memory["source"], memory["confidence"], memory["tier"]) == (
        NIGHTS,
        "fact",
        "said",
        1.0,
        "warm",
    )
    assert neuros.get(f"/users/{user}/memory", platform.bearer(other, CHAT)).status_code == 403


async def test_what_the_model_understood_is_marked_as_derived(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user = new_user()
    told = reply_text(FIRST, remember=[{"kind": "preference", "text": "Prefers short walks"}])
    scripted(model, Answer(told))
    await ask(platform, neuros, user, "Walking a little is what helps me most.")
    (memory,) = neuros.get("/memory", platform.bearer(user, CHAT)).json()["memories"]
    assert (memory["text"], memory["kind"], memory["source"]) == ("Prefers short walks", "preference", "derived")
    assert memory["confidence"] < 1


async def lived(platform: Platform, neuros: Service) -> str:
    """A person of whom something is in every store."""
    user = opted_in(platform, neuros)
    await ask(platform, neuros, user, f"remember that {NIGHTS}", session_id="s1")
    await send(platform, switch(user))

    async def everywhere() -> bool:
        shown = neuros.get("/memory", platform.bearer(user, CHAT)).json()
        return all(shown[name] for name in ("sessions", "memories", "interventions"))

    await until(everywhere)
    return user


async def test_a_person_can_make_neuros_forget_them(platform: Platform, neuros: Service, model: ModelDouble) -> None:
    user, other = await lived(platform, neuros), await lived(platform, neuros)
    removed = delete(platform, neuros, f"/users/{user}/memory", user)
    assert removed["sessions"] == 1
    assert removed["memories"]["warm"] == 1
    assert removed["interventions"]["interventions"] == 1
    assert await kept(platform, user) == {}
    empty: dict[str, Any] = {"sessions": {}, "memories": [], "interventions": [], "preferences": None}
    assert neuros.get("/memory", platform.bearer(user, CHAT)).json() == empty
    await ask(platform, neuros, user, "When should I sleep?", session_id="s1")
    assert NIGHTS not in model.received[-1].data
    assert model.received[-1].history == []
    await ask(platform, neuros, other, "When should I sleep?", session_id="s1")
    assert NIGHTS in model.received[-1].data
    assert len(model.received[-1].history) == 2


async def test_what_is_being_said_while_a_person_makes_neuros_forget_them_is_not_kept(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user = await lived(platform, neuros)
    scripted(model, HELD)
    message = "please remember that I sail on Sundays"
    async with streaming(platform, neuros, user, message, session_id="s1") as events:
        assert [(await anext(events))[0] for _ in range(2)] == ["mode", "sentence"]
        await model.held()
        delete(platform, neuros, f"/users/{user}/memory", user)
        model.release()
        rest = [event async for event in events]
    assert rest[-1][0] == "done"
    assert await kept(platform, user) == {}
    await ask(platform, neuros, user, "When should I sleep?", session_id="s1")
    assert model.received[-1].history == []


@pytest.mark.parametrize("leaves", [False, True], ids=["stays", "leaves"])
async def test_of_somebody_who_is_erased_within_a_turn_nothing_is_left(
    platform: Platform, neuros: Service, biometric: Service, model: ModelDouble, leaves: bool
) -> None:
    user = await lived(platform, neuros)
    scripted(model, HELD)
    message = "please remember that I sail on Sundays"
    async with streaming(platform, neuros, user, message, session_id="s1") as events:
        assert [(await anext(events))[0] for _ in range(2)] == ["mode", "sentence"]
        await model.held()
        await asyncio.to_thread(delete, platform, biometric, f"/users/{user}", user, "read:biometrics")
        assert await kept(platform, user) == {}
        if not leaves:
            model.release()
            rest = [event async for event in events]
            assert (rest[-1][0], rest[-1][1]["status"]) == ("error", 410)
    if leaves:
        await model.left()
    neuros.server.stop()  # it has done what it still had to do
    assert await kept(platform, user) == {}


async def test_who_leaves_within_a_turn_finds_the_session_as_it_was(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user = new_user()
    scripted(model, Answer(reply_text(FIRST)), HELD)
    await ask(platform, neuros, user, "One?", session_id="s1")
    async with streaming(platform, neuros, user, "Two?", session_id="s1") as events:
        await anext(events)
        await model.held()
    await model.left()
    scripted(model)
    await ask(platform, neuros, user, "Three?", session_id="s1")
    assert model.received[-1].history == [("user", "One?"), ("assistant", FIRST)]


class _NoOffers:
    """In place of the interventions' store."""

    async def prune(self, _days: int) -> None: ...


class _OnlySessions:
    """What pruning needs of an agent: the sessions' connections."""

    def __init__(self, pool: Any) -> None:
        self.connection = pool.connection


async def test_pruning_forgets_old_sessions_and_leaves_the_others_readable(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    old, young, erased = new_user(), new_user(), new_user()
    for user in (old, young, erased):
        for number in range(3):
            await ask(platform, neuros, user, f"Question {number}?", session_id="s1")
    age = "UPDATE langgraph.checkpoints SET checkpoint = jsonb_set(checkpoint, '{ts}', to_jsonb($2::text))"
    await query(platform, f"{age} WHERE starts_with(thread_id, $1)", old, "2026-01-01T00:00:00+00:00")
    await query(
        platform,
        f"{age} WHERE starts_with(thread_id, $1)",
        young,
        (await query(platform, "SELECT (now() - interval '2 hours')::text AS at"))[0]["at"],
    )
    await query(platform, "INSERT INTO erased_users (user_id) VALUES ($1)", erased)  # and a crash left the sessions
    settings = NeurosSettings.model_validate(
        {
            "kafka_bootstrap": "a:1",
            "kafka_security": "PLAINTEXT",
            "database_host": platform.postgres.host,
            "database_port": platform.postgres.port,
            "database_name": platform.database,
            "database_user": "neuros_advanced",
            "database_password": platform.passwords["neuros-advanced"],
            "redis_host": "a",
            "redis_password": "a",
            "chroma_host": "a",
        }
    )
    pool: Any = open_pool(settings, "tests")
    await pool.open()
    try:
        pruning = Pruning(settings, cast(Agent, _OnlySessions(pool)), cast(Store, _NoOffers()), Metrics("neuros"))
        assert await pruning.once() >= 2
        assert await pruning.once() == 0
    finally:
        await pool.close()
    assert await kept(platform, old) == await kept(platform, erased) == {}
    assert (await kept(platform, young))["langgraph.checkpoints"] == 1
    await ask(platform, neuros, young, "And now?", session_id="s1")
    asked = [text for role, text in model.received[-1].history if role == "user"]
    assert asked == [f"Question {number}?" for number in range(3)]
    await ask(platform, neuros, old, "And now?", session_id="s1")
    assert model.received[-1].history == []
