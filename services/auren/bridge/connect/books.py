"""What is kept of people who connect: logins that have begun, connections, tokens.

A connection and its tokens are written and removed in one transaction. The vendor is asked before (for the tokens) or
after it (to end the grant): when the process ends between the two, the person has allowed something at the vendor that
nobody here knows or uses, and connecting once more puts it right.

What a person does with a provider is done one after the other, under a lock of the server. A login under way leaves a
mark while the vendor is asked: whoever disconnects, begins anew or is erased meanwhile removes it, and the login ends
with GoneError.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import asyncpg

from auren.bridge import connections
from auren.bridge.tokens import DecryptionError, Sealed, TokenBox, Tokens, TokenStore
from auren.bridge.transactions import transaction
from auren.database import Database
from auren.telemetry import logger

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

LIFETIME: Final = timedelta(minutes=10)
"""Of a login that has begun: the vendors' codes live no longer (RFC 6749, section 4.1.2), and people type passwords."""

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1::text || ' ' || $2::text, 0))"
"""For a provider and a user, until the transaction ends. Two who meet in the hash wait for each other, no more."""

_OLDER: Final = "DELETE FROM oauth_states WHERE user_id = $1 AND provider = $2"
_KEEP: Final = """
INSERT INTO oauth_states (state_hash, provider, user_id, verifier, expires_at) VALUES ($1, $2, $3, $4, $5)
"""
_TAKE: Final = """
DELETE FROM oauth_states WHERE state_hash = $1 AND provider = $2 RETURNING user_id, verifier, expires_at
"""
_FINISH: Final = "DELETE FROM oauth_states WHERE state_hash = $1 RETURNING user_id"
_UNUSED: Final = """
SELECT NOT EXISTS (
    SELECT FROM connections WHERE provider = $1 AND provider_user_id = $2 AND disconnected_at IS NULL
) AND NOT EXISTS (SELECT FROM oauth_states WHERE provider = $1 AND user_id = $3)
"""
_ERASED: Final = "SELECT EXISTS (SELECT FROM erased_users WHERE user_id = $1 AND erased_at >= $2)"
_LATEST: Final = """
SELECT greatest(max(connected_at), max(disconnected_at), $3::timestamptz) FROM connections
WHERE provider = $1 AND user_id = $2
"""
"""Clocks of replicas differ, and who waits for the lock was asked before: what a person did last is the latest."""
_FORGET: Final = "DELETE FROM connections WHERE provider = $1 AND provider_user_id = $2 AND user_id = $3"
_OPEN: Final = """
SELECT provider_user_id FROM connections
WHERE provider = $1 AND user_id = $2 AND disconnected_at IS NULL ORDER BY provider_user_id
"""
_LIST: Final = """
SELECT c.provider, c.connected_at, t.user_id IS NOT NULL AS tokens, coalesce(t.scopes, '{}') AS scopes
FROM connections c LEFT JOIN oauth_tokens t USING (user_id, provider)
WHERE c.user_id = $1 AND c.disconnected_at IS NULL ORDER BY c.provider, c.connected_at, c.provider_user_id
"""

_log = logger(__name__)


class GoneError(Exception):
    """The person was erased, has disconnected or begun anew since they began to connect.

    `unused`: nobody here uses what the account has allowed, nor is about to, so all of it may end at the vendor.
    """

    def __init__(self, *, unused: bool) -> None:
        """See the class."""
        super().__init__()
        self.unused = unused


@dataclass(frozen=True, slots=True)
class Begun:
    """Who began a login, and when; `verifier` where the vendor checks one."""

    user_id: str
    verifier: str | None = field(repr=False)
    began: datetime
    mark: bytes = field(repr=False)
    """Of this login while it is under way."""


@dataclass(frozen=True, slots=True)
class Known:
    """A connection. `tokens`: whether there are some, with `scopes`; Terra keeps them itself."""

    provider: str
    connected_at: datetime
    tokens: bool
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """What a disconnection ended, or would: the vendor's ids, and the tokens, None where there are none that open."""

    provider_user_ids: tuple[str, ...]
    had_tokens: bool
    tokens: Tokens | None = field(repr=False)


