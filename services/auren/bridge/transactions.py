"""Transactions of the bridge: one that is all or nothing, one that holds rows while something outside happens.

And a lock without a transaction, for work that one process at a time may do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from auren.database import AWAY, UNPREPARED, Database
from auren.link import UnavailableError, describe

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy


@asynccontextmanager
async def transaction(database: Database) -> AsyncIterator[PoolConnectionProxy]:
    """A connection for a block that takes effect as a whole or not at all. Raises UnavailableError."""
    async with database.connection() as connection:
        with _translated(connection):
            async with connection.transaction():
                yield connection


class Held:
    """The connection of `hold`. Its errors are UnavailableError, unlike those of the block around it."""

    def __init__(self, connection: PoolConnectionProxy) -> None:
        """The connection stays the pool's."""
        self._connection = connection

    async def fetchrow(self, query: str, *arguments: Any, timeout: float | None = None) -> asyncpg.Record | None:
        """The first row, or None. Raises UnavailableError, also after `timeout` seconds."""
        with _translated(self._connection):
            row: asyncpg.Record | None = await self._connection.fetchrow(query, *arguments, timeout=timeout)
        return row

    async def execute(self, query: str, *arguments: Any) -> None:
        """Run a statement. Raises UnavailableError."""
        with _translated(self._connection):
            await self._connection.execute(query, *arguments)


@asynccontextmanager
async def hold(database: Database) -> AsyncIterator[Held]:
    """Keep what the block locks until it ends, and what it wrote also when it fails.

    For blocks whose statements report what has already happened elsewhere: a vendor gave a new token, a delivery is
    durable. An error that follows does not undo that. When the process or the connection ends, nothing is written.
    Errors of the block come out as they are, a TimeoutError too. Raises UnavailableError when the database is away.
    """
    failure: BaseException | None = None
    async with transaction(database) as connection:
        try:
            yield Held(connection)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised again below, after the commit
            failure = error
    if failure is not None:
        raise failure


@asynccontextmanager
async def alone(database: Database, lock: int) -> AsyncIterator[Held | None]:
    """Hold an advisory lock of the server for the block, without a transaction; None while another session holds it.

    The lock ends with the block, for the pool frees all locks of what it takes back, and with the connection: who is
    killed or cut off holds nobody up. A statement in the block says whether the lock is still held, by not failing.
    Errors of the block come out as they are. Raises UnavailableError when the database is away.
    """
    failure: BaseException | None = None
    async with database.connection() as connection:
        held = Held(connection)
        row = await held.fetchrow("SELECT pg_try_advisory_lock($1) AS got", lock)
        try:
            yield held if row is not None and row["got"] else None
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised again below
            failure = error
    if failure is not None:
        raise failure


@contextmanager
def _translated(connection: PoolConnectionProxy) -> Iterator[None]:
    """As `Database.connection` does; besides, asyncpg calls a lost connection an error of its use, or of its own.

    The latter (InternalClientError) comes when the server's farewell was read and the connection is not closed yet.
    """
    try:
        yield
    except AWAY as error:
        raise UnavailableError("database", describe(error)) from error
    except UNPREPARED as error:
        raise UnavailableError("database", "the migrations have not run") from error
    except asyncpg.InternalClientError as error:
        raise UnavailableError("database", "the connection was lost") from error
    except asyncpg.InterfaceError as error:
        if not _lost(connection):
            raise
        raise UnavailableError("database", "the connection was lost") from error


def _lost(connection: PoolConnectionProxy) -> bool:
    """Whether it is closed. The pool takes a broken connection back at once, and its proxy then refuses to say."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True
