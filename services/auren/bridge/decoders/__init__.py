"""Decoders: pure functions for each provider, from a delivery or a fetched document to events. No clock, no I/O."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from auren.events import Delivery, Event
from auren.topics import MAX_BODY_BYTES


class DecodeError(ValueError):
    """The delivery can never be decoded; the message says why without showing any of it."""


@dataclass(frozen=True, slots=True)
class Whose:
    """Whom a delivery is about: the vendor's own id, and ours where the vendor was told it."""

    provider_user_id: str
    user_id: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A webhook of ids only: what has changed at the vendor, to be fetched with the person's own token.

    `data_type` is the vendor's word. `version` in milliseconds orders notices about the same document.
    """

    provider_user_id: str
    data_type: str
    document_id: str
    deleted: bool
    version: int


@dataclass(frozen=True, slots=True)
class Pointer:
    """A payload that the vendor keeps at an address for a while, in the form of one of its webhooks' bodies."""

    url: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class ConnectionChange:
    """The vendor says that a person has connected or disconnected, or goes by another id from now on."""

    provider_user_id: str
    user_id: str
    connected: bool
    former_provider_user_id: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """Where a fetched document belongs: what the notice and the delivery say of it."""

    user_id: str
    data_type: str
    document_id: str
    version: int
    received_at: datetime


@dataclass(slots=True)
class Decoded:
    """What a delivery held: events, what is to be done for it, and what was left out, counted by what it is called.

    `unknown`: kinds of data that AUREN does not know (kept in the raw log). `skipped`: samples of a known kind that
    cannot be read, by reason. Both are names, never values.
    """

    events: list[Event] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    pointers: list[Pointer] = field(default_factory=list)
    changes: list[ConnectionChange] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)


Decoder = Callable[[Delivery], Decoded]
"""`delivery.user_id` is filled in. Raises DecodeError."""

Reader = Callable[[Delivery], Whose | None]
"""Whom a delivery is about, from its body; None when it is about nobody. Raises DecodeError."""

DocumentDecoder = Callable[[Document, bytes], Decoded]
"""A fetched document (the raw JSON of the vendor's API) as events. Raises DecodeError."""


def merged(parts: Iterable[Decoded]) -> Decoded:
    """What several things that belong to one delivery held; what is to be done for each is done already."""
    whole = Decoded()
    for part in parts:
        whole.events += part.events
        whole.unknown += part.unknown
        whole.skipped += part.skipped
    return whole


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