class Books:
    """The bridge's tables, for people who connect. Every method raises UnavailableError."""

    def __init__(self, database: Database, box: TokenBox) -> None:
        """The pool is the process'."""
        self._database = database
        self._box = box
        self._tokens = TokenStore(database, box)

    async def begin(self, state: str, provider: str, user_id: str, verifier: str | None, at: datetime) -> None:
        """Keep that somebody begins to connect. What they had begun before with this vendor is void."""
        sealed = None if verifier is None else self._box.encrypt(verifier, provider, user_id, "verifier")
        async with self._one_at_a_time(provider, user_id) as connection:
            await connection.execute(_OLDER, user_id, provider)
            await connection.execute(_KEEP, _hash(state), provider, user_id, sealed, at + LIFETIME)

    async def take(self, state: str, provider: str, at: datetime) -> Begun | None:
        """Who began with `state`, once; None for a state that is not known, used or too old."""
        hashed = _hash(state)
        mark = hashlib.sha256(hashed).digest()
        async with transaction(self._database) as connection:
            found = await connection.fetchrow(_TAKE, hashed, provider)
            if found is None or found["expires_at"] <= at:
                return None
            await connection.execute(_KEEP, mark, provider, found["user_id"], None, found["expires_at"])
        return self._begun(provider, found, mark)

    async def save(
        self, provider: str, provider_user_id: str, begun: Begun, tokens: Tokens, at: datetime
    ) -> Tokens | None:
        """Connect, with the tokens, in place of another account of this person's with the vendor.

        Returns the tokens of that other account, if there was one. Raises GoneError, and as Connections.connect.
        """
        user_id = begun.user_id
        async with self._one_at_a_time(provider, user_id) as connection:
            under_way = await connection.fetchval(_FINISH, begun.mark) is not None
            at = await connection.fetchval(_LATEST, provider, user_id, at)
            if (
                not under_way
                or await self._erased(connection, begun)
                or not await connections.connect(connection, provider, provider_user_id, user_id, at)
            ):
                raise GoneError(unused=bool(await connection.fetchval(_UNUSED, provider, provider_user_id, user_id)))
            others = await connections.disconnect_user(connection, provider, user_id, at, but=provider_user_id)
            former = await self._tokens.lock_within(connection, provider, user_id)
            if not await self._tokens.save_within(connection, provider, user_id, tokens):
                raise GoneError(unused=True)
        await self._erase_if_gone(provider, provider_user_id, begun)
        return _opened(former) if others else None

    async def end(self, provider: str, user_id: str, at: datetime) -> Ended:
        """Disconnect: connections, tokens, and what has begun."""
        async with self._one_at_a_time(provider, user_id) as connection:
            await connection.execute(_OLDER, user_id, provider)  # first, as who erases does: nobody waits in a circle
            at = await connection.fetchval(_LATEST, provider, user_id, at)
            ids = await connections.disconnect_user(connection, provider, user_id, at)
            sealed = await self._tokens.take_within(connection, provider, user_id)
        return Ended(tuple(ids), sealed is not None, _opened(sealed))

    async def held(self, provider: str, user_id: str) -> Ended:
        """What `end` would end."""
        async with self._one_at_a_time(provider, user_id) as connection:
            rows = await connection.fetch(_OPEN, provider, user_id)
            sealed = await self._tokens.lock_within(connection, provider, user_id)
        return Ended(tuple(row["provider_user_id"] for row in rows), sealed is not None, _opened(sealed))

    async def of(self, user_id: str) -> list[Known]:
        """The connections of a person."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LIST, user_id)
        return [Known(r["provider"], r["connected_at"], r["tokens"], tuple(r["scopes"])) for r in rows]

    @asynccontextmanager
    async def _one_at_a_time(self, provider: str, user_id: str) -> AsyncIterator[PoolConnectionProxy]:
        """A transaction that waits for others of the same person and provider."""
        async with transaction(self._database) as connection:
            await connection.execute(_LOCK, provider, user_id)
            yield connection

    def _begun(self, provider: str, found: asyncpg.Record, mark: bytes) -> Begun | None:
        user_id, sealed = found["user_id"], found["verifier"]
        try:
            verifier = None if sealed is None else self._box.decrypt(sealed, provider, user_id, "verifier")
        except DecryptionError as error:
            _log.error("a login's verifier does not open", provider=provider, error=type(error).__name__)
            return None
        return Begun(user_id, verifier, found["expires_at"] - LIFETIME, mark)

    async def _erase_if_gone(self, provider: str, provider_user_id: str, begun: Begun) -> None:
        """An erasure that became known while the transaction ran found nothing to erase yet. Raises GoneError."""
        async with transaction(self._database) as connection:
            if not await self._erased(connection, begun):
                return
            await connection.execute(_FORGET, provider, provider_user_id, begun.user_id)
            await self._tokens.take_within(connection, provider, begun.user_id)
        raise GoneError(unused=True)

    @staticmethod
    async def _erased(connection: PoolConnectionProxy, begun: Begun) -> bool:
        return bool(await connection.fetchval(_ERASED, begun.user_id, begun.began))


def _hash(state: str) -> bytes:
    return hashlib.sha256(state.encode("utf-8", "replace")).digest()


def _opened(sealed: Sealed | None) -> Tokens | None:
    if sealed is None:
        return None
    try:
        return sealed.open()
    except DecryptionError as error:
        _log.error("tokens that are to end do not open", error=type(error).__name__)
        return None
