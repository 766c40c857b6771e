"""The database before its migrations: what is not there yet is a dependency that is away, whoever asks."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from pydantic import SecretStr

from auren.database import REVOKED, Database
from auren.health import UnhealthyError
from auren.link import UnavailableError
from auren.settings import DatabaseSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Unprepared:
    """A pool whose server answers every statement with one error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    @asynccontextmanager
    async def acquire(self, **_: Any) -> AsyncIterator[Any]:
        async def refused(*_: Any) -> None:
            raise self.error

        yield SimpleNamespace(fetch=refused, fetchval=refused, execute=refused)


@pytest.mark.parametrize(
    "error", [asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError]
)
async def test_before_the_migrations_everything_waits(error: type[Exception]) -> None:
    settings = DatabaseSettings(database_host="h", database_user="u", database_password=SecretStr("p"))
    database = Database(settings, application="test")
    database.link._client = Unprepared(error("relation of anna"))  # type: ignore[assignment]
    with pytest.raises(UnavailableError, match="database: the migrations have not run"):
        async with database.connection() as connection:
            await connection.execute("SELECT 1")
    with pytest.raises(UnavailableError):
        await database.revoked_tokens()
    with pytest.raises(UnavailableError):
        await database.erased_users(["anna"])
    with pytest.raises(UnhealthyError, match="the migrations have not run"):
        await database.check()


def test_a_revocation_without_end_or_within_the_leeway_still_counts() -> None:
    assert "expires_at IS NULL" in REVOKED
    assert "interval '1 minute'" in REVOKED
