"""Every decoder on documents that are nearly right: it decodes or refuses, and what comes out is fit for the topic."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auren import events
from auren.bridge.collect_process import SOURCES
from auren.bridge.decoders import Decoded, DecodeError, oura, whoop
from auren.bridge.simulated_people import people
from auren.bridge.simulated_vendors import deliver
from auren.events import Delivery
from tests.unit.services import terra_documents, vendor_documents
from tests.unit.services.mutated import SECRET, mutated
from tests.unit.services.terra_documents import asleep, heart_rates, hypnogram, message, samples, user
from tests.unit.services.vendor_documents import wanted

RECEIVED: Final = datetime(2026, 4, 3, 6, 0, tzinfo=UTC)
(ANNA,) = people(["anna"], seed=1)

BYTES_OUT: Final = 80
"""How many bytes of events a byte of a body may become: `1,` in a series of Oura is a reading of a hundred."""

T = TypeVar("T")
Decode = Callable[[bytes], Decoded]


def sample(**fields: Any) -> dict[str, Any]:
    return {"date": "2025-03-01 07:30:00 +0100", "source": "Apple Watch", **fields}


HEALTHKIT: Final = {
    "data": {
        "metrics": [
            {"name": "heart_rate", "units": "count/min", "data": [sample(Min=58, Avg=61.5, Max=70), sample(qty=60)]},
            {"name": "blood_pressure", "units": "kPa", "data": [sample(systolic=16, diastolic=10)]},
            {"name": "walking_running_distance", "units": "km", "data": [sample(qty=1.5)]},
            {"name": "active_energy", "units": "kJ", "data": [sample(qty=15, endDate="2025-03-01 08:30:00 +0100")]},
            {"name": "body_temperature", "units": "degF", "data": [sample(qty=98.6)]},
            {
                "name": "sleep_analysis",
                "units": "hr",
                "data": [
                    sample(
                        asleep=0.5,
                        core=4,
                        deep=1,
                        rem=1.5,
                        awake=0.25,
                        inBed=8,
                        sleepStart="2025-02-28 23:10:00 +0100",
                        sleepEnd="2025-03-01 06:55:00 +0100",
                        inBedStart="2025-02-28 23:00:00 +0100",
                        inBedEnd="2025-03-01 07:00:00 +0100",
                    ),
                    sample(
                        startDate="2025-02-28 23:10:00 +0100",
                        endDate="2025-02-28 23:40:00 +0100",
                        qty=0.5,
                        value="Core",
                    ),
                ],
            },
            {"name": "mindful_minutes", "units": "min", "data": [sample(qty=5)]},
        ],
        "workouts": [
            {
                "id": "550e8400-e29b-41d4-a716-446655440000",
                "name": "Running",
                "start": "2025-03-01 18:00:00 +0100",
                "end": "2025-03-01 18:30:00 +0100",
                "duration": 1800,
                "activeEnergyBurned": {"qty": 1200, "units": "kJ"},
                "distance": {"qty": 3.1, "units": "mi"},
                "heartRateData": [sample(Min=100, Avg=120, Max=140, units="bpm")],
            }
        ],
    }
}
BEATS: Final = heart_rates(("08:00:00", 61), ("08:05:00", 63.5), avg_hr_bpm=62, avg_hrv_rmssd=40, resting_hr_bpm=50)
TERRA: Final = {
    "activity": message(
        "activity",
        terra_documents.activity(
            heart_rate_data=BEATS,
            calories_data={"net_activity_calories": 400},
            distance_data={"summary": {"distance_meters": 8000}},
            strain_data={"strain_level": 12.5},
        ),
        terra_documents.activity(metadata={"upload_type": 4}),
    ),
    "daily": message(
        "daily",
        terra_documents.daily(
            heart_rate_data=BEATS,
            distance_data={"steps": 9000, "detailed": {"step_samples": samples("steps", ("08:00:00", 100))}},
            oxygen_data={"saturation_samples": samples("percentage", ("08:00:00", 97)), "vo2_samples": []},
            scores={"recovery": 80},
            nutrition_data={"x": 1},
        ),
    ),
    "body": message(
        "body",
        terra_documents.body(
            heart_data={"heart_rate_data": BEATS},
            blood_pressure_data={
                "blood_pressure_samples": [
                    {"timestamp": "2026-04-02T08:00:00+02:00", "systolic_bp": 120, "diastolic_bp": 80}
                ]
            },
            measurements_data={"measurements": [{"measurement_time": "2026-04-02T08:00:00+02:00", "weight_kg": 70}]},
            temperature_data={"skin_temperature_samples": samples("temperature_celsius", ("08:00:00", 33.5))},
        ),
    ),
    "sleep": message(
        "sleep",
        terra_documents.night(
            sleep_durations_data=asleep(
                (27000, 14400, 6000, 6600, 1800, 28800),
                hypnogram_samples=hypnogram(("00:00:00", 4), ("00:30:00", 5), ("01:00:00", 6), ("02:00:00", 1)),
            ),
            heart_rate_data=BEATS,
            respiration_data={"breaths_data": {"avg_breaths_per_min": 14}},
            temperature_data={"delta": -0.2},
        ),
    ),
    "nutrition": message("nutrition", {"metadata": terra_documents.day()}),
    "auth": {"type": "auth", "status": "success", "user": user()},
    "user_reauth": {"type": "user_reauth", "old_user": user(), "new_user": user(user_id="another")},
    "s3_payload": {"type": "s3_payload", "url": "https://payloads.example.org/1", "expires_in": 600, "user": user()},
}
NOTICES: Final = {"oura": vendor_documents.oura_notice(), "whoop": vendor_documents.whoop_notice()}
FETCHED: Final = {
    ("whoop", "recovery"): vendor_documents.whoop_recovery(),
    ("whoop", "sleep"): vendor_documents.whoop_sleep(),
    ("whoop", "workout"): vendor_documents.whoop_workout(),
    ("whoop", "cycle"): vendor_documents.whoop_cycle(),
    ("oura", "sleep"): vendor_documents.oura_sleep(),
    ("oura", "daily_readiness"): vendor_documents.oura_readiness(),
    ("oura", "daily_activity"): vendor_documents.oura_activity(),
    ("oura", "daily_spo2"): vendor_documents.oura_spo2(),
    ("oura", "vo2_max"): vendor_documents.oura_vo2_max(),
    ("oura", "session"): vendor_documents.oura_session(),
    ("oura", "workout"): vendor_documents.oura_workout(),
    ("oura", "heartrate"): {"data": [vendor_documents.oura_heart_rate()]},
}


def refusal(read: Callable[[T], object], what: T) -> str | None:
    """Why something is refused, None where it is not; the reason shows nothing of it."""
    try:
        read(what)
    except DecodeError as error:
        reason = str(error)
    else:
        return None
    if SECRET in reason:
        pytest.fail("the reason shows a value")
    return reason


def delivered(provider: str, body: bytes, user_id: str = "anna") -> Delivery:
    return Delivery(id="1", provider=provider, received_at=RECEIVED, body=body, user_id=user_id)


def webhook(provider: str) -> Decode:
    """The decoder of a provider's deliveries, for a person who is known, and for one who is not read yet."""

    def decode(body: bytes) -> Decoded:
        source = SOURCES[provider]
        if source.read_whose is not None:
            refusal(source.read_whose, delivered(provider, body, user_id=""))
        return source.decode(delivered(provider, body))

    return decode


