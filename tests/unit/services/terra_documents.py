"""Documents of Terra's shape, made for tests, and what is asked of their events.

The fields are those that the vendor's schemas name (tryterra/openapi, 2026-07).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from auren import events
from auren.bridge.decoders import Decoded
from auren.bridge.decoders.terra import decode
from auren.events import Delivery, Event, Reading

RECEIVED = datetime(2026, 4, 3, 6, 0, tzinfo=UTC)
RECEIVED_MILLISECONDS = 1775196000000
CONNECTION = "123e4567-e89b-12d3-a456-426614174000"

Json = Mapping[str, Any]


def user(**fields: Any) -> dict[str, Any]:
    """Terra's user object."""
    return {
        "user_id": CONNECTION,
        "provider": "GARMIN",
        "reference_id": "anna",
        "scopes": "activity:read,sleep:read",
        "active": True,
        "last_webhook_update": "2026-04-03T05:59:00.000000+00:00",
        "created_at": "2026-01-01T10:00:00.000000+00:00",
        **fields,
    }


def message(type_: str, *data: Json, **fields: Any) -> dict[str, Any]:
    """A message that holds data inline."""
    return {"type": type_, "user": user(), "data": list(data), "version": "2022-03-16", **fields}


def notice(type_: str, **fields: Any) -> dict[str, Any]:
    """A message without data."""
    return {"type": type_, **fields}


def delivery(
    body: Any, *, user_id: str = "anna", ordering: str | None = None, received: datetime = RECEIVED, encoding: str = ""
) -> Delivery:
    """A verified delivery; `body` is bytes, or something to be written as JSON."""
    vendor = () if ordering is None else (("x-terra-ordering-timestamp", ordering),)
    return Delivery(
        id="1",
        provider="terra",
        received_at=received,
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        user_id=user_id,
        content_encoding=encoding,
        vendor=vendor,
    )


def day(**fields: Any) -> dict[str, Any]:
    """Metadata of a local day in Paris' summer."""
    return {
        "start_time": "2026-04-02T00:00:00.000000+02:00",
        "end_time": "2026-04-03T00:00:00.000000+02:00",
        "timestamp_localization": 1,
        "upload_type": 1,
        **fields,
    }


def activity(**sections: Any) -> dict[str, Any]:
    """A run of three quarters of an hour."""
    metadata = {
        "start_time": "2026-04-02T18:00:00.000000+02:00",
        "end_time": "2026-04-02T18:45:00.000000+02:00",
        "summary_id": "run-1",
        "type": 8,
        "upload_type": 1,
        "name": "Evening run",
        **sections.pop("metadata", {}),
    }
    return {"metadata": metadata, **sections}


def daily(**sections: Any) -> dict[str, Any]:
    """A day."""
    return {"metadata": day(**sections.pop("metadata", {})), **sections}


def body(**sections: Any) -> dict[str, Any]:
    """A day's body measurements."""
    return {"metadata": day(**sections.pop("metadata", {})), **sections}


def night(**sections: Any) -> dict[str, Any]:
    """Eight hours in bed, 22:30 to 06:30."""
    metadata = {
        "start_time": "2026-04-01T22:30:00.000000+02:00",
        "end_time": "2026-04-02T06:30:00.000000+02:00",
        "summary_id": "night-1",
        "is_nap": False,
        "timestamp_localization": 1,
        "upload_type": 2,
        **sections.pop("metadata", {}),
    }
    return {"metadata": metadata, **sections}


def samples(name: str, *pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    """Samples of 2 April in Paris: (time of day, value)."""
    return [{"timestamp": f"2026-04-02T{time}.000000+02:00", name: value} for time, value in pairs]


def heart_rates(*pairs: tuple[str, Any], **summary: Any) -> dict[str, Any]:
    """`heart_rate_data` with these samples."""
    return {"summary": summary, "detailed": {"hr_samples": samples("bpm", *pairs), "hrv_samples_rmssd": None}}


def hypnogram(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    """`hypnogram_samples`."""
    return samples("level", *pairs)


def asleep(seconds: Sequence[float | None], **sections: Any) -> dict[str, Any]:
    """`sleep_durations_data` with the seconds of (total, light, deep, REM, awake, in bed)."""
    total, light, deep, rem, awake, in_bed = seconds
    return {
        "asleep": {
            "duration_asleep_state_seconds": total,
            "duration_light_sleep_state_seconds": light,
            "duration_deep_sleep_state_seconds": deep,
            "duration_REM_sleep_state_seconds": rem,
            "num_REM_events": 4,
        },
        "awake": {"duration_awake_state_seconds": awake, "num_wakeup_events": 3},
        "other": {"duration_in_bed_seconds": in_bed},
        "sleep_efficiency": 90,
        **sections,
    }


def decoded(type_: str, *data: Any, **options: Any) -> Decoded:
    """What a message with these documents holds."""
    return decode(delivery(message(type_, *data), **options))


def readings(found: Decoded) -> list[Reading]:
    """Of all events."""
    return [reading for event in found.events for reading in event.readings]


def values(found: Decoded) -> dict[str, Any]:
    """By metric the only value, or the list of them."""
    by_metric: dict[str, list[float]] = {}
    for reading in readings(found):
        by_metric.setdefault(reading.metric, []).append(reading.value)
    return {metric: found[0] if len(found) == 1 else found for metric, found in by_metric.items()}


def of_kind(found: Decoded, kind: str) -> Event:
    """The only event of a kind."""
    (event,) = [event for event in found.events if event.kind == kind]
    return event


def holds(found: Decoded) -> None:
    """What every consumer relies on."""
    for event in found.events:
        assert events.faults(event) == []
        encoded = events.encode(event)
        assert len(encoded) < events.MAX_EVENT_BYTES
        assert events.decode(encoded) == event
        assert event.observed_at <= event.received_at
