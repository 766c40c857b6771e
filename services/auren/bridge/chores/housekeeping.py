"""Chores on our own tables: tokens that a former key encrypts, and OAuth states that nobody came back with."""

from __future__ import annotations

from typing import Final

from auren.bridge.chores import ChoreFailedError
from auren.bridge.tokens import TokenStore
from auren.database import Database
from auren.telemetry import Metrics, logger

_EXPIRED: Final = "DELETE FROM oauth_states WHERE expires_at < clock_timestamp()"

_log = logger(__name__)


class Reencryption:
    """After a change of the keyring: everything is encrypted with the current key. One for the process."""

    def __init__(self, tokens: TokenStore, metrics: Metrics) -> None:
        """It registers the metric that says when a former key may go."""
        self._tokens = tokens
        self._left = metrics.gauge("tokens_of_former_keys", "Stored tokens that the current key does not encrypt")

    async def run(self) -> None:
        """Raises ChoreFailedError while some are left that could be read; those that do not open are logged there."""
        rotation = await self._tokens.reencrypt_all()
        self._left.set(rotation.left)
        if rotation.reencrypted or rotation.left:
            _log.info("tokens are encrypted anew", rows=rotation.reencrypted, left=rotation.left)
        if rotation.left > rotation.unreadable:
            raise ChoreFailedError(f"{rotation.left - rotation.unreadable} tokens were in use")


class ExpiredStates:
    """OAuth states of people who never came back from the vendor. They are worthless, and name a person."""

    def __init__(self, database: Database) -> None:
        """The pool is the process'."""
        self._database = database

    async def run(self) -> None:
        """Raises UnavailableError."""
        async with self._database.connection() as connection:
            await connection.execute(_EXPIRED)
