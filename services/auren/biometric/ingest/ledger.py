"""The tables that ingest reads and writes, in one transaction for each part of a batch.

The order inside is the safety of it. First the people's rows are locked (and made for new people), then it is asked
who was erased: an erasure commits `erased_users`, then takes the same rows, so it either sees what this transaction
wrote or this transaction sees the erasure. Rows that lie behind everything stored of their person, metric and source
are copied straight into the table. The others are inserted as if all were new; only where fewer were inserted than sent
does the insert go back, and what was there before is read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from auren.biometric.ingest import copying, loading, writing
from auren.biometric.ingest.batch import Document, Key, Row, document_of
from auren.biometric.ingest.person import People, Person
from auren.biometric.ingest.sequence import Outcome, Prior
from auren.events import Event

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

COLUMNS: Final = Row._fields
_LIST: Final = ", ".join(COLUMNS)
_KEY: Final = ("user_id", "metric", "source", "time")
_SET: Final = ", ".join(f"{column} = excluded.{column}" for column in COLUMNS if column not in _KEY)

_LOCK = "SELECT user_id, revision FROM people WHERE user_id = ANY($1) ORDER BY user_id FOR UPDATE"
_ADD = """
INSERT INTO people (user_id, revision, clock, mode, mode_since, state)
SELECT n.user_id, 0, n.clock, '', n.clock, 'null' FROM unnest($1::text[], $2::timestamptz[]) AS n(user_id, clock)
ORDER BY n.user_id ON CONFLICT (user_id) DO NOTHING
"""
_ERASED = "SELECT user_id FROM erased_users WHERE user_id = ANY($1)"
_REMOVE = "DELETE FROM people WHERE user_id = ANY($1)"
_SEE = """
INSERT INTO ingested_events (event_id, user_id)
SELECT * FROM unnest($1::uuid[], $2::text[]) ON CONFLICT (event_id) DO NOTHING RETURNING event_id
"""
_TOMBSTONES = """
SELECT t.user_id, t.provider, t.document_id, t.version
FROM unnest($1::text[], $2::text[], $3::text[]) AS d(user_id, provider, document_id)
JOIN deletion_tombstones t USING (user_id, provider, document_id)
"""
_OF_DOCUMENTS = f"""
SELECT {", ".join("r." + column for column in COLUMNS)}
FROM unnest($1::text[], $2::text[], $3::text[]) AS d(user_id, provider, document_id)
JOIN readings r USING (user_id, provider, document_id)
"""

# A temporary table of the connection: made once, empty again at each commit.
_STAGING = "CREATE TEMPORARY TABLE IF NOT EXISTS incoming (LIKE readings INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
_INSERT_NEW = f"INSERT INTO readings ({_LIST}) SELECT {_LIST} FROM incoming ON CONFLICT DO NOTHING"
_MERGE = f"""
INSERT INTO readings ({_LIST}) SELECT {_LIST} FROM incoming
ON CONFLICT (user_id, metric, source, time) DO UPDATE SET {_SET} WHERE excluded.version >= readings.version
"""
_UNDER_KEYS = f"""
SELECT {", ".join("r." + column for column in COLUMNS)}
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS k(user_id, metric, source, time)
JOIN readings r USING (user_id, metric, source, time)
WHERE r.time BETWEEN $5 AND $6
"""
_DELETE = """
DELETE FROM readings r
USING unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS d(user_id, metric, source, time)
WHERE r.user_id = d.user_id AND r.metric = d.metric AND r.source = d.source AND r.time = d.time
AND r.user_id = ANY($1) AND r.metric = ANY($2) AND r.time BETWEEN $5 AND $6
"""
# Of compressed chunks a deletion unpacks what constants in its plan do not rule out: a join alone, or a plan made for
# any parameters, would unpack everybody's.
_PLAN_WITH_CONSTANTS = "SET LOCAL plan_cache_mode = force_custom_plan"

Learn = Callable[[Prior], Outcome]


async def take_in(connection: PoolConnectionProxy, events: Sequence[Event], people: People, learn: Learn) -> Outcome:
    """Apply events in the transaction of `connection`. The same events again change nothing.

    `learn` is `sequence.run` over these events. Raises asyncpg's errors.
    """
    prior = await _prior(connection, events, people)
    outcome = learn(prior)
    new, contested = _parted(outcome)
    replaced = [key for key, row in outcome.rows.items() if row is None] if outcome.contested else []
    await _copy(connection, "readings", new)
    if contested or replaced or outcome.deleted:
        await connection.execute(_STAGING)
        await _copy(connection, "incoming", contested)
        if replaced or outcome.deleted or not await _all_new(connection, len(contested)):
            keys = [*replaced, *(row.key for row in contested)]
            outcome = learn(replace(prior, rows={**prior.rows, **await _rows_under(connection, keys)}))
            if outcome.deleted:
                await _delete(connection, outcome.deleted)
            await connection.execute(_MERGE)
    await writing.write(connection, outcome)
    return outcome


def _parted(outcome: Outcome) -> tuple[Sequence[Row], Sequence[Row]]:
    """(rows whose keys nothing holds, rows whose keys may be taken)."""
    rows = outcome.stored_rows()
    if not outcome.contested:
        return rows, ()
    return (
        [row for row in rows if row.user_id not in outcome.contested],
        [row for row in rows if row.user_id in outcome.contested],
    )


async def _prior(connection: PoolConnectionProxy, events: Sequence[Event], people: People) -> Prior:
    known = await _people(connection, events, people)
    erased = frozenset(row["user_id"] for row in await connection.fetch(_ERASED, list(known)))
    if erased:
        await connection.execute(_REMOVE, list(erased))
    living = [event for event in events if event.user_id not in erased]
    seen = await connection.fetch(_SEE, [event.event_id for event in living], [event.user_id for event in living])
    fresh = frozenset(row["event_id"] for row in seen)
    documents = {document_of(event) for event in living if event.event_id in fresh}
    buried = await connection.fetch(_TOMBSTONES, *_columns(documents, 3)) if documents else []
    deleted = {document_of(event) for event in living if event.event_id in fresh and event.kind == "deletion"}
    rows = await _rows_of(connection, deleted) if deleted else {}
    return Prior(
        people=known,
        fresh=fresh,
        erased=erased,
        tombstones={Document(row["user_id"], row["provider"], row["document_id"]): row["version"] for row in buried},
        rows={row.key: row for of in rows.values() for row in of},
        documents=rows,
    )


async def _people(connection: PoolConnectionProxy, events: Sequence[Event], people: People) -> dict[str, Person]:
    """The people of the events, their rows locked; from memory where that is of the row's revision."""
    clocks: dict[str, datetime] = {}
    for event in events:
        clocks.setdefault(event.user_id, event.received_at)
    locked = await connection.fetch(_LOCK, list(clocks))
    if len(locked) < len(clocks):
        new = list(clocks.keys() - {row["user_id"] for row in locked})
        await connection.execute(_ADD, new, [clocks[user] for user in new])
        locked = await connection.fetch(_LOCK, list(clocks))
    found = {user: person for user, revision in locked if (person := people.at(user, revision)) is not None}
    return found | await loading.load(connection, {user: at for user, at in locked if user not in found})


