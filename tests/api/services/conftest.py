"""Fixtures of the services' tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.api import stores
from tests.api.processes import Servers
from tests.api.services.platform import Platform
from tests.unit.services.model_double import ModelDouble


@pytest.fixture(scope="session")
async def prepared_platform(
    kafka: stores.Kafka, postgres: stores.Postgres, redis_store: stores.Redis, store_servers: Servers
) -> Platform:
    """Stores that the Jobs have prepared, once for the session."""
    platform = Platform(kafka, postgres, redis_store, store_servers, await postgres.create_database())
    # Both Jobs are blocking programs.
    await asyncio.to_thread(platform.prepare)
    return platform


@pytest.fixture
def platform(prepared_platform: Platform) -> Iterator[Platform]:
    """The prepared stores; what the test starts ends with it, and stores that it stopped run again."""
    with Servers("services") as servers:
        prepared_platform.servers = servers
        yield prepared_platform
    for store in (prepared_platform.kafka, prepared_platform.postgres, prepared_platform.redis):
        if not store.server.running:
            store.server.start()


@pytest.fixture(scope="session")
def model() -> Iterator[ModelDouble]:
    """A language model's server; a test scripts it with `talking.scripted`."""
    with ModelDouble().serving() as double:
        yield double
