"""What each vendor would send about a simulated person: the body, and the headers that prove where it comes from.

Bodies have the shapes of the vendors' documents (Oura API v2 webhooks; WHOOP v2 webhooks; tryterra/openapi,
schemas/core of 2026-07; Health Auto Export's "API Export - JSON Format"). Signatures are made here from the vendors'
formulas and not with the bridge's verifier: what it takes from here it would take from them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from auren.bridge.simulated_people import DAY, MINUTE, Chance, Person, midnight

Document = dict[str, Any]
Headers = dict[str, str]

HOUR: Final = 60 * MINUTE
WINDOW_MINUTES: Final = 10
"""How far back a push of samples reaches. Pushes come more often than that, so windows overlap as in life."""

OURA_TYPES: Final = ("sleep", "daily_sleep", "daily_readiness", "daily_activity", "daily_spo2", "workout", "session")
OURA_EVENTS: Final = ("create", *["update"] * 18, "delete")
WHOOP_TYPES: Final = (*["sleep.updated", "recovery.updated", "workout.updated"] * 6, "sleep.deleted", "workout.deleted")
TERRA_TYPES: Final = ("daily", "sleep", "activity")
TERRA_LEVELS: Final[Mapping[str, int]] = {"awake": 1, "light": 4, "deep": 5, "rem": 6}
TERRA_VERSION: Final = "2022-03-16"
TERRA_AUTOMATIC: Final[Mapping[str, int]] = {"daily": 1, "activity": 1, "sleep": 2}
"""`upload_type` "automatic": sleep counts otherwise than the rest."""
TERRA_RUNNING: Final = 8


@dataclass(frozen=True, slots=True)
class Sent:
    """One delivery, ready to be sent."""

    provider: str
    path: str
    body: bytes
    headers: Headers


def deliver(provider: str, person: Person, number: int, now: datetime, key: bytes) -> Sent:
    """Delivery `number` about a person at `now` (UTC). `key` signs; for healthkit it is the token."""
    return _signed(provider, person, DOCUMENTS[provider](person, number, now), number, now, key)


def deliver_past(provider: str, person: Person, part: int, evening: datetime, now: datetime, key: bytes) -> Sent:
    """Of PAST_PARTS, one about the day that ends with `evening` (UTC), sent and signed at `now`."""
    document = PAST[provider](person, part, evening, now)
    return _signed(provider, person, document, f"{evening:%Y-%m-%d}/{part}", now, key)


def _signed(provider: str, person: Person, document: Document, which: object, now: datetime, key: bytes) -> Sent:
    """`which` tells deliveries of the same moment apart."""
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    headers = {"content-type": "application/json"} | SIGNATURES[provider](key, body, milliseconds(now))
    if provider == "terra":
        headers |= _terra_headers(person.chance, which, now)
    return Sent(provider, f"/webhooks/{provider}", body, headers)


def milliseconds(now: datetime) -> int:
    """Since the epoch, without the rounding of a float."""
    return (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def sign_oura(secret: bytes, body: bytes, now_ms: int) -> Headers:
    """Upper case hexadecimal of HMAC-SHA256 over timestamp and body; seconds."""
    timestamp = str(now_ms // 1000)
    return {"x-oura-timestamp": timestamp, "x-oura-signature": _hmac(secret, timestamp, body).hexdigest().upper()}


def sign_whoop(secret: bytes, body: bytes, now_ms: int) -> Headers:
    """Base64 of HMAC-SHA256 over timestamp and body; milliseconds."""
    signature = base64.b64encode(_hmac(secret, str(now_ms), body).digest()).decode()
    return {"x-whoop-signature-timestamp": str(now_ms), "x-whoop-signature": signature}


def sign_terra(secret: bytes, body: bytes, now_ms: int) -> Headers:
    """Hexadecimal of HMAC-SHA256 over timestamp, a point, and body; seconds. Under the old name of the header too."""
    timestamp = now_ms // 1000
    value = f"t={timestamp},v1={_hmac(secret, f'{timestamp}.', body).hexdigest()}"
    return {"x-terra-signature": value, "terra-signature": value}


def bearer(token: bytes, _body: bytes, _now_ms: int) -> Headers:
    """The header that a person types into Health Auto Export."""
    return {"authorization": f"Bearer {token.decode()}"}


def _hmac(secret: bytes, prefix: str, body: bytes) -> hmac.HMAC:
    signer = hmac.new(secret, prefix.encode(), hashlib.sha256)
    signer.update(body)
    return signer


def _terra_headers(chance: Chance, which: object, now: datetime) -> Headers:
    return {
        "x-terra-trace-id": chance.uuid("terra-trace", which, now.isoformat()),
        "x-terra-ordering-timestamp": str(milliseconds(now)),
        "terra-reference": chance.uuid("terra-reference", which, now.isoformat()),
    }


def oura(person: Person, number: int, now: datetime) -> Document:
    """A notice of Oura: ids only."""
    chance, words = person.chance, (person.user_id, "oura", number)
    return {
        "event_type": chance.one_of(OURA_EVENTS, *words, "event"),
        "data_type": chance.one_of(OURA_TYPES, *words, "type"),
        "object_id": chance.uuid(*words),
        "event_time": now.isoformat(timespec="seconds"),
        "user_id": person.oura_id,
    }


def whoop(person: Person, number: int, now: datetime) -> Document:
    """A notice of WHOOP: ids only."""
    chance, words = person.chance, (person.user_id, "whoop", number)
    return {
        "user_id": person.whoop_id,
        "id": chance.uuid(*words),
        "type": chance.one_of(WHOOP_TYPES, *words, "type"),
        "trace_id": chance.uuid(*words, now.isoformat()),
    }


def terra(person: Person, number: int, now: datetime) -> Document:
    """One daily, sleep or activity with its data."""
    return _terra_message(person, number, now, minutes_before(now), now)


def terra_past(person: Person, part: int, evening: datetime, now: datetime) -> Document:
    """The same of a day that is over."""
    return _terra_message(person, part, evening, half_hours_of(evening), now)


def _terra_message(person: Person, number: int, told_at: datetime, minutes: list[datetime], now: datetime) -> Document:
    """What is known at `told_at`. `reference_id` is our user id."""
    kind = TERRA_TYPES[number % len(TERRA_TYPES)]
    if kind == "daily":
        data = _terra_daily(person, told_at, minutes)
    else:
        data = (_terra_sleep if kind == "sleep" else _terra_activity)(person, told_at)
    data["metadata"] |= {"upload_type": TERRA_AUTOMATIC[kind], "timestamp_localization": 0}
    return {
        "type": kind,
        "user": {
            "user_id": person.terra_id,
            "provider": "GARMIN",
            "reference_id": person.user_id,
            "scopes": "activity:read,daily:read,sleep:read",
            "active": True,
            "last_webhook_update": _terra_time(now - MINUTE),
            "created_at": _terra_time(midnight(now) - 90 * DAY),
        },
        "data": [{**data, "device_data": {"manufacturer": "Garmin", "name": "Forerunner 945"}}],
        "version": TERRA_VERSION,
    }


def _terra_time(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def _terra_daily(person: Person, now: datetime, minutes: list[datetime]) -> Document:
    """The day so far; what comes later of the same day is a superset."""
    day, steps, woke = midnight(now), person.steps_until(now), person.last_night(now).end
    return {
        "metadata": {"start_time": _terra_time(day), "end_time": _terra_time(day + DAY)},
        "heart_rate_data": {
            "summary": _terra_night_hearts(person, woke),
            "detailed": {"hr_samples": _terra_heart_rates(person, minutes)},
        },
        "distance_data": {
            "steps": steps,
            "distance_meters": round(steps * 0.74, 1),
            "detailed": {"step_samples": _terra_steps(person, now)},
        },
        "calories_data": {
            "total_burned_calories": round(1500 + steps * 0.04, 1),
            "BMR_calories": 1500.0,
            "net_activity_calories": round(steps * 0.04, 1),
        },
        "oxygen_data": {"avg_saturation_percentage": person.spo2_percent(woke)},
    }


def _terra_night_hearts(person: Person, woke: datetime) -> Document:
    """What was measured in the night that ended then."""
    return {"resting_hr_bpm": person.resting_heart_rate(woke), "avg_hrv_rmssd": person.hrv_rmssd_ms(woke)}


def _terra_heart_rates(person: Person, minutes: list[datetime]) -> list[Document]:
    return [{"timestamp": _terra_time(minute), "bpm": person.heart_rate(minute)} for minute in minutes]


def _terra_steps(person: Person, now: datetime) -> list[Document]:
    """By the hour; each counts from the beginning of the payload."""
    hours = [midnight(now) + timedelta(hours=hour) for hour in range(1, now.hour + 1)]
    return [{"timestamp": _terra_time(hour), "steps": person.steps_until(hour)} for hour in hours]


def _terra_sleep(person: Person, now: datetime) -> Document:
    """Last night."""
    night = person.last_night(now)
    at, levels = night.start, []
    for stage, minutes in night.stages:
        levels.append({"timestamp": _terra_time(at), "level": TERRA_LEVELS[stage]})
        at += MINUTE * minutes
    seconds = {stage: 60 * night.minutes(stage) for stage in TERRA_LEVELS}
    in_bed = sum(seconds.values())
    return {
        "metadata": {
            "start_time": _terra_time(night.start),
            "end_time": _terra_time(night.end),
            "is_nap": False,
            "summary_id": person.chance.uuid(person.user_id, "terra-sleep", night.start.isoformat()),
        },
        "sleep_durations_data": {
            "asleep": {
                "duration_asleep_state_seconds": in_bed - seconds["awake"],
                "duration_light_sleep_state_seconds": seconds["light"],
                "duration_deep_sleep_state_seconds": seconds["deep"],
                "duration_REM_sleep_state_seconds": seconds["rem"],
            },
            "awake": {"duration_awake_state_seconds": seconds["awake"]},
            "other": {"duration_in_bed_seconds": in_bed},
            "sleep_efficiency": round(100 * (1 - seconds["awake"] / in_bed), 1),
            "hypnogram_samples": levels,
        },
        "heart_rate_data": {"summary": _terra_night_hearts(person, night.end)},
        "respiration_data": {"breaths_data": {"avg_breaths_per_min": person.respiratory_rate(night.end)}},
    }


def _terra_activity(person: Person, now: datetime) -> Document:
    """The last morning run: at 6, for half an hour."""
    start = midnight(now - timedelta(hours=7)) + timedelta(hours=6)
    minutes = [start + MINUTE * minute for minute in range(30)]
    rates = [round(person.heart_rate(minute) + 70, 1) for minute in minutes]
    return {
        "metadata": {
            "start_time": _terra_time(start),
            "end_time": _terra_time(start + 30 * MINUTE),
            "summary_id": person.chance.uuid(person.user_id, "terra-run", start.isoformat()),
            "type": TERRA_RUNNING,
            "name": "Morning Run",
        },
        "heart_rate_data": {
            "summary": {
                "avg_hr_bpm": round(sum(rates) / len(rates), 1),
                "min_hr_bpm": min(rates),
                "max_hr_bpm": max(rates),
            },
            "detailed": {
                "hr_samples": [
                    {"timestamp": _terra_time(minute), "bpm": rate} for minute, rate in zip(minutes, rates, strict=True)
                ]
            },
        },
        "distance_data": {"summary": {"distance_meters": 5200.0, "steps": 4800}},
        "calories_data": {"total_burned_calories": 390.0},
    }


def minutes_before(now: datetime) -> list[datetime]:
    """The last whole minutes."""
    last = now.replace(second=0, microsecond=0)
    return [last - MINUTE * before for before in range(WINDOW_MINUTES, 0, -1)]


def half_hours_of(day: datetime) -> list[datetime]:
    """The moments of a whole day that a past day's heart rates are told of."""
    return [midnight(day) + 30 * MINUTE * number for number in range(48)]


