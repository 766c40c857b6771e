"""The record that tells of a person's new mode, on `neuros-mode-switches`: from the biometric service to NEUROS.

CloudEvents 1.0 in binary mode, as the events of measurements: key is the user id, value the JSON of `ModeSwitch`.
"""

from __future__ import annotations

import uuid
from typing import Final, Literal

import msgspec

from auren.events import Headers, Instant, InvalidRecordError, UserId
from auren.modes.engine import Evidence, Off
from auren.modes.thresholds import Mode

SCHEMA: Final = 1


class ModeSwitch(msgspec.Struct, frozen=True, kw_only=True):
    """One decision that a person's mode is another one now. `at` is the person's clock, `confidence` from 0 to 1.

    `event_id` is the event that led to it, `switch_id` follows from it: the same event leads to the same switch.
    """

    schema: Literal[1] = SCHEMA
    switch_id: uuid.UUID
    user_id: UserId
    at: Instant
    mode: Mode
    previous: Mode
    rule: str | None
    reason: str
    confidence: float
    evidence: tuple[Evidence, ...]
    off: tuple[Off, ...]
    event_id: uuid.UUID


_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "mode-switches.auren.aupex.ai")
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(ModeSwitch)


def switch_id(event_id: uuid.UUID) -> uuid.UUID:
    """UUIDv5 of the event that led to it."""
    return uuid.uuid5(_NAMESPACE, str(event_id))


def encode(switch: ModeSwitch) -> bytes:
    """The record's value."""
    return _encoder.encode(switch)


def decode(value: bytes) -> ModeSwitch:
    """The switch of a record's value. Raises InvalidRecordError, whose message holds no value of the record."""
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a ValidationError is a DecodeError
        raise InvalidRecordError("no mode switch of schema 1") from None


def headers(switch: ModeSwitch) -> Headers:
    """The record's headers. They name no person: the key does."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_type", f"ai.aupex.auren.mode-switch.v{switch.schema}".encode()),
        ("ce_id", str(switch.switch_id).encode()),
        ("ce_source", b"/biometric-production"),
        ("ce_time", switch.at.isoformat().encode()),
        ("content-type", b"application/json"),
    ]
