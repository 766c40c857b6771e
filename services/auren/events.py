"""The records on the topics, defined once: the event envelope, the raw delivery, the dead letter.

Events travel as CloudEvents 1.0 in binary mode (Kafka protocol binding 1.0.2): attributes in headers `ce_*`, the JSON
of `Event` as value, the user id as key. Raw deliveries travel the same way, with the body as the provider sent it.
Units are UCUM; names and codes of metrics stand in `METRICS`.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec

SCHEMA: Final = 1
"""Number of the envelope. A breaking change takes the next one; consumers accept the previous one too."""

MAX_EVENT_BYTES: Final = 512 * 1024
"""Decoders split a document so that no encoded event is larger."""

Headers = list[tuple[str, bytes]]
"""Kafka headers as the clients take them."""

USER_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:@|~-]{0,127}$"
"""What a user id may look like: safe in a path, a Kafka key and a Redis key."""

UserId = Annotated[str, msgspec.Meta(pattern=USER_ID_PATTERN)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Kind = Literal["readings", "sleep", "workout", "deletion"]
Stage = Literal["in_bed", "asleep", "awake", "light", "deep", "rem"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A canonical metric: its UCUM unit and, where one exists, its LOINC code."""

    name: str
    unit: str
    title: str
    loinc: str | None = None


METRICS: Final[Mapping[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("heart_rate", "/min", "Heart rate", "8867-4"),
        Metric("heart_rate_min", "/min", "Lowest heart rate of the interval"),
        Metric("heart_rate_max", "/min", "Highest heart rate of the interval"),
        Metric("resting_heart_rate", "/min", "Resting heart rate", "40443-4"),
        Metric("walking_heart_rate", "/min", "Average heart rate while walking"),
        Metric("hrv_sdnn", "ms", "Heart rate variability, SDNN (Apple)", "80404-7"),
        Metric("hrv_rmssd", "ms", "Heart rate variability, RMSSD (Oura, WHOOP)"),
        Metric("spo2", "%", "Oxygen saturation by pulse oximetry", "59408-5"),
        Metric("respiratory_rate", "/min", "Respiratory rate", "9279-1"),
        Metric("body_temperature", "Cel", "Body temperature", "8310-5"),
        Metric("wrist_temperature", "Cel", "Wrist temperature during sleep"),
        Metric("skin_temperature", "Cel", "Skin temperature"),
        Metric("temperature_deviation", "Cel", "Difference from the usual body temperature"),
        Metric("blood_pressure_systolic", "mm[Hg]", "Systolic blood pressure", "8480-6"),
        Metric("blood_pressure_diastolic", "mm[Hg]", "Diastolic blood pressure", "8462-4"),
        Metric("steps", "{steps}", "Steps in the interval", "55423-8"),
        Metric("active_energy", "kcal", "Energy burned by activity", "41981-2"),
        Metric("basal_energy", "kcal", "Energy burned at rest"),
        Metric("distance", "m", "Distance walked and run"),
        Metric("vo2_max", "mL/kg/min", "Maximal oxygen uptake"),
        Metric("body_mass", "kg", "Body mass", "29463-7"),
        Metric("sleep_total", "min", "Time asleep", "93832-4"),
        Metric("sleep_deep", "min", "Deep sleep", "93831-6"),
        Metric("sleep_light", "min", "Light sleep (Apple: core)", "93830-8"),
        Metric("sleep_rem", "min", "REM sleep", "93829-0"),
        Metric("sleep_awake", "min", "Time awake during the night"),
        Metric("sleep_in_bed", "min", "Time in bed"),
        Metric("recovery_score", "%", "Recovery score of the vendor"),
        Metric("strain", "{score}", "Strain score of the vendor"),
    )
}


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measured value. `time` is the moment, or the start of an interval that `end_time` ends."""

    metric: str
    value: float
    unit: str
    time: Instant
    end_time: Instant | None = None
    flags: tuple[str, ...] = ()


class SleepStage(msgspec.Struct, frozen=True, kw_only=True):
    """One interval of a night in one stage."""

    stage: Stage
    start: Instant
    end: Instant


class Sleep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sleep session. Durations in minutes; None where the provider does not say."""

    start: Instant
    end: Instant
    in_bed_start: Instant | None = None
    in_bed_end: Instant | None = None
    total_minutes: float | None = None
    light_minutes: float | None = None
    deep_minutes: float | None = None
    rem_minutes: float | None = None
    awake_minutes: float | None = None
    in_bed_minutes: float | None = None
    stages: tuple[SleepStage, ...] = ()


