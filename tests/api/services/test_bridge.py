"""The bridge end to end: a push becomes a record of the log, the log becomes events, and nothing accepted is lost."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaProducer

from auren import events
from auren.events import Delivery
from auren.topics import EVENTS, MAX_BODY_BYTES, WEBHOOKS, WEBHOOKS_DLQ
from tests.api.processes import Servers
from tests.api.services.platform import Platform, Service, new_user

USER = "biometric-bridge"
PATH = "/webhooks/healthkit"
JSON = {"Content-Type": "application/json"}


def push(samples: int = 1, *, start: int = 0, metric: str = "resting_heart_rate") -> dict[str, Any]:
    """A Health Auto Export document with one metric, a sample a minute."""
    first = datetime(2025, 3, 1, 7, 30, tzinfo=UTC) + timedelta(minutes=start)
    times = [(first + timedelta(minutes=i)).strftime("%Y-%m-%d %H:%M:%S +0000") for i in range(samples)]
    data = [{"date": time, "qty": 50 + i % 40, "source": "Watch"} for i, time in enumerate(times)]
    return {"data": {"metrics": [{"name": metric, "units": "count/min", "data": data}]}}


@pytest.fixture(scope="session")
def shared(prepared_platform: Platform, store_servers: Servers) -> dict[str, Service]:
    """One bridge and one collector for all tests: whatever a test takes away, they must recover from."""
    prepared_platform.servers = store_servers
    return {name: prepared_platform.service("auren.bridge", name, user=USER) for name in ("serve", "collect")}


@pytest.fixture
def bridge(shared: dict[str, Service], platform: Platform) -> Service:
    """A bridge that has all it needs."""
    return _ready(shared["serve"])


@pytest.fixture
def collector(shared: dict[str, Service], platform: Platform) -> Service:
    """A collector that has all it needs."""
    return _ready(shared["collect"])


def _ready(service: Service) -> Service:
    if not service.server.running:
        service.server.start()
    service.wait_ready()
    return service


@pytest.fixture
def client() -> httpx.AsyncClient:
    """A client with room for many requests at once."""
    return httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=50))


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until a condition holds that other processes bring about."""
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.05)


