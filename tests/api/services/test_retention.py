"""What is older than the retention goes, on the Apache edition; what is younger stays."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio
from prometheus_client import generate_latest
from pydantic import SecretStr

from auren.biometric import retention
from auren.biometric.retention import EVENT_DAYS, EVENTS, TABLES, Retention
from auren.database import Database
from auren.link import UnavailableError
from auren.settings import DatabaseSettings, RetentionSettings
from auren.telemetry import Metrics
from tests.api.services.platform import Platform

DAYS = 100
NOW = datetime.now(UTC)

INSERTS = {
    "daily_values": "INSERT INTO daily_values VALUES ($2, 'm', $1::timestamptz::date, 's', 1, 1)",
    "hourly_values": "INSERT INTO hourly_values VALUES ($2, 'm', $1::timestamptz::date, 3, 's', 1, 1)",
    "sleep_sessions": "INSERT INTO sleep_sessions (user_id, provider, document_id, version, source, day, start_time,"
    " end_time, utc_offset_minutes, event_id, received_at) SELECT $2, 'p', gen_random_uuid()::text, 1, 's', $1::date,"
    " $1, $1, 0, gen_random_uuid(), now()",
    "workouts": "INSERT INTO workouts (user_id, provider, document_id, version, source, activity, start_time, end_time,"
    " event_id, received_at) SELECT $2, 'p', gen_random_uuid()::text, 1, 's', 'run', $1, $1, gen_random_uuid(), now()",
    "mode_switches": "INSERT INTO mode_switches VALUES (gen_random_uuid(), $2, $1, 'reflex', 'reflex', NULL, 'r', 1,"
    " '[]', '[]', gen_random_uuid())",
    "patterns": "INSERT INTO patterns VALUES ($2, 'k', gen_random_uuid()::text, 'high', 1, $1, $1, $1, '{}')",
    "chat_messages": "INSERT INTO chat_messages (user_id, session_id, at, role, content)"
    " VALUES ($2, 's', $1, 'r', 'c')",
    "deletion_tombstones": "INSERT INTO deletion_tombstones VALUES ($2, 'p', gen_random_uuid()::text, 1, $1)",
    "ingested_events": "INSERT INTO ingested_events VALUES (gen_random_uuid(), $2, $1)",
    "readings": "INSERT INTO readings (time, user_id, metric, source, value, provider, document_id, version, event_id,"
    " received_at) VALUES ($1, $2, 'm', 's', 1, 'p', 'd', 1, gen_random_uuid(), now())",
}
AGES = {"ingested_events": EVENT_DAYS}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("biometric")


@pytest.fixture
def user() -> str:
    """A person of the test's own."""
    return f"user-{uuid.uuid4().hex}"


@pytest_asyncio.fixture
async def admin(platform: Platform) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(platform.postgres.dsn(platform.database))
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def database(platform: Platform) -> AsyncIterator[Database]:
    """The service's pool, under its own role."""
    settings = DatabaseSettings.model_validate(
        {
            "database_host": platform.postgres.host,
            "database_port": platform.postgres.port,
            "database_name": platform.database,
            "database_user": "biometric_production",
            "database_password": SecretStr(platform.passwords["biometric-production"]),
        }
    )
    database = Database(settings, application="retention-test")
    await database.start()
    yield database
    await database.stop()


@pytest.fixture
def forgetful(database: Database, metrics: Metrics) -> Retention:
    return Retention(RetentionSettings(retention_days=DAYS, compress_after_days=7), database, metrics)


async def turn(part: Retention) -> bool:
    """One round, as soon as the pool is connected."""
    while True:
        try:
            return await part.once()
        except UnavailableError:
            await asyncio.sleep(0.05)


async def count(admin: asyncpg.Connection, table: str, user: str) -> int:
    return int(await admin.fetchval(f"SELECT count(*) FROM {table} WHERE user_id = $1", user))


def test_every_table_with_a_time_is_among_the_tests() -> None:
    assert set(INSERTS) == {*TABLES, EVENTS, "readings"}


@pytest.mark.parametrize("table", INSERTS)
async def test_what_is_too_old_goes_and_the_rest_stays(
    admin: asyncpg.Connection, forgetful: Retention, user: str, table: str
) -> None:
    limit = AGES.get(table, DAYS)
    # a chunk goes when all of its day is too old
    too_old = NOW - timedelta(days=limit + 2)
    for moment in (too_old, NOW - timedelta(days=limit - 1), NOW):
        await admin.execute(INSERTS[table], moment, user)
    assert await turn(forgetful)
    assert await count(admin, table, user) == 2


async def test_a_backlog_goes_in_steps_and_is_counted(
    admin: asyncpg.Connection, forgetful: Retention, metrics: Metrics, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 3)
    for _ in range(7):
        await admin.execute(INSERTS["workouts"], NOW - timedelta(days=DAYS + 2), user)
    await admin.execute(INSERTS["readings"], NOW - timedelta(days=DAYS + 2), user)
    await admin.execute(INSERTS["readings"], NOW - timedelta(days=DAYS + 5), user)
    assert await turn(forgetful)
    exposed = generate_latest(metrics.registry).decode()
    assert await count(admin, "workouts", user) == 0
    assert 'auren_biometric_retention_deleted_rows_total{table="workouts"} 7.0' in exposed
    assert "auren_biometric_retention_dropped_chunks_total 2.0" in exposed


async def test_a_pattern_that_goes_on_stays(admin: asyncpg.Connection, forgetful: Retention, user: str) -> None:
    await admin.execute(
        "INSERT INTO patterns VALUES ($1, 'k', '', 'high', 1, $2, $2, NULL, '{}')", user, NOW - timedelta(days=900)
    )
    assert await turn(forgetful)
    assert await count(admin, "patterns", user) == 1


async def test_one_replica_at_a_time(admin: asyncpg.Connection, forgetful: Retention, user: str) -> None:
    await admin.execute(INSERTS["readings"], NOW - timedelta(days=DAYS + 2), user)
    await admin.execute("SELECT pg_advisory_lock($1)", retention.LOCK)
    assert not await turn(forgetful)
    assert await count(admin, "readings", user) == 1
    await admin.execute("SELECT pg_advisory_unlock($1)", retention.LOCK)
    assert await turn(forgetful)
    assert await turn(forgetful)  # the lock does not stay with the connection
    assert await count(admin, "readings", user) == 0


async def test_the_function_refuses_to_drop_today(database: Database, forgetful: Retention) -> None:
    await turn(forgetful)
    async with database.connection() as connection:
        for days in (0, -1, None):
            with pytest.raises(asyncpg.InvalidParameterValueError):
                await connection.fetchval("SELECT drop_old_readings($1)", days)