class Workout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One workout. Energy in kcal, distance in metres, heart rates per minute."""

    activity: str
    start: Instant
    end: Instant
    energy_kcal: float | None = None
    distance_m: float | None = None
    average_heart_rate: float | None = None
    max_heart_rate: float | None = None
    strain: float | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One normalised event of one person on `biometric-events`.

    `version` (milliseconds) orders documents: the vendor's update time, or the time of the delivery where there is
    none. An effect overwrites what has an equal or lower version. `event_id` is equal for equal content of the same
    document, so a delivery that is sent twice is the same event. A `deletion` names by `document_id` what is gone.
    """

    schema: Literal[1]
    kind: Kind
    event_id: uuid.UUID
    user_id: UserId
    provider: str
    document_id: str
    version: int
    observed_at: Instant
    received_at: Instant
    device: str = ""
    readings: tuple[Reading, ...] = ()
    sleep: Sleep | None = None
    workout: Workout | None = None

    @property
    def source(self) -> str:
        """What measured, as the tables' column `source` has it: provider, with the device where one is named."""
        return f"{self.provider}/{self.device}" if self.device else self.provider


class InvalidRecordError(ValueError):
    """A record does not hold what its topic promises; the message names the field, never a value."""


_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "events.auren.aupex.ai")
_USER_ID: Final = re.compile(USER_ID_PATTERN)
_PATH: Final = re.compile(r" - at `(\$[\w.\[\]]*)`$")
_MISSING: Final = re.compile(r"^Object missing required field `(\w+)`")
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Event)


def event_id(provider: str, user_id: str, kind: Kind, document: str, version: int, part: int = 0) -> uuid.UUID:
    """UUIDv5 of what makes an event itself. Give version 0 when the vendor has none and `document` names content."""
    # JSON keeps the parts apart: ("a", "bc") and ("ab", "c") are different events.
    return uuid.uuid5(_NAMESPACE, json.dumps([provider, user_id, kind, document, version, part]))


def encode(event: Event) -> bytes:
    """The event as the JSON value of its record."""
    return _encoder.encode(event)


