"""A person as a whole on real stores: exported, erased for good, and told live; and the app's backfill."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from auren.biometric.stores import ELSEWHERE, LEARNT, PEOPLE, READINGS
from auren.events import delivery
from auren.topics import WEBHOOKS
from tests.api import stores
from tests.api.services.measurements import event, publish, query
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.test_learning import ingested
from tests.api.services.test_neuros import start as start_neuros
from tests.api.services.waiting import until
from tests.unit.services.journeys import journeys

USER = "biometric-production"
READ = "read:biometrics"
OURS = {store.table for store in (READINGS, *LEARNT, PEOPLE)}


def start(platform: Platform, neuros: str = "") -> Service:
    service = platform.service("auren.biometric", user=USER, environment={"AUREN_NEUROS_URL": neuros})
    service.wait_ready()
    return service


async def ask(platform: Platform, method: str, url: str, user: str, scope: str = READ) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.request(method, url, headers=platform.bearer(user, scope))


async def rows_of(platform: Platform, user: str) -> dict[str, int]:
    """How many rows each table with a column `user_id` has of a person; views and erased ones aside."""
    tables = await query(
        platform,
        "SELECT c.table_name AS name FROM information_schema.columns c JOIN information_schema.tables t"
        " USING (table_schema, table_name) WHERE c.column_name = 'user_id' AND c.table_schema = 'public'"
        " AND t.table_type = 'BASE TABLE'",
    )
    found = {}
    for table in tables:
        (row,) = await query(platform, f"SELECT count(*) FROM {table['name']} WHERE user_id = $1", user)
        found[table["name"]] = row["count"]
    return found


async def test_every_table_that_knows_people_is_erased_or_says_why_not(platform: Platform) -> None:
    assert set(await rows_of(platform, new_user())) == OURS | set(ELSEWHERE)


async def test_what_is_exported_is_what_is_stored_and_nothing_is_left_when_it_is_erased(
    platform: Platform, chroma: stores.Chroma
) -> None:
    user, other = new_user(), new_user()
    neuros = start_neuros(platform, chroma)
    neuros.wait_ready()
    service = start(platform, neuros.url(""))
    events = journeys([user, other], 9, seed=4)
    await publish(platform, events)
    await ingested(platform, events)
    said = platform.bearer(user, "chat:neuros")
    assert neuros.post("/api/agents/neuros/analyze", {"message": "hello", "session_id": "s1"}, said).is_success

    stored = await rows_of(platform, user)
    export = await ask(platform, "GET", service.url(f"/users/{user}/export"), user)
    files = zipfile.ZipFile(io.BytesIO(export.content))
    assert files.testzip() is None
    counted = {table: len(files.read(f"{table}.jsonl").splitlines()) for table in OURS}
    assert counted == {table: stored[table] for table in OURS}
    assert all(counted[table] for table in OURS - {"outbox", "chat_messages"})
    reading = json.loads(files.read("readings.jsonl").splitlines()[0])
    assert {"metric", "time", "value", "source"} < reading.keys()
    assert json.loads(files.read("neuros.json"))["sessions"]["s1"]["turns"] == 1
    assert "README.txt" in files.namelist()

    assert (await ask(platform, "DELETE", service.url(f"/users/{user}"), other)).status_code == 403
    assert (await ask(platform, "GET", service.url(f"/users/{user}/export"), other)).status_code == 403
    of_other = await rows_of(platform, other)
    erased = await ask(platform, "DELETE", service.url(f"/users/{user}"), user)
    assert erased.status_code == 200
    removed = {store["store"]: store["removed"] for store in erased.json()["stores"]}
    assert {table: removed[table] for table in OURS} == counted
    assert (removed["neuros"], removed["redis"]) == (1, 1)

    await publish(platform, events)  # the log is read once more
    marker = event(new_user(), [60])
    await publish(platform, [marker])
    await ingested(platform, [marker])
    left = {table: count for table, count in (await rows_of(platform, user)).items() if count}
    assert left == {"erased_users": 1}
    assert await rows_of(platform, other) == of_other
    again = await ask(platform, "DELETE", service.url(f"/users/{user}"), user)
    assert {store["removed"] for store in again.json()["stores"] if store["store"] != "redis"} == {0}
    assert (await ask(platform, "DELETE", service.url(f"/users/{other}"), "clerk", "erase")).status_code == 200


async def test_an_erasure_amidst_events_leaves_no_row(platform: Platform) -> None:
    service = start(platform)
    user = new_user()
    events = journeys([user], 30, seed=6)
    writing = asyncio.create_task(publish(platform, events))
    await ingested(platform, events[:40])
    for _ in range(2):
        assert (await ask(platform, "DELETE", service.url(f"/users/{user}"), user)).status_code == 200
    await writing
    marker = [event(new_user(), [60]) for _ in range(12)]
    await publish(platform, marker)
    await ingested(platform, marker)
    assert {table for table, count in (await rows_of(platform, user)).items() if count} == {"erased_users"}


async def test_a_store_that_is_away_is_named_and_the_erasure_completed_later(
    platform: Platform, chroma: stores.Chroma
) -> None:
    user = new_user()
    neuros = start_neuros(platform, chroma)
    neuros.wait_ready()
    service = start(platform, neuros.url(""))
    neuros.server.stop()
    answer = await ask(platform, "DELETE", service.url(f"/users/{user}"), user)
    assert answer.status_code == 503
    assert answer.json()["type"].endswith(":erasure-incomplete")
    assert "neuros" in answer.json()["detail"]
    missing = await ask(platform, "GET", service.url(f"/users/{user}/export"), user)
    assert "neuros-is-missing.txt" in zipfile.ZipFile(io.BytesIO(missing.content)).namelist()
    neuros.server.start()
    neuros.wait_ready()
    assert (await ask(platform, "DELETE", service.url(f"/users/{user}"), user)).status_code == 200


# Live


@asynccontextmanager
async def listening(
    platform: Platform, service: Service, user: str, last_id: str | None = None
) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
    """The events of a stream, as they come."""
    headers = platform.bearer(user, READ) | ({"Last-Event-ID": last_id} if last_id else {})
    url = service.url(f"/stream/{user}")
    async with httpx.AsyncClient(timeout=30) as client, client.stream("GET", url, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _events(answer)


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, str]]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield fields
            fields = {}


async def next_of(events: AsyncIterator[dict[str, str]], kind: str) -> dict[str, str]:
    async with asyncio.timeout(20):
        async for found in events:
            if found["event"] == kind:
                return found
    raise AssertionError(f"the stream ended without {kind}")


async def test_what_changes_is_told_as_it_changes_and_resumed_on_another_replica(platform: Platform) -> None:
    user, silent = new_user(), new_user()
    first, second = start(platform), start(platform)
    now = datetime.now(UTC)
    async with listening(platform, first, user) as events:
        snapshot = await next_of(events, "snapshot")
        assert json.loads(snapshot["data"]) == {"values": [], "mode": None, "since": None}
        await publish(platform, [event(user, [61], start=now), event(silent, [50], start=now)])
        found = await next_of(events, "values")
        assert [(v["metric"], v["value"]) for v in json.loads(found["data"])] == [("heart_rate", 61)]
        await publish(platform, [event(user, [20], metric="hrv_rmssd", document="d2", start=now)])
        assert [v["value"] for v in json.loads((await next_of(events, "values"))["data"])] == [20]
        mode = await next_of(events, "mode")
        assert json.loads(mode["data"])["mode"] == "reflex"
    await publish(platform, [event(user, [62], document="d3", start=now)])
    await ingested(platform, [event(user, [62], document="d3", start=now)])
    async with listening(platform, second, user, found["id"]) as events:
        missed = [await anext(events) for _ in range(3)]
    assert [one["event"] for one in missed] == ["values", "mode", "values"]
    assert json.loads(missed[2]["data"])[0]["value"] == 62
    async with listening(platform, second, user, "1-0") as events:
        assert [(await anext(events))["event"] for _ in range(2)] == ["reset", "snapshot"]
    (row,) = await query(platform, "SELECT mode FROM people WHERE user_id = $1", user)
    assert row["mode"] == "reflex"


async def test_a_stream_ends_when_the_service_is_told_to_stop(platform: Platform) -> None:
    user = new_user()
    service = start(platform)
    async with listening(platform, service, user) as events:
        await next_of(events, "snapshot")
        stopping = asyncio.create_task(asyncio.to_thread(service.server.stop))
        async with asyncio.timeout(20):
            assert [one async for one in events] == []
        await stopping


async def test_one_person_has_few_streams(platform: Platform) -> None:
    user = new_user()
    service = start(platform)
    async with httpx.AsyncClient(timeout=30) as client:
        headers = platform.bearer(user, READ)
        url = service.url(f"/stream/{user}")
        streams = [await client.send(client.build_request("GET", url, headers=headers), stream=True) for _ in range(5)]
        refused = await client.get(url, headers=headers)
        assert refused.status_code == 429
        assert refused.json()["type"].endswith(":too-many-streams")
        for stream in streams:
            await stream.aclose()

        async def room() -> bool:
            answer = await client.send(client.build_request("GET", url, headers=headers), stream=True)
            await answer.aclose()
            return answer.status_code == 200

        await until(room)


# Backfill

DOCUMENT: dict[str, Any] = {"data": {"metrics": [{"name": "heart_rate", "units": "count/min", "data": []}]}}


@pytest.mark.parametrize("packed", [False, True])
async def test_a_backfill_is_in_the_log_when_it_is_accepted(platform: Platform, packed: bool) -> None:
    user = new_user()
    service = start(platform)
    body = json.dumps(DOCUMENT).encode()
    headers = platform.bearer(user, "push:healthkit") | ({"Content-Encoding": "gzip"} if packed else {})
    answer = service.post("/batch/healthkit", gzip.compress(body) if packed else body, headers)
    assert answer.status_code == 202
    (record,) = await platform.records(WEBHOOKS, user, 1)
    found = delivery(record.value or b"", record.headers)
    assert (found.id, found.provider, found.user_id) == (answer.json()["id"], "healthkit", user)
    assert (gzip.decompress(found.body) if packed else found.body) == body


async def test_a_backfill_that_kafka_cannot_take_is_refused(platform: Platform) -> None:
    user = new_user()
    service = start(platform)
    push = platform.bearer(user, "push:healthkit")
    assert service.post("/batch/healthkit", b"\0" * (16 * 2**20 + 1), push).status_code == 413
    assert service.post("/batch/healthkit", DOCUMENT, platform.bearer(user, READ)).status_code == 403
    assert service.post("/batch/healthkit", b"{}", push | {"Content-Type": "text/plain"}).status_code == 415
    platform.kafka.server.stop()
    answer = service.post("/batch/healthkit", DOCUMENT, push)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
