"""Requests to a store and its answers are lost with the connection: no delivery is lost, and none counts twice.

What the chaos test meets by chance is met here request by request. A request is lost twice, then it arrives twice and
its answer is lost, before the network works again: what is tried again fails once more.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from auren import events
from auren.bridge.tokens import TokenBox, TokenStore
from auren.topics import EVENTS, WEBHOOKS
from tests.api.relay import OFFSET_COMMIT, PRODUCE, Relay, What, commits, kafka_requests
from tests.api.services.measurements import event, publish, values
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.vendor_api import ROLE, VendorApis, bridge_database, oura_signed
from tests.api.services.waiting import until
from tests.unit.services.vendor_documents import oura_notice, oura_workout

PATH = "/webhooks/healthkit"
FIRST = datetime(2025, 3, 1, 7, 30, tzinfo=UTC)


@pytest.fixture
def alone(platform: Platform) -> Platform:
    """Nobody else consumes, so that the records go to the service behind the relay."""
    platform.stop_collectors()
    return platform


@pytest.fixture
def bridge(alone: Platform) -> Service:
    """A bridge whose connections hold."""
    return ready(alone.service("auren.bridge", "serve", user=ROLE))


def kafka_relay(platform: Platform, api_key: int) -> Relay:
    """Between Kafka and a service with `through` as its environment."""
    return Relay(platform.kafka.relayed_port, kafka_requests(api_key), platform.kafka.relay_port)


def through(relay: Relay) -> dict[str, str]:
    """Kafka by the relay."""
    return {"AUREN_KAFKA_BOOTSTRAP": f"127.0.0.1:{relay.port}"}


def ready(service: Service) -> Service:
    """The service, once it has all it needs."""
    service.wait_ready()
    return service


def push(minute: int) -> dict[str, Any]:
    """One heart rate of that minute."""
    sample = {"date": f"{FIRST + timedelta(minutes=minute):%Y-%m-%d %H:%M:%S +0000}", "qty": 50 + minute}
    return {"data": {"metrics": [{"name": "heart_rate", "units": "count/min", "data": [sample]}]}}


def defects(service: Service) -> list[str]:
    """What the service called an error: a lost connection is none, though libraries say so of it."""
    lines = [json.loads(line) for line in service.server.log.read_text().splitlines()]
    return [line["message"] for line in lines if line["level"] == "error" and line["logger"].startswith("auren.")]


async def effects(platform: Platform, user: str, count: int) -> dict[datetime, float]:
    """The readings in a person's events, at least `count` records. Events of one id are equal."""
    contents: dict[UUID, set[bytes]] = defaultdict(set)
    readings: dict[datetime, float] = {}
    for record in await platform.records(EVENTS, user, count):
        found = events.decode(record.value or b"")
        contents[found.event_id].add(record.value or b"")
        readings |= {reading.time: reading.value for reading in found.readings}
    assert {len(said) for said in contents.values()} == {1}
    assert len(contents) == len(readings)
    return readings


def expected(count: int) -> dict[datetime, float]:
    """The readings of the pushes of so many minutes."""
    return {FIRST + timedelta(minutes=minute): 50 + minute for minute in range(count)}


async def test_a_delivery_whose_acknowledgement_is_lost_is_in_the_log_once(alone: Platform) -> None:
    user = new_user()
    with kafka_relay(alone, PRODUCE) as relay:
        bridge = ready(alone.service("auren.bridge", "serve", user=ROLE, environment=through(relay)))
        relay.lose("request")
        answering = asyncio.create_task(asyncio.to_thread(bridge.post, PATH, push(0), alone.bearer(user)))
        await relay.lost(2)
        relay.lose("answer")
        await relay.lost(2)
        assert not (answering.done() and answering.result().is_success)
        relay.pass_on()
        answer = await answering
        while answer.status_code == 503:  # a machine so slow that the bridge gave up: the app repeats it
            await until_ready(bridge)
            answer = bridge.post(PATH, push(0), alone.bearer(user))
        assert answer.status_code == 202
        in_log = [dict(r.headers)["ce_id"].decode() for r in await alone.records(WEBHOOKS, user, 1)]
        assert in_log.count(answer.json()["id"]) == 1
        assert defects(bridge) == []


async def until_ready(service: Service) -> None:
    """Wait for it without blocking."""

    async def is_ready() -> bool:
        return await asyncio.to_thread(service.ready)

    await until(is_ready)


