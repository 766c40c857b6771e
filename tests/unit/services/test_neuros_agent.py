"""NEUROS' agent when stores are away or never answer: emergencies first, bounded waits, and no step done twice."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from prometheus_client import generate_latest

from auren import background
from auren.http import ProblemError
from auren.latest import Latest, LatestValue
from auren.neuros import agent as agents
from auren.neuros import audit as audits
from auren.neuros import graph as graphs
from auren.neuros import nodes
from auren.neuros import saver as savers
from auren.neuros.agent import Agent, Answer
from auren.neuros.api import analysis as answers
from auren.neuros.audit import Audit
from auren.neuros.guard.emergencies import TEXTS
from auren.neuros.nodes import Resources
from auren.neuros.protocols import PROTOCOLS
from auren.neuros.settings import NeurosSettings
from auren.neuros.turn import SESSION_LOST
from auren.telemetry import Metrics, person

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class Stores:
    """The database and the latest values: count who asks, and never answer when they hang."""

    def __init__(self) -> None:
        self.hang = False
        self.asked = 0
        self.rows: list[Any] = []
        self.erased: dict[str, datetime] = {}
        self.forgotten: datetime | None = None

    async def erased_users(self, _users: Sequence[str]) -> dict[str, datetime]:
        if self.hang:
            await asyncio.Event().wait()
        return self.erased

    async def forgotten_at(self, _user: str) -> datetime | None:
        return self.forgotten

    async def _answer(self) -> None:
        self.asked += 1
        if self.hang:
            await asyncio.Event().wait()

    async def of(self, _user_id: str) -> Latest:
        await self._answer()
        now = datetime.now(UTC)
        return Latest({"heart_rate": LatestValue(**FACTS, time=now)}, "redis")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        await self._answer()
        yield self

    async def execute(self, _statement: str, *values: Any) -> None:
        self.rows.append(values)


FACTS: dict[str, Any] = {"metric": "heart_rate", "value": 61, "version": 1, "source": "w", "provider": "w"}


class Memory(InMemorySaver):
    """Sessions whose reading or keeping fails or hangs as the test says."""

    on_get: Exception | None = None
    on_put: Exception | None = None
    hang = False

    async def aget_tuple(self, config: Any) -> Any:
        await self._fail(self.on_get)
        return await super().aget_tuple(config)

    async def aput(self, *arguments: Any) -> Any:
        await self._fail(self.on_put)
        return await super().aput(*arguments)

    async def _fail(self, error: Exception | None) -> None:
        if self.hang:
            await asyncio.Event().wait()
        if error is not None:
            raise error


class Sessions(savers.Bounded, Memory):
    """The same behind the bounds that sessions in PostgreSQL have."""


@pytest.fixture
def stores() -> Stores:
    return Stores()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test")


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


@pytest.fixture
def agent(stores: Stores, metrics: Metrics, sessions: Sessions) -> Agent:
    """An agent as it is once LangGraph is loaded."""
    subject = new_agent(stores, metrics)
    subject._run = graphs.run
    subject._graph = graphs.build(Resources(stores.of), sessions)
    subject._forgetful = graphs.build(Resources(stores.of))
    return subject


def new_agent(stores: Stores, metrics: Metrics) -> Agent:
    audit = Audit(cast(Any, stores), "test", metrics)
    return Agent(settings(), Resources(stores.of), audit, "test", stores.erased_users, stores.forgotten_at, metrics)


def analysis(answer: Answer, session_id: str) -> answers.AnalysisOut:
    return answers.Shown(PROTOCOLS).analysis(answer, session_id)


def settings() -> NeurosSettings:
    return NeurosSettings.model_validate(
        {
            "kafka_bootstrap": "a:1",
            "kafka_security": "PLAINTEXT",
            **dict.fromkeys(("database_host", "database_user", "database_password"), "a"),
            **dict.fromkeys(("redis_host", "redis_password", "chroma_host"), "a"),
        }
    )


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "CONTEXT_SECONDS", 0.05)
    monkeypatch.setattr(savers, "SESSION_SECONDS", 0.05)
    monkeypatch.setattr(agents, "ASK_SECONDS", 0.05)
    monkeypatch.setattr(audits, "WRITE_SECONDS", 0.05)
    monkeypatch.setattr(background, "FIRST_BACKOFF_SECONDS", 0.001)


@pytest.mark.parametrize("loaded", [True, False])
async def test_an_emergency_is_answered_at_once_when_every_store_hangs(
    agent: Agent, stores: Stores, sessions: Sessions, metrics: Metrics, loaded: bool
) -> None:
    stores.hang = sessions.hang = True
    if not loaded:
        agent._run = None
    answer = await agent.answer("anna", "s", "I have chest pain", None)
    assert stores.asked == 0
    told = analysis(answer, "s")
    assert (told.response, told.mode) == (TEXTS["chest", "en"], None)
    assert not told.biometric_insights
    assert not told.interventions
    async with asyncio.timeout(10):
        await agent._audit.stop()
    assert "auren_test_audit_rows_lost_total 1.0" in generate_latest(metrics.registry).decode()


async def test_the_audit_row_of_an_emergency_is_written_behind_the_reply(agent: Agent, stores: Stores) -> None:
    await agent.answer("anna", "s", "I want to die", None)
    await agent._audit.stop()
    assert [row[:3] for row in stores.rows] == [("test", person("anna"), "emergency.self-harm")]
    assert person("anna") != "anna"  # the row stays when its person is erased


async def test_audit_rows_that_wait_are_bounded(
    stores: Stores, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audits, "MOST_WAITING", 2)
    audit = Audit(stores, "test", metrics)  # type: ignore[arg-type]
    for _ in range(5):
        audit.record("anna", "emergency.body", "s")
    assert "auren_test_audit_rows_lost_total 3.0" in generate_latest(metrics.registry).decode()
    await audit.stop()
    assert len(stores.rows) == 2


async def test_stores_that_never_answer_hold_a_reply_up_for_a_bounded_time(
    agent: Agent, stores: Stores, sessions: Sessions
) -> None:
    stores.hang = sessions.hang = True
    async with asyncio.timeout(10):
        answer = analysis(await agent.answer("anna", "s", "How is my pulse?", None), "s")
    assert SESSION_LOST in answer.data_quality.notes
    assert "measurements: no answer in time" in answer.data_quality.notes


@pytest.mark.parametrize("hang", [True, False])
async def test_a_session_that_only_cannot_be_kept_costs_no_second_run(
    agent: Agent, stores: Stores, sessions: Sessions, hang: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hang:
        original = sessions.aget_tuple

        async def get(config: Any) -> Any:
            found = await original(config)
            sessions.hang = True
            return found

        monkeypatch.setattr(sessions, "aget_tuple", get)
    else:
        sessions.on_put = psycopg.OperationalError("gone")
    async with asyncio.timeout(10):
        answer = analysis(await agent.answer("anna", "s", "How is my pulse?", None), "s")
    assert stores.asked == 1
    assert "61 beats per minute" in answer.response
    assert SESSION_LOST in answer.data_quality.notes


async def test_a_session_that_cannot_be_read_is_done_without(agent: Agent, stores: Stores, sessions: Sessions) -> None:
    sessions.on_get = psycopg.OperationalError("gone")
    answer = analysis(await agent.answer("anna", "s", "How is my pulse?", None), "s")
    assert stores.asked == 1
    assert "61 beats per minute" in answer.response
    assert SESSION_LOST in answer.data_quality.notes


@pytest.mark.parametrize("meanwhile", [True, False])
async def test_no_session_is_kept_of_somebody_who_is_erased(
    agent: Agent, stores: Stores, sessions: Sessions, meanwhile: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[str] = []
    erased = {"anna": datetime.now(UTC)}

    async def forget(user_id: str) -> int:
        forgotten.append(user_id)
        return 1

    async def get(_config: Any) -> None:
        stores.erased = erased

    monkeypatch.setattr(agent, "forget", forget)
    monkeypatch.setattr(sessions, "aget_tuple", get)
    stores.erased = {} if meanwhile else erased
    with pytest.raises(ProblemError, match="the person was erased"):
        await agent.answer("anna", "s", "How is my pulse?", None)
    assert forgotten == (["anna"] if meanwhile else [])
    assert bool(sessions.storage) == meanwhile
    assert (await agent.answer("anna", "s", "I have chest pain", None)).turn.emergency


async def test_loading_is_tried_again_after_a_defect(
    stores: Stores, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pool:
        async def open(self, wait: bool) -> None: ...

        async def close(self, timeout: float) -> None: ...

    modules, failures = agents._import(Resources(stores.of)), [RuntimeError("defect")]

    def load(_resources: Resources) -> Any:
        if failures:
            raise failures.pop()
        return modules

    monkeypatch.setattr(agents, "_import", load)
    monkeypatch.setattr(agents, "open_pool", lambda *_: Pool())
    monkeypatch.setattr(savers, "SessionSaver", lambda _pool: Sessions())
    agent = new_agent(stores, metrics)
    await agent.start()
    assert agent._loading._task is not None
    await asyncio.wait_for(agent._loading._task, 10)
    assert (await agent.answer("anna", "s", "How is my pulse?", None)).turn.reply is not None
    await agent.stop()
