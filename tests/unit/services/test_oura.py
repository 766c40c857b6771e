"""The decoder of Oura: vectors by hand, and what holds for every notice and document."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren import events
from auren.bridge.decoders import Decoded, DecodeError, Notice, Whose
from auren.bridge.decoders.fetched import MAX_READINGS, possible, read_whose
from auren.bridge.decoders.oura import READERS, decode, decode_document, deletion
from auren.bridge.decoders.values import UnreadableError
from auren.events import Event
from tests.unit.services.vendor_documents import (
    RECEIVED,
    RECEIVED_MS,
    SLEEP_ID,
    body,
    delivery,
    oura_activity,
    oura_heart_rate,
    oura_notice,
    oura_readiness,
    oura_series,
    oura_session,
    oura_sleep,
    oura_spo2,
    oura_vo2_max,
    oura_workout,
    wanted,
)

DOCUMENTS: dict[str, Callable[..., dict[str, Any]]] = {
    "sleep": oura_sleep,
    "daily_readiness": oura_readiness,
    "daily_activity": oura_activity,
    "daily_spo2": oura_spo2,
    "vo2_max": oura_vo2_max,
    "session": oura_session,
    "workout": oura_workout,
}
START = datetime(2025, 3, 1, 22, 10, tzinfo=UTC)
END = START + timedelta(minutes=40)


def clean(data_type: str, document: Any) -> list[Event]:
    """The events of a document of which nothing is left out."""
    found = decode_document(wanted(data_type), body(document))
    assert not found.skipped
    assert not found.unknown
    for event in found.events:
        assert events.faults(event) == []
        assert event.document_id == f"{data_type}/{SLEEP_ID}"
        assert event.version == wanted(data_type).version
    return found.events


def one(data_type: str, document: Any) -> Event:
    (event,) = clean(data_type, document)
    return event


def values(event: Event) -> dict[str, float]:
    return {reading.metric: reading.value for reading in event.readings}


# Notices


def test_a_notice_is_about_the_user_of_its_body() -> None:
    assert read_whose(delivery("oura", oura_notice())) == Whose("a1B2-oura")
    assert read_whose(delivery("oura", {"event_type": "create"})) is None


@pytest.mark.parametrize("user", [True, 4.5, [], "", "a b", "../1", "x" * 129, "a\u0000"])
def test_a_user_id_that_is_none_is_refused(user: object) -> None:
    for read in (read_whose, decode):
        with pytest.raises(DecodeError, match="user"):
            read(delivery("oura", oura_notice(user_id=user)))


@pytest.mark.parametrize("event_type", ["create", "update", "delete"])
@pytest.mark.parametrize("data_type", DOCUMENTS)
def test_each_type_of_notice(event_type: str, data_type: str) -> None:
    found = decode(delivery("oura", oura_notice(event_type=event_type, data_type=data_type)))
    deleted = event_type == "delete"
    assert found == Decoded(notices=[Notice("a1B2-oura", data_type, SLEEP_ID, deleted, RECEIVED_MS - 30_000)])


def test_the_capital_of_the_path_may_stand_in_the_notice() -> None:
    (notice,) = decode(delivery("oura", oura_notice(data_type="vO2_max"))).notices
    assert notice.data_type == "vo2_max"


@pytest.mark.parametrize(
    ("event_time", "version"),
    [
        ("2025-03-02T08:59:30.125+01:00", RECEIVED_MS - 29_875),
        ("2025-03-02T07:59:30Z", RECEIVED_MS - 30_000),
        ("2025-03-02T07:59:30", RECEIVED_MS),
        ("soon", RECEIVED_MS),
        (None, RECEIVED_MS),
        (1740902370, RECEIVED_MS),
        ("0001-01-01T00:00:00+14:00", RECEIVED_MS),
        ("9999-12-31T23:59:59-14:00", RECEIVED_MS),
    ],
)
def test_a_notice_is_as_new_as_its_event(event_time: object, version: int) -> None:
    (notice,) = decode(delivery("oura", oura_notice(event_time=event_time))).notices
    assert notice.version == version


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"data_type": "daily_stress"}, "daily_stress"),
        ({"data_type": "Daily Mood!"}, "daily_mood_"),
        ({"data_type": "meal", "event_type": "delete", "user_id": None}, "meal"),
        ({"event_type": "archive"}, "event:archive"),
    ],
)
def test_an_unknown_type_is_counted_and_nothing_else(fields: dict[str, Any], name: str) -> None:
    found = decode(delivery("oura", oura_notice(**fields)))
    assert found == Decoded(unknown=found.unknown)
    assert found.unknown == {name: 1}


@pytest.mark.parametrize("bad", [None, "", "..", "../personal_info", "a/b", "a?b", 1.5, False, {}])
def test_an_id_that_would_not_fit_a_path_is_refused(bad: object) -> None:
    with pytest.raises(DecodeError, match="no object"):
        decode(delivery("oura", oura_notice(object_id=bad)))


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"7", b"null", b"\xff", b'{"data_type": "\xff"}', b"[" * 9999])
def test_what_is_no_notice_is_refused(raw: bytes) -> None:
    for read in (read_whose, decode):
        with pytest.raises(DecodeError):
            read(delivery("oura", raw))


@pytest.mark.parametrize("missing", ["event_type", "data_type"])
def test_a_notice_without_type_is_refused(missing: str) -> None:
    with pytest.raises(DecodeError, match="type"):
        decode(delivery("oura", oura_notice(**{missing: None})))


# Sleep


def test_a_night_is_a_sleep_in_minutes() -> None:
    event, _ = clean("sleep", oura_sleep())
    assert event.kind == "sleep"
    assert event.sleep is not None
    assert (event.sleep.start, event.sleep.end) == (START, END)
    assert event.sleep.start.utcoffset() == timedelta(hours=1)
    assert (event.sleep.total_minutes, event.sleep.light_minutes, event.sleep.deep_minutes) == (35, 15, 10)
    assert (event.sleep.rem_minutes, event.sleep.awake_minutes, event.sleep.in_bed_minutes) == (10, 5, 40)
    assert event.observed_at == END
    assert {(r.metric, r.value) for r in event.readings if r.end_time == END} == {
        ("sleep_total", 35),
        ("sleep_light", 15),
        ("sleep_deep", 10),
        ("sleep_rem", 10),
        ("sleep_awake", 5),
        ("sleep_in_bed", 40),
        ("respiratory_rate", 14.5),
        ("heart_rate_min", 49),
    }


def test_the_phases_of_a_night_are_its_stages() -> None:
    event, _ = clean("sleep", oura_sleep())
    assert event.sleep is not None
    assert [(s.stage, (s.start - START) // timedelta(minutes=1)) for s in event.sleep.stages] == [
        ("awake", 0),
        ("light", 5),
        ("deep", 15),
        ("light", 25),
        ("rem", 30),
    ]
    assert event.sleep.stages[-1].end == END
    assert all(a.end == b.start for a, b in zip(event.sleep.stages, event.sleep.stages[1:], strict=False))


def test_the_last_phase_ends_with_the_night() -> None:
    event, _ = clean("sleep", oura_sleep(bedtime_end="2025-03-01T23:12:30+01:00", sleep_phase_5_min="412"))
    assert event.sleep is not None
    (stage,) = event.sleep.stages
    assert (stage.stage, stage.end - stage.start) == ("awake", timedelta(seconds=150))


def test_a_phase_that_is_none_leaves_a_gap() -> None:
    found = decode_document(wanted("sleep"), body(oura_sleep(sleep_phase_5_min="1902")))
    sleep = found.events[0].sleep
    assert sleep is not None
    assert [(s.stage, s.start) for s in sleep.stages] == [("deep", START), ("light", START + timedelta(minutes=15))]
    assert found.skipped == {"sleep:phase": 2}


@pytest.mark.parametrize("phases", ["1" * 865, 5, ["1"], {}])
def test_phases_that_cannot_be_read_cost_only_themselves(phases: object) -> None:
    found = decode_document(wanted("sleep"), body(oura_sleep(sleep_phase_5_min=phases)))
    assert found.skipped == {"sleep:sleep_phase_5_min": 1}
    assert found.events[0].sleep is not None
    assert found.events[0].sleep.stages == ()


def test_the_averages_are_the_latest_of_the_night_and_variability_is_rmssd() -> None:
    event, series = clean("sleep", oura_sleep())
    averages = {r.metric: (r.value, r.time) for r in event.readings if r.end_time is None}
    assert averages == {"heart_rate": (52.25, END), "hrv_rmssd": (61, END)}
    assert {r.flags for r in event.readings if r.end_time is None} == {("average",)}
    assert {"hrv_sdnn"}.isdisjoint(r.metric for r in (*event.readings, *series.readings))
    assert max(r.time for r in series.readings) < END


def test_samples_stand_at_their_times_and_null_is_a_gap() -> None:
    _, series = clean("sleep", oura_sleep())
    assert series.kind == "readings"
    five, ten = START + timedelta(minutes=5), START + timedelta(minutes=10)
    assert [(r.metric, r.value, r.time, r.flags) for r in series.readings] == [
        ("heart_rate", 55, five, ()),
        ("heart_rate", 52, ten, ()),
        ("hrv_rmssd", 58, five, ()),
        ("hrv_rmssd", 63, ten, ()),
    ]


def test_no_two_readings_of_a_night_share_a_row() -> None:
    many = oura_series(*range(40, 49), interval=300)
    sleep, series = clean("sleep", oura_sleep(heart_rate=many, hrv=many))
    rows = [(r.metric, r.time) for r in (*sleep.readings, *series.readings)]
    assert ("hrv_rmssd", END) in rows
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("kind", ["sleep", "late_nap"])
def test_a_nap_is_told_from_a_night(kind: str) -> None:
    event, series = clean("sleep", oura_sleep(type=kind))
    assert {r.flags for r in event.readings} == {("nap",), ("average", "nap")}
    assert {r.flags for r in series.readings} == {()}


@pytest.mark.parametrize("kind", ["deleted", "rest"])
def test_what_the_person_says_was_no_sleep_is_deleted(kind: str) -> None:
    event = one("sleep", oura_sleep(type=kind))
    assert event == deletion(wanted("sleep"))
    assert event.kind == "deletion"


@pytest.mark.parametrize("kind", [None, "siesta", [], {}])
def test_a_type_that_is_none_is_a_night(kind: object) -> None:
    event, _ = clean("sleep", oura_sleep(type=kind))
    assert {r.flags for r in event.readings} == {(), ("average",)}


def test_a_night_of_times_alone_is_still_a_night() -> None:
    times = {name: oura_sleep()[name] for name in ("bedtime_start", "bedtime_end")}
    event = one("sleep", times)
    assert event.sleep is not None
    assert event.readings == ()


@pytest.mark.parametrize(
    ("field", "value", "left"),
    [
        ("heart_rate", [], 2),
        ("hrv", {"interval": 300, "items": "abc", "timestamp": "2025-03-01T23:10:00+01:00"}, 2),
        ("hrv", oura_series(58, interval=0), 2),
        ("hrv", oura_series(58, interval=-300), 2),
        ("hrv", oura_series(58, interval=1e308), 2),
        ("hrv", oura_series(58, timestamp="midnight"), 2),
        ("hrv", oura_series(*[50] * 50_001), 2),
        ("average_hrv", 0, 4),
        ("awake_time", -1, 4),
    ],
)
def test_one_part_that_cannot_be_read_costs_only_itself(field: str, value: object, left: int) -> None:
    found = decode_document(wanted("sleep"), body(oura_sleep(**{field: value})))
    assert found.skipped == {f"sleep:{field}": 1}
    assert len(found.events[0].readings) == 10 - (left == 4)
    assert len(found.events[1].readings) == left


def test_a_sample_that_cannot_be_read_costs_only_itself() -> None:
    series = oura_series(55, 0, -5, "x", True, 60)  # type: ignore[arg-type]
    found = decode_document(wanted("sleep"), body(oura_sleep(heart_rate=series, hrv=None)))
    assert found.skipped == {"sleep:heart_rate.sample": 4}
    assert [(r.value, r.time) for r in found.events[1].readings] == [(55, START), (60, START + timedelta(minutes=25))]


@pytest.mark.parametrize(
    "times",
    [
        {"bedtime_start": None},
        {"bedtime_end": "2025-03-01T23:10:00+01:00"},
        {"bedtime_end": "2025-03-04T23:10:01+01:00"},
        {"bedtime_end": "2025-03-01"},
    ],
)
def test_a_night_without_its_times_is_refused(times: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match="sleep:date"):
        decode_document(wanted("sleep"), body(oura_sleep(**times)))


# The other documents


def test_readiness_is_a_difference_of_temperature_and_no_recovery() -> None:
    event = one("daily_readiness", oura_readiness())
    assert values(event) == {"temperature_deviation": -0.23}
    assert event.readings[0].time == datetime(2025, 2, 28, 23, 0, tzinfo=UTC)


@pytest.mark.parametrize("data_type", ["daily_readiness", "daily_spo2"])
def test_a_day_without_the_measurement_is_nothing(data_type: str) -> None:
    document = DOCUMENTS[data_type](temperature_deviation=None, spo2_percentage=None)
    assert clean(data_type, document) == []


def test_activity_is_the_total_of_a_day_from_four_to_four() -> None:
    event = one("daily_activity", oura_activity(steps=0))
    assert values(event) == {"steps": 0, "active_energy": 420, "distance": 8123}
    start = datetime(2025, 3, 1, 3, 0, tzinfo=UTC)
    assert {(r.time, r.end_time) for r in event.readings} == {(start, start + timedelta(days=1))}


def test_the_running_day_is_observed_no_later_than_it_came() -> None:
    event = one("daily_activity", oura_activity(timestamp="2025-03-02T04:00:00+01:00"))
    assert event.observed_at == RECEIVED
    earlier = one("daily_activity", oura_activity(timestamp="2025-03-01T04:00:00+01:00"))
    assert earlier.observed_at == datetime(2025, 3, 2, 3, 0, tzinfo=UTC)


def test_oxygen_is_of_a_day_without_a_zone() -> None:
    event = one("daily_spo2", oura_spo2())
    assert values(event) == {"spo2": 97.125}
    assert event.readings[0].time == datetime(2025, 3, 1, tzinfo=UTC)
    assert event.readings[0].end_time == datetime(2025, 3, 2, tzinfo=UTC)


@pytest.mark.parametrize(("average", "kept"), [(0, False), (0.5, True), (100, True), (100.1, False)])
def test_oxygen_within_its_bounds(average: float, kept: bool) -> None:
    found = decode_document(wanted("daily_spo2"), body(oura_spo2(spo2_percentage={"average": average})))
    assert len(found.events) == kept
    assert found.skipped == ({} if kept else {"daily_spo2:average": 1})


@pytest.mark.parametrize("bad", [None, "2025-03", "2025-13-01", "2025-03-01T00:00:00+01:00", 20250301])
def test_oxygen_of_no_day_is_refused(bad: object) -> None:
    with pytest.raises(DecodeError, match="daily_spo2:date"):
        decode_document(wanted("daily_spo2"), body(oura_spo2(day=bad)))


def test_vo2_max_is_of_its_moment() -> None:
    event = one("vo2_max", oura_vo2_max())
    assert values(event) == {"vo2_max": 44}
    assert event.readings[0].unit == "mL/kg/min"
    assert event.observed_at == datetime(2025, 3, 1, 8, 0, tzinfo=UTC)


def test_a_session_is_its_samples() -> None:
    event = one("session", oura_session())
    noon = datetime(2025, 3, 1, 11, 0, tzinfo=UTC)
    assert [(r.metric, r.value, r.time) for r in event.readings] == [
        ("heart_rate", 60, noon),
        ("hrv_rmssd", 70, noon + timedelta(seconds=5)),
    ]
    assert clean("session", oura_session(heart_rate=None, heart_rate_variability=None)) == []


def test_a_workout_stands_in_its_own_part() -> None:
    event = one("workout", oura_workout())
    assert event.readings == ()
    assert event.workout == events.Workout(
        activity="cycling",
        start=datetime(2025, 3, 1, 17, 0, tzinfo=UTC),
        end=datetime(2025, 3, 1, 17, 30, tzinfo=UTC),
        energy_kcal=250.5,
        distance_m=12000,
    )
    without = one("workout", oura_workout(calories=None, distance=None, activity=7)).workout
    assert without is not None
    assert (without.activity, without.energy_kcal, without.distance_m) == ("", None, None)


def test_heart_rate_rows_are_one_document_a_day() -> None:
    rows = [
        oura_heart_rate(timestamp="2025-03-02T00:00:00Z", bpm=63, source="rest"),
        oura_heart_rate(timestamp="2025-03-02T00:30:00+01:00", bpm=62, source="made up"),
        oura_heart_rate(),
        oura_heart_rate(bpm=0),
        oura_heart_rate(timestamp=5),
    ]
    found = decode_document(wanted("heartrate", "a-range"), body({"data": rows, "next_token": None}))
    assert [(e.document_id, [(r.value, r.flags) for r in e.readings]) for e in found.events] == [
        ("heartrate/2025-03-01", [(62, ()), (61, ("awake",))]),
        ("heartrate/2025-03-02", [(63, ("rest",))]),
    ]
    assert found.skipped == {"heartrate:bpm": 1, "heartrate:date": 1}


def test_a_page_holds_documents_with_their_own_ids() -> None:
    page = {"data": [oura_workout(), oura_workout(id="w-2"), oura_workout(id=None), 7], "next_token": None}
    found = decode_document(wanted("workout", "ignored"), body(page))
    assert [e.document_id for e in found.events] == ["workout/w-1", "workout/w-2"]
    assert found.skipped == {"workout:id": 1, "workout:shape": 1}
    assert decode_document(wanted("workout"), body({"data": []})) == Decoded()
    with pytest.raises(DecodeError, match="workout:id"):
        decode_document(wanted("workout"), body({"data": [oura_workout(id="..")]}))


@pytest.mark.parametrize("data_type", ["tag", "daily_stress", "daily sleep"])
def test_an_unknown_document_is_counted(data_type: str) -> None:
    found = decode_document(wanted(data_type), body({}))
    assert found == Decoded(unknown=found.unknown)
    assert found.unknown == {data_type.replace(" ", "_"): 1}


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"7", b"null", b'{"id": "\xff"}', b"[" * 9999])
@pytest.mark.parametrize("data_type", [*DOCUMENTS, "heartrate"])
def test_what_is_no_document_is_refused(data_type: str, raw: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_document(wanted(data_type), raw)


@pytest.mark.parametrize("data_type", DOCUMENTS)
def test_equal_content_is_the_same_event_whenever_it_is_fetched(data_type: str) -> None:
    document = DOCUMENTS[data_type]()
    first = clean(data_type, document)
    later = replace(wanted(data_type), version=RECEIVED_MS, received_at=RECEIVED + timedelta(hours=1))
    spaced = json.dumps(dict(reversed(document.items())), indent=2).encode()
    again = decode_document(later, spaced).events
    other = decode_document(replace(wanted(data_type), user_id="bert"), body(document)).events
    assert [e.event_id for e in first] == [e.event_id for e in again]
    assert len({e.event_id for e in (*first, *again, *other)}) == 2 * len(first)
    assert all(a.version < b.version for a, b in zip(first, again, strict=True))


def test_a_corrected_night_is_the_same_document_and_another_event() -> None:
    first, _ = clean("sleep", oura_sleep())
    second, _ = clean("sleep", oura_sleep(deep_sleep_duration=660))
    assert first.document_id == second.document_id
    assert first.event_id != second.event_id


@pytest.mark.parametrize("data_type", DOCUMENTS)
def test_a_deletion_names_what_the_document_was_called(data_type: str) -> None:
    (notice,) = decode(delivery("oura", oura_notice(event_type="delete", data_type=data_type))).notices
    document = wanted(notice.data_type, notice.document_id, notice.version)
    gone = deletion(document)
    stored = clean(data_type, DOCUMENTS[data_type]())[0]
    assert (gone.kind, gone.document_id, gone.provider) == ("deletion", stored.document_id, "oura")
    assert gone.version == RECEIVED_MS - 30_000 > stored.version
    assert events.faults(gone) == []
    assert gone.event_id == deletion(document).event_id != deletion(replace(document, version=9)).event_id


def test_every_type_has_a_vector_here() -> None:
    assert set(DOCUMENTS) == set(READERS)


# What holds for all


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("metric", events.METRICS)
def test_what_is_no_number_is_never_possible(metric: str, value: float) -> None:
    with pytest.raises(UnreadableError, match="value"):
        possible(metric, value)


def check(found: Decoded) -> None:
    for event in found.events:
        assert events.faults(event) == []
        value = events.encode(event)
        assert events.decode(value) == event
        assert len(value) < events.MAX_EVENT_BYTES


@pytest.mark.parametrize("count", [MAX_READINGS, MAX_READINGS + 1, 3 * MAX_READINGS])
def test_long_series_are_split_below_the_limit(count: int) -> None:
    items = [1.23456789123e-5 + i for i in range(count)]
    series = {"interval": 0.123457, "items": items, "timestamp": "2025-03-01T23:10:00.123456+12:45"}
    found = decode_document(wanted("session"), body(oura_session(heart_rate=series, heart_rate_variability=None)))
    assert [len(e.readings) for e in found.events[:-1]] == [MAX_READINGS] * (len(found.events) - 1)
    assert sum(len(e.readings) for e in found.events) == count
    assert len({e.event_id for e in found.events}) == len(found.events) == -(-count // MAX_READINGS)
    check(found)


def test_the_longest_night_fits_one_event() -> None:
    night = oura_sleep(bedtime_end="2025-03-04T23:10:00+01:00", sleep_phase_5_min="12" * 432)
    event, _ = clean("sleep", night)
    assert event.sleep is not None
    assert len(event.sleep.stages) == 864
    assert len(events.encode(event)) < events.MAX_EVENT_BYTES


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
NEARLY = JSON_VALUES | st.sampled_from(
    [
        "2025-03-01T23:10:00+01:00",
        "2200-12-31T23:59:59-23:59:59",
        "9999-12-31T00:00:00Z",
        "deleted",
        "1e999",
        "1239" * 300,
        0,
        1e308,
        5e-324,
    ]
)


@given(
    NEARLY
    | st.dictionaries(
        st.sampled_from(["event_type", "data_type", "object_id", "event_time", "user_id"]),
        NEARLY | st.sampled_from(["update", "delete", "sleep", "vO2_max"]),
    )
)
def test_any_notice_is_decoded_or_refused(value: object) -> None:
    for read in (read_whose, decode):
        with contextlib.suppress(DecodeError):
            read(delivery("oura", value))


@given(st.binary(max_size=100))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    for read in (read_whose, decode):
        with contextlib.suppress(DecodeError):
            read(delivery("oura", raw))
    for data_type in (*DOCUMENTS, "heartrate"):
        with contextlib.suppress(DecodeError):
            decode_document(wanted(data_type), raw)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, Any]:
    """A document with some of its fields replaced, at any depth."""
    data_type = draw(st.sampled_from([*DOCUMENTS, "heartrate"]))
    document: dict[str, Any] = {**DOCUMENTS, "heartrate": oura_heart_rate}[data_type]()
    for _ in range(draw(st.integers(0, 4))):
        place: dict[str, Any] = document
        key = draw(st.sampled_from(sorted(place)))
        while isinstance(place[key], dict) and place[key] and draw(st.booleans()):
            place = place[key]
            key = draw(st.sampled_from(sorted(place)))
        place[key] = draw(NEARLY | st.lists(NEARLY, max_size=30))
    return data_type, document


@given(damaged(), st.booleans())
def test_any_document_is_decoded_or_refused_but_never_breaks(found: tuple[str, Any], paged: bool) -> None:
    data_type, document = found
    with contextlib.suppress(DecodeError):
        check(decode_document(wanted(data_type), body({"data": [document, document]} if paged else document)))


@given(JSON_VALUES, st.sampled_from([*DOCUMENTS, "heartrate", "other"]))
def test_any_json_is_decoded_or_refused(value: Any, data_type: str) -> None:
    with contextlib.suppress(DecodeError):
        assert decode_document(wanted(data_type), body(value)).events == []
