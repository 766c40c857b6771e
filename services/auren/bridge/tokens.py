"""OAuth tokens at rest: encrypted, bound to their place, refreshed once, re-encrypted when the key changes.

A ciphertext is: version (one byte, 1) · length of the key id (one byte) · key id · nonce (12 bytes) · AES-256-GCM
ciphertext with its tag (NIST SP 800-38D). The associated data is everything before the nonce and the ASCII JSON array
["provider","user id","field"]: a ciphertext that is moved to another row or column does not open.

To change the key: add the new one as second line and wait until every process has it, make it the first line, run
`TokenStore.reencrypt_all` until nothing is left, remove the old line.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from auren.bridge.transactions import Held, hold, transaction
from auren.database import Database
from auren.telemetry import logger

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

VERSION: Final = 1
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12

LOCK_TIMEOUT_SECONDS: Final = 20.0
"""How long to wait for another replica that refreshes the same tokens; a vendor that takes longer has failed."""

HELD_AT_ONCE: Final = 2
"""A locked row keeps a connection while the vendor is asked. The pool has four; the others are for everything else."""

ROWS_AT_ONCE: Final = 100
"""Rows that one transaction re-encrypts: some ten milliseconds of work."""

_KEY_LINE: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,31}):([0-9A-Fa-f]{64})")

_LIST: Final = "access_token, refresh_token, expires_at, scopes, refreshed_at"
_LOAD: Final = f"SELECT {_LIST} FROM oauth_tokens WHERE provider = $1 AND user_id = $2"
_LOCK: Final = f"{_LOAD} FOR UPDATE"
_SAVE: Final = f"""
INSERT INTO oauth_tokens (provider, user_id, {_LIST})
SELECT $1::text, $2::text, $3::bytea, $4::bytea, $5::timestamptz, $6::text[], $7::timestamptz
WHERE NOT EXISTS (SELECT FROM erased_users e WHERE e.user_id = $2 AND e.erased_at >= $7)
ON CONFLICT (user_id, provider) DO UPDATE SET access_token = excluded.access_token,
    refresh_token = excluded.refresh_token, expires_at = excluded.expires_at, scopes = excluded.scopes,
    refreshed_at = excluded.refreshed_at
RETURNING user_id
"""
_UPDATE: Final = """
UPDATE oauth_tokens SET access_token = $3, refresh_token = $4, expires_at = $5, scopes = $6, refreshed_at = $7
WHERE provider = $1 AND user_id = $2
"""
_REPLACE: Final = f"{_UPDATE} AND refreshed_at = $8 RETURNING user_id"
_DELETE: Final = "DELETE FROM oauth_tokens WHERE provider = $1 AND user_id = $2"
_TAKE: Final = f"{_DELETE} RETURNING {_LIST}"
_OLD: Final = """
(substring(access_token FOR length($1::bytea)) <> $1 OR substring(refresh_token FOR length($1::bytea)) <> $1)
"""
_NEXT_OLD: Final = f"""
SELECT provider, user_id, access_token, refresh_token FROM oauth_tokens
WHERE (user_id, provider) > ($2::text, $3::text) AND {_OLD} ORDER BY user_id, provider LIMIT $4
FOR UPDATE SKIP LOCKED
"""
_REENCRYPT: Final = """
UPDATE oauth_tokens SET access_token = $3, refresh_token = $4 WHERE provider = $1 AND user_id = $2
"""

_log = logger(__name__)


class KeyringError(ValueError):
    """The keyring is none; the message names the line and shows nothing of it."""


class DecryptionError(Exception):
    """A ciphertext does not open."""


class UnknownKeyError(DecryptionError):
    """It was made with a key that is not in the keyring (any more, or yet)."""


class DamagedError(DecryptionError):
    """It is not what was stored here: changed, cut off, or another row's or column's."""


class NoTokensError(LookupError):
    """The user has no tokens of this provider."""


class TokenBox:
    """Encrypts and decrypts texts with the keys of a keyring: one `id:hex` per line, 64 digits, the first is current.

    Nonces are random, so one key is good for 2^32 encryptions (SP 800-38D, 8.3): a thousand users refreshing every
    hour need two centuries for that.
    """

    def __init__(self, keyring: str) -> None:
        """Raises KeyringError."""
        keys = _keys(keyring)
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = next(iter(keys))
        self.header: Final = bytes([VERSION, len(self._current)]) + self._current.encode()
        """What every ciphertext of the current key begins with, and no other one."""

    def encrypt(self, text: str, provider: str, user_id: str, field: str) -> bytes:
        """The ciphertext of `text` for one place, with the current key."""
        nonce = os.urandom(NONCE_BYTES)
        bound = _associated_data(self.header, provider, user_id, field)
        return self.header + nonce + self._ciphers[self._current].encrypt(nonce, text.encode(), bound)

    def decrypt(self, ciphertext: bytes, provider: str, user_id: str, field: str) -> str:
        """The text of a ciphertext made for the same place. Raises UnknownKeyError and DamagedError."""
        header, key_id = _header(ciphertext)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise UnknownKeyError("encrypted with a key that is not in the keyring")
        nonce, rest = ciphertext[len(header) :][:NONCE_BYTES], ciphertext[len(header) + NONCE_BYTES :]
        if len(nonce) < NONCE_BYTES:
            raise DamagedError("the ciphertext is cut off")
        try:
            text = cipher.decrypt(nonce, rest, _associated_data(header, provider, user_id, field))
        except InvalidTag:
            raise DamagedError("the ciphertext was changed, or belongs elsewhere") from None
        return text.decode()

    def is_current(self, ciphertext: bytes) -> bool:
        """Whether it was made with the current key."""
        return ciphertext.startswith(self.header)


def _keys(keyring: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for number, line in enumerate(keyring.splitlines(), start=1):
        if not line.strip():
            continue
        found = _KEY_LINE.fullmatch(line.strip())
        if found is None:
            raise KeyringError(f"line {number} is no id:key with {2 * KEY_BYTES} hexadecimal digits")
        if found[1] in keys:
            raise KeyringError(f"line {number} has the id of an earlier line")
        keys[found[1]] = bytes.fromhex(found[2])
    if not keys:
        raise KeyringError("there is no key in it")
    return keys


def _header(ciphertext: bytes) -> tuple[bytes, str]:
    """(header, key id). Raises DamagedError."""
    if len(ciphertext) < 2 or ciphertext[0] != VERSION or len(ciphertext) < 2 + ciphertext[1]:
        raise DamagedError("no ciphertext of this version")
    header = ciphertext[: 2 + ciphertext[1]]
    return header, header[2:].decode("latin-1")


def _associated_data(header: bytes, provider: str, user_id: str, field: str) -> bytes:
    return header + json.dumps([provider, user_id, field], separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a vendor gave. `expires_at` is None where it did not say; `refreshed_at` is when it gave them."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    expires_at: datetime | None
    scopes: tuple[str, ...]
    refreshed_at: datetime


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a re-encryption did, in rows. The old key may go when `left` is 0.

    `left` are those that still have another key than the current one: in use just then, or `unreadable`.
    """

    reencrypted: int
    unreadable: int
    left: int


