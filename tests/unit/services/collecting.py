"""What stands around the collector in unit tests: a log, a table of connections, a car park, a vendor's payloads."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

from auren.bridge.collect_process import SOURCES
from auren.bridge.collector import Collector
from auren.bridge.connections import Connections, Subject
from auren.bridge.decoders import Pointer
from auren.bridge.desk import Desk
from auren.bridge.errands import Errands
from auren.bridge.outbox import Outbox
from auren.bridge.parking import Parked, Parking
from auren.events import Delivery, Event, Headers, decode
from auren.kafka import Producer
from auren.link import UnavailableError
from auren.telemetry import Metrics
from auren.topics import EVENTS, Topic
from tests.unit.services.test_consumer import Arrived

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Log:
    """Stands for the producer: refuses as often as the test says."""

    def __init__(self) -> None:
        self.refusals = 0
        self.sent: list[Any] = []
        self.dead: list[dict[str, str]] = []

    async def send_all(self, topic: Topic, records: Sequence[Any]) -> None:
        assert topic is EVENTS
        if self.refusals:
            self.refusals -= 1
            self.sent += records[: len(records) // 2]  # what came through before the connection was lost
            raise UnavailableError("kafka", "away")
        self.sent += records

    async def send(self, topic: Topic, value: bytes, key: bytes | None, headers: Headers) -> None:
        assert topic.name.endswith(".dlq")
        self.dead.append({name: content.decode(errors="replace") for name, content in headers})

    def events(self) -> list[Event]:
        """Everything on biometric-events."""
        return [decode(value) for _, value, _ in self.sent]


@dataclass
class People:
    """Stands for the table of connections: (provider, the vendor's id) → our user."""

    users: dict[tuple[str, str], str] = field(default_factory=dict)

    async def users_of(self, subjects: Sequence[Subject]) -> dict[Subject, str]:
        return {s: self.users[s.provider, s.provider_user_id] for s in subjects if s[:2] in self.users}

    async def connect(self, provider: str, provider_user_id: str, user_id: str, at: datetime) -> bool:
        self.users[provider, provider_user_id] = user_id
        return True

    async def disconnect(self, provider: str, provider_user_id: str, at: datetime) -> str | None:
        return self.users.pop((provider, provider_user_id), None)

    async def rename(self, provider: str, former_id: str, new_id: str, at: datetime) -> str | None:
        user = self.users.pop((provider, former_id), None)
        if user is not None:
            self.users[provider, new_id] = user
        return user


class CarPark:
    """Stands for the table of parked deliveries."""

    def __init__(self) -> None:
        self.parked: dict[uuid.UUID, Parked] = {}

    async def park(self, value: bytes, headers: Headers, **columns: Any) -> uuid.UUID:
        made = Parked(id=uuid.uuid4(), value=value, headers=headers, **columns)
        self.parked[made.id] = made
        return made.id

    @asynccontextmanager
    async def take_due(self, now: datetime, *, limit: int) -> AsyncIterator[CarPark]:
        due = sorted((p for p in self.parked.values() if p.due_at <= now), key=lambda p: p.due_at)
        self.deliveries = due[:limit]
        yield self

    async def done(self, delivery_id: uuid.UUID) -> None:
        del self.parked[delivery_id]

    async def put_off(self, delivery_id: uuid.UUID, due_at: datetime, reason: str) -> None:
        old = self.parked[delivery_id]
        self.parked[delivery_id] = replace(old, due_at=due_at, reason=reason, attempts=old.attempts + 1)

    async def count(self) -> int:
        return len(self.parked)


class Works:
    """A collector and its errands, with all that they touch in the test's hands."""

    def __init__(self) -> None:
        self.log, self.people, self.park, self.metrics = Log(), People(), CarPark(), Metrics("collector")
        self.erased: dict[str, datetime] = {}
        self.payloads: dict[str, bytes | Exception] = {}
        desk = Desk(SOURCES, cast(Connections, self.people), self._erased)
        outbox = Outbox(cast(Producer, self.log), self.metrics)
        parking = cast(Parking, self.park)
        self.collector = Collector(desk, outbox, parking, self.metrics, lambda: NOW)
        self.errands = Errands(desk, outbox, parking, self._download, self.metrics)

    async def _erased(self, users: Sequence[str]) -> Mapping[str, datetime]:
        return {user: at for user, at in self.erased.items() if user in users}

    async def _download(self, pointer: Pointer, now: datetime) -> bytes:
        found = self.payloads[pointer.url]
        if isinstance(found, Exception):
            raise found
        return found


def arrived(provider: str, document: object, user_id: str = "", **more: Any) -> Arrived:
    """A record of the log."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    made = Delivery(id="1", provider=provider, received_at=NOW, body=body, user_id=user_id, **more)
    return Arrived(0, value=body, headers=made.headers(), timestamp=int(NOW.timestamp() * 1000))
