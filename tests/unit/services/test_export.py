"""An export whose reader does not read: it keeps neither the connection nor everybody else's turn."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from auren.biometric import export
from auren.biometric.export import Export, SlowReaderError
from auren.database import Database
from auren.http import ProblemError
from auren.link import UnavailableError


class Tables:
    """A database whose tables are empty, and how many connections are taken; `away` is raised in place of one."""

    def __init__(self, away: Exception | None = None) -> None:
        self.taken = 0
        self.away = away

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        if self.away is not None:
            raise self.away
        self.taken += 1
        try:
            yield self
        finally:
            self.taken -= 1

    @asynccontextmanager
    async def transaction(self, **_how: Any) -> AsyncIterator[None]:
        yield

    async def prepare(self, _statement: str) -> Tables:
        return self

    def get_attributes(self) -> list[Any]:
        return []

    async def cursor(self, _user: str) -> Tables:
        return self

    async def fetch(self, _count: int, *, timeout: float) -> list[Any]:
        return []


def begun(exports: Export) -> AsyncGenerator[bytes, None]:
    return cast(AsyncGenerator[bytes, None], exports.stream("anna", "Bearer x"))


async def whole(exports: Export) -> list[str]:
    content = b"".join([piece async for piece in begun(exports)])
    return zipfile.ZipFile(io.BytesIO(content)).namelist()


async def test_a_reader_that_stalls_gives_way_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "READER_SECONDS", 0.05)
    tables = Tables()
    exports = Export(cast(Database, tables), None)
    stalled = begun(exports)
    await anext(stalled)
    with pytest.raises(ProblemError, match="another export"):
        await anext(begun(exports))
    async with asyncio.timeout(10):
        while tables.taken:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    assert "readings.jsonl" in await whole(exports)
    with pytest.raises(SlowReaderError):
        [piece async for piece in stalled]


async def test_a_reader_that_leaves_gives_way_at_once() -> None:
    tables = Tables()
    exports = Export(cast(Database, tables), None)
    leaving = begun(exports)
    await anext(leaving)
    assert tables.taken == 1
    await leaving.aclose()
    assert tables.taken == 0
    assert "neuros.txt" in await whole(exports)


async def test_a_database_that_is_away_is_told_before_the_first_piece() -> None:
    exports = Export(cast(Database, Tables(UnavailableError("database", "away"))), None)
    with pytest.raises(UnavailableError):
        await anext(begun(exports))