def decode(value: bytes) -> Event:
    """The event of a record's value. Raises InvalidRecordError."""
    try:
        return _decoder.decode(value)
    except msgspec.ValidationError as error:
        raise InvalidRecordError(_place(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidRecordError("no JSON") from None


def _place(message: str) -> str:
    """Where a value is not valid: msgspec's messages repeat some values, its paths only our fields and indices."""
    path = _PATH.search(message)
    missing = _MISSING.search(message)
    place = path.group(1) if path else "$"
    return f"{place}.{missing.group(1)} is missing" if missing else f"{place} is not valid"


def faults(event: Event) -> list[str]:
    """What a producer must not send: a user id, metric or unit that is not one of ours, a missing part. No values."""
    found: list[str] = []
    for index, reading in enumerate(event.readings):
        metric = METRICS.get(reading.metric)
        if metric is None:
            found.append(f"$.readings[{index}].metric is none of ours")
        elif metric.unit != reading.unit:
            found.append(f"$.readings[{index}].unit is not the metric's")
    if not _USER_ID.fullmatch(event.user_id):
        found.append("a user id that is none")
    if event.kind == "sleep" and event.sleep is None:
        found.append("a sleep event without sleep")
    if event.kind == "workout" and event.workout is None:
        found.append("a workout event without workout")
    if event.kind == "readings" and not event.readings:
        found.append("a readings event without readings")
    return found


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the value. `python -m auren.events` prints what schema/biometric-event.json keeps."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Event)}


def event_headers(event: Event) -> Headers:
    """CloudEvents headers of an event. They name no person: the key does."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_type", f"ai.aupex.auren.{event.kind}.v{event.schema}".encode()),
        ("ce_id", str(event.event_id).encode()),
        ("ce_source", f"/providers/{event.provider}".encode()),
        ("ce_time", event.received_at.isoformat().encode()),
        ("content-type", b"application/json"),
    ]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook delivery as a provider sent it, verified but not decoded: a record of `biometric-webhooks`.

    `user_id` is known where the token names the user and empty where only the provider's own id stands in the body.
    `vendor` holds the allowed headers of the provider (lower case names), never a credential.
    """

    id: str
    provider: str
    received_at: Instant
    body: bytes
    user_id: str = ""
    content_type: str = "application/json"
    content_encoding: str = ""
    vendor: tuple[tuple[str, str], ...] = ()

    def headers(self) -> Headers:
        """The record's headers; the value is `body`."""
        headers: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_type", b"ai.aupex.auren.delivery.v1"),
            ("ce_id", self.id.encode()),
            ("ce_source", b"/providers/" + self.provider.encode()),
            ("ce_time", self.received_at.isoformat().encode()),
            ("provider", self.provider.encode()),
            ("content-type", self.content_type.encode()),
        ]
        if self.user_id:
            headers.append(("ce_subject", self.user_id.encode()))
        if self.content_encoding:
            headers.append(("content-encoding", self.content_encoding.encode()))
        headers += [(f"vendor-{name}", value.encode()) for name, value in self.vendor]
        return headers


def delivery(value: bytes, headers: Sequence[tuple[str, bytes]]) -> Delivery:
    """The delivery of a record of `biometric-webhooks`. Raises InvalidRecordError naming the header."""
    # A header may have no value in Kafka. Ours all have one, but not only we write.
    found = {name: (raw or b"").decode("utf-8", "replace") for name, raw in headers}
    user_id = found.get("ce_subject", "")
    if user_id and not _USER_ID.fullmatch(user_id):
        raise InvalidRecordError("header ce_subject is no user id")
    try:
        parts = Delivery(
            id=found["ce_id"],
            provider=found["provider"],
            received_at=_time(found["ce_time"]),
            body=value,
            user_id=user_id,
            content_type=found["content-type"],
            content_encoding=found.get("content-encoding", ""),
            vendor=tuple((n.removeprefix("vendor-"), v) for n, v in found.items() if n.startswith("vendor-")),
        )
    except KeyError as error:
        raise InvalidRecordError(f"header {error.args[0]} is missing") from error
    except (ValueError, OverflowError) as error:
        raise InvalidRecordError("header ce_time is no time") from error
    return parts


def _time(text: str) -> datetime:
    """In UTC, so that databases hold it, and inside the calendar by a year. Raises ValueError, OverflowError."""
    time = datetime.fromisoformat(text)
    time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    if not MINYEAR < time.year < MAXYEAR:
        raise ValueError("no year of a delivery")
    return time


def dead_letter_headers(
    original: Sequence[tuple[str, bytes]], *, stage: str, error: str, attempts: int, first_seen: datetime
) -> Headers:
    """Headers of a record on a `.dlq` topic: the original's, and why and where it failed. Value and key stay."""
    added = {"stage": stage, "error": error, "attempts": str(attempts), "first_seen": first_seen.isoformat()}
    kept = [(name, value or b"") for name, value in original if name not in added]
    return kept + [(name, value.encode()) for name, value in added.items()]


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2, sort_keys=True))
