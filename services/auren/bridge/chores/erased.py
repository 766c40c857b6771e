"""What the bridge has of people who were erased: it tells the vendors, then forgets.

Tokens go at once, whether or not the vendor could be told. Connections stay for as long as a delivery may be parked:
by them what a vendor still sends, or has sent before, is known to be of somebody who was erased, and dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from auren.bridge.chores import ChoreFailedError
from auren.database import Database
from auren.telemetry import logger, person

PEOPLE_AT_ONCE: Final = 100
KNOWN_HOURS: Final = 25
"""A delivery is parked for a day at most."""

_LEFT: Final = """
SELECT e.user_id FROM erased_users e WHERE EXISTS (SELECT FROM oauth_tokens t WHERE t.user_id = e.user_id)
    OR EXISTS (SELECT FROM oauth_states s WHERE s.user_id = e.user_id)
    OR EXISTS (SELECT FROM connections c WHERE c.user_id = e.user_id AND c.disconnected_at IS NULL)
ORDER BY e.erased_at LIMIT $1
"""
_CONNECTIONS: Final = """
DELETE FROM connections c USING erased_users e
WHERE e.user_id = c.user_id AND e.erased_at < now() - make_interval(hours => $1)
"""

_log = logger(__name__)


class Ended(Protocol):
    """What became of a person's accounts of one provider; `trouble`: what the provider could not be told."""

    @property
    def trouble(self) -> Iterable[str]: ...


class ErasedPeople:
    """The chore. `end` disconnects a person from a provider, here and there; `erase` forgets tokens and logins."""

    def __init__(
        self,
        database: Database,
        providers: Iterable[str],
        end: Callable[[str, str], Awaitable[Ended]],
        erase: Callable[[str], Awaitable[None]],
    ) -> None:
        """The pool is the process'."""
        self._database = database
        self._providers = tuple(providers)
        self._end = end
        self._erase = erase

    async def run(self) -> None:
        """Raises UnavailableError, and ChoreFailedError while more people are left."""
        async with self._database.connection() as connection:
            left = [row["user_id"] for row in await connection.fetch(_LEFT, PEOPLE_AT_ONCE)]
        for user_id in left:
            await self._forget(user_id)
        async with self._database.connection() as connection:
            await connection.execute(_CONNECTIONS, KNOWN_HOURS)
        if len(left) == PEOPLE_AT_ONCE:
            raise ChoreFailedError("more erased people are left")

    async def _forget(self, user_id: str) -> None:
        untold: list[str] = []
        for provider in self._providers:
            done = await self._end(provider, user_id)
            untold += [provider for _ in done.trouble]
        await self._erase(user_id)
        _log.info("an erased person's accounts are forgotten", person=person(user_id), untold=untold)
