"""Oura's and WHOOP's APIs for one process: with tokens, shared limits and a breaker for each address that is asked."""

from __future__ import annotations

from typing import Final

import httpx
from redis.exceptions import RedisError

from auren.bridge.settings import ProviderSettings
from auren.bridge.tokens import TokenBox, TokenStore
from auren.bridge.vendors import oura, whoop
from auren.bridge.vendors.breaker import Breakers
from auren.bridge.vendors.calls import Api
from auren.bridge.vendors.exchange import http_client
from auren.bridge.vendors.limits import CONNECTIONS, REDIS_SECONDS, Quota, SharedLimits
from auren.bridge.vendors.oauth import RefreshingTokens
from auren.bridge.vendors.oura import OuraApi
from auren.bridge.vendors.whoop import WhoopApi
from auren.database import Database
from auren.health import UnhealthyError
from auren.link import describe
from auren.redis_client import redis_client
from auren.settings import RedisSettings

REDIS: Final = "redis"


class Vendors:
    """`oura` and `whoop` fetch documents; `tokens` keeps what people have allowed. One for the process."""

    def __init__(
        self,
        settings: ProviderSettings,
        redis: RedisSettings,
        database: Database,
        breakers: Breakers,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`transport` is for tests. Nothing is connected before it is used. Raises KeyringError."""
        self.client = http_client(transport)
        self.tokens = TokenStore(database, TokenBox(settings.oauth_keyring.get_secret_value()))
        self._settings = settings
        self._breakers = breakers
        self._redis = redis_client(redis, connections=CONNECTIONS, timeout_seconds=REDIS_SECONDS)
        self.sources = {
            "oura": self._source("oura", settings.oura_token_url),
            "whoop": self._source("whoop", settings.whoop_token_url, scope=whoop.REFRESH_SCOPE),
        }
        """Access tokens by provider."""
        self.oura = OuraApi(self._api("oura", settings.oura_api_url, oura.QUOTAS))
        self.whoop = WhoopApi(self._api("whoop", settings.whoop_api_url, whoop.QUOTAS))

    async def start(self) -> None:
        """There is nothing to begin: connections are made when they are used."""

    async def stop(self) -> None:
        """Wait for refreshes under way, then close the connections."""
        for source in self.sources.values():
            await source.stop()
        await self.client.aclose()
        await self._redis.aclose()

    async def check(self) -> None:
        """For the health report: Redis answers. Raises UnhealthyError; without it each replica counts alone."""
        try:
            await self._redis.ping()
        except (RedisError, OSError, TimeoutError) as error:
            raise UnhealthyError(f"no answer ({describe(error)}), limits hold for each replica alone") from error

    def _source(self, provider: str, token_url: str, scope: str = "") -> RefreshingTokens:
        return RefreshingTokens(
            provider,
            token_url,
            self.tokens,
            self._settings.credentials(provider),
            self.client,
            self._breakers.of(f"{provider}-token"),
            scope=scope,
        )

    def _api(self, provider: str, base_url: str, quotas: tuple[Quota, ...]) -> Api:
        limits = SharedLimits(provider, quotas, self._redis, self._breakers.of(REDIS))
        return Api(base_url, self.client, self.sources[provider], limits, self._breakers.of(provider))