class LockedTokens:
    """The tokens of one user while nobody else can refresh, replace or delete them."""

    def __init__(self, tokens: Tokens, row: _Row, held: Held) -> None:
        """Made by `TokenStore.locked`."""
        self.tokens = tokens
        self._row = row
        self._held = held

    async def save(self, tokens: Tokens) -> None:
        """Replace them. Durable when the block ends, also when it ends with an error. Raises UnavailableError."""
        await self._held.execute(_UPDATE, *self._row.values(tokens))
        self.tokens = tokens

    async def delete(self) -> None:
        """Remove them: the vendor does not take them any more. Raises UnavailableError."""
        await self._held.execute(_DELETE, self._row.provider, self._row.user_id)


class Sealed:
    """Tokens as they are stored: whoever removes them can do so also when they do not open."""

    def __init__(self, row: _Row, found: asyncpg.Record) -> None:
        """`found` is the table's row."""
        self._row = row
        self._found = found

    def open(self) -> Tokens:
        """What they are. Raises DecryptionError."""
        return self._row.tokens(self._found)


class TokenStore:
    """The table `oauth_tokens`. Methods raise UnavailableError, and DecryptionError where they read tokens."""

    def __init__(self, database: Database, box: TokenBox) -> None:
        """The pool is the process'."""
        self._database = database
        self._box = box
        self._slots = asyncio.Semaphore(HELD_AT_ONCE)

    async def save(self, provider: str, user_id: str, tokens: Tokens) -> bool:
        """Keep new tokens in place of any before; False, and nothing is kept, if the user was erased since."""
        async with self._database.connection() as connection:
            return await self.save_within(connection, provider, user_id, tokens)

    async def save_within(self, connection: PoolConnectionProxy, provider: str, user_id: str, tokens: Tokens) -> bool:
        """`save` within a transaction of the caller's."""
        return await connection.fetchval(_SAVE, *_Row(provider, user_id, self._box).values(tokens)) is not None

    async def replace(self, provider: str, user_id: str, before: Tokens, tokens: Tokens) -> bool:
        """Keep `tokens` where `before` still stand; False, and nothing changes, once they were removed or replaced."""
        async with self._database.connection() as connection:
            values = _Row(provider, user_id, self._box).values(tokens)
            return await connection.fetchval(_REPLACE, *values, before.refreshed_at) is not None

    async def lock_within(self, connection: PoolConnectionProxy, provider: str, user_id: str) -> Sealed | None:
        """The tokens, which nobody else changes before the caller's transaction ends."""
        return self._sealed(provider, user_id, await connection.fetchrow(_LOCK, provider, user_id))

    async def take_within(self, connection: PoolConnectionProxy, provider: str, user_id: str) -> Sealed | None:
        """Remove the tokens within a transaction of the caller's, and return what they were."""
        return self._sealed(provider, user_id, await connection.fetchrow(_TAKE, provider, user_id))

    def _sealed(self, provider: str, user_id: str, found: asyncpg.Record | None) -> Sealed | None:
        return None if found is None else Sealed(_Row(provider, user_id, self._box), found)

    async def load(self, provider: str, user_id: str) -> Tokens | None:
        """The tokens, None where there are none."""
        async with self._database.connection() as connection:
            found = await connection.fetchrow(_LOAD, provider, user_id)
        return None if found is None else _Row(provider, user_id, self._box).tokens(found)

    async def delete(self, provider: str, user_id: str) -> None:
        """Remove the tokens, if there are any; waits while they are locked."""
        async with self._database.connection() as connection:
            await connection.execute(_DELETE, provider, user_id)

    @asynccontextmanager
    async def locked(self, provider: str, user_id: str) -> AsyncIterator[LockedTokens]:
        """The tokens as they are now, for the block alone. Of two replicas the second sees what the first saved:

            async with store.locked(provider, user_id) as locked:
                if locked.tokens.access == stale.access:
                    await locked.save(await ask_the_vendor(locked.tokens))

        Inside, use `locked` and not the store, which would wait for this block. Vendors that rotate refresh tokens
        have spent the old one when they answer, so save at once, and bound the request's time. Raises NoTokensError,
        DecryptionError, and UnavailableError, also when another replica keeps the lock too long.
        """
        async with self._slots, hold(self._database) as held:
            found = await held.fetchrow(_LOCK, provider, user_id, timeout=LOCK_TIMEOUT_SECONDS)
            if found is None:
                raise NoTokensError("no tokens")
            row = _Row(provider, user_id, self._box)
            yield LockedTokens(row.tokens(found), row, held)

    async def erase(self, user_id: str) -> None:
        """Forget a user: tokens, and logins that have begun."""
        async with transaction(self._database) as connection:
            await connection.execute("DELETE FROM oauth_states WHERE user_id = $1", user_id)
            await connection.execute("DELETE FROM oauth_tokens WHERE user_id = $1", user_id)

    async def reencrypt_all(self) -> Rotation:
        """Encrypt with the current key what has another one. May run in several replicas, and again at any time.

        Rows that are locked are passed over, they are `left` for the next time; so are those that do not open, which
        are logged by number. Nothing else stops.
        """
        reencrypted = unreadable = 0
        after: tuple[str, str] | None = ("", "")
        while after is not None:
            async with transaction(self._database) as connection:
                rows = await connection.fetch(_NEXT_OLD, self._box.header, *after, ROWS_AT_ONCE)
                done = await self._reencrypt(connection, rows)
            reencrypted += done
            unreadable += len(rows) - done
            after = (rows[-1]["user_id"], rows[-1]["provider"]) if rows else None
        if unreadable:
            _log.error("stored tokens do not open", rows=unreadable)
        return Rotation(reencrypted, unreadable, await self._left())

    async def _reencrypt(self, connection: PoolConnectionProxy, rows: list[asyncpg.Record]) -> int:
        """How many of `rows` could be read and are written with the current key."""
        changed: list[tuple[Any, ...]] = []
        for found in rows:
            row = _Row(found["provider"], found["user_id"], self._box)
            try:
                access, refresh = row.texts(found)
            except DecryptionError:
                continue
            changed.append((row.provider, row.user_id, *row.ciphertexts(access, refresh)))
        await connection.executemany(_REENCRYPT, changed)
        return len(changed)

    async def _left(self) -> int:
        async with self._database.connection() as connection:
            left: int = await connection.fetchval(f"SELECT count(*) FROM oauth_tokens WHERE {_OLD}", self._box.header)
        return left