async def _rows_of(connection: PoolConnectionProxy, deleted: set[Document]) -> dict[Document, tuple[Row, ...]]:
    """Rows of documents which the batch deletes."""
    documents: dict[Document, list[Row]] = {document: [] for document in deleted}
    for found in await connection.fetch(_OF_DOCUMENTS, *_columns(deleted, 3)):
        row = Row(*found)
        documents[row.document].append(row)
    return {document: tuple(rows) for document, rows in documents.items()}


async def _copy(connection: PoolConnectionProxy, table: str, rows: Sequence[Row]) -> None:
    if rows:
        await connection.copy_to_table(table, source=_pieces(rows), columns=copying.COLUMNS, format="binary")


async def _pieces(rows: Sequence[Row]) -> AsyncIterator[bytes]:
    for piece in copying.encode(rows):
        yield piece


async def _delete(connection: PoolConnectionProxy, keys: Collection[Key]) -> None:
    columns = _columns(keys, 4)
    await connection.execute(_PLAN_WITH_CONSTANTS)
    await connection.execute(_DELETE, *columns, min(columns[3]), max(columns[3]))


async def _all_new(connection: PoolConnectionProxy, count: int) -> bool:
    """Insert the staged rows if none of their keys is taken; else insert nothing."""
    savepoint = connection.transaction()
    await savepoint.start()
    status = await connection.execute(_INSERT_NEW)
    if int(status.rpartition(" ")[2]) == count:
        await savepoint.commit()
        return True
    await savepoint.rollback()
    return False


async def _rows_under(connection: PoolConnectionProxy, keys: Collection[Key]) -> dict[Key, Row]:
    """What is stored under keys."""
    if not keys:
        return {}
    columns = _columns(keys, 4)
    found = await connection.fetch(_UNDER_KEYS, *columns, min(columns[3]), max(columns[3]))
    return {row.key: row for row in (Row(*values) for values in found)}


def _columns(keys: Iterable[tuple[Any, ...]], count: int) -> list[list[Any]]:
    """Keys as the columns that `unnest` takes."""
    columns: list[list[Any]] = [[] for _ in range(count)]
    for key in keys:
        for column, value in zip(columns, key, strict=True):
            column.append(value)
    return columns