def healthkit(person: Person, number: int, now: datetime) -> Document:
    """Health Auto Export's push of the last minutes; every fifth one has the last night too."""
    steps = [_steps(person, minute, MINUTE) for minute in minutes_before(now)]
    metrics = _pushed(person, now, minutes_before(now), steps)
    if number % 5 == 0:
        metrics.append(_metric("sleep_analysis", "hr", [_sleep(person, now)]))
    return {"data": {"metrics": metrics, "workouts": []}}


def healthkit_past(person: Person, _part: int, evening: datetime, _now: datetime) -> Document:
    """The app's export of a day that is over, its steps by the hour."""
    steps = [_steps(person, midnight(evening) + hour * HOUR, HOUR) for hour in range(24)]
    metrics = _pushed(person, evening, half_hours_of(evening), steps)
    return {"data": {"metrics": [*metrics, _metric("sleep_analysis", "hr", [_sleep(person, evening)])], "workouts": []}}


def _pushed(person: Person, now: datetime, minutes: list[datetime], steps: list[Document]) -> list[Document]:
    """Heart rates of these minutes, steps, and what was measured in the last night."""
    woke = person.last_night(now).end
    return [
        _metric("heart_rate", "count/min", [_heart_rate(person, minute) for minute in minutes]),
        _metric("step_count", "count", steps),
        _metric("resting_heart_rate", "count/min", [_daily(woke, person.resting_heart_rate(woke))]),
        _metric("heart_rate_variability", "ms", _variability(person, woke)),
        _metric("blood_oxygen_saturation", "%", [_daily(woke, person.spo2_percent(woke))]),
        _metric("respiratory_rate", "count/min", [_daily(woke, person.respiratory_rate(woke))]),
    ]


