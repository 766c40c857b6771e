"""Whatever comes over HTTP, a service answers as its OpenAPI document says, and shows nothing of what came."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast
from uuid import UUID

import schemathesis
from fastapi import APIRouter, FastAPI
from langgraph.checkpoint.memory import InMemorySaver

from auren.admission import Admission
from auren.biometric import api as biometric
from auren.biometric.chats import Said
from auren.biometric.erasure import Erased
from auren.biometric.report.drawing import Drawing
from auren.bridge.connect import routes as connect
from auren.bridge.connect.books import Begun, Ended, Known
from auren.events import METRICS
from auren.health import Health
from auren.http import create_app
from auren.latest import Latest, LatestValue
from auren.link import UnavailableError
from auren.neuros import api as neuros
from auren.neuros import graph
from auren.neuros.agent import Agent
from auren.neuros.api.remembered import ForgottenOut, MemoryOut
from auren.neuros.audit import Audit
from auren.neuros.nodes import Resources
from auren.telemetry import Metrics
from tests.unit.services.front import SECRET, SETTINGS, Kafka, Log, front, verifier, webhooks
from tests.unit.services.http_fuzz import PROOFS, Case, ask, chosen, config, shows_nothing_of
from tests.unit.services.test_connect import Bench, MemoryBooks

KAFKA: Final[tuple[Kafka, ...]] = ("there", "there", "there", "away", "lost", "refusing")
NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


SWITCH: Final = {
    "id": UUID(int=1),
    "at": NOW,
    "mode": "guardian",
    "previous": "baseline",
    "rule": "hrv-drop",
    "reason": "HRV fell",
    "confidence": 0.9,
    "evidence": "[]",
    "off": '[{"metric": "spo2", "why": "absent"}]',
}


class Stores:
    """PostgreSQL and Redis as the services see them, with the same values for everybody, or away."""

    away = False
    written = 0
    sockets = Metrics("fuzz").gauge("sockets", "Open sockets")

    async def raw(self, _asked: Any, _position: Any, most: int) -> list[Any]:
        self._require()
        minutes = [NOW - timedelta(minutes=minute) for minute in range(min(most, 3))]
        return [{"time": t, "value": 61.5, "source": "w", "end_time": None, "flags": None} for t in minutes]

    async def hours(self, asked: Any, _position: Any, _most: int) -> list[Any]:
        self._require()
        facts = {"count": 3, "average": 61.5, "lowest": 60.0, "highest": 63.0, "total": 184.5}
        return [{"time": asked.start, "source": "w", **facts}]

    async def days(self, asked: Any, _midnights: Any, position: Any, most: int) -> list[Any]:
        return await self.hours(asked, position, most)

    async def daily_values(self, _user: str, metrics: Any, start: date, end: date) -> list[Any]:
        self._require()
        days = [start + timedelta(days=n) for n in range((end - start).days)]
        facts = {"source": "w", "count": 2, "total": 123_000_000}
        return [facts | {"metric": metric, "day": day} for metric in metrics for day in days]

    async def say(self, *_: Any) -> Said:
        self._require()
        return Said(1, 2, {"response": "hello"})

    async def history(self, *_: Any) -> list[Any]:
        self._require()
        return [{"id": 1, "at": NOW, "role": "person", "content": "hello", "detail": "{}"}]

    def require(self) -> None:
        self._require()

    async def send(self, *_: Any) -> None:
        self._require()

    async def erase(self, *_: Any) -> list[Erased]:
        self._require()
        return [Erased("readings", 3), Erased("redis", 1)]

    async def stream(self, *_: Any) -> AsyncIterator[bytes]:
        self._require()
        yield b"PK"

    async def events(self, *_: Any) -> AsyncIterator[bytes]:
        self._require()
        yield b"retry: 3000\n\n"

    async def draw(self, charts: Any) -> list[str]:
        return ["<svg/>" for _ in charts]

    async def switch_before(self, *_: Any) -> Any:
        self._require()
        return SWITCH

    async def mode(self, user: str) -> Any:
        self._require()
        return None if user == "0" else SWITCH | {"mode_since": NOW, "clock": NOW}

    async def switches(self, *_: Any) -> list[Any]:
        self._require()
        return [SWITCH]

    async def patterns(self, *_: Any, **__: Any) -> list[Any]:
        self._require()
        facts = {
            "kind": "recurring-dip",
            "detail": "d",
            "level": "high",
            "confidence": 0.5,
            "evidence": '{"nights": 7}',
        }
        return [facts | {"since": NOW, "last_seen": NOW, "ended_at": None}]

    async def of(self, _user: str) -> Latest:
        self._require()
        facts: dict[str, Any] = {"value": 61.5, "time": datetime.now(UTC), "version": 1, "source": "w", "provider": "w"}
        return Latest({metric: LatestValue(metric=metric, **facts) for metric in METRICS}, "redis")

    async def erased_users(self, _users: Any) -> dict[str, datetime]:
        self._require()
        return {}

    async def forgotten_at(self, _user: str) -> datetime | None:
        self._require()
        return None

    def record(self, *_: str) -> None:
        self.written += 1

    def _require(self) -> None:
        if self.away:
            raise UnavailableError("database", "connection lost")


def service(routes: APIRouter) -> FastAPI:
    """An app with the routes of a service."""
    app = create_app("fuzzed", SETTINGS, Health("fuzzed"), Metrics("fuzzed"))
    app.include_router(routes)
    return app


def talking(stores: Stores) -> Agent:
    """An agent as it is once LangGraph is loaded."""
    resources, metrics = Resources(stores.of), Metrics("fuzzed")
    agent = Agent(
        cast(Any, None), resources, cast(Audit, stores), "fuzzed", stores.erased_users, stores.forgotten_at, metrics
    )
    agent._run = graph.run
    agent._graph = graph.build(resources, InMemorySaver())
    agent._forgetful = graph.build(resources)
    return agent


class Books(MemoryBooks):
    """What is kept of people who connect, or away; any state is that of somebody who has begun, if it is to be."""

    away = False
    any_state = False

    async def begin(self, *begun: Any) -> None:
        self._require()
        await super().begin(*begun)

    async def take(self, state: str, provider: str, at: datetime) -> Begun | None:
        self._require()
        return Begun("anna", None, at, b"") if self.any_state else await super().take(state, provider, at)

    async def end(self, *ended: Any) -> Ended:
        self._require()
        return await super().end(*ended)

    async def of(self, user_id: str) -> list[Known]:
        self._require()
        return [Known("whoop", NOW, True, ("offline",)), Known("terra", NOW, False, ())]

    def _require(self) -> None:
        if self.away:
            raise UnavailableError("database", "connection lost")


LOG, STORES, BOOKS = Log(), Stores(), Books()
FOLDER: Final = TemporaryDirectory()
"""Of the vendors' credentials; it goes with the process, for the tests are made before any fixture is."""

