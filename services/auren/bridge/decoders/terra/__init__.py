"""Terra: one webhook for many wearables (tryterra/openapi and tryterra/agent-skills, 2026-07).

    {"type": "daily", "user": {"user_id": …, "reference_id": …, "provider": "GARMIN"}, "data": [{"metadata": …, …}]}

The body holds the data itself, or the address where it lies for a while (`s3_payload`, also what Terra's Kafka
destination sends). What comes again is a superset of what came before and overwrites it, ordered by the header
`x-terra-ordering-timestamp`. Terra's own scores (`data_enrichment`), which come and go between deliveries, are none of
our metrics and not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from auren.bridge.decoders import Decoded, DecodeError, Whose
from auren.bridge.decoders.terra.documents import Source, activity, body, daily, sleep
from auren.bridge.decoders.terra.fields import UNREADABLE, Part
from auren.bridge.decoders.terra.message import (
    CONNECTING,
    POINTER,
    PROVIDER,
    QUIET,
    Message,
    change,
    owner,
    person,
    pointer,
    read,
    succeeded,
    version,
)
from auren.bridge.decoders.values import UnreadableError, named
from auren.events import Delivery, Event

__all__ = ["PROVIDER", "decode", "read_whose"]

DOCUMENTS: Final[Mapping[str, Callable[[Source, Part], Iterator[Event]]]] = {
    "activity": activity,
    "body": body,
    "daily": daily,
    "sleep": sleep,
}
WITHOUT_METRIC: Final = frozenset(
    {
        "athlete",
        "health_observation",
        "hormone",
        "lab_report",
        "lab_report.completed",
        "lab_report.failed",
        "menstruation",
        "nutrition",
        "planned_workout",
        "route",
    }
)
"""Known types that hold none of our metrics: counted by their name, kept in the raw log."""

_list: Final = msgspec.json.Decoder(list[msgspec.Raw])


def read_whose(delivery: Delivery) -> Whose | None:
    """Whom a delivery is about; None for operational messages and pointers. Raises DecodeError.

    A pointer is about nobody even where it names a person: what it points to names them too, and the address expires
    long before an unknown person is given up.
    """
    message = _read(delivery)
    if message.type == POINTER or message.type in QUIET:
        return None
    whose = person(message)
    if whose is None and message.type in DOCUMENTS:
        raise DecodeError("the message names no user")
    return whose


def decode(delivery: Delivery) -> Decoded:
    """Events, the pointer or the change of a connection of one message. Raises DecodeError."""
    try:
        return _decode(delivery, _read(delivery))
    except RecursionError:
        raise DecodeError("nested too deeply") from None


def _read(delivery: Delivery) -> Message:
    try:
        return read(delivery)
    except RecursionError:
        raise DecodeError("nested too deeply") from None


def _decode(delivery: Delivery, message: Message) -> Decoded:
    decoded = Decoded()
    if message.type in DOCUMENTS:
        _read_documents(delivery, message, decoded)
    elif message.type == POINTER:
        if succeeded(message):
            decoded.pointers.append(pointer(message, delivery.received_at))
        else:
            decoded.unknown[f"{POINTER} without success"] += 1
    elif message.type in CONNECTING:
        decoded.changes += change(message, delivery.user_id)
    elif message.type in WITHOUT_METRIC:
        decoded.unknown[named(message.type)] += _count(message.data)
    elif message.type not in QUIET:
        decoded.unknown[f"type:{named(message.type)}"] += 1
    return decoded


def _count(data: msgspec.Raw) -> int:
    """How many things are in `data`; a message without such a list is one thing."""
    try:
        return len(_list.decode(data))
    except UNREADABLE:
        return 1


def _read_documents(delivery: Delivery, message: Message, decoded: Decoded) -> None:
    if not delivery.user_id:
        raise DecodeError("the delivery names no user")
    try:
        items = _list.decode(message.data)
    except UNREADABLE:
        raise DecodeError("the message has no list of data") from None
    user = owner(message)
    source = Source(
        user_id=delivery.user_id,
        connection=user.id,
        device=user.brand,
        version=version(delivery),
        received_at=delivery.received_at,
        unknown=decoded.unknown,
    )
    for raw in items:
        try:
            decoded.events += DOCUMENTS[message.type](source, Part.of(message.type, raw, decoded.skipped))
        except UnreadableError as error:
            decoded.skipped[f"{message.type}:{error}"] += 1
    if decoded.skipped and not decoded.events:
        raise DecodeError("nothing can be read: " + ", ".join(sorted(decoded.skipped)))
