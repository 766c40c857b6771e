"""When each chore last worked: the table `chores`, and one lock of the server for each."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from auren.bridge.transactions import Held, alone
from auren.database import Database

# Ages by the server's clock: replicas need not agree on the time.
_AGE: Final = """
SELECT extract(epoch FROM clock_timestamp() - succeeded_at)::float8 AS age FROM chores WHERE name = $1
"""
_DONE: Final = """
INSERT INTO chores (name, succeeded_at) VALUES ($1, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET succeeded_at = excluded.succeeded_at
"""


class Turn:
    """A chore that is this process' alone. `age_seconds` since it last worked anywhere; None: never."""

    def __init__(self, name: str, age_seconds: float | None, held: Held) -> None:
        """Made by `Ledger.turn`."""
        self.age_seconds = age_seconds
        self._name = name
        self._held = held

    async def done(self) -> None:
        """It has worked. Raises UnavailableError, also when the lock was lost meanwhile."""
        await self._held.execute(_DONE, self._name)


class Ledger:
    """For all chores of the stack."""

    def __init__(self, database: Database) -> None:
        """The pool is the process'; a turn takes one connection of it for as long as it lasts."""
        self._database = database

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[Turn | None]:
        """The chore for the block; None while another process has it. Raises UnavailableError."""
        async with alone(self._database, lock_of(name)) as held:
            if held is None:
                yield None
                return
            row = await held.fetchrow(_AGE, name)
            yield Turn(name, None if row is None else row["age"], held)


def lock_of(name: str) -> int:
    """The number of a chore's lock: 63 bits of a digest, so that no two names of ours, nor another's, meet."""
    return int.from_bytes(hashlib.sha256(b"auren-bridge-chore:" + name.encode()).digest()[:8]) >> 1
