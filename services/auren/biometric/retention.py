"""What is older than the retention goes: every hour, by one replica at a time, in bounded steps.

Readings themselves go in whole chunks. TimescaleDB's community edition does that by a policy of its own
(`auren.migrations.policies`); on the Apache edition it is done here, through a function that runs with the rights of
the table's owner.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import asyncpg

from auren.background import Background
from auren.database import Database
from auren.link import UnavailableError
from auren.settings import RetentionSettings
from auren.telemetry import Metrics, logger

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

LOCK: Final = 4_158_201_747
"""Advisory lock of the replica that is at it."""

FIRST_SECONDS: Final = 60.0
PERIOD_SECONDS: Final = 3600.0
AGAIN_SECONDS: Final = 300.0
"""When it failed."""

EVENT_DAYS: Final = 45
"""How long an event's id is known: longer than the log (7 days) and the dead letters (30 days) can deliver it again."""

BATCH_ROWS: Final = 20_000
"""Rows of one statement, so that none holds locks for long or outlasts its time limit."""

_AGE = "{column} < now() - make_interval(days => $1)"
_DAYS = "day < (now() AT TIME ZONE 'UTC')::date - $1::integer"

TABLES: Final = {
    "daily_values": _DAYS,
    "hourly_values": _DAYS,
    "sleep_sessions": _AGE.format(column="end_time"),
    "workouts": _AGE.format(column="end_time"),
    "mode_switches": _AGE.format(column="at"),
    "patterns": _AGE.format(column="ended_at"),
    "chat_messages": _AGE.format(column="at"),
    # What a tombstone guards against is older than itself, and would be dropped as well.
    "deletion_tombstones": _AGE.format(column="deleted_at"),
}
"""Table → which of its rows are older than $1 days. Patterns that go on have no end."""

EVENTS: Final = "ingested_events"
EVENTS_AGE: Final = _AGE.format(column="seen_at")

_DELETE = "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {old} LIMIT $2))"
_APACHE = "SELECT current_setting('timescaledb.license') = 'apache'"

_log = logger(__name__)


class Retention:
    """The part of the service that forgets."""

    def __init__(self, settings: RetentionSettings, database: Database, metrics: Metrics) -> None:
        """The pool is the service's."""
        self._days = settings.retention_days
        self._database = database
        self._chunks = metrics.counter("retention_dropped_chunks", "Days of readings dropped by this replica")
        self._rows = metrics.counter("retention_deleted_rows", "Rows deleted for their age", ("table",))
        self._task = Background("retention", self._work)

    async def start(self) -> None:
        """Begin, a minute from now."""
        self._task.start()

    async def stop(self) -> None:
        """End; what was deleted stays deleted."""
        await self._task.stop()

    async def once(self) -> bool:
        """Forget what is too old now; False if another replica is at it.

        Raises UnavailableError, or asyncpg.PostgresError for what the server refuses.
        """
        async with self._database.connection() as connection:
            # The pool frees the lock when it takes the connection back.
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                return False
            if await connection.fetchval(_APACHE):
                self._chunks.inc(await connection.fetchval("SELECT drop_old_readings($1)", self._days))
            await self._prune(connection, EVENTS, EVENTS_AGE, EVENT_DAYS)
            for table, old in TABLES.items():
                await self._prune(connection, table, old, self._days)
        return True

    async def _prune(self, connection: PoolConnectionProxy, table: str, old: str, days: int) -> None:
        statement = _DELETE.format(table=table, old=old)
        deleted = BATCH_ROWS
        while deleted == BATCH_ROWS:
            deleted = int((await connection.execute(statement, days, BATCH_ROWS)).removeprefix("DELETE "))
            self._rows.labels(table).inc(deleted)

    async def _work(self) -> None:
        pause = FIRST_SECONDS
        while True:
            await asyncio.sleep(pause * random.uniform(0.9, 1.1))
            try:
                await self.once()
                pause = PERIOD_SECONDS
            except (UnavailableError, asyncpg.PostgresError) as error:
                reason = error.reason if isinstance(error, UnavailableError) else type(error).__name__
                _log.warning("what is too old could not be dropped", reason=reason, again_in_seconds=AGAIN_SECONDS)
                pause = AGAIN_SECONDS
