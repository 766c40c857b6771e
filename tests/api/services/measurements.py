"""Events of invented people, straight onto `biometric-events`, and what the database holds of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import asyncpg
from aiokafka import AIOKafkaProducer

from auren.events import Event, Headers, Kind, Reading, encode, event_headers, event_id
from auren.topics import EVENTS
from tests.api.services.platform import Platform

MORNING = datetime.now(UTC).replace(hour=7, minute=0, second=0, microsecond=0) - timedelta(days=2)
UNITS = {"heart_rate": "/min", "resting_heart_rate": "/min", "hrv_rmssd": "ms", "hrv_sdnn": "ms", "steps": "{steps}"}


def event(
    user: str,
    values: Iterable[float] = (),
    *,
    metric: str = "heart_rate",
    document: str = "d1",
    version: int = 1,
    kind: Kind = "readings",
    start: datetime = MORNING,
    device: str = "ring",
) -> Event:
    """One event whose readings are a minute apart."""
    readings = [
        Reading(metric=metric, value=value, unit=UNITS[metric], time=start + timedelta(minutes=minute))
        for minute, value in enumerate(values)
    ]
    return Event(
        schema=1,
        kind=kind,
        event_id=event_id("oura", user, kind, document, version),
        user_id=user,
        provider="oura",
        document_id=document,
        version=version,
        observed_at=start,
        received_at=datetime.now(UTC),
        device=device,
        readings=tuple(readings),
    )


async def publish(platform: Platform, events: Iterable[Event]) -> None:
    """Append events and wait for their acknowledgement."""
    await publish_raw(platform, [(e.user_id.encode(), encode(e), event_headers(e)) for e in events])


async def publish_raw(platform: Platform, records: Iterable[tuple[bytes, bytes, Headers]]) -> None:
    """Append records of (key, value, headers)."""
    async with AIOKafkaProducer(
        bootstrap_servers=platform.kafka.bootstrap,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username=platform.kafka.admin_username,
        sasl_plain_password=platform.kafka.admin_password,
    ) as producer:
        waiting = [await producer.send(EVENTS.name, value, key, headers=headers) for key, value, headers in records]
        for acknowledged in waiting:
            await acknowledged


async def query(platform: Platform, statement: str, *arguments: object) -> list[asyncpg.Record]:
    """Rows as the superuser sees them."""
    connection = await asyncpg.connect(platform.postgres.dsn(platform.database))
    try:
        rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
    finally:
        await connection.close()
    return rows


async def values(platform: Platform, user: str) -> list[float]:
    """The values of a person in the order of time."""
    rows = await query(platform, "SELECT value FROM readings WHERE user_id = $1 ORDER BY time, metric", user)
    return [row["value"] for row in rows]
