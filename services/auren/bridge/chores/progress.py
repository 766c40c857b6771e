"""How far each person's documents are reconciled with the vendor's: the table `reconciliations`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from auren.database import Database

# Who has tokens but no connection is not asked about: nobody would know whose the documents are.
_WAITING: Final = """
FROM oauth_tokens t
CROSS JOIN unnest($2::text[], $3::timestamptz[]) AS wanted(data_type, before)
LEFT JOIN reconciliations r
    ON (r.user_id, r.provider, r.data_type) = (t.user_id, t.provider, wanted.data_type)
WHERE t.provider = $1 AND (r.until IS NULL OR r.until < wanted.before) AND EXISTS (
    SELECT FROM connections c WHERE c.user_id = t.user_id AND c.provider = t.provider AND c.disconnected_at IS NULL
) AND NOT EXISTS (SELECT FROM erased_users e WHERE e.user_id = t.user_id)
"""
_DUE: Final = f"""
SELECT t.user_id, wanted.data_type, r.until {_WAITING}
ORDER BY r.until NULLS FIRST, t.user_id, wanted.data_type LIMIT $4
"""
_COUNT: Final = f"SELECT count(*) {_WAITING}"
# Tokens that are removed meanwhile take the row with them; it must not come back without them.
_SAVE: Final = """
INSERT INTO reconciliations AS known (user_id, provider, data_type, until)
SELECT t.user_id, t.provider, $3::text, $4::timestamptz
FROM oauth_tokens t WHERE t.provider = $1 AND t.user_id = $2 FOR KEY SHARE
ON CONFLICT (user_id, provider, data_type) DO UPDATE SET until = greatest(known.until, excluded.until)
"""


class Due(NamedTuple):
    """One kind of document of one person; `until` it is reconciled, None: never yet."""

    user_id: str
    data_type: str
    until: datetime | None


class Progress:
    """Every method raises UnavailableError."""

    def __init__(self, database: Database) -> None:
        """The pool is the process'."""
        self._database = database

    async def due(self, provider: str, before: Mapping[str, datetime], limit: int) -> list[Due]:
        """What is not reconciled until `before`, by type; those first who have just connected, then the oldest."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_DUE, provider, list(before), list(before.values()), limit)
        return [Due(row["user_id"], row["data_type"], row["until"]) for row in rows]

    async def count(self, provider: str, before: Mapping[str, datetime]) -> int:
        """How many of them there are."""
        async with self._database.connection() as connection:
            found: int = await connection.fetchval(_COUNT, provider, list(before), list(before.values()))
        return found

    async def save(self, provider: str, user_id: str, data_type: str, until: datetime) -> None:
        """Reconciled until then; it never goes back. Nothing is kept of a person without tokens."""
        async with self._database.connection() as connection:
            await connection.execute(_SAVE, provider, user_id, data_type, until)
