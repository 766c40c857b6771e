"""What is kept of people who connect: logins that have begun, connections, tokens.

A connection and its tokens are written and removed in one transaction. The vendor is asked before (for the tokens) or
after it (to end the grant): when the process ends between the two, the person has allowed something at the vendor that
nobody here knows or uses, and connecting once more puts it right.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from auren.bridge import connections
from auren.bridge.tokens import DecryptionError, Sealed, TokenBox, Tokens, TokenStore
from auren.bridge.transactions import transaction
from auren.database import Database
from auren.telemetry import logger

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

LIFETIME: Final = timedelta(minutes=10)
"""Of a login that has begun: the vendors' codes live no longer (RFC 6749, section 4.1.2), and people type passwords."""

_CLEANER: Final = 0x6175_7265_6E02
"""Of the advisory lock under which old states are removed: two that remove the same rows could wait for each other."""

_OLDER: Final = "DELETE FROM oauth_states WHERE user_id = $1 AND provider = $2"
_KEEP: Final = """
INSERT INTO oauth_states (state_hash, provider, user_id, verifier, expires_at) VALUES ($1, $2, $3, $4, $5)
"""
_CLEAN: Final = "DELETE FROM oauth_states WHERE expires_at <= $1 AND (SELECT pg_try_advisory_xact_lock($2))"
_TAKE: Final = """
DELETE FROM oauth_states WHERE state_hash = $1 AND provider = $2 RETURNING user_id, verifier, expires_at
"""
_ERASED: Final = "SELECT EXISTS (SELECT FROM erased_users WHERE user_id = $1 AND erased_at >= $2)"
_FORGET: Final = "DELETE FROM connections WHERE provider = $1 AND provider_user_id = $2 AND user_id = $3"
_LIST: Final = """
SELECT c.provider, c.connected_at, t.user_id IS NOT NULL AS tokens, coalesce(t.scopes, '{}') AS scopes
FROM connections c LEFT JOIN oauth_tokens t USING (user_id, provider)
WHERE c.user_id = $1 AND c.disconnected_at IS NULL ORDER BY c.provider, c.connected_at, c.provider_user_id
"""

_log = logger(__name__)


class GoneError(Exception):
    """The person was erased, or has disconnected, since they began to connect."""


@dataclass(frozen=True, slots=True)
class Begun:
    """Who began a login, and when; `verifier` where the vendor checks one."""

    user_id: str
    verifier: str | None = field(repr=False)
    began: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """A connection. `tokens`: whether there are some, with `scopes`; Terra keeps them itself."""

    provider: str
    connected_at: datetime
    tokens: bool
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """What a disconnection ended: the vendor's ids, and the tokens, None where there were none or they do not open."""

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
        async with transaction(self._database) as connection:
            await connection.execute(_OLDER, user_id, provider)
            await connection.execute(_CLEAN, at, _CLEANER)
            await connection.execute(_KEEP, _hash(state), provider, user_id, sealed, at + LIFETIME)

    async def take(self, state: str, provider: str, at: datetime) -> Begun | None:
        """Who began with `state`, once; None for a state that is not known, used or too old."""
        async with self._database.connection() as connection:
            found = await connection.fetchrow(_TAKE, _hash(state), provider)
        if found is None or found["expires_at"] <= at:
            return None
        user_id, sealed = found["user_id"], found["verifier"]
        try:
            verifier = None if sealed is None else self._box.decrypt(sealed, provider, user_id, "verifier")
        except DecryptionError as error:
            _log.error("a login's verifier does not open", provider=provider, error=type(error).__name__)
            return None
        return Begun(user_id, verifier, found["expires_at"] - LIFETIME)

    async def save(
        self, provider: str, provider_user_id: str, begun: Begun, tokens: Tokens, at: datetime
    ) -> Tokens | None:
        """Connect, with the tokens, in place of another account of this person's with the vendor.

        Returns the tokens of that other account, if there was one. Raises GoneError, and as Connections.connect.
        """
        user_id = begun.user_id
        async with transaction(self._database) as connection:
            connected = await connections.connect(connection, provider, provider_user_id, user_id, at)
            if not connected or await self._erased(connection, begun):
                raise GoneError
            others = await connections.disconnect_user(connection, provider, user_id, at, but=provider_user_id)
            former = await self._tokens.lock_within(connection, provider, user_id)
            if not await self._tokens.save_within(connection, provider, user_id, tokens):
                raise GoneError
        await self._erase_if_gone(provider, provider_user_id, begun)
        return _opened(former) if others else None

    async def end(self, provider: str, user_id: str, at: datetime) -> Ended:
        """Disconnect: connections, tokens, and what has begun."""
        async with transaction(self._database) as connection:
            ids = await connections.disconnect_user(connection, provider, user_id, at)
            sealed = await self._tokens.take_within(connection, provider, user_id)
            await connection.execute(_OLDER, user_id, provider)
        return Ended(tuple(ids), sealed is not None, _opened(sealed))

    async def of(self, user_id: str) -> list[Known]:
        """The connections of a person."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LIST, user_id)
        return [Known(r["provider"], r["connected_at"], r["tokens"], tuple(r["scopes"])) for r in rows]

    async def _erase_if_gone(self, provider: str, provider_user_id: str, begun: Begun) -> None:
        """An erasure that became known while the transaction ran found nothing to erase yet. Raises GoneError."""
        async with transaction(self._database) as connection:
            if not await self._erased(connection, begun):
                return
            await connection.execute(_FORGET, provider, provider_user_id, begun.user_id)
            await self._tokens.take_within(connection, provider, begun.user_id)
        raise GoneError

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
        _log.error("tokens that are removed do not open", error=type(error).__name__)
        return None
