"""What asyncpg says of a connection that breaks in a transaction: always that the database is away, never a defect."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from auren.bridge.transactions import Held
from auren.link import UnavailableError


class Connection:
    """A connection whose every statement fails with one error; `closed` None: the pool has taken it back."""

    def __init__(self, error: Exception, closed: bool | None = False) -> None:
        self.error = error
        self.closed = closed

    def is_closed(self) -> bool:
        if self.closed is None:
            raise asyncpg.InterfaceError("connection has been released back to the pool")
        return self.closed

    async def execute(self, *_: Any) -> None:
        raise self.error

    async def fetchrow(self, *_: Any, **__: Any) -> None:
        raise self.error


def held(error: Exception, closed: bool | None = False) -> Held:
    return Held(Connection(error, closed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "closed"),
    [
        (asyncpg.AdminShutdownError("terminating connection of anna"), True),
        (ConnectionResetError("anna"), True),
        (TimeoutError("anna"), False),
        (asyncpg.UndefinedTableError("relation of anna"), False),
        (asyncpg.InternalClientError("cannot switch to state 15 of anna"), False),
        (asyncpg.InterfaceError("the underlying connection of anna is closed"), True),
        (asyncpg.InterfaceError("connection of anna has been released back to the pool"), None),
    ],
)
async def test_a_broken_connection_is_a_dependency_that_is_away(error: Exception, closed: bool | None) -> None:
    for call in (held(error, closed).execute, held(error, closed).fetchrow):
        with pytest.raises(UnavailableError, match="database: ") as raised:
            await call("SELECT 1")
        assert "anna" not in str(raised.value)


@pytest.mark.parametrize(
    "error", [asyncpg.InterfaceError("another operation is in progress"), asyncpg.UniqueViolationError("x")]
)
async def test_a_defect_of_ours_stays_one(error: Exception) -> None:
    with pytest.raises(type(error)):
        await held(error).execute("SELECT 1")