def fetched(provider: str, data_type: str) -> Decode:
    """The decoder of a provider's documents."""
    decode_document = {"oura": oura, "whoop": whoop}[provider].decode_document
    return lambda raw: decode_document(wanted(data_type, received=RECEIVED), raw)


PAGES: Final = {"oura": "data", "whoop": "records"}
SUBJECTS: Final[dict[str, tuple[Decode, Any]]] = {
    "healthkit": (webhook("healthkit"), HEALTHKIT),
    **{f"terra {kind}": (webhook("terra"), document) for kind, document in TERRA.items()},
    **{f"{provider} notice": (webhook(provider), document) for provider, document in NOTICES.items()},
    **{" ".join(kind): (fetched(*kind), document) for kind, document in FETCHED.items()},
    **{
        f"{provider} {kind} page": (fetched(provider, kind), {PAGES[provider]: [document, document]})
        for (provider, kind), document in FETCHED.items()
        if kind != "heartrate"
    },
    **{
        f"simulated {provider} {number}": (
            webhook(provider),
            json.loads(deliver(provider, ANNA, number, RECEIVED, b"k").body),
        )
        for provider, numbers in (("healthkit", (0,)), ("terra", (0, 1, 2)))
        for number in numbers
    },
}


def decoded(decode: Decode, body: bytes) -> Decoded | None:
    """What a body holds, None where it is refused; and that it is fit for the topic."""
    if refusal(decode, body) is not None:
        return None
    found = decode(body)
    assert decode(body) == found, "decoding is a function of the delivery"
    size = 0
    for event in found.events:
        encoded = events.encode(event)
        size += len(encoded)
        assert events.faults(event) == []
        assert len(encoded) <= events.MAX_EVENT_BYTES
        assert events.decode(encoded) == event
        assert event.observed_at <= event.received_at
    assert size <= BYTES_OUT * max(len(body), 100)
    # an id is that of the content: a document that stands there twice, once with a later version, is one event
    unversioned = [msgspec.structs.replace(event, version=0) for event in found.events]
    same = {event.event_id: event for event in unversioned}
    assert all(same[event.event_id] == event for event in unversioned)
    assert not any(SECRET in name for name in [*found.unknown, *found.skipped])
    return found


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_document_itself_is_read(name: str) -> None:
    decode, document = SUBJECTS[name]
    found = decoded(decode, json.dumps(document).encode())
    assert found is not None
    assert found.events or found.notices or found.changes or found.pointers or found.unknown


