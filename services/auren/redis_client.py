"""A client of Redis as every part of a service wants it: it waits a bounded time, and says at once what is away."""

from __future__ import annotations

from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from auren.settings import RedisSettings

AWAY: Final = (RedisError, OSError, TimeoutError)
"""What a client raises when Redis is away, or refuses."""


def redis_pool(
    settings: RedisSettings, *, connections: int, timeout_seconds: float, decode: bool = False
) -> BlockingConnectionPool:
    """Connections that are made when they are used; `decode` makes texts of answers.

    A pool that does not wait would take a burst of requests for an absence of Redis.
    """
    return BlockingConnectionPool(
        host=settings.redis_host,
        port=settings.redis_port,
        password=settings.redis_password.get_secret_value(),
        max_connections=connections,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        # By default a wrong password is retried for seconds.
        retry=Retry(NoBackoff(), 0),
        decode_responses=decode,
    )


def redis_client(settings: RedisSettings, *, connections: int, timeout_seconds: float, decode: bool = False) -> Redis:
    """A client with a pool of its own, which it closes with itself."""
    return Redis.from_pool(
        redis_pool(settings, connections=connections, timeout_seconds=timeout_seconds, decode=decode)
    )
