"""What stands around the collector in unit tests: a log, a table of connections, a car park, vendors."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import httpx
from prometheus_client import generate_latest

from auren.bridge.collect_process import SOURCES, fetchables
from auren.bridge.collector import Collector
from auren.bridge.connections import Connections, Subject
from auren.bridge.decoders import Pointer
from auren.bridge.desk import Desk
from auren.bridge.errands import Errands
from auren.bridge.fetching import Fetching
from auren.bridge.outbox import Outbox
from auren.bridge.parking import Census, Parked, Parking, PutOff, Waiting
from auren.bridge.vendors import NotAllowedError
from auren.bridge.vendors.breaker import Breaker
from auren.bridge.vendors.calls import Api
from auren.bridge.vendors.clients import Vendors
from auren.bridge.vendors.exchange import http_client
from auren.bridge.vendors.oura import OuraApi
from auren.bridge.vendors.whoop import WhoopApi
from auren.events import Delivery, Event, Headers, decode
from auren.kafka import Producer
from auren.link import UnavailableError
from auren.telemetry import Metrics
from auren.topics import EVENTS, TERRA, Topic
from tests.unit.services.test_consumer import Arrived
from tests.unit.services.test_vendors import CountedLimits
from tests.unit.services.vendor_double import VendorDouble

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Log:
    """Stands for the producer: refuses as often as the test says."""

    def __init__(self) -> None:
        self.refusals = 0
        self.away = False
        self.sent: list[Any] = []
        self.dead: list[dict[str, str]] = []
        """Headers of dead letters; `topic` is where they are."""
        self.bodies: list[bytes] = []
        """Their bodies."""

    def require(self) -> None:
        if self.away:
            raise UnavailableError("kafka", "away")

    async def send_all(self, topic: Topic, records: Sequence[Any]) -> None:
        assert topic is EVENTS
        if self.refusals:
            self.refusals -= 1
            self.sent += records[: len(records) // 2]  # what came through before the connection was lost
            raise UnavailableError("kafka", "away")
        self.sent += records

    async def send(self, topic: Topic, value: bytes, key: bytes | None, headers: Headers) -> None:
        assert topic.name.endswith(".dlq")
        self.bodies.append(value)
        self.dead.append({name: content.decode(errors="replace") for name, content in headers} | {"topic": topic.name})

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
    """Stands for the table of parked deliveries: what is taken is due to nobody else until it is settled."""

    def __init__(self) -> None:
        self.parked: dict[uuid.UUID, Parked] = {}
        self.leased: set[uuid.UUID] = set()
        self.statements = 0
        self.refusals = 0

    async def park(self, waiting: Sequence[Waiting]) -> list[uuid.UUID]:
        self._refuse()
        self.statements += bool(waiting)
        made = [Parked(**asdict(one) | {"id": uuid.uuid4()}) for one in waiting]
        self.parked |= {one.id: one for one in made}
        return [one.id for one in made]

    async def take_due(
        self, now: datetime, *, limit: int, most_bytes: int, without: Sequence[str] = ()
    ) -> list[Parked]:
        self._refuse()
        free = [p for p in self.parked.values() if p.id not in self.leased and p.provider not in without]
        due = sorted((p for p in free if p.due_at <= now), key=lambda p: p.due_at)[:limit]
        self.leased |= {p.id for p in due}
        return due

    async def done(self, ids: Sequence[uuid.UUID]) -> None:
        self._refuse()
        for delivery_id in ids:
            self.leased.remove(delivery_id)
            del self.parked[delivery_id]

    async def put_off(self, deliveries: Sequence[PutOff]) -> None:
        self._refuse()
        for one in deliveries:
            self.leased.remove(one.id)
            old = self.parked[one.id]
            attempts = old.attempts + one.tried
            self.parked[one.id] = replace(old, due_at=one.due_at, reason=one.reason, attempts=attempts)

    async def census(self) -> Census:
        return Census(len(self.parked), min((p.first_seen for p in self.parked.values()), default=None))

    @property
    def reasons(self) -> list[str]:
        """Why each waits."""
        return [parked.reason for parked in self.parked.values()]

    def _refuse(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise UnavailableError("database", "away")


@dataclass
class Vendor:
    """One vendor's API in front of its double, with the access tokens that people have there."""

    double: VendorDouble = field(default_factory=VendorDouble)
    limits: CountedLimits = field(default_factory=CountedLimits)
    failure: Exception | None = None
    """What asking for a token fails with."""

    def api(self) -> Api:
        client = http_client(httpx.ASGITransport(self.double.app))
        return Api("https://vendor.example.org", client, self, self.limits, Breaker("vendor"))

    async def access_token(self, user_id: str, *, stale: str | None = None) -> str:
        if self.failure is not None:
            raise self.failure
        access = next((grant.access for grant in self.double.grants if grant.person == user_id), None)
        if access is None:
            raise NotAllowedError("not connected", connection_broken=True)
        return access


@dataclass
class Pair:
    """Stands for `Vendors`."""

    oura: OuraApi
    whoop: WhoopApi


class Works:
    """A collector and its errands, with all that they touch in the test's hands."""

    def __init__(self) -> None:
        self.log, self.people, self.park, self.metrics = Log(), People(), CarPark(), Metrics("collector")
        self.oura, self.whoop = Vendor(), Vendor()
        self.erased: dict[str, datetime] = {}
        self.payloads: dict[str, bytes | Exception] = {}
        self.woken = 0
        desk = Desk(SOURCES, cast(Connections, self.people), self._erased)
        outbox = Outbox(cast(Producer, self.log), self.metrics)
        parking = cast(Parking, self.park)
        vendors = cast(Vendors, Pair(OuraApi(self.oura.api()), WhoopApi(self.whoop.api())))
        fetching = Fetching(fetchables(vendors), self.metrics)
        self.collector = Collector(desk, outbox, parking, self._wake, lambda: NOW)
        self.errands = Errands(desk, outbox, parking, fetching, self._download, self.metrics)

    def _wake(self) -> None:
        self.woken += 1

    async def _erased(self, users: Sequence[str]) -> Mapping[str, datetime]:
        return {user: at for user, at in self.erased.items() if user in users}

    async def _download(self, pointer: Pointer, now: datetime) -> bytes:
        found = self.payloads[pointer.url]
        if isinstance(found, Exception):
            raise found
        return found

    def metric(self, line: str) -> float:
        """The value of one line of /metrics, `name{label="…"}` without the prefix; 0 where there is none."""
        text = generate_latest(self.metrics.registry).decode()
        found = re.search(rf"^auren_collector_{re.escape(line)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


def arrived(provider: str, document: object, user_id: str = "", **more: Any) -> Arrived:
    """A record of the log."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    made = Delivery(id="1", provider=provider, received_at=NOW, body=body, user_id=user_id, **more)
    return Arrived(0, value=body, headers=made.headers(), timestamp=int(NOW.timestamp() * 1000))


def from_terra(value: object, offset: int = 0, at: datetime = NOW, headers: Headers | None = None) -> Arrived:
    """A record that Terra has put into its topic."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    timestamp = int(at.timestamp() * 1000)
    return Arrived(offset, topic=TERRA.name, value=body, headers=headers or [], timestamp=timestamp)
