"""Decoders: one pure function per provider, from a delivery to events. No clock, no I/O."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from auren.events import Delivery, Event
from auren.topics import MAX_BODY_BYTES


class DecodeError(ValueError):
    """The delivery can never be decoded; the message says why without showing any of it."""


@dataclass(slots=True)
class Decoded:
    """What a delivery held: events, and what was left out, counted by what it is called.

    `unknown`: kinds of data that AUREN does not know (kept in the raw log). `skipped`: samples of a known kind that
    cannot be read, by reason. Both are names, never values.
    """

    events: list[Event] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)


Decoder = Callable[[Delivery], Decoded]


def plain_body(delivery: Delivery) -> bytes:
    """The body without its content encoding, bounded in size. Raises DecodeError."""
    if not delivery.content_encoding:
        return delivery.body
    if delivery.content_encoding != "gzip":
        raise DecodeError("unknown content encoding")
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        body = inflater.decompress(delivery.body, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise DecodeError("broken gzip") from None
    if not inflater.eof or len(body) > MAX_BODY_BYTES:
        raise DecodeError("gzip is cut off or inflates beyond the limit")
    return body