@dataclass(frozen=True, slots=True)
class _Row:
    """The place of one user's tokens, to which their ciphertexts are bound."""

    provider: str
    user_id: str
    box: TokenBox

    def ciphertexts(self, access: str, refresh: str | None) -> tuple[bytes, bytes | None]:
        """(access, refresh) for the columns."""
        return self._encrypt(access, "access"), None if refresh is None else self._encrypt(refresh, "refresh")

    def texts(self, found: asyncpg.Record) -> tuple[str, str | None]:
        """(access, refresh) of a row. Raises DecryptionError."""
        refresh = found["refresh_token"]
        access = self.box.decrypt(found["access_token"], self.provider, self.user_id, "access")
        return access, None if refresh is None else self.box.decrypt(refresh, self.provider, self.user_id, "refresh")

    def values(self, tokens: Tokens) -> tuple[Any, ...]:
        """All columns, in the order of the statements."""
        access, refresh = self.ciphertexts(tokens.access, tokens.refresh)
        scopes = list(tokens.scopes)
        return self.provider, self.user_id, access, refresh, tokens.expires_at, scopes, tokens.refreshed_at

    def tokens(self, found: asyncpg.Record) -> Tokens:
        """The tokens of a row. Raises DecryptionError."""
        access, refresh = self.texts(found)
        return Tokens(access, refresh, found["expires_at"], tuple(found["scopes"]), found["refreshed_at"])

    def _encrypt(self, text: str, field: str) -> bytes:
        return self.box.encrypt(text, self.provider, self.user_id, field)