async def test_events_that_are_lost_on_the_way_to_the_log_count_once(alone: Platform, bridge: Service) -> None:
    user = new_user()
    with kafka_relay(alone, PRODUCE) as relay:
        collector = ready(alone.service("auren.bridge", "collect", user=ROLE, environment=through(relay)))
        relay.lose("request")
        for minute in range(3):
            bridge.post(PATH, push(minute), alone.bearer(user)).raise_for_status()
        await relay.lost(2)
        relay.lose("answer")
        await relay.lost(2)
        relay.pass_on()
        await until_ready(collector)
        bridge.post(PATH, push(3), alone.bearer(user)).raise_for_status()
        await all_there(alone, user, 4)
        assert await effects(alone, user, 4) == expected(4)
        assert defects(collector) == []
        collector.server.stop()


@pytest.mark.parametrize("lost", [PRODUCE, OFFSET_COMMIT], ids=["events", "offsets"])
async def test_a_collector_that_is_killed_before_it_is_heard_begins_again(
    alone: Platform, bridge: Service, lost: int
) -> None:
    user = new_user()
    with kafka_relay(alone, lost) as relay:
        collector = ready(alone.service("auren.bridge", "collect", user=ROLE, environment=through(relay)))
        relay.lose("request")
        for minute in range(3):
            bridge.post(PATH, push(minute), alone.bearer(user)).raise_for_status()
        await relay.lost(2)
        before = len(await alone.records(EVENTS, user, 0))
        assert (before > 0) == (lost == OFFSET_COMMIT)
        collector.server.kill()
        relay.pass_on()
        collector.server.start()
        await all_there(alone, user, 3)
        assert await effects(alone, user, 3 + before) == expected(3)
        collector.server.stop()


async def all_there(platform: Platform, user: str, count: int) -> None:
    """Wait until so many of a person's readings are in events."""

    async def there() -> bool:
        return len(await effects(platform, user, 1)) >= count

    await until(there)


async def caught_up(platform: Platform) -> None:
    """Wait until what other tests have left in the topic is stored: somebody's event behind it, in every partition."""
    people = [new_user() for _ in range(60)]  # by their keys they are spread over the three partitions
    await publish(platform, [event(user, [60.0]) for user in people])

    async def all_there() -> bool:
        return all([await values(platform, user) == [60.0] for user in people])

    await until(all_there)


async def test_rows_whose_commit_is_lost_are_there_once(alone: Platform) -> None:
    user, rates = new_user(), [60.0 + minute for minute in range(50)]
    with Relay(alone.postgres.port, commits()) as relay:
        environment = {"AUREN_DATABASE_PORT": str(relay.port)}
        biometric = ready(alone.service("auren.biometric", user="biometric-production", environment=environment))
        await caught_up(alone)
        relay.lose("request")
        await publish(alone, [event(user, rates)])
        await relay.lost(2)
        assert await values(alone, user) == []
        relay.lose("answer")

        async def first_there() -> bool:
            return await values(alone, user) == rates

        await until(first_there)
        await relay.lost(2)
        relay.pass_on()
        await publish(alone, [event(user, [90.0], document="d2", start=FIRST)])

        async def second_there() -> bool:
            return await values(alone, user) == [90.0, *rates]

        await until(second_there)
        await until_ready(biometric)
        assert defects(biometric) == []
        biometric.server.stop()


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_refreshed_tokens_whose_commit_is_lost_are_kept_and_used(alone: Platform, lost: What) -> None:
    user, document = new_user(), str(uuid4())
    relay = Relay(alone.postgres.port, commits(after=b"UPDATE oauth_tokens"))
    with VendorApis(alone.servers.folder / "providers") as vendors, relay:
        environment = vendors.environment
        bridge = ready(alone.service("auren.bridge", "serve", user=ROLE, environment=environment))
        behind = environment | {"AUREN_DATABASE_PORT": str(relay.port)}
        collector = ready(alone.service("auren.bridge", "collect", user=ROLE, environment=behind))
        await vendors.connect(alone, "oura", f"oura-{user}", user, lasts=timedelta(minutes=-1))
        double = vendors.oura.double
        double.end_access(user)
        double.documents[user, f"/v2/usercollection/workout/{document}"] = oura_workout(id=document)
        relay.lose(lost)
        notice = oura_notice(user_id=f"oura-{user}", object_id=document, data_type="workout")
        bridge.post("/webhooks/oura", *oura_signed(notice)).raise_for_status()
        await relay.lost(1)
        relay.pass_on()
        found = [events.decode(r.value or b"") for r in await alone.records(EVENTS, user, 1)]
        assert {one.document_id for one in found} == {f"workout/{document}"}
        assert [form["grant_type"] for form in double.forms] == ["refresh_token"]
        grant = next(grant for grant in double.grants if grant.person == user)
        async with bridge_database(alone) as database:
            tokens = await TokenStore(database, TokenBox(alone.oauth_keyring)).load("oura", user)
        assert tokens is not None
        assert (tokens.access, tokens.refresh) == (grant.access, grant.refresh)
        assert defects(collector) == []
        collector.server.stop()