BRIDGE: Final = schemathesis.openapi.from_asgi(
    "/openapi.json",
    front(LOG, webhooks(SECRET), connect.router(verifier(), Bench(Path(FOLDER.name), books=BOOKS).accounts)),
    config=config(25),
)
ALL_STORES: Final = biometric.Stores(*cast(Any, (*[STORES] * 7, Admission(), STORES)))
BIOMETRIC: Final = schemathesis.openapi.from_asgi(
    "/openapi.json",
    service(
        biometric.router(
            verifier(), biometric.Stores(*cast(Any, (*[STORES] * 7, Admission(), STORES))), cast(Drawing, STORES)
        )
    ),
    config=config(20),
)


class Everything:
    """What NEUROS keeps of anybody."""

    async def of(self, _user: str) -> MemoryOut:
        STORES._require()
        return MemoryOut(sessions={"s": {}}, memories=[], interventions=[], preferences=None)

    async def erase(self, _user: str) -> ForgottenOut:
        STORES._require()
        return ForgottenOut(sessions=1, memories={"warm": 1}, interventions={"interventions": 1})


NEUROS: Final = schemathesis.openapi.from_asgi(
    "/openapi.json",
    service(neuros.router(verifier(), talking(STORES), cast(Any, Everything()), cast(Any, STORES), STORES.sockets)),
    config=config(20),
)


@BRIDGE.parametrize()
def test_the_bridge_answers_as_documented_and_accepts_what_kafka_has(case: Case) -> None:
    LOG.kafka, LOG.appended = chosen(case, KAFKA), []
    BOOKS.away, BOOKS.any_state = chosen(case, ((False, False), (False, True), (True, False)))
    if (name := case.path_parameters.get("provider")) is not None:
        case.path_parameters["provider"] = chosen(case, ("oura", "whoop", "terra", name))
    proof = chosen(case, PROOFS)
    answer = ask(case, proof)
    accepted = answer.status_code in (200, 202) and case.path.startswith("/webhooks/") and case.method == "POST"
    assert len(LOG.appended) == accepted
    if accepted:
        ((body, headers),) = LOG.appended
        assert proof in ("ours", "gzip")
        assert body == answer.request.body
        assert dict(headers)["ce_id"].decode() == answer.json()["id"]
    shows_nothing_of(case, answer)


@BIOMETRIC.parametrize()
def test_the_biometric_service_answers_as_documented(case: Case) -> None:
    _read(case)


@NEUROS.parametrize()
def test_neuros_answers_as_documented(case: Case) -> None:
    _read(case)


def _read(case: Case) -> None:
    STORES.away = chosen(case, (False, False, False, True))
    answer = ask(case, chosen(case, PROOFS))
    if answer.status_code >= 400:
        shows_nothing_of(case, answer)
