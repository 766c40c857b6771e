"""What the bridge has of people who were erased: it tells the vendors, then forgets.

A connection and its tokens stay until the vendor has ended its side, for a week at most: without them nobody could tell
it. Nothing is fetched with them any more. A connection that has ended stays a day longer, as a delivery may be parked:
by it what a vendor still sends, or has sent before, is known to be of somebody who was erased, and dropped.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from auren.bridge.chores import ChoreFailedError
from auren.database import Database
from auren.telemetry import logger, person

PEOPLE_AT_ONCE: Final = 100
PATIENCE_DAYS: Final = 7
AGAIN_SECONDS: Final = 3600.0
"""Until a vendor that could not be told is asked again."""

KNOWN_HOURS: Final = 25
"""A delivery is parked for a day at most."""

_LEFT: Final = """
SELECT e.user_id, e.erased_at < now() - make_interval(days => $2) AS long_ago FROM erased_users e
WHERE e.user_id <> ALL($3) AND (EXISTS (SELECT FROM oauth_tokens t WHERE t.user_id = e.user_id)
    OR EXISTS (SELECT FROM oauth_states s WHERE s.user_id = e.user_id)
    OR EXISTS (SELECT FROM connections c WHERE c.user_id = e.user_id AND c.disconnected_at IS NULL))
ORDER BY e.erased_at LIMIT $1
"""
_CONNECTIONS: Final = """
DELETE FROM connections c USING erased_users e
WHERE e.user_id = c.user_id AND greatest(e.erased_at, c.disconnected_at) < now() - make_interval(hours => $1)
    AND c.disconnected_at IS NOT NULL
"""

_log = logger(__name__)


class Endings(Protocol):
    """What is needed of connect.accounts.Accounts."""

    async def end_there(self, provider: str, user_id: str) -> tuple[str, ...]: ...

    async def end_here(self, provider: str, user_id: str) -> None: ...


class ErasedPeople:
    """The chore. `erase` forgets a person's tokens and logins."""

    def __init__(
        self,
        database: Database,
        providers: Iterable[str],
        accounts: Endings,
        erase: Callable[[str], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The pool is the process'. `clock` gives seconds."""
        self._database = database
        self._providers = tuple(providers)
        self._accounts = accounts
        self._erase = erase
        self._clock = clock
        self._again: dict[str, float] = {}

    async def run(self) -> None:
        """Raises UnavailableError, and ChoreFailedError while more people are left than are looked at together."""
        now = self._clock()
        self._again = {user_id: at for user_id, at in self._again.items() if at > now}
        async with self._database.connection() as connection:
            left = await connection.fetch(_LEFT, PEOPLE_AT_ONCE, PATIENCE_DAYS, list(self._again))
        for row in left:
            await self._forget(row["user_id"], row["long_ago"])
        async with self._database.connection() as connection:
            await connection.execute(_CONNECTIONS, KNOWN_HOURS)
        if len(left) == PEOPLE_AT_ONCE:
            raise ChoreFailedError("more erased people are left")

    async def _forget(self, user_id: str, long_ago: bool) -> None:
        untold = [provider for provider in self._providers if await self._accounts.end_there(provider, user_id)]
        for provider in self._providers:
            if long_ago or provider not in untold:
                await self._accounts.end_here(provider, user_id)
        if untold and not long_ago:
            self._again[user_id] = self._clock() + AGAIN_SECONDS
            return
        await self._erase(user_id)
        _log.info("an erased person's accounts are forgotten", person=person(user_id), untold=untold)
