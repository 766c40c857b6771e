"""The decoder of Health Auto Export: vectors by hand, and what holds for every document."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren import events
from auren.bridge.decoders import Decoded, DecodeError
from auren.bridge.decoders.healthkit import MAX_READINGS, decode, instant
from auren.events import Delivery

RECEIVED = datetime(2025, 3, 2, 8, 0, tzinfo=UTC)


def delivery(body: bytes, *, user: str = "anna", encoding: str = "", received: datetime = RECEIVED) -> Delivery:
    return Delivery(
        id="1", provider="healthkit", received_at=received, body=body, user_id=user, content_encoding=encoding
    )


def document(*metrics: Mapping[str, Any], **sections: Any) -> bytes:
    return json.dumps({"data": {"metrics": list(metrics), **sections}}).encode()


def metric(name: str, units: str, *data: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "units": units, "data": list(data)}


def decoded(*metrics: Mapping[str, Any]) -> Decoded:
    return decode(delivery(document(*metrics)))


def sample(**fields: Any) -> dict[str, Any]:
    return {"date": "2025-03-01 07:30:00 +0100", **fields}


def values(found: Decoded) -> list[tuple[str, float, str]]:
    return [(r.metric, r.value, r.unit) for e in found.events for r in e.readings]


def test_heart_rate_is_the_average_with_its_bounds() -> None:
    found = decoded(metric("heart_rate", "count/min", sample(Min=58, Avg=61.5, Max=70, source="Apple Watch")))
    assert values(found) == [
        ("heart_rate", 61.5, "/min"),
        ("heart_rate_min", 58, "/min"),
        ("heart_rate_max", 70, "/min"),
    ]
    (event,) = found.events
    assert event.kind == "readings"
    assert event.readings[0].time == datetime(2025, 3, 1, 6, 30, tzinfo=UTC)
    assert event.readings[0].time.utcoffset() == timedelta(hours=1)
    assert (event.user_id, event.provider, event.device) == ("anna", "healthkit", "Apple Watch")
    assert event.version == 1740902400000
    assert events.faults(event) == []


def test_a_heart_rate_of_one_beat_has_no_bounds() -> None:
    assert values(decoded(metric("heart_rate", "bpm", sample(Min=61, Avg=61, Max=61)))) == [("heart_rate", 61, "/min")]
    assert values(decoded(metric("heart_rate", "bpm", sample(qty=61)))) == [("heart_rate", 61, "/min")]


@pytest.mark.parametrize(
    ("name", "units", "qty", "expected"),
    [
        ("resting_heart_rate", "count/min", 52, ("resting_heart_rate", 52, "/min")),
        ("heart_rate_variability", "ms", 48.3, ("hrv_sdnn", 48.3, "ms")),
        ("heart_rate_variability_sdnn", "s", 0.0483, ("hrv_sdnn", 48.3, "ms")),
        ("blood_oxygen_saturation", "%", 97, ("spo2", 97, "%")),
        ("blood_oxygen_saturation", "%", 0.97, ("spo2", 97, "%")),
        ("oxygen_saturation", "%", 1, ("spo2", 100, "%")),
        ("respiratory_rate", "count/min", 14.5, ("respiratory_rate", 14.5, "/min")),
        ("body_temperature", "degC", 36.6, ("body_temperature", 36.6, "Cel")),
        ("body_temperature", "degF", 98.6, ("body_temperature", 37, "Cel")),
        ("body_temperature", "ºF", 98.6, ("body_temperature", 37, "Cel")),
        ("apple_sleeping_wrist_temperature", "degF", 95, ("wrist_temperature", 35, "Cel")),
        ("step_count", "count", 812, ("steps", 812, "{steps}")),
        ("active_energy", "kcal", 12.5, ("active_energy", 12.5, "kcal")),
        ("active_energy", "kJ", 418.4, ("active_energy", 100, "kcal")),
        ("Active Energy", "Cal", 12.5, ("active_energy", 12.5, "kcal")),
        ("basal_energy_burned", "kJ", 4.184, ("basal_energy", 1, "kcal")),
        ("walking_running_distance", "mi", 1, ("distance", 1609.344, "m")),
        ("walking_running_distance", "km", 1.25, ("distance", 1250, "m")),
        ("vo2max", "ml/(kg·min)", 41.2, ("vo2_max", 41.2, "mL/kg/min")),
        ("vo2_max", "mL/min·kg", 41.2, ("vo2_max", 41.2, "mL/kg/min")),
        ("weight_body_mass", "lb", 100, ("body_mass", 45.359237, "kg")),
    ],
)
def test_units_are_converted_by_what_the_document_says(
    name: str, units: str, qty: float, expected: tuple[str, float, str]
) -> None:
    assert values(decoded(metric(name, units, sample(qty=qty)))) == [expected]


def test_blood_pressure_has_two_values() -> None:
    found = decoded(metric("blood_pressure", "mmHg", sample(systolic=121, diastolic=79)))
    assert values(found) == [("blood_pressure_systolic", 121, "mm[Hg]"), ("blood_pressure_diastolic", 79, "mm[Hg]")]


def test_a_night_is_a_sleep_event_and_readings() -> None:
    night = {
        "date": "2025-03-01",
        "totalSleep": 7.5,
        "asleep": 0,
        "core": 4,
        "deep": 1.5,
        "rem": 2,
        "awake": 0.25,
        "inBed": 0,
        "sleepStart": "2025-02-28 23:10:00 +0100",
        "sleepEnd": "2025-03-01 06:55:00 +0100",
        "inBedStart": "2025-02-28 23:00:00 +0100",
        "inBedEnd": "2025-03-01 07:00:00 +0100",
        "source": "Watch",
    }
    (event,) = decoded(metric("sleep_analysis", "hr", night)).events
    assert event.kind == "sleep"
    assert event.document_id == "sleep/Watch/2025-02-28T22:10:00+00:00"
    assert event.sleep is not None
    assert (event.sleep.total_minutes, event.sleep.light_minutes, event.sleep.deep_minutes) == (450, 240, 90)
    assert (event.sleep.rem_minutes, event.sleep.awake_minutes, event.sleep.in_bed_minutes) == (120, 15, None)
    assert event.observed_at == event.sleep.end == datetime(2025, 3, 1, 5, 55, tzinfo=UTC)
    assert {r.metric: r.value for r in event.readings} == {
        "sleep_total": 450,
        "sleep_deep": 90,
        "sleep_light": 240,
        "sleep_rem": 120,
        "sleep_awake": 15,
    }
    assert {(r.time, r.end_time) for r in event.readings} == {(event.sleep.start, event.sleep.end)}
    assert events.faults(event) == []


def test_sleep_without_a_total_adds_its_stages() -> None:
    night = {
        "asleep": 30,
        "core": 240,
        "deep": 60,
        "rem": 90,
        "sleepStart": "2025-02-28 23:10:00 +0100",
        "sleepEnd": "2025-03-01 06:55:00 +0100",
    }
    (event,) = decoded(metric("sleep_analysis", "min", night)).events
    assert event.sleep is not None
    assert event.sleep.total_minutes == 420


def test_devices_are_told_apart_and_made_printable() -> None:
    found = decoded(
        metric(
            "resting_heart_rate",
            "bpm",
            sample(qty=50, source="Anna\u2019s\u00a0Watch\n"),
            sample(qty=51, source="iPhone"),
            sample(qty=52),
        )
    )
    assert [(e.device, e.readings[0].value) for e in found.events] == [
        ("", 52),
        ("Anna\u2019s Watch", 50),
        ("iPhone", 51),
    ]


def test_the_last_of_two_values_for_a_moment_stands() -> None:
    found = decoded(metric("resting_heart_rate", "bpm", sample(qty=50), sample(qty=55)))
    assert values(found) == [("resting_heart_rate", 55, "/min")]


def test_what_is_unknown_is_counted_and_the_rest_decoded() -> None:
    body = document(
        metric("handwashing", "s", sample(qty=20), sample(qty=30)),
        metric("step_count", "count", sample(qty=5)),
        ecg=[{}],
        workouts=[],
    )
    found = decode(delivery(body))
    assert found.unknown == {"handwashing": 2, "section:ecg": 1}
    assert not found.skipped
    assert values(found) == [("steps", 5, "{steps}")]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"qty": None}, "value"),
        ({"qty": "many"}, "value"),
        ({"qty": True}, "value"),
        ({"qty": "NaN"}, "value"),
        ({}, "value"),
        ({"qty": 1, "date": "yesterday"}, "date"),
        ({"qty": 1, "date": None}, "date"),
        ({"qty": 1, "date": "2025-03-01 07:30:00"}, "date"),
        ({"qty": 1, "date": "0001-01-01 00:00:00 +1400"}, "date"),
    ],
)
def test_a_sample_that_cannot_be_read_is_counted_by_reason(bad: dict[str, Any], reason: str) -> None:
    found = decoded(metric("step_count", "count", sample(qty=5), sample() | bad))
    assert found.skipped == {f"step_count:{reason}": 1}
    assert values(found) == [("steps", 5, "{steps}")]


def test_an_unknown_unit_is_never_guessed() -> None:
    found = decoded(
        metric("active_energy", "BTU", sample(qty=5)),
        metric("body_temperature", "", sample(qty=37)),
        metric("step_count", "count", sample(qty=5)),
    )
    assert found.skipped == {"active_energy:unit": 1, "body_temperature:unit": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"data": []}',
        b'{"data": {"metrics": {}}}',
        b'{"metrics": []}',
        b"\xff\xfe",
        b"[" * 9999,
    ],
)
def test_what_is_no_such_document_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError, match="not a Health Auto Export document"):
        decode(delivery(body))


def test_a_document_of_which_nothing_can_be_read_is_refused() -> None:
    with pytest.raises(DecodeError, match="no sample can be read: metric, step_count:unit"):
        decoded(metric("step_count", "furlongs", sample(qty=1)), {"name": 7, "data": []})


def test_an_empty_document_holds_nothing() -> None:
    assert decode(delivery(document())) == Decoded()


def test_a_delivery_without_user_is_refused() -> None:
    with pytest.raises(DecodeError, match="no user"):
        decode(delivery(document(), user=""))


def test_gzip_is_inflated_within_the_limit() -> None:
    body = document(metric("step_count", "count", sample(qty=5)))
    assert values(decode(delivery(gzip.compress(body), encoding="gzip"))) == [("steps", 5, "{steps}")]
    for broken in (b"no gzip", gzip.compress(body)[:-9], gzip.compress(bytes(17 * 2**20))):
        with pytest.raises(DecodeError, match="gzip"):
            decode(delivery(broken, encoding="gzip"))


@pytest.mark.parametrize(
    "text",
    [
        "2025-03-01 07:30:00 +0100",
        "2025-03-01T07:30:00+01:00",
        "2025-03-01 06:30:00 +0000",
        "2025-03-01T06:30:00Z",
        "2025-03-01 7:30:00\u202fAM +0100",
        "2025-02-28 10:30:00 PM -0800",
    ],
)
def test_spellings_of_a_moment(text: str) -> None:
    assert instant(text) == datetime(2025, 3, 1, 6, 30, tzinfo=UTC)


def test_the_same_content_is_the_same_event_whenever_it_comes() -> None:
    body = document(metric("step_count", "count", sample(qty=5)))
    spaced = json.dumps(json.loads(body), indent=2).encode()
    (first,) = decode(delivery(body)).events
    (again,) = decode(delivery(spaced, received=RECEIVED + timedelta(hours=1))).events
    (other,) = decoded(metric("step_count", "count", sample(qty=6))).events
    (others,) = decode(delivery(body, user="bert")).events
    assert first.event_id == again.event_id
    assert first.version < again.version
    assert len({first.event_id, other.event_id, others.event_id}) == 3


def test_a_corrected_night_is_the_same_document_and_another_event() -> None:
    night = {"totalSleep": 7, "sleepStart": "2025-02-28 23:10:00 +0100", "sleepEnd": "2025-03-01 06:55:00 +0100"}
    (first,) = decoded(metric("sleep_analysis", "hr", night)).events
    (second,) = decoded(metric("sleep_analysis", "hr", night | {"totalSleep": 7.5})).events
    assert first.document_id == second.document_id
    assert first.event_id != second.event_id


@pytest.mark.parametrize("name", ["walking_running_distance", "step_count"])
def test_a_value_that_its_unit_makes_infinite_is_left_out(name: str) -> None:
    units = {"walking_running_distance": "km", "step_count": "count"}[name]
    found = decoded(metric(name, units, sample(qty=1e308), sample(date="2025-03-01 07:31:00 +0100", qty=2)))
    assert [r.value for e in found.events for r in e.readings] == ([2000] if units == "km" else [1e308, 2])
    for event in found.events:
        assert events.decode(events.encode(event)) == event


def test_a_night_whose_parts_add_up_to_infinity_is_left_out() -> None:
    night = {"sleepStart": "2025-02-28 23:10:00 +0100", "sleepEnd": "2025-03-01 06:55:00 +0100"}
    for parts in ({"asleep": 1.7e308, "core": 1.7e308}, {"deep": 1e308}):
        with pytest.raises(DecodeError, match="sleep_analysis:value"):
            decoded(metric("sleep_analysis", "min" if len(parts) == 2 else "hr", night | parts))


@pytest.mark.parametrize(
    "time", ["0001-01-01 00:00:00 +1400", "1899-12-31 23:59:59 +0000", "2201-01-01 00:00:00 +0000"]
)
def test_a_time_that_nobody_measured_at_is_none(time: str) -> None:
    with pytest.raises(DecodeError, match="step_count:date"):
        decoded(metric("step_count", "count", sample(date=time, qty=1)))


def test_an_offset_with_seconds_keeps_the_moment() -> None:
    (event,) = decoded(metric("step_count", "count", sample(date="2025-03-01 07:30:00 +01:00:30", qty=1))).events
    assert events.decode(events.encode(event)).readings[0].time == datetime(2025, 3, 1, 6, 29, 30, tzinfo=UTC)


def test_what_a_fast_clock_dates_ahead_is_observed_when_it_comes() -> None:
    (event,) = decoded(metric("step_count", "count", sample(date="2025-03-02 08:00:01 +0000", qty=1))).events
    assert event.observed_at == RECEIVED


MOMENTS = st.datetimes(
    datetime(1990, 1, 1),
    datetime(2100, 1, 1),
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m))),
).map(lambda t: t.replace(microsecond=0))


@given(
    st.lists(
        st.tuples(
            MOMENTS,
            st.floats(-1e9, 1e9, allow_nan=False),
            st.sampled_from(["", "Watch", "x" * 500, "\U0001f4f1\n" * 99, '"\\' * 200]),
        ),
        max_size=40,
    )
)
def test_every_readable_sample_comes_out_once(samples: list[tuple[datetime, float, str]]) -> None:
    data = [
        {"date": time.strftime("%Y-%m-%d %H:%M:%S %z"), "qty": qty, "source": source} for time, qty, source in samples
    ]
    found = decoded(metric("step_count", "count", *data))
    assert not found.skipped
    expected = {(source, time): qty for time, qty, source in samples}
    assert sum(len(e.readings) for e in found.events) == len(expected)
    assert sorted(r.value for e in found.events for r in e.readings) == pytest.approx(sorted(expected.values()))
    for event in found.events:
        assert events.faults(event) == []
        assert events.decode(events.encode(event)) == event


@given(st.integers(1, 3 * MAX_READINGS))
def test_events_are_split_below_the_limit(count: int) -> None:
    start = datetime(2025, 3, 1, tzinfo=timezone(timedelta(hours=12, minutes=45)))
    data = [
        {
            "startDate": (start + timedelta(seconds=i)).strftime("%Y-%m-%d %H:%M:%S %z"),
            "endDate": (start + timedelta(seconds=i + 1)).strftime("%Y-%m-%d %H:%M:%S %z"),
            "systolic": 123456789.123,
            "diastolic": 1.23456789123e-05,
            "source": '"' * 200,
        }
        for i in range(count)
    ]
    found = decoded(metric("blood_pressure", "kPa", *data))
    assert sum(len(e.readings) for e in found.events) == 2 * count
    assert len(found.events) == -(-2 * count // MAX_READINGS)
    assert len({e.event_id for e in found.events}) == len(found.events)
    assert max(len(events.encode(e)) for e in found.events) <= events.MAX_EVENT_BYTES


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["heart_rate", "sleep_analysis", "blood_pressure", "step_count", "other"])
KEYS = st.sampled_from(
    ["date", "startDate", "endDate", "qty", "Min", "Avg", "Max", "source", "sleepStart", "sleepEnd", "asleep", "inBed"]
)
NEARLY = JSON_VALUES | st.sampled_from(["2025-03-01 07:30:00 +0100", "2025-03-01", "1e999", "-0", 5, 1e308])


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "name": NAMES | JSON_VALUES,
                "units": st.sampled_from(["count/min", "hr", "mmHg", "count"]) | JSON_VALUES,
                "data": st.lists(st.dictionaries(KEYS, NEARLY, max_size=6) | JSON_VALUES, max_size=4) | JSON_VALUES,
            }
        )
        | JSON_VALUES,
        max_size=4,
    )
)
def test_any_document_is_decoded_or_refused_but_never_breaks(metrics: list[Any]) -> None:
    body = json.dumps({"data": {"metrics": metrics}}).encode()
    try:
        found = decode(delivery(body))
    except DecodeError:
        return
    for event in found.events:
        assert events.faults(event) == []
        assert events.decode(events.encode(event)) == event


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    with contextlib.suppress(DecodeError):
        assert decode(delivery(body)).events == []


def test_text_that_is_not_utf_8_is_refused() -> None:
    for body in (
        b'{"data": {"\xff": []}}',
        document(metric("steps", "count", sample(qty="x"))).replace(b'"x"', b'"\xff"'),
    ):
        with pytest.raises(DecodeError, match="UTF-8"):
            decode(delivery(body))


@pytest.mark.parametrize(
    "wrap", ['{"data": %s}', '{"data": {"metrics": [{"name": "step_count", "data": [{"a": %s}]}]}}']
)
def test_a_document_nested_without_end_is_refused(wrap: str) -> None:
    with pytest.raises(DecodeError):
        decode(delivery((wrap % ("[" * 100_000 + "]" * 100_000)).encode()))