def memory_mib(service: Service) -> float:
    with open(f"/proc/{service.server.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def test_a_push_becomes_events(platform: Platform, bridge: Service, collector: Service) -> None:
    user = new_user()
    answer = bridge.post(PATH, push(3), platform.bearer(user))
    assert answer.status_code == 202
    (record,) = await platform.records(WEBHOOKS, user, 1)
    headers = dict(record.headers)
    assert headers["ce_id"].decode() == answer.json()["id"]
    assert json.loads(record.value or b"") == push(3)
    assert record.key is None
    assert not [name for name, value in record.headers if "auth" in name.lower() or b"Bearer" in value]
    (found,) = await platform.records(EVENTS, user, 1)
    event = events.decode(found.value or b"")
    assert found.key == user.encode()
    assert dict(found.headers)["ce_id"].decode() == str(event.event_id)
    assert [(r.metric, r.value, r.unit) for r in event.readings] == [
        ("resting_heart_rate", 50, "/min"),
        ("resting_heart_rate", 51, "/min"),
        ("resting_heart_rate", 52, "/min"),
    ]
    assert event.readings[0].time == datetime(2025, 3, 1, 7, 30, tzinfo=UTC)
    assert event.source == "healthkit/Watch"


async def test_accepted_is_what_is_in_the_topic(
    platform: Platform, bridge: Service, collector: Service, client: httpx.AsyncClient
) -> None:
    user = new_user()
    headers = platform.bearer(user)
    async with client:
        answers = await asyncio.gather(
            *(client.post(bridge.url(PATH), json=push(start=i), headers=headers) for i in range(300))
        )
    accepted = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    assert len(accepted) == 300
    in_log = [dict(r.headers)["ce_id"].decode() for r in await platform.records(WEBHOOKS, user, 300)]
    assert sorted(in_log) == sorted(accepted)
    times = {events.decode(r.value or b"").readings[0].time for r in await platform.records(EVENTS, user, 300)}
    assert len(times) == 300


async def test_the_same_push_twice_is_the_same_event(platform: Platform, bridge: Service, collector: Service) -> None:
    user = new_user()
    for _ in range(2):
        bridge.post(PATH, push(2), platform.bearer(user)).raise_for_status()
    first, second = [events.decode(r.value or b"") for r in await platform.records(EVENTS, user, 2)]
    assert first.event_id == second.event_id
    assert first.version < second.version


async def test_a_gzip_body_is_kept_as_it_came_and_decoded(
    platform: Platform, bridge: Service, collector: Service
) -> None:
    user, body = new_user(), gzip.compress(json.dumps(push(5)).encode())
    headers = platform.bearer(user) | JSON | {"Content-Encoding": "gzip"}
    assert bridge.post(PATH, body, headers).status_code == 202
    (record,) = await platform.records(WEBHOOKS, user, 1)
    assert record.value == body
    (found,) = await platform.records(EVENTS, user, 1)
    assert len(events.decode(found.value or b"").readings) == 5


async def test_the_largest_body_goes_through_in_events_of_bounded_size(
    platform: Platform, bridge: Service, collector: Service
) -> None:
    user, body = new_user(), json.dumps(push(160_000)).encode()
    body += b" " * (MAX_BODY_BYTES - len(body))
    assert len(body) == MAX_BODY_BYTES
    answer = bridge.post(PATH, body, platform.bearer(user) | JSON)
    assert answer.status_code == 202
    found = await platform.records(EVENTS, user, 80, seconds=90)
    assert max(len(r.value or b"") for r in found) <= events.MAX_EVENT_BYTES
    assert sum(len(events.decode(r.value or b"").readings) for r in found) == 160_000


def test_who_may_push(platform: Platform, bridge: Service) -> None:
    def status(headers: dict[str, str]) -> int:
        return bridge.post(PATH, push(), headers).status_code

    user = new_user()
    assert status({}) == 401
    assert status({"Authorization": "Bearer nonsense"}) == 401
    assert status(platform.bearer(user, ttl_seconds=-3600)) == 401
    assert status(platform.bearer(user, audience="others")) == 401
    assert status(platform.bearer(user, scope="read:biometrics")) == 403
    assert status(platform.bearer(user)) == 202


def test_refusals_are_problems(platform: Platform, bridge: Service) -> None:
    def refused(content: bytes, headers: dict[str, str], method: str = "POST") -> tuple[int, str]:
        answer = httpx.request(method, bridge.url(PATH), content=content, headers=platform.bearer("anna") | headers)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
        return answer.status_code, answer.json()["type"]

    bomb = gzip.compress(bytes(MAX_BODY_BYTES + 1))
    assert len(bomb) < 100_000
    assert refused(b"x" * (MAX_BODY_BYTES + 1), JSON) == (413, "urn:auren:problem:too-large")
    assert refused(bomb, JSON | {"Content-Encoding": "gzip"}) == (413, "urn:auren:problem:too-large")
    assert refused(b"no gzip", JSON | {"Content-Encoding": "gzip"}) == (400, "urn:auren:problem:gzip")
    assert refused(b"a,b", {"Content-Type": "text/csv"}) == (415, "urn:auren:problem:content-type")
    assert refused(b"{}", JSON | {"Content-Encoding": "br"}) == (415, "urn:auren:problem:content-encoding")
    assert refused(b"", JSON) == (400, "urn:auren:problem:empty")
    assert refused(b"", {}, "GET") == (405, "urn:auren:problem:method")


async def test_a_body_without_length_is_bounded_too(
    platform: Platform, bridge: Service, client: httpx.AsyncClient
) -> None:
    async def endless() -> Any:
        for _ in range(40):
            yield b" " * 2**20

    async with client:
        answer = await client.post(bridge.url(PATH), content=endless(), headers=platform.bearer("anna") | JSON)
    assert answer.status_code == 413


def test_without_keys_nobody_is_let_in(platform: Platform) -> None:
    bridge = platform.service("auren.bridge", "serve", user=USER, jwks_file=False)
    answer = bridge.post(PATH, push(), platform.bearer("anna"))
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:auren:problem:not-configured"
    assert "Retry-After" in answer.headers
    bridge.server.wait_until(lambda: len(bridge.health().json()["missing"]) == 1, "connected")
    assert [m["name"] for m in bridge.health().json()["missing"]] == ["authentication"]


async def test_a_revoked_token_is_refused(platform: Platform, bridge: Service) -> None:
    headers = platform.bearer(new_user())
    assert bridge.post(PATH, push(), headers).status_code == 202
    claims = json.loads(_base64(headers["Authorization"].split(".")[1]))
    connection = await asyncpg.connect(platform.postgres.dsn(platform.database))
    await connection.execute(
        "INSERT INTO revoked_tokens (jti, expires_at) VALUES ($1, now() + interval '1 day')", claims["jti"]
    )
    await connection.close()
    await until(lambda: bridge.post(PATH, push(), headers).status_code == 401)


def _base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_kafka_away_is_503_and_heals_by_itself(
    platform: Platform, bridge: Service, client: httpx.AsyncClient
) -> None:
    user = new_user()
    headers, url = platform.bearer(user), bridge.url(PATH)
    accepted = [bridge.post(PATH, push(), headers).json()["id"]]
    platform.kafka.server.kill()
    async with client:
        answer = await client.post(url, json=push(start=1), headers=headers)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "kafka" in answer.json()["title"]
        ready = bridge.health()
        assert ready.status_code == 503
        assert "kafka" in [m["name"] for m in ready.json()["missing"]]
        assert bridge.health("/health/serving").status_code == 200
        before = memory_mib(bridge)
        body = json.dumps(push(10_000)).encode()
        for _ in range(10):
            flood = [client.post(url, content=body, headers=headers | JSON) for _ in range(20)]
            assert {a.status_code for a in await asyncio.gather(*flood)} == {503}
        assert memory_mib(bridge) - before < 64
    platform.kafka.server.start()
    await until(bridge.ready)
    accepted.append(bridge.post(PATH, push(start=2), headers).json()["id"])
    in_log = [dict(r.headers)["ce_id"].decode() for r in await platform.records(WEBHOOKS, user, 2)]
    # The one that got 503 may or may not be there: it was not accepted, so it may come again.
    assert set(accepted) <= set(in_log)


async def test_nothing_accepted_is_lost_when_kafka_is_killed_under_load(
    platform: Platform, bridge: Service, collector: Service, client: httpx.AsyncClient
) -> None:
    user = new_user()
    headers, url = platform.bearer(user), bridge.url(PATH)
    accepted: list[str] = []
    stop = asyncio.Event()

    async def sender(number: int) -> None:
        sent = 0
        while not stop.is_set():
            answer = await client.post(url, json=push(start=number * 10_000 + sent), headers=headers)
            assert answer.status_code in {202, 503}, answer.text
            if answer.status_code == 202:
                accepted.append(answer.json()["id"])
            sent += 1
            await asyncio.sleep(0.02)

    async with client:
        senders = [asyncio.create_task(sender(number)) for number in range(8)]
        await until(lambda: len(accepted) > 100)
        platform.kafka.server.kill()
        platform.kafka.server.start()
        again = len(accepted) + 100
        await until(lambda: len(accepted) > again)
        stop.set()
        await asyncio.gather(*senders)
    in_log = {dict(r.headers)["ce_id"].decode() for r in await platform.records(WEBHOOKS, user, len(accepted))}
    assert set(accepted) <= in_log
    times = {
        events.decode(r.value or b"").readings[0].time for r in await platform.records(EVENTS, user, len(accepted))
    }
    in_log_times = {
        json.loads(r.value or b"")["data"]["metrics"][0]["data"][0]["date"]
        for r in await platform.records(WEBHOOKS, user, len(accepted))
    }
    assert {t.strftime("%Y-%m-%d %H:%M:%S +0000") for t in times} == in_log_times


async def test_the_bridge_starts_and_stops_without_kafka(platform: Platform) -> None:
    platform.kafka.server.kill()
    bridge = platform.service("auren.bridge", "serve", user=USER)
    collector = platform.service("auren.bridge", "collect", user=USER)
    answer = bridge.post(PATH, push(), platform.bearer("anna"))
    assert answer.status_code == 503
    for service in (bridge, collector):
        assert service.server.running
        service.server.stop(timeout_seconds=25)
        assert service.server.wait_ended(0) == 0
    platform.kafka.server.start()


async def test_what_cannot_be_decoded_goes_to_the_dead_letters_with_its_reason(
    platform: Platform, bridge: Service, collector: Service
) -> None:
    user = new_user()
    headers = platform.bearer(user)
    assert bridge.post(PATH, b"{broken", headers).status_code == 202
    assert bridge.post(PATH, push(2), headers).status_code == 202
    (dead,) = await platform.records(WEBHOOKS_DLQ, user, 1)
    assert dead.value == b"{broken"
    reason = {name: value.decode() for name, value in dead.headers}
    assert reason["stage"] == "decode"
    assert reason["error"] == "not a Health Auto Export document"
    assert reason["attempts"] == "1"
    assert abs(datetime.now(UTC) - datetime.fromisoformat(reason["first_seen"])) < timedelta(minutes=5)
    assert reason["provider"] == "healthkit"
    # The next delivery is not held up.
    assert len(await platform.records(EVENTS, user, 1)) == 1


async def test_a_foreign_record_in_the_log_goes_to_the_dead_letters(platform: Platform, collector: Service) -> None:
    user = new_user()
    delivery = Delivery(id="1", provider="nobody", received_at=datetime.now(UTC), body=b"{}", user_id=user)
    async with AIOKafkaProducer(
        bootstrap_servers=platform.kafka.bootstrap,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username=platform.kafka.admin_username,
        sasl_plain_password=platform.kafka.admin_password,
    ) as producer:
        await producer.send_and_wait(WEBHOOKS.name, delivery.body, headers=delivery.headers())
        await producer.send_and_wait(WEBHOOKS.name, b"x", headers=[("ce_subject", user.encode())])
    dead = await platform.records(WEBHOOKS_DLQ, user, 2)
    assert sorted(dict(r.headers)["error"] for r in dead) == [
        b"header ce_id is missing",
        b"no decoder for this provider",
    ]
    assert 'auren_collector_deliveries_total{outcome="dead",provider="unknown"}' in collector.metrics()


async def test_an_erased_user_does_not_come_back_from_the_log(
    platform: Platform, bridge: Service, collector: Service
) -> None:
    user, other = new_user(), new_user()
    connection = await asyncpg.connect(platform.postgres.dsn(platform.database))
    await connection.execute("INSERT INTO erased_users VALUES ($1, now() + interval '1 hour')", user)
    await connection.close()
    assert bridge.post(PATH, push(), platform.bearer(user)).status_code == 202
    await until(lambda: 'outcome="erased",provider="healthkit"}' in collector.metrics())
    assert bridge.post(PATH, push(), platform.bearer(other)).status_code == 202
    assert len(await platform.records(EVENTS, other, 1)) == 1
    assert await platform.records(EVENTS, user, 0) == []


async def test_the_collector_waits_for_the_database_and_goes_on(
    platform: Platform, bridge: Service, collector: Service
) -> None:
    user = new_user()
    platform.postgres.server.stop()
    try:
        # The list of revoked tokens is the last known one, so pushes are still taken.
        answer = bridge.post(PATH, push(), platform.bearer(user))
        assert answer.status_code == 202
        await until(lambda: "consumer" in [m["name"] for m in collector.health().json().get("missing", [])])
        await until(lambda: "revoked-tokens" in [m["name"] for m in bridge.health().json().get("missing", [])])
    finally:
        platform.postgres.server.start()
    assert len(await platform.records(EVENTS, user, 1, seconds=60)) == 1
    await until(collector.ready)


def test_logs_and_metrics_name_no_person(platform: Platform, shared: dict[str, Service]) -> None:
    # The whole log of both is read, so both are this test's own, and nobody else consumes.
    shared["collect"].server.stop()
    bridge, collector = (platform.service("auren.bridge", name, user=USER) for name in ("serve", "collect"))
    bridge.wait_ready()
    collector.wait_ready()
    user = new_user()
    token = platform.token(user, "push:healthkit")
    headers = {"Authorization": f"Bearer {token}"}
    secret = "a-very-personal-word"
    named = {"name": f"mood {secret}", "units": secret, "data": [{"qty": 1}]}
    data = push(2)["data"]
    document = {"data": {"metrics": [*data["metrics"], named], "ecg": [{"note": secret}], f"x {secret}": [1]}}
    assert bridge.post(PATH, document, headers).status_code == 202
    assert bridge.post(PATH, f'{{"{secret}'.encode(), headers).status_code == 202
    assert bridge.post(PATH, secret.encode(), headers | {"Content-Type": "text/plain"}).status_code == 415
    assert bridge.get(f"/{user}/{secret}?token={token}", headers).status_code == 404
    collector.server.wait_until(lambda: 'outcome="dead"' in collector.metrics(), "counting the dead letter")
    texts = [service.metrics() for service in (bridge, collector)]
    for service in (bridge, collector):
        service.server.stop()
        texts.append(service.server.log.read_text())
    written = "\n".join(texts)
    assert '"message": "dead letter"' in written
    for private in (
        user,
        token,
        token.split(".")[2],
        secret,
        secret.replace("-", "_"),
        "2025-03-01 07:30",
        platform.passwords[USER],
    ):
        assert private not in written
    for line in texts[2].splitlines() + texts[3].splitlines():
        assert {"message", "level", "time", "service", "stack"} <= json.loads(line).keys()
    labels = {label for text in texts[:2] for label in re.findall(r'[{,](\w+)="', text)}
    assert not labels & {"user", "user_id", "session", "trace_id", "event_id"}