def _variability(person: Person, woke: datetime) -> list[Document]:
    return [
        {"date": _hae_time(moment), "qty": person.hrv_sdnn_ms(woke, number)}
        for number, moment in enumerate(person.night_samples(woke))
    ]


def _metric(name: str, units: str, samples: list[Document]) -> Document:
    return {"name": name, "units": units, "data": [{**sample, "source": "Apple Watch"} for sample in samples]}


def _hae_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S %z")


def _heart_rate(person: Person, minute: datetime) -> Document:
    rate = person.heart_rate(minute)
    return {"date": _hae_time(minute), "Min": round(rate - 2, 1), "Avg": rate, "Max": round(rate + 3, 1)}


def _steps(person: Person, start: datetime, span: timedelta) -> Document:
    return {"date": _hae_time(start), "qty": max(0, person.steps_until(start + span) - person.steps_until(start))}


def _daily(day: datetime, quantity: float) -> Document:
    return {"date": _hae_time(midnight(day)), "qty": quantity}


def _sleep(person: Person, now: datetime) -> Document:
    """The aggregated form, in hours."""
    night = person.last_night(now)
    hours = {stage: round(night.minutes(stage) / 60, 4) for stage in ("light", "deep", "rem", "awake")}
    start, end = _hae_time(night.start), _hae_time(night.end)
    return {
        "date": night.end.strftime("%Y-%m-%d"),
        "totalSleep": round(hours["light"] + hours["deep"] + hours["rem"], 4),
        "asleep": 0,
        "core": hours["light"],
        "deep": hours["deep"],
        "rem": hours["rem"],
        "awake": hours["awake"],
        "inBed": 0,
        "sleepStart": start,
        "sleepEnd": end,
        "inBedStart": start,
        "inBedEnd": end,
    }


DOCUMENTS: Final[Mapping[str, Callable[[Person, int, datetime], Document]]] = {
    "oura": oura,
    "whoop": whoop,
    "terra": terra,
    "healthkit": healthkit,
}
PAST: Final[Mapping[str, Callable[[Person, int, datetime, datetime], Document]]] = {
    "terra": terra_past,
    "healthkit": healthkit_past,
}
"""Who delivers data of days that are over: a notice of Oura or WHOOP has none."""
PAST_PARTS: Final[Mapping[str, int]] = {"terra": len(TERRA_TYPES), "healthkit": 1}
"""Deliveries that make a day of the past."""
SIGNATURES: Final[Mapping[str, Callable[[bytes, bytes, int], Headers]]] = {
    "oura": sign_oura,
    "whoop": sign_whoop,
    "terra": sign_terra,
    "healthkit": bearer,
}
PROVIDERS: Final = tuple(DOCUMENTS)