@pytest.mark.parametrize("name", SUBJECTS)
@given(st.data())
@settings(max_examples=settings().max_examples // 2)
def test_a_document_with_something_wrong_is_decoded_or_refused(name: str, data: st.DataObject) -> None:
    decode, document = SUBJECTS[name]
    decoded(decode, data.draw(mutated(document)))


def calls(work: Callable[[], object]) -> int:
    """How often functions are called, Python's and C's: a measure of work that no busy machine changes."""
    count = 0

    def see(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def long_healthkit(size: int) -> Any:
    """Half of the samples each from a device of its own, so that each is an event."""
    dates = [(RECEIVED - timedelta(minutes=i)).strftime("%Y-%m-%d %H:%M:%S %z") for i in range(size)]
    data = [{"date": date, "qty": 60, "source": f"Watch {i * (i % 2)}"} for i, date in enumerate(dates)]
    nights = [sample(sleepStart=dates[i + 1], sleepEnd=dates[i], core=1) for i in range(size // 4)]
    return {
        "data": {
            "metrics": [
                {"name": "heart_rate", "units": "count/min", "data": data},
                {"name": "sleep_analysis", "units": "hr", "data": nights},
                *({"name": f"unknown {i}", "units": "", "data": [1]} for i in range(size)),
            ]
        }
    }


def long_terra(kind: str, size: int) -> Any:
    """One document with many samples, each in an hour of its own, and as many that cannot be read."""
    times = [(RECEIVED - timedelta(hours=i)).isoformat() for i in range(size)]
    beats = [{"timestamp": time, "bpm": 60} for time in times] + [{"timestamp": "never", "bpm": 60}] * size
    levels = [{"timestamp": time, "level": 4 + i % 3} for i, time in enumerate(times)]
    sections = {
        "heart_rate_data": {"detailed": {"hr_samples": beats}},
        "sleep_durations_data": {"hypnogram_samples": levels},
    }
    made = {"daily": terra_documents.daily, "sleep": terra_documents.night}[kind]
    return message(kind, made(**sections), *(made() for _ in range(size // 4)))


def long_oura(size: int) -> Any:
    return vendor_documents.oura_sleep(
        heart_rate=vendor_documents.oura_series(*([55.0, None] * size), interval=1.0),
        sleep_phase_5_min="1234" * (size // 4),
    )


LONG: Final[dict[str, tuple[Decode, Callable[[int], Any]]]] = {
    "healthkit": (webhook("healthkit"), long_healthkit),
    "terra daily": (webhook("terra"), partial(long_terra, "daily")),
    "terra sleep": (webhook("terra"), partial(long_terra, "sleep")),
    "oura sleep": (fetched("oura", "sleep"), long_oura),
    "oura heartrate": (
        fetched("oura", "heartrate"),
        lambda size: {
            "data": [
                vendor_documents.oura_heart_rate(timestamp=(RECEIVED - timedelta(hours=i)).isoformat())
                for i in range(size)
            ]
        },
    ),
    "whoop page": (
        fetched("whoop", "workout"),
        lambda size: {"records": [vendor_documents.whoop_workout(id=f"w-{i}") for i in range(size)]},
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_twice_the_document_is_no_more_than_twice_the_work(name: str) -> None:
    decode, made = LONG[name]
    few, many = (json.dumps(made(size)).encode() for size in (200, 800))
    decode(few)  # what is done once for the process
    assert refusal(decode, few) is None
    assert calls(lambda: decode(many)) <= 4.2 * calls(lambda: decode(few))
