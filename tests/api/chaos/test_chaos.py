"""Stores and services are killed, frozen and cut off under load: nothing that was accepted is lost or counted twice.

Two minutes with 500 deliveries a second in `make test`, ten in `make chaos`. AUREN_CHAOS_SECONDS, AUREN_CHAOS_RATE and
AUREN_CHAOS_SEED (printed in each run) make other runs, and the same one again. Nothing here measures time: on a slow
machine fewer deliveries begin at their moment, and each is counted all the same.

Nobody's tokens are refreshed while this runs. A vendor that takes back the old refresh token before the bridge could
keep the new one makes the person connect again, which no bridge can help.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from auren.bridge.credentials import SIGNING_SECRET
from tests.api import stores
from tests.api.chaos import ledger
from tests.api.chaos.deliveries import PEOPLE, Person, Plan
from tests.api.chaos.faults import faults, inject
from tests.api.chaos.sender import Result
from tests.api.places import REPOSITORY
from tests.api.processes import Server, Servers
from tests.api.relay import Relay, everything
from tests.api.services.measurements import query
from tests.api.services.platform import Platform, Service
from tests.api.services.vendor_api import ROLE, VendorApis, bridge_database
from tests.api.services.waiting import until
from tests.unit.services.vendor_double import ALL_SCOPES, CLIENT_SECRET

SECONDS: Final = float(os.environ.get("AUREN_CHAOS_SECONDS", "120"))
RATE: Final = float(os.environ.get("AUREN_CHAOS_RATE", "500"))
SEED: Final = int(os.environ.get("AUREN_CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))

REPEATING_SECONDS: Final = 120.0
DRAINING_SECONDS: Final = 300.0
"""How long the vendors repeat and the pipeline works at most before they are said to hang; both end far sooner."""


@dataclass
class Scene:
    """A stack's stores and services as processes, and the vendors."""

    platform: Platform
    vendors: VendorApis
    marker: str = field(default_factory=lambda: f"{random.SystemRandom().randrange(16**8):08x}")
    services: dict[str, Service] = field(default_factory=dict)
    relays: dict[str, Relay] = field(default_factory=dict)
    """Between the services and the stores."""

    def start_relays(self, open_until: contextlib.ExitStack) -> None:
        """Before the services, which find the stores through them."""
        kafka = self.platform.kafka
        self.relays |= {
            "kafka": Relay(kafka.relayed_port, everything, kafka.relay_port),
            "postgres": Relay(self.platform.postgres.port, everything),
            "redis": Relay(self.platform.redis.port, everything),
        }
        for relay in self.relays.values():
            open_until.enter_context(relay)

    def start_services(self) -> None:
        """The bridge, two collectors and the biometric service."""
        environment = self.vendors.environment | {
            "AUREN_KAFKA_BOOTSTRAP": f"{stores.HOST}:{self.relays['kafka'].port}",
            "AUREN_DATABASE_PORT": str(self.relays["postgres"].port),
            "AUREN_REDIS_PORT": str(self.relays["redis"].port),
        }
        for name, module, user, arguments in (
            ("serve", "auren.bridge", ROLE, ("serve",)),
            ("collect-1", "auren.bridge", ROLE, ("collect",)),
            ("collect-2", "auren.bridge", ROLE, ("collect",)),
            ("biometric", "auren.biometric", "biometric-production", ()),
        ):
            self.services[name] = self.platform.service(module, *arguments, user=user, environment=environment)
        for service in self.services.values():
            service.wait_ready()

    @property
    def servers(self) -> dict[str, Server]:
        """All that can be killed."""
        of_stores = {name: getattr(self.platform, name).server for name in self.relays}
        return of_stores | {name: service.server for name, service in self.services.items()}

    async def people(self) -> list[Person]:
        """Connected with both vendors that have connections, for longer than the run."""
        whoop = random.SystemRandom().randrange(10**9, 10**10) * 1000
        until, found = datetime.now(UTC) + timedelta(hours=2), list[Person]()
        async with bridge_database(self.platform) as database:
            for number in range(PEOPLE):
                user = f"person-{self.marker}-{number:02d}"
                token = self.platform.token(user, "push:healthkit", ttl_seconds=7200)
                person = Person(user, f"oura-{self.marker}-{number:02d}", whoop + number, token)
                for provider, name in (("oura", person.oura), ("whoop", str(person.whoop))):
                    await self.vendors.connect_in(database, self.platform, provider, name, user, ALL_SCOPES, until)
                found.append(person)
        return found

    def secret_files(self) -> dict[str, bytes]:
        """A digest of each file of the Secrets."""
        files = [file for file in self.platform.servers.folder.glob("*-secrets/*") if file.is_file()]
        files += [file for file in self.vendors.folder.rglob("*") if file.is_file()]
        return {str(file): hashlib.sha256(file.read_bytes()).digest() for file in files}

    async def stored_tokens(self) -> list[tuple[object, ...]]:
        """People's tokens as the database keeps them."""
        return sorted(tuple(row.values()) for row in await query(self.platform, "SELECT * FROM oauth_tokens"))

    def private(self, plan: Plan) -> list[str]:
        """What stands in no log: ids, tokens, secrets, and the mark of each payload."""
        words = [self.marker, *(str(person.whoop) for person in plan.people), *(p.token for p in plan.people)]
        words += [*self.platform.passwords.values(), *plan.secrets.values(), self.platform.log_key]
        words += [self.platform.redis.password, self.platform.postgres.password, self.platform.kafka.admin_password]
        words += self.platform.oauth_keyring.split(":")[1:]
        for vendor in (self.vendors.oura, self.vendors.whoop):
            words += [secret for grant in vendor.double.grants for secret in (grant.access, grant.refresh)]
        return words

    def leaks(self, plan: Plan) -> Counter[str]:
        """Lines with something private by log."""
        words, found = self.private(plan), Counter[str]()
        for log in self.platform.servers.folder.glob("*.log"):
            with log.open(errors="replace") as lines:
                found[log.name] += sum(any(word in line for word in words) for line in lines)
        return +found


