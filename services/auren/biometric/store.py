"""Readings in PostgreSQL: a batch in one transaction, ranges out again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import asyncpg

from auren.biometric.batch import Document, Row
from auren.database import Database
from auren.link import UnavailableError

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

COLUMNS: Final = Row._fields
_LIST: Final = ", ".join(COLUMNS)
_KEY: Final = ("user_id", "metric", "source", "time")
_SET: Final = ", ".join(f"{column} = excluded.{column}" for column in COLUMNS if column not in _KEY)

PERMANENT: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError, OverflowError)
"""What a value does that no column can hold, as the server or asyncpg's encoders say it."""

# A temporary table of the connection: made once, empty again at each commit.
_STAGING = "CREATE TEMPORARY TABLE IF NOT EXISTS incoming (LIKE readings) ON COMMIT DELETE ROWS"

_BURY = """
INSERT INTO deletion_tombstones AS known (user_id, provider, document_id, version)
SELECT d.* FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS d(user_id, provider, document_id, version)
WHERE NOT EXISTS (SELECT FROM erased_users e WHERE e.user_id = d.user_id)
ON CONFLICT (user_id, provider, document_id) DO UPDATE SET version = excluded.version, deleted_at = now()
WHERE excluded.version > known.version
"""
_DELETE = """
DELETE FROM readings r
USING unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS d(user_id, provider, document_id, version)
WHERE r.user_id = d.user_id AND r.provider = d.provider AND r.document_id = d.document_id AND r.version <= d.version
"""
_DROP_BURIED = """
DELETE FROM incoming i USING deletion_tombstones t
WHERE t.user_id = i.user_id AND t.provider = i.provider AND t.document_id = i.document_id AND t.version >= i.version
RETURNING i.user_id, i.metric, i.source, i.time
"""
_DROP_ERASED = """
DELETE FROM incoming i USING erased_users e WHERE e.user_id = i.user_id
RETURNING i.user_id, i.metric, i.source, i.time
"""
_MERGE = f"""
INSERT INTO readings ({_LIST}) SELECT {_LIST} FROM incoming
ON CONFLICT (user_id, metric, source, time) DO UPDATE SET {_SET} WHERE excluded.version >= readings.version
"""


class UnstorableError(Exception):
    """The database refuses what the batch holds, and always will."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch: the rows that were merged, and how many were kept out (deleted or erased before)."""

    merged: list[Row]
    kept_out: int


class Readings:
    """The table `readings` and what guards it."""

    def __init__(self, database: Database) -> None:
        """The pool is the service's."""
        self._database = database
        self._license: str | None = None

    async def check(self) -> None:
        """For the health report: the database answers at the expected revision; learns which edition it is."""
        await self._database.check()
        if self._license is None:
            async with self._database.connection() as connection:
                self._license = await connection.fetchval("SELECT current_setting('timescaledb.license', true)")

    def edition(self) -> str | None:
        """Which TimescaleDB this is; None until the first check reached it."""
        if self._license is None:
            return None
        return "community" if self._license == "timescale" else "apache (no compression, no continuous aggregates)"

    async def store(self, rows: Sequence[Row], deleted: dict[Document, int]) -> Stored:
        """Apply deletions and merge rows in one transaction; the same batch again changes nothing.

        Raises UnavailableError for what may work later, UnstorableError for what never will.
        """
        try:
            async with self._database.connection() as connection, connection.transaction():
                if deleted:
                    await _delete(connection, deleted)
                return await _merge(connection, rows)
        except PERMANENT as error:
            raise UnstorableError(type(error).__name__) from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise UnavailableError("database", type(error).__name__) from error


async def _delete(connection: PoolConnectionProxy, deleted: dict[Document, int]) -> None:
    users, providers, documents = (list(column) for column in zip(*sorted(deleted), strict=True))
    versions = [deleted[document] for document in sorted(deleted)]
    for statement in (_BURY, _DELETE):
        await connection.execute(statement, users, providers, documents, versions)


async def _merge(connection: PoolConnectionProxy, rows: Sequence[Row]) -> Stored:
    if not rows:
        return Stored([], 0)
    await connection.execute(_STAGING)
    await connection.copy_records_to_table("incoming", records=rows, columns=COLUMNS)
    out = {_key(found) for statement in (_DROP_BURIED, _DROP_ERASED) for found in await connection.fetch(statement)}
    await connection.execute(_MERGE)
    return Stored([row for row in rows if row.key not in out] if out else list(rows), len(out))


def _key(found: asyncpg.Record) -> tuple[str, str, str, datetime]:
    return found["user_id"], found["metric"], found["source"], found["time"]
