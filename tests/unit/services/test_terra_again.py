"""What holds for every document of Terra: its times, its version, what comes again, and any JSON at all."""

from __future__ import annotations

import contextlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren.bridge.decoders import Decoded, DecodeError
from auren.bridge.decoders.fetched import MAX_READINGS
from auren.bridge.decoders.terra import decode, read_whose
from tests.unit.services.terra_documents import (
    RECEIVED,
    RECEIVED_MILLISECONDS,
    asleep,
    daily,
    day,
    decoded,
    delivery,
    heart_rates,
    holds,
    message,
    night,
    readings,
    user,
    values,
)

MIDNIGHT = datetime(2026, 4, 1, 22, 0, tzinfo=UTC)
OLD = "00000000-0000-4000-8000-000000000001"


# --- times without an offset


def test_an_offset_of_the_start_holds_for_samples_without_one() -> None:
    sent = daily(heart_rate_data={"detailed": {"hr_samples": [{"timestamp": "2026-04-02T07:00:00", "bpm": 60}]}})
    (reading,) = readings(decoded("daily", sent))
    assert reading.time == datetime(2026, 4, 2, 5, 0, tzinfo=UTC)
    assert reading.flags == ()


@pytest.mark.parametrize(("localization", "flags"), [(0, ()), (1, ("zone_unknown",)), (None, ("zone_unknown",))])
def test_a_local_time_of_an_unknown_zone_is_marked(localization: Any, flags: tuple[str, ...]) -> None:
    metadata = {
        "start_time": "2026-04-02T00:00:00",
        "end_time": "2026-04-03T00:00:00",
        "timestamp_localization": localization,
    }
    beats = {
        "detailed": {
            "hr_samples": [
                {"timestamp": "2026-04-02T07:00:00", "bpm": 60},
                {"timestamp": "2026-04-02T10:00:00+02:00", "bpm": 61},
            ]
        }
    }
    found = decoded("daily", daily(metadata=metadata, distance_data={"steps": 5}, heart_rate_data=beats))
    assert found.events[0].document_id.endswith("/2026-04-02")
    assert [(r.metric, r.time.hour, r.flags) for r in sorted(readings(found), key=lambda r: (r.metric, r.value))] == [
        ("heart_rate", 7, flags),
        ("heart_rate", 10, ()),
        ("steps", 0, flags),
    ]
    holds(found)


# --- versions, and what comes again


@pytest.mark.parametrize(
    ("ordering", "expected"),
    [
        ("1775170800123", 1775170800123),
        (None, RECEIVED_MILLISECONDS),
        ("", RECEIVED_MILLISECONDS),
        ("soon", RECEIVED_MILLISECONDS),
        ("1775170800", RECEIVED_MILLISECONDS),
        ("-775170800123", RECEIVED_MILLISECONDS),
        ("9" * 30, RECEIVED_MILLISECONDS),
        ("\u0661" * 13, RECEIVED_MILLISECONDS),
    ],
)
def test_the_version_is_when_terra_made_it(ordering: str | None, expected: int) -> None:
    (event,) = decoded("daily", daily(distance_data={"steps": 1}), ordering=ordering).events
    assert event.version == expected


def test_the_same_again_is_the_same_events() -> None:
    sent = night(sleep_durations_data=asleep((25200, 1, 2, 3, 4, 5)), heart_rate_data=heart_rates(("01:00:00", 50)))
    once = decoded("sleep", sent, ordering="1775170800000")
    again = decoded("sleep", sent, ordering="1775170800000", received=RECEIVED + timedelta(hours=1))
    assert [(e.event_id, e.version) for e in once.events] == [(e.event_id, e.version) for e in again.events]


def test_a_superset_has_the_same_events_where_nothing_is_new() -> None:
    morning = [("07:00:00", 60), ("07:59:59", 61), ("08:30:00", 62)]
    superset = [*morning, ("06:30:00", 59), ("08:45:00", 63), ("20:00:00", 64)]
    first = decoded(
        "daily", daily(distance_data={"steps": 10}, heart_rate_data=heart_rates(*morning)), ordering="1775170800000"
    )
    then = decoded(
        "daily", daily(distance_data={"steps": 90}, heart_rate_data=heart_rates(*superset)), ordering="1775170900000"
    )
    ids = {e.event_id: [(r.metric, r.value) for r in e.readings] for e in first.events}
    later = {e.event_id: [(r.metric, r.value) for r in e.readings] for e in then.events}
    assert [ids[shared] for shared in ids.keys() & later.keys()] == [[("heart_rate", 60), ("heart_rate", 61)]]
    assert len(later) == len(then.events) == 5
    assert {event.version for event in then.events} == {1775170900000}
    places = {(r.metric, r.time) for r in readings(first)}
    assert places <= {(r.metric, r.time) for r in readings(then)}


