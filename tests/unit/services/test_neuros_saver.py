"""Sessions of different people are read at the same time, each over a connection of its own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from auren.neuros.saver import SessionSaver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Meeting(AsyncConnectionPool[AsyncConnection[DictRow]]):
    """Gives connections once two have asked for one; no session is there."""

    def __init__(self) -> None:
        super().__init__(open=False)
        self._both = asyncio.Barrier(2)

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Any]:
        await self._both.wait()
        yield self

    @asynccontextmanager
    async def cursor(self, **_: Any) -> AsyncIterator[Any]:
        yield self

    async def execute(self, *_: Any, **__: Any) -> None: ...

    async def fetchone(self) -> None: ...


async def test_two_sessions_are_read_at_the_same_time() -> None:
    saver = SessionSaver(Meeting())
    asked = [saver.aget_tuple({"configurable": {"thread_id": f"{user}/s"}}) for user in ("anna", "ben")]
    assert await asyncio.gather(*asked) == [None, None]
