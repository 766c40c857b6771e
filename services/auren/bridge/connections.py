"""Who is connected: the vendor's id of a person, and ours.

Every change carries the time at which it happened, and one that is older than what is known changes nothing: vendors
repeat themselves, and a replay brings last week's events again. Of two changes of the same time the later call counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from auren.bridge.transactions import transaction
from auren.database import Database
from auren.events import USER_ID_PATTERN

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

_PROVIDER_USER_ID: Final = re.compile("[^\x00\ud800-\udfff]{1,256}")
"""What the column can hold. Vendors use UUIDs and numbers; an id comes from a body, where anything may stand."""

_USER_ID: Final = re.compile(USER_ID_PATTERN)

_USERS_OF = """
SELECT a.place, c.user_id
FROM unnest($1::text[], $2::text[], $3::timestamptz[])
    WITH ORDINALITY AS a(provider, provider_user_id, received_at, place)
JOIN connections c USING (provider, provider_user_id)
WHERE a.received_at >= c.owned_from AND (
    c.disconnected_at IS NULL OR a.received_at <= c.disconnected_at
    OR EXISTS (SELECT FROM erased_users e WHERE e.user_id = c.user_id)
)
"""
_CONNECT = """
INSERT INTO connections AS known (provider, provider_user_id, user_id, connected_at)
SELECT $1::text, $2::text, $3::text, $4::timestamptz
WHERE NOT EXISTS (SELECT FROM erased_users e WHERE e.user_id = $3 AND e.erased_at >= $4)
ON CONFLICT (provider, provider_user_id) DO UPDATE SET
    user_id = excluded.user_id,
    connected_at = excluded.connected_at,
    disconnected_at = NULL,
    owned_from = CASE WHEN known.user_id = excluded.user_id THEN known.owned_from ELSE excluded.connected_at END
WHERE excluded.connected_at >= greatest(known.connected_at, known.disconnected_at)
    AND (known.user_id = excluded.user_id OR known.disconnected_at IS NOT NULL)
RETURNING user_id
"""
_KNOWN = "SELECT user_id, disconnected_at FROM connections WHERE provider = $1 AND provider_user_id = $2"
_DISCONNECT = """
UPDATE connections SET disconnected_at = $3
WHERE provider = $1 AND provider_user_id = $2 AND connected_at <= $3 AND disconnected_at IS NULL
RETURNING user_id
"""
_DISCONNECT_USER = """
UPDATE connections SET disconnected_at = $3
WHERE provider = $1 AND user_id = $2 AND connected_at <= $3 AND disconnected_at IS NULL AND provider_user_id <> $4
RETURNING provider_user_id
"""
_FORMER = """
SELECT user_id FROM connections
WHERE provider = $1 AND provider_user_id = $2 AND connected_at <= $3 FOR UPDATE
"""
_ERASE = "DELETE FROM connections WHERE user_id = $1"


class TakenError(Exception):
    """The vendor's id is connected with another of our users, who has to disconnect first."""


class InvalidIdError(ValueError):
    """An id that cannot be one, ours or the vendor's; the message does not show it."""


class Subject(NamedTuple):
    """Whom a delivery is about, and when it was received."""

    provider: str
    provider_user_id: str
    received_at: datetime


class Connections:
    """The table `connections`. Every method raises UnavailableError, and may be called again after it."""

    def __init__(self, database: Database) -> None:
        """The pool is the process'."""
        self._database = database

    async def user_of(self, provider: str, provider_user_id: str, received_at: datetime) -> str | None:
        """Our user for a delivery, None while nobody is known."""
        subject = Subject(provider, provider_user_id, received_at)
        return (await self.users_of([subject])).get(subject)

    async def users_of(self, subjects: Sequence[Subject]) -> dict[Subject, str]:
        """Our users, for those of `subjects` who are known.

        A delivery belongs to the connection also when it came before it: vendors are faster than callbacks. It does
        not when it came after the person disconnected, or while the vendor's id was another user's. What comes after
        somebody who was erased is known as theirs all the same, so that it is dropped and not kept for an unknown.
        """
        asked = [subject for subject in dict.fromkeys(subjects) if _PROVIDER_USER_ID.fullmatch(subject[1])]
        if not asked:
            return {}
        providers, ids, times = (list(column) for column in zip(*asked, strict=True))
        async with self._database.connection() as connection:
            rows = await connection.fetch(_USERS_OF, providers, ids, times)
        return {asked[row["place"] - 1]: row["user_id"] for row in rows}

    async def connect(self, provider: str, provider_user_id: str, user_id: str, at: datetime) -> bool:
        """Connect; whether they are connected now: not if they have disconnected, or were erased, after `at`.

        Raises TakenError while the vendor's id is another user's, and InvalidIdError.
        """
        async with transaction(self._database) as connection:
            return await connect(connection, provider, provider_user_id, user_id, at)

    async def disconnect(self, provider: str, provider_user_id: str, at: datetime) -> str | None:
        """End a connection; our user, or None where there was nothing to end."""
        if not _PROVIDER_USER_ID.fullmatch(provider_user_id):
            return None
        async with self._database.connection() as connection:
            user: str | None = await connection.fetchval(_DISCONNECT, provider, provider_user_id, at)
        return user

    async def disconnect_user(self, provider: str, user_id: str, at: datetime) -> list[str]:
        """End all connections of a user with a provider; the vendor's ids that this ended."""
        async with self._database.connection() as connection:
            return await disconnect_user(connection, provider, user_id, at)

    async def rename(self, provider: str, former_id: str, new_id: str, at: datetime) -> str | None:
        """The vendor calls a person by another id from `at` on, which also connects them again.

        Returns our user; None, and nothing changes, while the former id is nobody's or was connected after `at`.
        What was received under the former id until then stays theirs. Raises TakenError and InvalidIdError.
        """
        _require_id(former_id)
        _require_id(new_id)
        async with transaction(self._database) as connection:
            user: str | None = await connection.fetchval(_FORMER, provider, former_id, at)
            if user is not None and await connect(connection, provider, new_id, user, at) and former_id != new_id:
                await connection.execute(_DISCONNECT, provider, former_id, at)
        return user

    async def erase(self, user_id: str) -> None:
        """Forget every connection of a user."""
        async with self._database.connection() as connection:
            await connection.execute(_ERASE, user_id)


def _require_id(provider_user_id: str) -> None:
    if not _PROVIDER_USER_ID.fullmatch(provider_user_id):
        raise InvalidIdError("no id of a vendor's user")


async def connect(
    connection: PoolConnectionProxy, provider: str, provider_user_id: str, user_id: str, at: datetime
) -> bool:
    """`Connections.connect` within a transaction of the caller's."""
    _require_id(provider_user_id)
    if not _USER_ID.fullmatch(user_id):
        raise InvalidIdError("no user id of ours")
    if await connection.fetchval(_CONNECT, provider, provider_user_id, user_id, at) is not None:
        return True
    known = await connection.fetchrow(_KNOWN, provider, provider_user_id)
    if known is None:
        return False
    if known["user_id"] != user_id:
        raise TakenError("the vendor's id is another user's")
    return known["disconnected_at"] is None


async def disconnect_user(
    connection: PoolConnectionProxy, provider: str, user_id: str, at: datetime, *, but: str = ""
) -> list[str]:
    """`Connections.disconnect_user` within a transaction of the caller's; the vendor's id `but` stays connected."""
    rows = await connection.fetch(_DISCONNECT_USER, provider, user_id, at, but)
    return sorted(row["provider_user_id"] for row in rows)