@pytest.fixture
def servers() -> Iterator[Servers]:
    """Stores of this test's own: the session's are not killed, nor slowed down."""
    with Servers("chaos") as group:
        yield group


@pytest.mark.timeout(SECONDS + REPEATING_SECONDS + DRAINING_SECONDS + 300)
async def test_what_was_accepted_becomes_events_once_whatever_is_killed(servers: Servers) -> None:
    print(f"\nAUREN_CHAOS_SEED={SEED}", flush=True)
    kafka, postgres = stores.start_kafka(servers), stores.start_postgres(servers, durable=True)
    database = await postgres.create_database()
    platform = Platform(kafka, postgres, stores.start_redis(servers), servers, database)
    await asyncio.to_thread(platform.prepare)
    with VendorApis(servers.folder / "providers") as vendors, contextlib.ExitStack() as open_until:
        scene = Scene(platform, vendors)
        scene.start_relays(open_until)
        signing = servers.folder / "providers" / "terra" / SIGNING_SECRET
        signing.parent.mkdir(parents=True)
        signing.write_text(f"terra-{os.urandom(16).hex()}")
        scene.start_services()
        plan = await make_plan(scene, signing.read_text())
        secrets, tokens = scene.secret_files(), await scene.stored_tokens()
        sender, result_file = start_sender(servers, plan)
        happened = rage(scene, sender)
        assert sender.wait_ended(SECONDS + REPEATING_SECONDS + 60) == 0, sender.tail()
        left = await drain(scene)
        result, found = Result.read(result_file), await ledger.found(platform, map(plan.delivery, range(plan.count)))
        verdict = ledger.verdict(plan, result.never, found)
        print_table(plan, result, found, happened)
        losses = {name: relay.losses for name, relay in scene.relays.items()}
        print(f"{'answers of stores lost':<28} {losses}", flush=True)
        assert losses["kafka"] > 0
        assert (left, verdict.faults()) == ({}, {})
        assert set(found.parked.values()) <= {"unknown-user"}
        assert scene.secret_files() == secrets
        assert await scene.stored_tokens() == tokens
        assert scene.leaks(plan) == {}


