"""Rows of `readings` in the binary format of PostgreSQL's COPY (its manual, "COPY", "Binary Format").

asyncpg writes each value of each row anew, and that was a fifth of what an event costs. Most columns are the same for
all rows of an event, so their bytes are made once, and a row is three pieces put together.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from auren.biometric.ingest.batch import Row

COLUMNS: Final = (
    *("user_id", "source", "provider", "document_id", "version", "event_id", "received_at"),
    *("metric", "time", "value", "utc_offset_minutes", "end_time", "flags"),
)
"""In the order of the bytes: first those that an event has in common."""

PIECE_BYTES: Final = 64 * 1024

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_END: Final = struct.pack(">h", -1)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""From which the server counts microseconds."""

_TEXT: Final = 25
"""The type's number (pg_type.oid), which an array names."""

_COUNT: Final = struct.pack(">h", len(COLUMNS))
_length = struct.Struct(">i").pack
_eight_bytes = struct.Struct(">iq").pack
_measured = struct.Struct(">iqidih").pack
_NULL: Final = _length(-1)
_NEITHER: Final = 2 * _NULL
"""A reading of a moment without flags, which most are."""


def encode(rows: Iterable[Row]) -> Iterator[bytes]:
    """All of a COPY, in pieces: large buffers that come and go would leave the heap in fragments.

    Rows of one event should follow each other. Raises ValueError for what no column can hold.
    """
    content, event_id, shared = bytearray(_HEADER), None, b""
    metrics: dict[str, bytes] = {}
    try:
        for row in rows:
            if row.event_id is not event_id:
                event_id, shared = row.event_id, _shared(row)
            metric = metrics.get(row.metric)
            if metric is None:
                metric = metrics[row.metric] = _text(row.metric)
            numbers = _measured(8, _microseconds(row.time), 8, row.value, 2, row.utc_offset_minutes)
            rest = _NEITHER if row.end_time is None and row.flags is None else _end_time(row) + _flags(row)
            content += shared + metric + numbers + rest
            if len(content) >= PIECE_BYTES:
                yield bytes(content)
                content.clear()
    except struct.error as error:
        raise ValueError(f"a value that no column can hold: {error}") from error
    yield bytes(content) + _END


def _shared(row: Row) -> bytes:
    texts = (row.user_id, row.source, row.provider, row.document_id)
    version = _eight_bytes(8, row.version)
    event_id = _length(16) + row.event_id.bytes
    received_at = _eight_bytes(8, _microseconds(row.received_at))
    return b"".join((_COUNT, *map(_text, texts), version, event_id, received_at))


def _text(value: str) -> bytes:
    content = value.encode()
    return _length(len(content)) + content


def _end_time(row: Row) -> bytes:
    return _NULL if row.end_time is None else _eight_bytes(8, _microseconds(row.end_time))


def _flags(row: Row) -> bytes:
    """An array of one dimension, whose first element has the number 1, without NULLs."""
    if row.flags is None:
        return _NULL
    content = struct.pack(">iiiii", 1, 0, _TEXT, len(row.flags), 1) + b"".join(map(_text, row.flags))
    return _length(len(content)) + content


def _microseconds(time: datetime) -> int:
    since = time - _EPOCH
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds
