"""All that is stored of a person, as a zip of JSON lines: one file per store, streamed in bounded memory.

The tables are read in one transaction of one moment. A token of a vendor is never part of it.
"""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import anyio
import asyncpg
import msgspec

from auren.biometric.neuros import Neuros
from auren.biometric.stores import CONNECTIONS, LEARNT, PEOPLE, READINGS, Store
from auren.database import Database
from auren.http import ProblemError
from auren.link import UnavailableError

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectSendStream
    from asyncpg.pool import PoolConnectionProxy

ROWS_AT_ONCE: Final = 5_000
RETRY_AFTER_SECONDS: Final = 30
PIECES_AHEAD: Final = 2
READER_SECONDS: Final = 30.0
"""How long a reader may take for a piece: whoever does not read keeps neither the connection nor everybody's turn."""

EXPORT_SECONDS: Final = 900.0
STATEMENT_SECONDS: Final = 300.0
"""To sort a year of a person's readings out of compressed chunks takes longer than a request of another kind may."""

README: Final = """All that AUREN keeps of you, as it was at one moment.

Each file with the ending .jsonl has one record per line (JSON, times in UTC with their offset).
readings.jsonl: what your devices measured. A flag says why a value is not trusted.
sleep_sessions.jsonl, workouts.jsonl: nights and workouts.
daily_values.jsonl, hourly_values.jsonl: count and sum of trusted readings (total is in millionths of the unit).
patterns.jsonl, mode_switches.jsonl, people.jsonl: what was concluded from them, each with its evidence.
chat_messages.jsonl: what you and NEUROS wrote. neuros.json: its sessions, memories and what it has offered.
connections.jsonl: the accounts that you have connected. Their access tokens are secrets and are not part of this.
deletion_tombstones.jsonl, ingested_events.jsonl, outbox.jsonl: bookkeeping that keeps deleted data deleted, counts a
delivery once, and what is about to be told to NEUROS.
"""

_encoder: Final = msgspec.json.Encoder()


class SlowReaderError(Exception):
    """Whoever asked for the export does not read it."""


class Export:
    """Makes exports, one at a time: each keeps a connection for as long as its reader reads, within a bound."""

    def __init__(self, database: Database, neuros: Neuros | None) -> None:
        """Both are owned by the service."""
        self._database = database
        self._neuros = neuros
        self._busy = asyncio.Lock()

    async def stream(self, user_id: str, authorization: str) -> AsyncIterator[bytes]:
        """The zip in pieces. The first one comes when the database has answered.

        Raises UnavailableError before that, ProblemError (503) while another export is made.
        """
        if self._busy.locked():
            retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            raise ProblemError(503, "unavailable", "another export is being made", "ask again in a while", retry)
        written, pieces = anyio.create_memory_object_stream[bytes](PIECES_AHEAD)
        writing = asyncio.create_task(self._write(written, user_id, authorization))
        try:
            async for piece in pieces:
                yield piece
            await writing
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            pieces.close()

    async def _write(self, written: MemoryObjectSendStream[bytes], user_id: str, authorization: str) -> None:
        """Raises SlowReaderError, besides what `stream` raises."""
        until = asyncio.get_running_loop().time() + EXPORT_SECONDS
        with written:
            async with self._busy, self._database.connection() as connection:
                async for piece in self._pieces(connection, user_id, authorization):
                    await _give(written, piece, until)

    async def _pieces(self, connection: PoolConnectionProxy, user_id: str, authorization: str) -> AsyncIterator[bytes]:
        archive = _Archive()
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield archive.text("README.txt", README)
            for store in (READINGS, *LEARNT, PEOPLE, CONNECTIONS):
                async for piece in _table(connection, archive, store, user_id):
                    yield piece
        yield await self._sessions(archive, user_id, authorization)
        yield archive.end()

    async def _sessions(self, archive: _Archive, user_id: str, authorization: str) -> bytes:
        """What NEUROS keeps, or a note that it could not be asked."""
        if self._neuros is None:
            return archive.text(
                "neuros.txt", "NEUROS is switched off; what it kept while it was on is not part of this.\n"
            )
        try:
            return archive.text("neuros.json", (await self._neuros.sessions(user_id, authorization)).decode())
        except UnavailableError as error:
            return archive.text("neuros-is-missing.txt", f"NEUROS could not be asked ({error.reason}). Export again.\n")


class _Archive:
    """A zip that is written to no file: what has been written is taken out piece by piece."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_DEFLATED)

    def text(self, name: str, content: str) -> bytes:
        """One short file."""
        self._zip.writestr(name, content)
        return self._sink.taken()

    def file(self, name: str) -> Any:
        """A file to be written to; close it before the next one."""
        return self._zip.open(name, "w", force_zip64=True)

    def taken(self) -> bytes:
        """What has been written since."""
        return self._sink.taken()

    def end(self) -> bytes:
        """The directory of the zip."""
        self._zip.close()
        return self._sink.taken()


class _Sink(io.RawIOBase):
    """Takes what is written, and cannot seek, so the zip needs nothing of what has left."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


async def _give(written: MemoryObjectSendStream[bytes], piece: bytes, until: float) -> None:
    """Raises SlowReaderError, also when the whole export takes longer than `until` on the loop's clock."""
    now = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(min(now + READER_SECONDS, until)):
            await written.send(piece)
    except TimeoutError:
        raise SlowReaderError from None


async def _table(
    connection: PoolConnectionProxy, archive: _Archive, store: Store, user_id: str
) -> AsyncIterator[bytes]:
    statement = await connection.prepare(f"SELECT * FROM {store.table} WHERE user_id = $1 ORDER BY {store.order}")
    columns = [(a.name, a.type.name == "jsonb") for a in statement.get_attributes() if a.name not in store.hidden]
    cursor = await statement.cursor(user_id)
    with archive.file(f"{store.table}.jsonl") as file:
        while rows := await cursor.fetch(ROWS_AT_ONCE, timeout=STATEMENT_SECONDS):
            await asyncio.to_thread(file.writelines, _lines(rows, columns))
            yield archive.taken()
    yield archive.taken()


def _lines(rows: Sequence[asyncpg.Record], columns: Sequence[tuple[str, bool]]) -> Iterator[bytes]:
    for row in rows:
        record = {name: msgspec.Raw(row[name].encode()) if is_json else row[name] for name, is_json in columns}
        yield _encoder.encode(record) + b"\n"