def test_the_last_of_two_values_for_a_moment_stands() -> None:
    assert values(decoded("daily", daily(heart_rate_data=heart_rates(("07:00:00", 60), ("07:00:00", 61))))) == {
        "heart_rate": 61
    }


def test_many_samples_are_many_events() -> None:
    pairs = [(f"{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}", 60 + n % 40) for n in range(3 * 3600)]
    found = decoded("daily", daily(heart_rate_data=heart_rates(*pairs)))
    sizes = [len(event.readings) for event in found.events]
    assert sizes == [MAX_READINGS, 3600 - MAX_READINGS] * 3
    assert [r.value for r in readings(found)] == [value for _, value in pairs]
    assert len({event.event_id for event in found.events}) == len(sizes)
    holds(found)


def test_several_documents_of_one_message() -> None:
    second = daily(metadata=day(start_time="2026-04-01T00:00:00+02:00"), distance_data={"steps": 2})
    found = decoded("daily", daily(distance_data={"steps": 1}), second)
    assert [event.document_id[-10:] for event in found.events] == ["2026-04-02", "2026-04-01"]


def test_no_documents_are_nothing() -> None:
    assert decoded("daily") == Decoded()
    assert decoded("daily", daily()) == Decoded()


NAMES = re.findall(
    r"\w+",
    """
    metadata summary detailed start_time end_time summary_id timestamp_localization type upload_type is_nap
    heart_rate_data heart_data hr_samples hrv_samples_rmssd hrv_rmssd bpm timestamp avg_hr_bpm avg_hrv_rmssd
    sleep_durations_data asleep duration_asleep_state_seconds hypnogram_samples level respiration_data
    breaths_data samples breaths_per_min oxygen_saturation_data percentage distance_data steps step_samples
    distance_meters blood_pressure_data blood_pressure_samples systolic_bp measurements_data measurements
    measurement_time weight_kg temperature_data delta skin_temperature_samples temperature_celsius calories_data
    net_activity_calories
    """,
)
TIMES = st.one_of(
    st.datetimes(timezones=st.timezones() | st.none()).map(datetime.isoformat),
    st.sampled_from(("2026-04-02T00:00:00.000000+02:00", "2026-04-02T06:30:00", "2026-04-02", "now")),
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | TIMES
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=30,
)
TYPES = st.sampled_from(
    ("activity", "body", "daily", "sleep", "nutrition", "athlete", "auth", "deauth", "user_reauth", "s3_payload", "new")
)


def series(name: str, value: Any = LEAVES) -> st.SearchStrategy[Any]:
    return st.lists(st.fixed_dictionaries({"timestamp": TIMES | LEAVES, name: value}), max_size=4)


BEATS = st.fixed_dictionaries(
    {
        "summary": st.fixed_dictionaries({"avg_hr_bpm": LEAVES, "avg_hrv_rmssd": LEAVES}),
        "detailed": st.fixed_dictionaries({"hr_samples": series("bpm"), "hrv_samples_rmssd": series("hrv_rmssd")}),
    }
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"start_time": TIMES, "end_time": TIMES, "summary_id": LEAVES, "type": LEAVES, "upload_type": LEAVES}
        ),
        "heart_rate_data": BEATS | ANYTHING,
        "heart_data": st.fixed_dictionaries({"heart_rate_data": BEATS}),
        "distance_data": st.fixed_dictionaries({"steps": LEAVES, "detailed": ANYTHING}),
        "sleep_durations_data": st.fixed_dictionaries({"asleep": ANYTHING, "hypnogram_samples": series("level")}),
        "temperature_data": ANYTHING,
    }
)


def sound(raw: bytes, user_id: str = "anna") -> None:
    with contextlib.suppress(DecodeError):
        read_whose(delivery(raw, user_id=""))
    with contextlib.suppress(DecodeError):
        holds(decode(delivery(raw, user_id=user_id)))


@given(st.binary())
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    sound(raw)


@given(ANYTHING)
def test_any_json_is_decoded_or_refused(value: Any) -> None:
    sound(json.dumps(value).encode())


@given(TYPES, st.lists(ANYTHING, max_size=3), ANYTHING, ANYTHING)
def test_any_message_is_decoded_or_refused(type_: str, data: list[Any], someone: Any, other: Any) -> None:
    sent = {"type": type_, "data": data, "user": someone, "new_user": other, "url": other, "expires_in": someone}
    sound(json.dumps(sent).encode())
    sound(json.dumps({**sent, "user": user()}).encode(), user_id="")


@given(TYPES, st.lists(DOCUMENTS, min_size=1, max_size=2))
def test_any_document_is_decoded_or_refused(type_: str, data: list[Any]) -> None:
    sound(json.dumps(message(type_, *data)).encode())


@given(st.lists(DOCUMENTS, min_size=1, max_size=2))
def test_decoding_is_pure(data: list[Any]) -> None:
    sent = delivery(message("sleep", *data))
    with contextlib.suppress(DecodeError):
        assert decode(sent) == decode(sent)