async def make_plan(scene: Scene, terra_secret: str) -> Plan:
    """People are connected, and their documents are at the vendors."""
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(days=10)
    plan = Plan(
        marker=scene.marker,
        began=began.isoformat(),
        people=await scene.people(),
        secrets={"oura": CLIENT_SECRET, "whoop": CLIENT_SECRET, "terra": terra_secret},
        port=scene.services["serve"].port,
        seed=SEED,
        rate=RATE,
        seconds=SECONDS,
        patience_seconds=REPEATING_SECONDS,
    )
    for delivery in map(plan.delivery, range(plan.count)):
        if delivery.document is not None:
            path, document = delivery.document
            scene.vendors.of(delivery.provider).double.documents[delivery.person.user, path] = document
    return plan


def start_sender(servers: Servers, plan: Plan) -> tuple[Server, Path]:
    """The vendors begin to deliver; the file will hold what became of it."""
    file, result = servers.folder / "plan.json", servers.folder / "result.json"
    plan.write(file)
    sender = servers.add(
        Server(
            name="sender",
            command=[sys.executable, "-m", "tests.api.chaos.sender", file, result],
            log=servers.folder / "sender.out",
            ready=lambda: True,
            cwd=REPOSITORY,
        )
    )
    sender.start()
    return sender, result


def rage(scene: Scene, sender: Server) -> Counter[str]:
    """Until the time is over, and each server was killed and each store cut off; what happened, by kind and target."""
    happened = Counter[str]()
    servers, end = scene.servers, time.monotonic() + SECONDS
    for number, fault in enumerate(faults(SEED, list(servers), list(scene.relays))):
        if number >= len(servers) + len(scene.relays) and time.monotonic() > end:
            break
        print(f"{time.strftime('%H:%M:%S')} {fault}", flush=True)
        inject(fault, servers, scene.relays)
        happened.update(f"{fault.how} {target}" for target in fault.targets)
    return happened


async def drain(scene: Scene) -> dict[str, int]:
    """Wait until everything is Ready again and the pipeline has nothing left to do; what it has left all the same."""
    for service in scene.services.values():
        service.wait_ready()
    # In place of waiting for leases of what was killed, and for pauses that a vendor is given.
    await query(scene.platform, "UPDATE parked_deliveries SET due_at = now() WHERE reason <> 'unknown-user'")
    left: dict[str, int] = {}

    async def nothing_left() -> bool:
        left.update(await ledger.to_do(scene.platform))
        return not any(left.values())

    with contextlib.suppress(TimeoutError):
        await until(nothing_left, DRAINING_SECONDS)
    for service in scene.services.values():
        service.wait_ready()
    return {name: count for name, count in left.items() if count}


def print_table(plan: Plan, result: Result, found: ledger.Found, happened: Counter[str]) -> None:
    """What was counted; no ids."""
    endings = Counter(str(plan.delivery(number).ending) for number in range(plan.count))
    lines = {
        "seed": plan.seed,
        "sent": dict(result.sent),
        "that should end as": dict(endings),
        "accepted": dict(result.accepted),
        "refused, by status": dict(result.refused),
        "broken off before an answer": result.unknown,
        "no connection": result.unreached,
        "repeats": result.repeats,
        "began late": result.late,
        "records in biometric-events": found.events,
        "distinct contents of them": sum(map(len, found.contents.values())),
        "dead letters": dict(found.dead_letters),
        "still parked": dict(Counter(found.parked.values())),
        "rows": sum(map(len, found.rows.values())),
        "deleted documents": len(found.buried),
        "faults": dict(sorted(happened.items())),
    }
    for name, value in lines.items():
        print(f"{name:<28} {value}", flush=True)
