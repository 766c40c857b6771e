"""What Oura's and WHOOP's webhooks name is fetched with people's tokens, end to end, by two collectors.

And Terra's topic: pointers that have expired or lead inside, data, and what cannot be read. A payload behind a good
pointer is in the unit tests alone: the collector downloads from public addresses only, and tests reach none.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from auren import events
from auren.bridge.tokens import TokenBox, TokenStore
from auren.events import Event
from auren.topics import EVENTS, TERRA, TERRA_DLQ, Topic
from tests.api.processes import Server, Servers
from tests.api.services.measurements import query
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.test_dlq import Tool
from tests.api.services.test_providers import daily
from tests.api.services.vendor_api import (
    ROLE,
    VendorApis,
    bridge_database,
    oura_signed,
    whoop_signed,
)
from tests.api.services.waiting import until
from tests.unit.services.vendor_documents import (
    oura_notice,
    oura_sleep,
    whoop_notice,
    whoop_recovery,
    whoop_sleep,
    whoop_workout,
)
from tests.unit.services.vendor_double import Fault


@dataclass
class Works:
    """The bridge with two collectors, between the vendors and the stores."""

    platform: Platform
    vendors: VendorApis
    bridge: Service
    collectors: tuple[Service, Service]
    people: list[str] = field(default_factory=list)

    async def person(self, provider: str, **how: Any) -> tuple[str, str]:
        """(our user, the vendor's id) of somebody who is connected with a vendor."""
        user = new_user()
        vendors_id = f"{provider}-{user}"
        await self.vendors.connect(self.platform, provider, vendors_id, user, **how)
        self.people += [user, vendors_id]
        return user, vendors_id

    def oura(self, **fields: Any) -> None:
        """A webhook of Oura's."""
        self.bridge.post("/webhooks/oura", *oura_signed(oura_notice(**fields))).raise_for_status()

    def whoop(self, **fields: Any) -> None:
        """A webhook of WHOOP's."""
        self.bridge.post("/webhooks/whoop", *whoop_signed(whoop_notice(**fields))).raise_for_status()

    def sleep_at_oura(self, user: str, **fields: Any) -> str:
        """The id of a new night at Oura."""
        name = str(uuid.uuid4())
        self.vendors.oura.double.documents[user, f"/v2/usercollection/sleep/{name}"] = oura_sleep(id=name, **fields)
        return name

    async def events(self, user: str, count: int, seconds: float = 60) -> list[Event]:
        """All events of a person, at least `count`."""
        records = await self.platform.records(EVENTS, user, count, seconds=seconds)
        assert all(record.key == user.encode() for record in records)
        return [events.decode(record.value or b"") for record in records]

    async def nights(self, user: str, count: int, seconds: float = 60) -> set[str]:
        """The documents of the nights of a person, at least `count`."""
        found: set[str] = set()

        async def all_there() -> bool:
            found.update(e.document_id for e in await self.events(user, 0) if e.kind == "sleep")
            return len(found) >= count

        await until(all_there, seconds)
        return found

    async def waiting(self, vendors_id: str) -> list[tuple[str, bool]]:
        """What is parked of a person: why, and whether it waits for a time that is still to come."""
        statement = (
            "SELECT reason, due_at > now() AS later FROM parked_deliveries WHERE position($1::bytea IN value) > 0"
        )
        return [(row["reason"], row["later"]) for row in await query(self.platform, statement, vendors_id.encode())]

    def metric(self, line: str) -> float:
        """The sum of a metric over the collectors."""
        pattern = rf"^auren_collector_{re.escape(line)} (\S+)$"
        return sum(float(n) for c in self.collectors for n in re.findall(pattern, c.metrics(), re.MULTILINE))


@pytest.fixture(scope="module")
def running(prepared_platform: Platform) -> Iterator[Works]:
    """The processes, for all tests here."""
    prepared_platform.stop_collectors()
    with Servers("fetching") as servers, VendorApis(servers.folder / "providers") as vendors:
        prepared_platform.servers = servers
        bridge, one, two = (
            prepared_platform.service("auren.bridge", name, user=ROLE, environment=vendors.environment)
            for name in ("serve", "collect", "collect")
        )
        yield Works(prepared_platform, vendors, bridge, (one, two))


@pytest.fixture
def works(running: Works, platform: Platform) -> Works:
    """All of them ready."""
    for service in (running.bridge, *running.collectors):
        service.wait_ready()
    return running


async def test_what_oura_names_becomes_events_of_our_user(works: Works) -> None:
    user, vendors_id = await works.person("oura")
    night = works.sleep_at_oura(user)
    works.oura(user_id=vendors_id, object_id=night)
    found = await works.events(user, 2)
    assert {event.kind for event in found} == {"sleep", "readings"}
    assert {event.document_id for event in found} == {f"sleep/{night}"}
    assert works.metric('fetches_total{outcome="fetched",provider="oura"}') >= 1


async def test_whoops_recovery_is_found_through_its_sleep(works: Works) -> None:
    user, vendors_id = await works.person("whoop")
    sleep = str(uuid.uuid4())
    works.vendors.whoop.double.documents |= {
        (user, f"/v2/activity/sleep/{sleep}"): whoop_sleep(id=sleep, cycle_id=7),
        (user, "/v2/cycle/7/recovery"): whoop_recovery(sleep_id=sleep, cycle_id=7),
    }
    works.whoop(user_id=vendors_id, id=sleep, type="recovery.updated")
    [event] = await works.events(user, 1)
    assert (event.kind, event.document_id) == ("readings", f"recovery/{sleep}")
    assert {reading.metric: reading.value for reading in event.readings}["recovery_score"] == 44


async def test_a_deletion_takes_back_what_came_before(works: Works) -> None:
    user, vendors_id = await works.person("whoop")
    workout = str(uuid.uuid4())
    works.vendors.whoop.double.documents[user, f"/v2/activity/workout/{workout}"] = whoop_workout(id=workout)
    works.whoop(user_id=vendors_id, id=workout, type="workout.updated")
    [made] = await works.events(user, 1)
    works.whoop(user_id=vendors_id, id=workout, type="workout.deleted")
    deletion = next(event for event in await works.events(user, 2) if event.kind == "deletion")
    assert deletion.document_id == made.document_id == f"workout/{workout}"
    assert deletion.version > made.version


async def test_of_two_collectors_one_refreshes_and_both_use_what_came(works: Works) -> None:
    user, vendors_id = await works.person("oura", lasts=timedelta(minutes=-1))
    double = works.vendors.oura.double
    double.end_access(user)
    before = len(double.forms)
    nights = {works.sleep_at_oura(user) for _ in range(60)}
    for night in nights:
        works.oura(user_id=vendors_id, object_id=night)
    assert await works.nights(user, len(nights)) == {f"sleep/{night}" for night in nights}
    assert [form["grant_type"] for form in double.forms[before:]] == ["refresh_token"]
    grant = next(grant for grant in double.grants if grant.person == user)
    async with bridge_database(works.platform) as database:
        tokens = await TokenStore(database, TokenBox(works.platform.oauth_keyring)).load("oura", user)
    assert tokens is not None
    assert (tokens.access, tokens.refresh) == (grant.access, grant.refresh)


async def test_a_vendor_that_says_when_is_asked_then(works: Works) -> None:
    user, vendors_id = await works.person("oura")
    night, double = works.sleep_at_oura(user), works.vendors.oura.double
    path = f"/v2/usercollection/sleep/{night}"
    double.faults.append(Fault(429, {"Retry-After": "6"}, path=path))
    works.oura(user_id=vendors_id, object_id=night)

    async def held_back() -> bool:
        return await works.waiting(vendors_id) == [("held-back", True)]

    await until(held_back)
    assert double.asked()[path] == 1
    await works.events(user, 2)
    assert double.asked()[path] == 2


async def test_who_connects_later_gets_what_came_before(works: Works) -> None:
    user = new_user()
    vendors_id, sleep = f"whoop-{user}", str(uuid.uuid4())
    works.vendors.whoop.double.documents[user, f"/v2/activity/sleep/{sleep}"] = whoop_sleep(id=sleep)
    works.whoop(user_id=vendors_id, id=sleep, type="sleep.updated")

    async def unknown() -> bool:
        return await works.waiting(vendors_id) == [("unknown-user", True)]

    await until(unknown)
    await works.vendors.connect(works.platform, "whoop", vendors_id, user)
    works.people += [user, vendors_id]
    [event] = await works.events(user, 1, seconds=90)
    assert event.document_id == f"sleep/{sleep}"


async def test_who_has_to_connect_again_gets_what_came_meanwhile(works: Works) -> None:
    user, vendors_id = await works.person("oura", lasts=timedelta(minutes=-1))
    works.vendors.oura.double.revoke(user)
    night = works.sleep_at_oura(user)
    works.oura(user_id=vendors_id, object_id=night)

    async def not_connected() -> bool:
        return await works.waiting(vendors_id) == [("not-connected", True)]

    await until(not_connected)
    await works.vendors.connect(works.platform, "oura", vendors_id, user)
    await works.events(user, 2, seconds=90)


async def test_a_vendor_that_is_away_is_left_alone_and_asked_again_when_it_is_back(works: Works) -> None:
    user, vendors_id = await works.person("oura")
    nights = {works.sleep_at_oura(user) for _ in range(40)}
    works.vendors.oura.stop()
    try:
        for night in nights:
            works.oura(user_id=vendors_id, object_id=night)

        async def open_breaker() -> bool:
            return any(missing(c).get("breakers") == "open after failures: oura" for c in works.collectors)

        await until(open_breaker)
        assert works.metric('breaker_state{upstream="oura"}') >= 1
    finally:
        works.vendors.oura.start()
    assert await works.nights(user, len(nights), seconds=120) == {f"sleep/{night}" for night in nights}

    async def closed() -> bool:
        return all(collector.ready() for collector in works.collectors)

    await until(closed)
    assert works.metric('fetches_total{outcome="vendor-away",provider="oura"}') >= 5


def missing(service: Service) -> dict[str, str]:
    """What a service lacks, and why."""
    answer = service.health()
    return {} if answer.status_code == 200 else {one["name"]: one["reason"] for one in answer.json()["missing"]}


@pytest.mark.parametrize(
    ("store", "names"),
    [("kafka", {"kafka", "consumer"}), ("postgres", {"database"}), ("redis", {"redis"})],
)
async def test_the_collector_says_what_is_away_and_goes_on_when_it_is_back(
    works: Works, store: str, names: set[str]
) -> None:
    user, vendors_id = await works.person("oura")
    server: Server = getattr(works.platform, store).server
    server.stop()
    try:

        async def said() -> bool:
            return all(names <= missing(collector).keys() for collector in works.collectors)

        await until(said)
    finally:
        server.start()

    async def ready() -> bool:
        return all(service.ready() for service in (works.bridge, *works.collectors))

    await until(ready)
    night = works.sleep_at_oura(user)
    works.oura(user_id=vendors_id, object_id=night)
    await works.events(user, 2)


@asynccontextmanager
async def terras(platform: Platform) -> AsyncIterator[AIOKafkaProducer]:
    """A producer such as Terra's: no key, no headers."""
    async with AIOKafkaProducer(
        bootstrap_servers=platform.kafka.bootstrap,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username=platform.kafka.admin_username,
        sasl_plain_password=platform.kafka.admin_password,
    ) as producer:
        yield producer


async def put(platform: Platform, value: bytes, *, age_seconds: float = 0) -> None:
    """Put a record into Terra's topic, as if so long ago."""
    async with terras(platform) as producer:
        await producer.send_and_wait(TERRA.name, value, timestamp_ms=int((time.time() - age_seconds) * 1000))


def pointer(url: str) -> bytes:
    """A message of Terra's Kafka destination."""
    return json.dumps({"status": "success", "type": "s3_payload", "url": url, "expires_in": 600}).encode()


async def letters(works: Works, tool: Tool, topic: Topic, error: str, count: int) -> Sequence[dict[str, Any]]:
    """The dead letters of a topic with a reason, at least `count`."""
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        found[:] = (await tool("list", "--topic", topic.name, "--json", "--replayed", "--error", error)).lines()
        return len(found) >= count

    await until(there)
    return found


@pytest.fixture
def tool(works: Works, tmp_path: Path) -> Tool:
    """The command line `dlq`."""
    return Tool(works.platform, tmp_path / "secrets")


async def test_data_in_terras_topic_becomes_events_of_our_user(works: Works) -> None:
    user = new_user()
    works.people.append(user)
    await put(works.platform, json.dumps(daily(f"terra-{user}", user, 4321)).encode())
    [event] = await works.events(user, 1)
    assert [(reading.metric, reading.value) for reading in event.readings] == [("steps", 4321)]


async def test_a_pointer_that_has_expired_is_a_dead_letter_of_terras_topic(works: Works, tool: Tool) -> None:
    secret = f"https://storage.googleapis.com/terra-services-p-bkt-payloads/{uuid.uuid4().hex}"
    works.people.append(secret)
    await put(works.platform, pointer(secret), age_seconds=601)
    [letter] = await letters(works, tool, TERRA_DLQ, "the payload's address has expired", 1)
    assert (letter["provider"], letter["stage"]) == ("terra", "fetch")
    again = await tool("replay", "--topic", TERRA_DLQ.name, "--yes", letter["place"])
    assert again.code == 0, again.err
    first, second = await letters(works, tool, TERRA_DLQ, "the payload's address has expired", 2)
    assert {first["replayed_from"], second["replayed_from"]} == {"", f"{TERRA_DLQ.name}:{letter['place']}"}


async def test_a_pointer_that_leads_inside_is_not_followed(works: Works, tool: Tool) -> None:
    await put(works.platform, pointer(f"{works.vendors.oura.url}/{uuid.uuid4().hex}"))
    await put(works.platform, pointer(f"https://127.0.0.1/{uuid.uuid4().hex}"))
    await letters(works, tool, TERRA_DLQ, "the payload's address is not plain https on the default port", 1)
    await letters(works, tool, TERRA_DLQ, "the payload's host is not on the list", 1)


async def test_what_cannot_be_read_in_terras_topic_can_be_replayed(works: Works, tool: Tool) -> None:
    await put(works.platform, f"no json {uuid.uuid4().hex}".encode())
    [letter] = await letters(works, tool, TERRA_DLQ, "not a message of Terra", 1)
    again = await tool("replay", "--topic", TERRA_DLQ.name, "--yes", letter["place"])
    assert again.code == 0, again.err
    await letters(works, tool, TERRA_DLQ, "not a message of Terra", 2)


async def test_logs_and_metrics_name_no_person_and_no_token(works: Works) -> None:
    user, vendors_id = await works.person("oura", scopes={"daily"}, lasts=timedelta(minutes=-1))
    night, unreadable, refused = works.sleep_at_oura(user), works.sleep_at_oura(user, bedtime_start=user), new_user()
    for document in (night, unreadable, "gone-" + night):
        works.oura(user_id=vendors_id, object_id=document)
    works.oura(user_id=vendors_id, object_id=refused, data_type="workout")
    await works.events(user, 2)

    async def all_ended() -> bool:
        return await works.waiting(vendors_id) == [("gone", True)]

    await until(all_ended)
    private = [*works.people, night, unreadable, refused, *works.platform.passwords.values()]
    for vendor in (works.vendors.oura, works.vendors.whoop):
        private += [secret for grant in vendor.double.grants for secret in (grant.access, grant.refresh)]
    services = (works.bridge, *works.collectors)
    written = "".join(service.metrics() + service.server.log.read_text() for service in services)
    assert '"message": "dead letter"' in written
    assert [secret for secret in private if secret in written] == []
