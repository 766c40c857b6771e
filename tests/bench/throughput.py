"""From Kafka into the table by one process, and how fast the server takes the same rows without any of it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg
from psycopg import connect

from auren.biometric.ingest.batch import Row, offset_minutes
from auren.events import Event
from auren.migrations import chain
from tests.api.services.measurements import query
from tests.api.services.platform import Platform, Service
from tests.api.stores import Postgres
from tests.bench.filling import fill
from tests.bench.measured import READINGS, Plan
from tests.bench.webhooks import peak_mib

USER: Final = "biometric-production"
LOOK_SECONDS: Final = 0.2
"""How often the service is asked how far it is: on two cores, asking takes from what is measured."""
QUIET_SECONDS: Final = 120
"""A service that takes in nothing for so long will not any more."""

COPY_ROWS: Final = 100_000
"""Rows of one COPY, each a transaction."""

UPSERT: Final = f"""
INSERT INTO readings ({", ".join(Row._fields)})
VALUES ({", ".join(f"${index}" for index in range(1, len(Row._fields) + 1))})
ON CONFLICT (user_id, metric, source, time) DO UPDATE SET value = excluded.value, version = excluded.version
WHERE excluded.version >= readings.version
"""


@dataclass(frozen=True)
class Table:
    """What there is after a run."""

    rows: int
    switches: int


@dataclass(frozen=True)
class Pass:
    """One run over the log. `rows_per_second` and `events_per_second` from its first rows to no lag.

    `rss_mib` is the most memory that the process has had.
    """

    seconds: float
    rows_per_second: float
    events_per_second: float
    rss_mib: float
    table: Table


def start(platform: Platform) -> Service:
    """The biometric service as it is."""
    return platform.service("auren.biometric", user=USER)


async def ingest(platform: Platform, plan: Plan) -> Pass:
    """A process starts on a full log; the clock runs from the first rows that it has stored.

    Raises TimeoutError when it stops short of the end.
    """
    service = start(platform)
    try:
        first = await _progress(service, "merged", "rows", least=1)
        last = await _progress(service, "stored", "events", least=plan.events)
        await _no_lag(service)
        ended, rss_mib = time.perf_counter(), peak_mib(service)
    finally:
        service.server.stop()
    seconds = ended - first.at
    events = plan.events - first.count / READINGS
    assert last.count == plan.events
    return Pass(seconds, events * READINGS / seconds, events / seconds, rss_mib, await table(platform))


async def replay(platform: Platform, plan: Plan) -> Pass:
    """The same records once more; nothing is to be added."""
    await fill(platform, plan)
    service = start(platform)
    try:
        first = await _progress(service, "duplicate", "events", least=1)
        await _progress(service, "duplicate", "events", least=plan.events)
        await _no_lag(service)
        seconds, rss_mib = time.perf_counter() - first.at, peak_mib(service)
    finally:
        service.server.stop()
    events = plan.events - first.count
    return Pass(seconds, events * READINGS / seconds, events / seconds, rss_mib, await table(platform))


async def table(platform: Platform) -> Table:
    """Counted, not estimated."""
    [row] = await query(
        platform, "SELECT (SELECT count(*) FROM readings) AS rows, (SELECT count(*) FROM mode_switches) AS switches"
    )
    return Table(row["rows"], row["switches"])


@dataclass(frozen=True)
class _Seen:
    at: float
    count: float


async def _progress(service: Service, outcome: str, what: str, least: int) -> _Seen:
    """Wait until the service has counted so many. Raises TimeoutError when it counts none for QUIET_SECONDS."""
    name = f'auren_biometric_{what}_total{{outcome="{outcome}"}}'
    seen = _Seen(time.perf_counter(), 0)
    while True:
        count = await _metric(service, name)
        now = time.perf_counter()
        if count >= least:
            return _Seen(now, count)
        if count > seen.count:
            seen = _Seen(now, count)
        if now - seen.at > QUIET_SECONDS:
            raise TimeoutError(f"{count:.0f} of {least} {what} {outcome}:\n{service.server.tail()}")
        await asyncio.sleep(LOOK_SECONDS)


async def _no_lag(service: Service) -> None:
    while await _metric(service, "auren_biometric_lag_records"):  # noqa: ASYNC110 - another process's
        await asyncio.sleep(LOOK_SECONDS)


async def _metric(service: Service, name: str) -> float:
    """0 while it is not there yet."""
    text = await asyncio.to_thread(service.metrics)
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)


async def copy_limit(postgres: Postgres, plan: Plan) -> float:
    """Rows a second of a plain binary COPY of the same rows, by one connection, into a table as empty and the same.

    Only the COPY is timed. The rows are made in between, when the server has time to write its log to the disk.
    """
    async with _empty(postgres) as connection:
        rows, seconds = _rows(plan), 0.0
        while part := list(itertools.islice(rows, COPY_ROWS)):
            began = time.perf_counter()
            await connection.copy_records_to_table("readings", records=part, columns=Row._fields)
            seconds += time.perf_counter() - began
        count: int = await connection.fetchval("SELECT count(*) FROM readings")
    assert count == plan.rows
    return count / seconds


async def naive(postgres: Postgres, plan: Plan, rows: int) -> float:
    """Rows a second as one would write it first: for each event an INSERT … ON CONFLICT by executemany, committed."""
    events = list(itertools.islice(plan, rows // READINGS))
    async with _empty(postgres) as connection:
        began = time.perf_counter()
        for event in events:
            await connection.executemany(UPSERT, list(_rows([event])))
        return len(events) * READINGS / (time.perf_counter() - began)


def _rows(events: Iterable[Event]) -> Iterator[Row]:
    """The rows that ingest makes of them, where all is plausible, new and in time."""
    for event in events:
        for reading in event.readings:
            yield Row(
                reading.time, event.user_id, reading.metric, event.source, reading.value, reading.end_time, None,
                event.provider, event.document_id, event.version, event.event_id, event.received_at,
                offset_minutes(reading.time),
            )  # fmt: skip


@asynccontextmanager
async def _empty(postgres: Postgres) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database of its own with the same tables; dropped afterwards."""
    name = await postgres.create_database()
    await asyncio.to_thread(chain.upgrade, lambda: connect(postgres.dsn(name)))
    connection = await asyncpg.connect(postgres.dsn(name))
    try:
        yield connection
    finally:
        await connection.close()
        await postgres.drop_database(name)
