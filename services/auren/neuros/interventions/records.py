"""The record of one intervention, on `neuros-interventions`, in a person's live stream and on their sockets.

CloudEvents 1.0 in binary mode, as the events of measurements: key is the user id, value the JSON of `Intervention`.
"""

from __future__ import annotations

import uuid
from typing import Final, Literal

import msgspec

from auren.events import Headers, Instant, InvalidRecordError, UserId
from auren.modes import Evidence, Mode

SCHEMA: Final = 1
Level = Literal["high", "medium", "low"]


class Intervention(msgspec.Struct, frozen=True, kw_only=True):
    """An exercise that is offered: which protocol, because of what, from when to when.

    `id` follows from the switch of the mode that led to it: the same switch leads to the same intervention.
    """

    schema: Literal[1] = SCHEMA
    id: uuid.UUID
    user_id: UserId
    mode: Mode
    level: Level
    protocol: str
    title: str
    evidence: tuple[Evidence, ...]
    reason: str
    at: Instant
    expires_at: Instant


_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "interventions.auren.aupex.ai")
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Intervention)


def intervention_id(switch_id: uuid.UUID) -> uuid.UUID:
    """UUIDv5 of the switch that led to it."""
    return uuid.uuid5(_NAMESPACE, str(switch_id))


def encode(intervention: Intervention) -> bytes:
    """The record's value: JSON of one line."""
    return _encoder.encode(intervention)


def decode(value: bytes | str) -> Intervention:
    """The intervention of a record's value. Raises InvalidRecordError, whose message holds no value of the record."""
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a ValidationError is a DecodeError
        raise InvalidRecordError("no intervention of schema 1") from None


def headers(intervention: Intervention) -> Headers:
    """The record's headers. They name no person: the key does."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_type", f"ai.aupex.auren.intervention.v{intervention.schema}".encode()),
        ("ce_id", str(intervention.id).encode()),
        ("ce_source", b"/neuros-advanced"),
        ("ce_time", intervention.at.isoformat().encode()),
        ("content-type", b"application/json"),
    ]
