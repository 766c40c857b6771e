"""Erasing a person: in every table, in Redis and in NEUROS; what cannot be reached is named, and asked for again.

First the erasure is committed (`erased_users`): from then on nothing of the person is taken in, by anybody. Then each
person's row in `people` is taken, for which an ingest that is under way is waited for (ledger.py). Only then rows go,
in steps that are short. All of it may be repeated; a second time finds nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import asyncpg

from auren.biometric.neuros import Neuros
from auren.biometric.stores import LEARNT
from auren.database import Database
from auren.latest import HotValues
from auren.link import UnavailableError
from auren.telemetry import logger, person

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

STEP: Final = timedelta(days=7)
"""Readings of one statement: a week of minutes of several metrics is some ten thousand rows."""

STATEMENT_SECONDS: Final = 300.0
"""`ingested_events` is looked through as a whole: an index for this alone would cost every event of the ingest."""

SERVICE: Final = "biometric-production"

_ERASED = "INSERT INTO erased_users (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING"
_PERSON = """
INSERT INTO people (user_id, revision, clock, mode, mode_since, state) VALUES ($1, 0, now(), 'baseline', now(), 'null')
ON CONFLICT (user_id) DO NOTHING
"""
_WAIT = "SELECT 1 FROM people WHERE user_id = $1 FOR UPDATE"
_WAIT_FOR_CHATS = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
_SPAN = "SELECT min(time), max(time) FROM readings WHERE user_id = $1"
_NEXT = "SELECT min(time) FROM readings WHERE user_id = $1 AND time >= $2"
_PLAN_WITH_CONSTANTS = "SET LOCAL plan_cache_mode = force_custom_plan"
_READINGS = "DELETE FROM readings WHERE user_id = $1 AND time >= $2 AND time < $3"
_AGGREGATES = "SELECT forget_aggregates($1)"
_AUDIT = "INSERT INTO audit_log (service, user_id, action, detail) VALUES ($1, $2, 'erased', '{}')"

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Erased:
    """One store: how many rows or keys went; `trouble` when it could not be reached."""

    store: str
    removed: int = 0
    trouble: str | None = None


class Erasure:
    """Erases people from every store that there is."""

    def __init__(self, database: Database, hot: HotValues, neuros: Neuros | None) -> None:
        """All are owned by the service. Without NEUROS its stores stay: it erases them itself when it is back."""
        self._database = database
        self._hot = hot
        self._neuros = neuros

    async def erase(self, user_id: str, authorization: str) -> list[Erased]:
        """What became of each store. `authorization` is the caller's header, which NEUROS is asked with.

        Raises UnavailableError while the database is away: then nothing, or not all, has been erased.
        """
        async with self._database.connection() as connection:
            found = await self._tables(connection, user_id)
        found.append(await _tried("redis", lambda: self._hot.erase(user_id)))
        if self._neuros is not None:
            neuros = self._neuros
            found.append(await _tried("neuros", lambda: neuros.forget(user_id, authorization)))
        _log.info("erased", person=person(user_id), missing=[one.store for one in found if one.trouble])
        return found

    async def _tables(self, connection: PoolConnectionProxy, user_id: str) -> list[Erased]:
        try:
            await connection.execute(_ERASED, user_id)
            async with connection.transaction():
                placeholders = _count(await connection.execute(_PERSON, user_id))
                await connection.execute(_WAIT, user_id)
                await connection.execute(_WAIT_FOR_CHATS, user_id)
            found = [Erased("readings", await _readings(connection, user_id))]
            await connection.execute(_AGGREGATES, user_id, timeout=STATEMENT_SECONDS)
            for store in LEARNT:
                found.append(Erased(store.table, await _all(connection, store.table, user_id)))
            found.append(Erased("people", await _all(connection, "people", user_id) - placeholders))
            await connection.execute(_AUDIT, SERVICE, person(user_id))
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise UnavailableError("database", type(error).__name__) from error
        return found


async def _all(connection: PoolConnectionProxy, table: str, user_id: str) -> int:
    statement = f"DELETE FROM {table} WHERE user_id = $1"
    return _count(await connection.execute(statement, user_id, timeout=STATEMENT_SECONDS))


async def _readings(connection: PoolConnectionProxy, user_id: str) -> int:
    span = await connection.fetchrow(_SPAN, user_id, timeout=STATEMENT_SECONDS)
    first, last = span or (None, None)
    removed = 0
    while first is not None and first <= last:
        gone = await _step(connection, user_id, first, first + STEP)
        removed += gone
        # A device whose clock is wrong leaves centuries without anything: those are skipped.
        first = first + STEP if gone else await connection.fetchval(_NEXT, user_id, first + STEP)
    return removed


async def _step(connection: PoolConnectionProxy, user_id: str, first: datetime, end: datetime) -> int:
    """With constants in its plan it unpacks the person's own rows alone where chunks are compressed."""
    async with connection.transaction():
        await connection.execute(_PLAN_WITH_CONSTANTS)
        return _count(await connection.execute(_READINGS, user_id, first, end, timeout=STATEMENT_SECONDS))


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])


async def _tried(store: str, work: Callable[[], Awaitable[int]]) -> Erased:
    try:
        return Erased(store, await work())
    except UnavailableError as error:
        return Erased(store, trouble=error.reason)
