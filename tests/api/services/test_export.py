"""The export of a person with much data: what it says, what it costs, and readers that stop reading."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from auren.biometric import export as exports
from auren.biometric.export import Export, SlowReaderError
from auren.biometric.stores import LEARNT, PEOPLE, READINGS
from auren.database import Database
from auren.http import ProblemError
from auren.link import UnavailableError
from auren.settings import DatabaseSettings
from tests.api.services.measurements import event, publish, query
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.test_learning import ingested
from tests.api.services.test_people import start
from tests.api.services.waiting import until
from tests.unit.services.journeys import journeys

READ = "read:biometrics"
ROWS = 100_000
MOST_MEGABYTES = 40
"""Beyond what the service takes already. All rows at once, as asyncpg gives them, are more than a hundred."""


@pytest.fixture
async def database(platform: Platform) -> AsyncIterator[Database]:
    password = SecretStr(platform.passwords["biometric-production"])
    settings = DatabaseSettings(
        database_host=platform.postgres.host,
        database_port=platform.postgres.port,
        database_name=platform.database,
        database_user="biometric_production",
        database_password=password,
        database_pool_size=2,
    )
    database = Database(settings, application="test-export")
    await database.start()
    await until(lambda: answers(database))
    yield database
    await database.stop()


async def answers(database: Database) -> bool:
    try:
        async with database.connection():
            return True
    except UnavailableError:
        return False


async def fill(platform: Platform, user: str) -> None:
    """A year of a reading every five minutes."""
    await query(
        platform,
        "INSERT INTO readings (time, user_id, metric, source, value, provider, document_id, version, event_id,"
        " received_at) SELECT now() - n * interval '5 minutes', $1, 'heart_rate', 'oura/ring', 40 + random() * 60,"
        " 'oura', gen_random_uuid()::text, 1, gen_random_uuid(), now() FROM generate_series(1, $2) n",
        user,
        ROWS,
    )


def resident(service: Service) -> int:
    """Megabytes that the process has had at most."""
    status = Path(f"/proc/{service.server.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024


async def exported(platform: Platform, service: Service, user: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=120) as client:
        return await client.get(service.url(f"/users/{user}/export"), headers=platform.bearer(user, READ))


def records(files: zipfile.ZipFile, table: str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_int=float) for line in files.read(f"{table}.jsonl").splitlines()]


async def test_much_data_is_exported_whole_in_bounded_memory(platform: Platform) -> None:
    user = new_user()
    await fill(platform, user)
    service = start(platform)
    nobody = new_user()
    assert (await exported(platform, service, nobody)).status_code == 200
    before = resident(service)
    answer = await exported(platform, service, user)
    grown = resident(service) - before
    files = zipfile.ZipFile(io.BytesIO(answer.content))
    assert files.testzip() is None
    found = records(files, "readings")
    stored = await query(platform, "SELECT event_id, value FROM readings WHERE user_id = $1", user)
    assert {(r["event_id"], r["value"]) for r in found} == {(str(r["event_id"]), r["value"]) for r in stored}
    assert len(found) == ROWS
    assert grown < MOST_MEGABYTES


async def test_an_export_says_what_the_tables_hold(platform: Platform) -> None:
    user = new_user()
    service = start(platform)
    events = journeys([user, new_user()], 9, seed=4)
    await publish(platform, [*events, event(user, [61], document="d9")])
    await ingested(platform, events)
    answer = await exported(platform, service, user)
    files = zipfile.ZipFile(io.BytesIO(answer.content))
    for store in (READINGS, *LEARNT, PEOPLE):
        hidden = ["user_id", *store.hidden]
        every = f"SELECT to_jsonb(t) - $2::text[] AS row FROM {store.table} t WHERE user_id = $1"
        rows = await query(platform, every, user, hidden)
        assert sorted(map(flat, records(files, store.table))) == sorted(
            flat(json.loads(row["row"], parse_int=float)) for row in rows
        )


def flat(record: dict[str, Any]) -> str:
    """A row as text. Times are written in two ways, and bytes in two more, so of those only whether they are there."""
    return json.dumps(
        {name: value if not isinstance(value, str) or len(value) < 10 else "text" for name, value in record.items()},
        sort_keys=True,
    )


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "READER_SECONDS", 0.2)


async def test_a_reader_who_stops_reading_does_not_keep_others_waiting(
    platform: Platform, database: Database, patience: None
) -> None:
    user, other = new_user(), new_user()
    await fill(platform, user)
    export = Export(database, None)
    stalled = export.stream(user, "")
    assert await anext(stalled)
    with pytest.raises(ProblemError, match="another export"):
        await anext(export.stream(other, ""))

    async def free() -> bool:
        try:
            return bool([piece async for piece in export.stream(other, "")])
        except ProblemError:
            return False

    await until(free, 20)
    open_snapshots = "SELECT FROM pg_stat_activity WHERE application_name = 'test-export' AND state LIKE 'idle in%'"
    assert await query(platform, open_snapshots) == []
    with pytest.raises(SlowReaderError):
        async for _ in stalled:
            pass


async def test_a_reader_who_leaves_makes_room(platform: Platform) -> None:
    user = new_user()
    await fill(platform, user)
    service = start(platform)
    url, headers = service.url(f"/users/{user}/export"), platform.bearer(user, READ)
    async with httpx.AsyncClient(timeout=60) as client:

        async def begun() -> bool:
            """Asks, reads a piece and leaves."""
            async with client.stream("GET", url, headers=headers) as answer:
                return answer.status_code == 200 and bool(await anext(answer.aiter_raw()))

        assert await begun()
        for _ in range(2):
            await until(begun, exports.READER_SECONDS / 2)
