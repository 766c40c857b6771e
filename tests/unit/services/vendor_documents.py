"""Documents and notices in the shape in which Oura and WHOOP send them, with values of nobody."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from auren.bridge.decoders import Document
from auren.events import Delivery

RECEIVED = datetime(2025, 3, 2, 8, 0, tzinfo=UTC)
RECEIVED_MS = 1740902400000
SLEEP_ID = "550e8400-e29b-41d4-a716-446655440000"


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def delivery(provider: str, value: object, **vendor: str) -> Delivery:
    """A webhook; `vendor` are its headers, with underscores for hyphens."""
    return Delivery(
        id="1",
        provider=provider,
        received_at=RECEIVED,
        body=value if isinstance(value, bytes) else body(value),
        user_id="anna",
        vendor=tuple((name.replace("_", "-"), text) for name, text in vendor.items()),
    )


def wanted(
    data_type: str, document_id: str = SLEEP_ID, version: int = 1740900000000, received: datetime = RECEIVED
) -> Document:
    return Document(user_id="anna", data_type=data_type, document_id=document_id, version=version, received_at=received)


def oura_notice(**fields: Any) -> dict[str, Any]:
    return {
        "event_type": "update",
        "data_type": "sleep",
        "object_id": SLEEP_ID,
        "event_time": "2025-03-02T07:59:30+00:00",
        "user_id": "a1B2-oura",
    } | fields


def oura_series(*items: float | None, interval: float = 300.0, timestamp: str = "") -> dict[str, Any]:
    return {"interval": interval, "items": list(items), "timestamp": timestamp or "2025-03-01T23:10:00.000+01:00"}


def oura_sleep(**fields: Any) -> dict[str, Any]:
    """A night of 40 minutes in bed: small, but with every part."""
    return {
        "id": SLEEP_ID,
        "average_breath": 14.5,
        "average_heart_rate": 52.25,
        "average_hrv": 61,
        "awake_time": 300,
        "bedtime_end": "2025-03-01T23:50:00.000+01:00",
        "bedtime_start": "2025-03-01T23:10:00.000+01:00",
        "day": "2025-03-01",
        "deep_sleep_duration": 600,
        "efficiency": 87,
        "heart_rate": oura_series(None, 55, 52.0, None),
        "hrv": oura_series(None, 58, 63, None),
        "latency": 60,
        "light_sleep_duration": 900,
        "low_battery_alert": False,
        "lowest_heart_rate": 49,
        "movement_30_sec": "1143222134",
        "period": 0,
        "readiness": {"contributors": {}, "score": 80, "temperature_deviation": -0.2},
        "rem_sleep_duration": 600,
        "sleep_phase_5_min": "42211233",
        "time_in_bed": 2400,
        "total_sleep_duration": 2100,
        "type": "long_sleep",
    } | fields


def oura_readiness(**fields: Any) -> dict[str, Any]:
    return {
        "id": "r-1",
        "contributors": {"hrv_balance": 75},
        "day": "2025-03-01",
        "score": 82,
        "temperature_deviation": -0.23,
        "temperature_trend_deviation": 0.1,
        "timestamp": "2025-03-01T00:00:00+01:00",
    } | fields


def oura_activity(**fields: Any) -> dict[str, Any]:
    return {
        "id": "a-1",
        "active_calories": 420,
        "average_met_minutes": 1.5,
        "contributors": {},
        "day": "2025-03-01",
        "equivalent_walking_distance": 8123,
        "met": {"interval": 60.0, "items": [0.9], "timestamp": "2025-03-01T04:00:00+01:00"},
        "score": 90,
        "steps": 9876,
        "timestamp": "2025-03-01T04:00:00+01:00",
        "total_calories": 2400,
    } | fields


def oura_spo2(**fields: Any) -> dict[str, Any]:
    return {
        "id": "o-1",
        "breathing_disturbance_index": 3,
        "day": "2025-03-01",
        "spo2_percentage": {"average": 97.125},
    } | fields


def oura_vo2_max(**fields: Any) -> dict[str, Any]:
    return {"id": "v-1", "day": "2025-03-01", "timestamp": "2025-03-01T09:00:00+01:00", "vo2_max": 44} | fields


def oura_session(**fields: Any) -> dict[str, Any]:
    return {
        "id": "s-1",
        "day": "2025-03-01",
        "end_datetime": "2025-03-01T12:01:00+01:00",
        "heart_rate": oura_series(60, None, interval=5, timestamp="2025-03-01T12:00:00+01:00"),
        "heart_rate_variability": oura_series(None, 70, interval=5, timestamp="2025-03-01T12:00:00+01:00"),
        "mood": "good",
        "motion_count": oura_series(1, 2, interval=5, timestamp="2025-03-01T12:00:00+01:00"),
        "start_datetime": "2025-03-01T12:00:00+01:00",
        "type": "meditation",
    } | fields


def oura_workout(**fields: Any) -> dict[str, Any]:
    return {
        "id": "w-1",
        "activity": "cycling",
        "calories": 250.5,
        "day": "2025-03-01",
        "distance": 12000.0,
        "end_datetime": "2025-03-01T18:30:00+01:00",
        "intensity": "moderate",
        "label": None,
        "source": "confirmed",
        "start_datetime": "2025-03-01T18:00:00+01:00",
    } | fields


def oura_heart_rate(**fields: Any) -> dict[str, Any]:
    return {"bpm": 61, "source": "awake", "timestamp": "2025-03-01T10:00:00+00:00", "timestamp_unix": 1} | fields


def whoop_notice(**fields: Any) -> dict[str, Any]:
    return {"user_id": 456, "id": SLEEP_ID, "type": "sleep.updated", "trace_id": "e369c784"} | fields


def _whoop(score: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "user_id": 456,
        "created_at": "2025-03-01T06:25:44.774Z",
        "updated_at": "2025-03-01T07:25:44.774Z",
        "score_state": "SCORED",
        "score": score,
    } | fields


UPDATED_MS = 1740813944774
"""`updated_at` of the documents above."""


def whoop_recovery(score: dict[str, Any] | None = None, /, **fields: Any) -> dict[str, Any]:
    whole = {
        "user_calibrating": False,
        "recovery_score": 44.0,
        "resting_heart_rate": 54.0,
        "hrv_rmssd_milli": 31.813562,
        "spo2_percentage": 95.6875,
        "skin_temp_celsius": 33.7,
    }
    return _whoop(whole | (score or {}), {"cycle_id": 93845, "sleep_id": SLEEP_ID} | fields)


def whoop_sleep(stages: dict[str, Any] | None = None, /, **fields: Any) -> dict[str, Any]:
    summary = {
        "total_in_bed_time_milli": 28_800_000,
        "total_awake_time_milli": 1_800_000,
        "total_no_data_time_milli": 0,
        "total_light_sleep_time_milli": 14_400_000,
        "total_slow_wave_sleep_time_milli": 6_600_000,
        "total_rem_sleep_time_milli": 6_000_000,
        "sleep_cycle_count": 3,
        "disturbance_count": 12,
    }
    score = {"stage_summary": summary | (stages or {}), "sleep_needed": {}, "respiratory_rate": 16.11328125}
    times = {"start": "2025-02-28T22:00:00.000Z", "end": "2025-03-01T06:00:00.000Z", "timezone_offset": "+01:00"}
    return _whoop(score, {"id": SLEEP_ID, "cycle_id": 93845, "nap": False} | times | fields)


def whoop_workout(score: dict[str, Any] | None = None, /, **fields: Any) -> dict[str, Any]:
    whole = {
        "strain": 8.2463,
        "average_heart_rate": 123,
        "max_heart_rate": 146,
        "kilojoule": 1000.0,
        "percent_recorded": 100.0,
        "distance_meter": 1772.5,
        "zone_durations": {},
    }
    times = {"start": "2025-03-01T17:00:00.000Z", "end": "2025-03-01T18:00:00.000Z", "timezone_offset": "+01:00"}
    return _whoop(whole | (score or {}), {"id": "w-1", "sport_name": "running"} | times | fields)


def whoop_cycle(score: dict[str, Any] | None = None, /, **fields: Any) -> dict[str, Any]:
    whole = {"strain": 5.2951527, "kilojoule": 8288.297, "average_heart_rate": 68, "max_heart_rate": 141}
    times = {"start": "2025-02-28T22:00:00.000Z", "end": "2025-03-01T22:00:00.000Z", "timezone_offset": "+01:00"}
    return _whoop(whole | (score or {}), {"id": 93845} | times | fields)
