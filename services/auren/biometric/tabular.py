"""Rows as CSV and as an Arrow stream, page by page. Pure: whatever the length, a page is all that is held.

CSV follows RFC 4180, in UTF-8 with a header line; times are ISO 8601 in UTC, a missing value is an empty cell, several
texts stand in one cell with blanks between. A text that a spreadsheet would take for a formula gets an apostrophe in
front (the advice of OWASP, "CSV Injection"): names of devices come from outside.
"""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

import nanoarrow
from nanoarrow.ipc import StreamWriter

Kind = Literal["time", "number", "count", "text", "texts"]
Rows = Sequence[Mapping[str, Any]]
"""A page: rows by column name."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Column(NamedTuple):
    """A column by name; only times and texts may be missing."""

    name: str
    kind: Kind


async def as_csv(columns: Sequence[Column], pages: AsyncIterator[Rows]) -> AsyncIterator[bytes]:
    """The header, then each page's lines."""
    yield _lines([[column.name for column in columns]])
    async for rows in pages:
        yield _lines([_CELLS[column.kind](row[column.name]) for column in columns] for row in rows)


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _text_cell(value: str | None) -> str:
    text = value or ""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _time_cell(value: datetime | None) -> str:
    return "" if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")


_CELLS: Final[dict[Kind, Callable[[Any], str]]] = {
    "time": _time_cell,
    "number": repr,
    "count": str,
    "text": _text_cell,
    "texts": lambda value: _text_cell(" ".join(value or ())),
}


async def as_arrow(
    columns: Sequence[Column], pages: AsyncIterator[Rows], metadata: Mapping[str, str]
) -> AsyncIterator[bytes]:
    """The schema, a record batch for each page, the end of the stream. Times are microseconds in UTC."""
    schema = nanoarrow.struct({column.name: _TYPES[column.kind] for column in columns}, nullable=False)
    schema = nanoarrow.Schema(schema, metadata=dict(metadata))
    out = io.BytesIO()
    writer = StreamWriter.from_writable(out)
    writer.write_stream(_batch(schema, columns, ()))
    yield _taken(out)
    async for rows in pages:
        writer.write_stream(_batch(schema, columns, rows))
        yield _taken(out)
    writer.close()
    yield _taken(out)


def _taken(out: io.BytesIO) -> bytes:
    written = out.getvalue()
    out.seek(0)
    out.truncate()
    return written


def _batch(schema: Any, columns: Sequence[Column], rows: Rows) -> Any:
    children = [_ARRAYS[column.kind]([row[column.name] for row in rows]) for column in columns]
    return nanoarrow.c_array_from_buffers(schema, len(rows), [None], children=children)


def _texts_array(values: Sequence[Sequence[str] | None]) -> Any:
    """A list of texts for each row; a missing one is empty."""
    offsets = array("i", [0])
    texts: list[str] = []
    for value in values:
        texts += value or ()
        offsets.append(len(texts))
    child = nanoarrow.c_array(texts, nanoarrow.string())
    return nanoarrow.c_array_from_buffers(_TYPES["texts"], len(values), [None, offsets], children=[child])


def _times_array(values: Sequence[datetime | None]) -> Any:
    return nanoarrow.c_array([None if v is None else (v - _EPOCH) // _MICROSECOND for v in values], _TYPES["time"])


_TYPES: Final[dict[Kind, Any]] = {
    "time": nanoarrow.timestamp("us", "UTC"),
    "number": nanoarrow.float64(),
    "count": nanoarrow.int64(),
    "text": nanoarrow.string(),
    "texts": nanoarrow.list_(nanoarrow.string()),
}
_ARRAYS: Final[dict[Kind, Callable[[Sequence[Any]], Any]]] = {
    "time": _times_array,
    "number": lambda values: nanoarrow.c_array(values, _TYPES["number"]),
    "count": lambda values: nanoarrow.c_array(values, _TYPES["count"]),
    "text": lambda values: nanoarrow.c_array(values, _TYPES["text"]),
    "texts": _texts_array,
}
