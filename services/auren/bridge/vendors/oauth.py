"""Access tokens kept fresh: OAuth 2's refresh_token grant (RFC 6749, section 6) with rotation.

A vendor that rotates refresh tokens takes each one once. So a refresh happens once: under the store's lock for all
replicas, in a task that outlives a cancelled caller, and the new pair is saved before its access token is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import httpx

from auren.bridge.credentials import Credentials
from auren.bridge.tokens import NoTokensError, Tokens
from auren.bridge.vendors import NotAllowedError
from auren.bridge.vendors.breaker import Breaker
from auren.bridge.vendors.token_endpoint import TokenEndpoint
from auren.link import UnavailableError
from auren.telemetry import logger

MARGIN: Final = timedelta(seconds=60)
"""A token with less time left is refreshed before it is used: clocks differ, and a fetch takes its time."""

REFUSED_FOR: Final = timedelta(minutes=15)
"""A refresh token that the vendor has refused is not shown to it again so soon. It is kept all the same: with wrong
credentials of ours every token is refused, and works again when those are put right."""

SAVE_DELAYS_SECONDS: Final = (0.2, 1.0, 5.0)
"""Before attempts to save once more: the old pair is used up, losing the new one costs the person's connection."""

STOP_SECONDS: Final = 10.0
"""For refreshes under way when the process ends."""

_NEVER: Final = (datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC))

_log = logger(__name__)


class Locked(Protocol):
    """The tokens of one person while nobody else can change them."""

    @property
    def tokens(self) -> Tokens:
        """As they are now."""
        ...

    async def save(self, tokens: Tokens) -> None:
        """Replace them; durable when the block of `Store.locked` ends. Raises UnavailableError."""
        ...


class Store(Protocol):
    """What is needed of tokens.TokenStore. Raises UnavailableError and DecryptionError."""

    async def load(self, provider: str, user_id: str) -> Tokens | None:
        """The tokens; None when the person is not connected."""
        ...

    async def replace(self, provider: str, user_id: str, before: Tokens, tokens: Tokens) -> bool:
        """Durable when it returns; False, and nothing changes, where `before` are not the person's any more."""
        ...

    def locked(self, provider: str, user_id: str) -> AbstractAsyncContextManager[Locked]:
        """One holder among all replicas. Raises NoTokensError."""
        ...


class RefreshingTokens:
    """The tokens of one vendor's users; a vendors.TokenSource."""

    def __init__(
        self,
        provider: str,
        token_url: str,
        store: Store,
        credentials: Credentials,
        client: httpx.AsyncClient,
        breaker: Breaker,
        *,
        scope: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        save_delays: Sequence[float] = SAVE_DELAYS_SECONDS,
    ) -> None:
        """`breaker` of the token endpoint; `scope` is sent with a refresh where the vendor wants one."""
        self._provider = provider
        self._endpoint = TokenEndpoint(token_url, credentials, client, breaker, now)
        self._store = store
        self._scope = scope
        self._now = now
        self._save_delays = save_delays
        self._refreshing: dict[tuple[str, str | None], asyncio.Task[str]] = {}
        self._refused: dict[str, tuple[datetime, datetime]] = {}
        """By user: when the tokens came whose refresh was refused, and until when they count as refused."""

    async def stop(self) -> None:
        """Wait for refreshes under way: the vendor may have used up the old tokens already."""
        if self._refreshing:
            await asyncio.wait(list(self._refreshing.values()), timeout=STOP_SECONDS)

    async def access_token(self, user_id: str, *, stale: str | None = None) -> str:
        """See vendors.TokenSource."""
        tokens = await self._load(user_id)
        if self._usable(tokens, stale):
            return tokens.access
        key = (user_id, stale)
        task = self._refreshing.get(key)
        if task is None:
            task = asyncio.create_task(self._refresh(user_id, stale), name=f"refresh-{self._provider}")
            self._refreshing[key] = task
            task.add_done_callback(lambda ended: self._ended(key, ended))
        return await asyncio.shield(task)

    def _ended(self, key: tuple[str, str | None], task: asyncio.Task[str]) -> None:
        del self._refreshing[key]
        if not task.cancelled():
            task.exception()  # seen, also when every caller has gone

    async def _load(self, user_id: str) -> Tokens:
        tokens = await self._store.load(self._provider, user_id)
        if tokens is None:
            raise _not_connected()
        return tokens

    def _usable(self, tokens: Tokens, stale: str | None) -> bool:
        if tokens.access == stale:
            return False
        return tokens.expires_at is None or tokens.expires_at - self._now() > MARGIN

    async def _refresh(self, user_id: str, stale: str | None) -> str:
        before: Tokens | None = None
        fresh: Tokens | None = None
        try:
            async with self._store.locked(self._provider, user_id) as locked:
                before = locked.tokens
                if self._usable(before, stale):  # somebody has refreshed while this waited for the lock
                    return before.access
                fresh = await self._exchanged(user_id, before)
                await locked.save(fresh)
        except NoTokensError:
            raise _not_connected() from None
        except UnavailableError:
            if before is None or fresh is None:
                raise
            return await self._saved_late(user_id, before, fresh)
        return fresh.access

    async def _saved_late(self, user_id: str, before: Tokens, fresh: Tokens) -> str:
        """The store was lost with the lock, after the vendor had used up the old pair. Raises UnavailableError.

        The person may have disconnected meanwhile, or connected anew: what they did last stands, and its access
        token is the answer.
        """
        for delay in self._save_delays:
            await asyncio.sleep(delay)
            try:
                if await self._store.replace(self._provider, user_id, before, fresh):
                    return fresh.access
                return (await self._load(user_id)).access
            except UnavailableError:
                continue
        _log.error("refreshed tokens are lost, the person has to connect again", provider=self._provider)
        raise UnavailableError("database", "refreshed tokens could not be saved")

    async def _exchanged(self, user_id: str, tokens: Tokens) -> Tokens:
        """The pair that the vendor gives for this one's refresh token."""
        if not tokens.refresh:
            raise NotAllowedError("the token has ended and cannot be refreshed", connection_broken=True)
        came, until = self._refused.get(user_id, _NEVER)
        if came == tokens.refreshed_at and self._now() < until:
            raise _grant_refused()
        try:
            return await self._asked(tokens, tokens.refresh)
        except NotAllowedError:
            self._refused[user_id] = tokens.refreshed_at, self._now() + REFUSED_FOR
            raise

    async def _asked(self, tokens: Tokens, refresh_token: str) -> Tokens:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        if self._scope:
            form["scope"] = self._scope
        # One that does not rotate sends no refresh token: the old one stays. The same holds for the scopes.
        return await self._endpoint.ask(form, scopes=tokens.scopes, refresh=tokens.refresh)


def _grant_refused() -> NotAllowedError:
    return NotAllowedError("the vendor does not accept the refresh token", connection_broken=True)


def _not_connected() -> NotAllowedError:
    return NotAllowedError("not connected", connection_broken=True)
