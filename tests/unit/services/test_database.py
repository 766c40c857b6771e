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

SETTINGS = DatabaseSettings(database_host="h", database_user="u", database_password=SecretStr("p"))


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
    database = Database(SETTINGS, application="test")
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


class Closing:
    """A pool that is or is not being closed, whose connection refuses whatever it is asked for."""

    def __init__(self, *, closing: bool, closed: bool) -> None:
        self.closing = closing
        self.closed = closed

    def is_closing(self) -> bool:
        return self.closing

    @asynccontextmanager
    async def acquire(self, **_: Any) -> AsyncIterator[Any]:
        if self.closing:
            raise asyncpg.InterfaceError("pool is closing")

        async def refused(*_: Any) -> None:
            raise asyncpg.InterfaceError("cannot perform operation")

        yield SimpleNamespace(fetch=refused, is_closed=lambda: self.closed)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (Closing(closing=True, closed=False), UnavailableError),
        (Closing(closing=False, closed=True), UnavailableError),
        (Closing(closing=False, closed=False), asyncpg.InterfaceError),
    ],
)
async def test_what_is_closed_meanwhile_is_away_and_a_wrong_use_is_a_defect(
    pool: Closing, expected: type[Exception]
) -> None:
    database = Database(SETTINGS, application="test")
    database.link._client = pool  # type: ignore[assignment]
    with pytest.raises(expected):
        async with database.connection() as connection:
            await connection.fetch("SELECT 1")
