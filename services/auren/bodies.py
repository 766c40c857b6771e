"""Bodies of requests as they are to be stored: bounded in bytes, also after inflating, and in time.

A route of FastAPI reads a body before anybody has looked at the token; what takes large ones reads them with this.
"""

from __future__ import annotations

import asyncio
import zlib
from functools import lru_cache
from typing import Final

from starlette.types import Message, Receive

from auren.admission import Ticket
from auren.http import ProblemError
from auren.topics import MAX_BODY_BYTES

BODY_TIMEOUT_SECONDS: Final = 30.0
THREAD_FROM_BYTES: Final = 64 * 1024
"""Smaller bodies are inflated and verified at once; larger ones in a thread, so that others are not held up."""

_INFLATE_STEP: Final = 256 * 1024


class TooLargeError(ProblemError):
    """413."""

    def __init__(self, limit: int = MAX_BODY_BYTES) -> None:
        """The limit is part of the answer."""
        super().__init__(413, "too-large", "the body is too large", f"at most {limit} bytes, also inflated")


@lru_cache(maxsize=64)
def content(content_type: bytes, content_encoding: bytes) -> tuple[str, str]:
    """(content type, content encoding) of these headers. Raises 415 for any other than JSON, plain or gzip."""
    kind = content_type.decode("latin-1").split(";")[0].strip().lower()
    encoding = content_encoding.decode("latin-1").strip().lower()
    if kind != "application/json":
        raise ProblemError(415, "content-type", "the content type is not supported", "send application/json")
    if encoding not in {"", "identity", "gzip"}:
        raise ProblemError(415, "content-encoding", "the content encoding is not supported", "send plain or gzip")
    return kind, encoding if encoding == "gzip" else ""


async def read(headers: dict[bytes, bytes], receive: Receive, ticket: Ticket, limit: int) -> bytes:
    """The whole body, accounted for by `ticket`. Raises 400, 408, 413, and UnavailableError without room."""
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > limit:
        raise TooLargeError(limit)
    message = at_once(receive)
    if message is None or message.get("more_body", False):
        body = await _read_on(message, receive, ticket, limit)
    else:
        body = _chunk(message)
        _take_in(len(body), len(body), ticket, limit)
    if not body:
        raise ProblemError(400, "empty", "the body is empty")
    return body


async def _read_on(first: Message | None, receive: Receive, ticket: Ticket, limit: int) -> bytes:
    """A body that comes in parts, or later than its headers: bounded in time, and no more read than is allowed."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            message = first or await receive()
            while True:
                chunks.append(_chunk(message))
                size += len(chunks[-1])
                _take_in(len(chunks[-1]), size, ticket, limit)
                if not message.get("more_body", False):
                    return b"".join(chunks)
                message = await receive()
    except TimeoutError:
        raise ProblemError(408, "timeout", "the body did not come in time") from None


def _take_in(more: int, size: int, ticket: Ticket, limit: int) -> None:
    """Account for `more` bytes of a body that has `size` by now. Raises 413, and UnavailableError without room."""
    if size > limit:
        raise TooLargeError(limit)
    ticket.add(more)


def at_once(receive: Receive) -> Message | None:
    """The next message when it has come already, as most bodies have with their headers; None when it must be awaited.

    Nothing is taken then. A time limit around the wait would cost more than the rest of the reading.
    """
    waiting = receive()
    try:
        waiting.send(None)  # type: ignore[attr-defined]
    except StopIteration as come:
        message: Message = come.value
        return message
    waiting.close()  # type: ignore[attr-defined]
    return None


def _chunk(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ProblemError(400, "disconnected", "the client went away")
    chunk: bytes = message.get("body", b"")
    return chunk


def inflated_size(body: bytes, limit: int = MAX_BODY_BYTES) -> int:
    """Size of a gzip body after inflating, which is bounded in memory. Raises 413 beyond the limit, 400 when broken.

    Even a small body may inflate a thousandfold, so what is inflated is counted and thrown away step by step.
    """
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    size, rest = 0, body
    try:
        while rest and not inflater.eof:
            size += len(inflater.decompress(rest, _INFLATE_STEP))
            rest = inflater.unconsumed_tail
            if size > limit:
                raise TooLargeError(limit)
    except zlib.error:
        raise ProblemError(400, "gzip", "the body is no gzip") from None
    if not inflater.eof or inflater.unused_data:
        raise ProblemError(400, "gzip", "the body is no gzip")
    return size
