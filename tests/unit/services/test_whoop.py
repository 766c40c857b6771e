"""The decoder of WHOOP: vectors by hand, and what holds for every notice and document."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren import events
from auren.bridge.decoders import Decoded, DecodeError, Notice, Whose
from auren.bridge.decoders.fetched import PENDING, read_whose
from auren.bridge.decoders.whoop import NOTICES, decode, decode_document, deletion
from auren.events import Event
from tests.unit.services.vendor_documents import (
    RECEIVED_MS,
    SLEEP_ID,
    UPDATED_MS,
    body,
    delivery,
    wanted,
    whoop_cycle,
    whoop_notice,
    whoop_recovery,
    whoop_sleep,
    whoop_workout,
)

DOCUMENTS = {"recovery": whoop_recovery, "sleep": whoop_sleep, "workout": whoop_workout, "cycle": whoop_cycle}


def values(event: Event) -> dict[str, float]:
    return {reading.metric: reading.value for reading in event.readings}


def one(data_type: str, document: Any) -> Event:
    found = decode_document(wanted(data_type), body(document))
    (event,) = found.events
    assert not found.skipped
    assert not found.unknown
    assert events.faults(event) == []
    return event


# The person's own time


@pytest.mark.parametrize(("offset", "hour"), [("+01:00", 7), ("-05:00", 1), ("+05:30", 11), (None, 6), ("nowhere", 6)])
def test_a_night_ends_by_the_clock_of_the_offset_that_is_told(offset: str | None, hour: int) -> None:
    found = one("sleep", whoop_sleep() | {"timezone_offset": offset})
    assert found.sleep is not None
    assert found.sleep.end == datetime(2025, 3, 1, 6, tzinfo=UTC)
    assert found.sleep.end.hour == hour
    assert all(reading.end_time is None or reading.end_time.hour == hour for reading in found.readings)


# Notices


def test_a_notice_is_about_the_user_of_its_body() -> None:
    assert read_whose(delivery("whoop", whoop_notice())) == Whose("456")
    assert read_whose(delivery("whoop", whoop_notice(user_id="456"))) == Whose("456")
    assert read_whose(delivery("whoop", {"type": "hello"})) is None


@pytest.mark.parametrize("user", [True, 4.5, -1, [], "", "a b", "../1", "x" * 129, "a\u0000"])
def test_a_user_id_that_is_none_is_refused(user: object) -> None:
    with pytest.raises(DecodeError, match="user"):
        read_whose(delivery("whoop", whoop_notice(user_id=user)))
    with pytest.raises(DecodeError, match="user"):
        decode(delivery("whoop", whoop_notice(user_id=user)))


@pytest.mark.parametrize(
    ("word", "types", "deleted"),
    [
        ("workout.updated", ["workout"], False),
        ("workout.deleted", ["workout"], True),
        ("sleep.updated", ["sleep"], False),
        ("sleep.deleted", ["sleep", "recovery"], True),
        ("recovery.updated", ["recovery"], False),
        ("recovery.deleted", ["recovery"], True),
    ],
)
def test_each_type_of_notice(word: str, types: list[str], deleted: bool) -> None:
    found = decode(delivery("whoop", whoop_notice(type=word)))
    assert found == Decoded(notices=[Notice("456", name, SLEEP_ID, deleted, RECEIVED_MS) for name in types])


def test_an_id_of_the_first_api_is_text_too() -> None:
    (notice,) = decode(delivery("whoop", whoop_notice(id=10235))).notices
    assert notice.document_id == "10235"


def test_an_id_has_one_case() -> None:
    (notice,) = decode(delivery("whoop", whoop_notice(id=SLEEP_ID.upper()))).notices
    assert notice.document_id == SLEEP_ID
    assert one("recovery", whoop_recovery(sleep_id=SLEEP_ID.upper())).document_id == f"recovery/{SLEEP_ID}"


@pytest.mark.parametrize("bad", [None, "", "..", "../../user", "a/b", "a?b", 1.5, False, {}])
def test_an_id_that_would_not_fit_a_path_is_refused(bad: object) -> None:
    with pytest.raises(DecodeError, match="no id"):
        decode(delivery("whoop", whoop_notice(id=bad)))


@pytest.mark.parametrize(
    ("signed_at", "version"),
    [
        ("1740902399123", 1740902399123),
        ("", RECEIVED_MS),
        ("1740902399", RECEIVED_MS),
        ("17409023991234", RECEIVED_MS),
        ("-740902399123", RECEIVED_MS),
        ("\u0661740902399123", RECEIVED_MS),
    ],
)
def test_a_notice_is_as_new_as_its_signature(signed_at: str, version: int) -> None:
    vendor = {"x_whoop_signature_timestamp": signed_at} if signed_at else {}
    (notice,) = decode(delivery("whoop", whoop_notice(), **vendor)).notices
    assert notice.version == version


def test_an_unknown_type_is_counted_and_nothing_else() -> None:
    found = decode(delivery("whoop", {"type": "Cycle.updated", "id": None}))
    assert found == Decoded(unknown=found.unknown)
    assert found.unknown == {"cycle_updated": 1}


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"7", b"null", b"\xff", b'{"type": "\xff"}', b"[" * 9999])
def test_what_is_no_notice_is_refused(raw: bytes) -> None:
    for read in (read_whose, decode):
        with pytest.raises(DecodeError):
            read(delivery("whoop", raw))


def test_a_notice_without_type_is_refused() -> None:
    with pytest.raises(DecodeError, match="type"):
        decode(delivery("whoop", {"user_id": 1, "id": "1"}))


# Documents


def test_a_recovery_goes_by_its_sleep_and_its_update() -> None:
    event = one("recovery", whoop_recovery())
    assert values(event) == {
        "recovery_score": 44,
        "resting_heart_rate": 54,
        "hrv_rmssd": 31.813562,
        "spo2": 95.6875,
        "skin_temperature": 33.7,
    }
    assert {r.time for r in event.readings} == {datetime(2025, 3, 1, 6, 25, 44, 774000, UTC)}
    assert (event.kind, event.document_id, event.version) == ("readings", f"recovery/{SLEEP_ID}", UPDATED_MS)
    assert {r.flags for r in event.readings} == {()}


def test_a_cycle_may_answer_with_the_recovery_of_another_sleep() -> None:
    assert one("recovery", whoop_recovery(sleep_id="other")).document_id == "recovery/other"


def test_a_recovery_while_whoop_learns_the_person_says_so() -> None:
    event = one("recovery", whoop_recovery({"user_calibrating": True}))
    assert {r.flags for r in event.readings} == {("calibrating",)}


@pytest.mark.parametrize("missing", ["spo2_percentage", "skin_temp_celsius"])
def test_older_straps_measure_less(missing: str) -> None:
    document = whoop_recovery({missing: None})
    assert len(one("recovery", document).readings) == 4
    del document["score"][missing]
    assert len(one("recovery", document).readings) == 4


def test_sleep_is_in_minutes() -> None:
    event = one("sleep", whoop_sleep())
    assert event.kind == "sleep"
    assert event.sleep is not None
    assert event.sleep.start == datetime(2025, 2, 28, 22, 0, tzinfo=UTC)
    assert event.sleep.end == datetime(2025, 3, 1, 6, 0, tzinfo=UTC) == event.observed_at
    assert values(event) == {
        "sleep_total": 450,
        "sleep_deep": 110,
        "sleep_light": 240,
        "sleep_rem": 100,
        "sleep_awake": 30,
        "sleep_in_bed": 480,
        "respiratory_rate": 16.11328125,
    }
    assert {(r.time, r.end_time, r.flags) for r in event.readings} == {(event.sleep.start, event.sleep.end, ())}
    assert (event.document_id, event.version) == (f"sleep/{SLEEP_ID}", UPDATED_MS)


def test_a_sleep_without_a_stage_has_no_total() -> None:
    event = one("sleep", whoop_sleep({"total_rem_sleep_time_milli": None}))
    assert event.sleep is not None
    assert (event.sleep.total_minutes, event.sleep.light_minutes) == (None, 240)


def test_a_night_without_deep_sleep_has_zero_minutes_of_it() -> None:
    event = one("sleep", whoop_sleep({"total_slow_wave_sleep_time_milli": 0}))
    assert values(event)["sleep_deep"] == 0
    assert values(event)["sleep_total"] == 340


def test_a_nap_is_told_from_a_night() -> None:
    assert {r.flags for r in one("sleep", whoop_sleep(nap=True)).readings} == {("nap",)}


def test_a_workout_stands_in_its_own_part() -> None:
    event = one("workout", whoop_workout())
    assert event.readings == ()
    assert event.workout is not None
    assert event.workout == events.Workout(
        activity="running",
        start=datetime(2025, 3, 1, 17, 0, tzinfo=UTC),
        end=datetime(2025, 3, 1, 18, 0, tzinfo=UTC),
        energy_kcal=239.006,
        distance_m=1772.5,
        average_heart_rate=123,
        max_heart_rate=146,
        strain=8.2463,
    )
    assert event.observed_at == event.workout.end


def test_a_workout_indoors_has_no_distance() -> None:
    event = one("workout", whoop_workout({"distance_meter": None}, sport_name="hiking/\nrucking" * 50))
    assert event.workout is not None
    assert event.workout.distance_m is None
    assert event.workout.activity == ("hiking/ rucking" * 50)[:128]


def test_a_cycle_is_the_strain_of_a_day() -> None:
    event = one("cycle", whoop_cycle())
    assert values(event) == {"strain": 5.2951527, "heart_rate": 68, "heart_rate_max": 141}
    assert {(r.time.hour, r.end_time.hour) for r in event.readings if r.end_time} == {
        (23, 23)
    }  # of the offset that the document names


def test_the_running_cycle_has_no_end_and_the_finished_one_replaces_it() -> None:
    running, finished = whoop_cycle({"strain": 1.5}), whoop_cycle(updated_at="2025-03-02T07:00:00Z")
    del running["end"]
    first, second = one("cycle", running), one("cycle", finished)
    assert {r.end_time for r in first.readings} == {None}
    assert {(r.metric, r.time) for r in first.readings} == {(r.metric, r.time) for r in second.readings}
    assert first.version < second.version
    assert first.event_id != second.event_id


@pytest.mark.parametrize("data_type", DOCUMENTS)
def test_what_is_not_scored_yet_is_told(data_type: str) -> None:
    document = DOCUMENTS[data_type](score_state="PENDING_SCORE", score=None)
    found = decode_document(wanted(data_type), body(document))
    assert found.events == []
    assert found.skipped == {PENDING: 1} == {"pending_score": 1}


@pytest.mark.parametrize("data_type", DOCUMENTS)
def test_what_cannot_be_scored_is_quietly_nothing(data_type: str) -> None:
    document = DOCUMENTS[data_type](score_state="UNSCORABLE", score=None)
    assert decode_document(wanted(data_type), body(document)) == Decoded()


@pytest.mark.parametrize("data_type", DOCUMENTS)
@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"score_state": None}, "score_state"),
        ({"score_state": "MAYBE"}, "score_state"),
        ({"score": None}, "score"),
        ({"score": []}, "score"),
    ],
)
def test_a_document_without_its_score_is_refused(data_type: str, broken: dict[str, Any], reason: str) -> None:
    with pytest.raises(DecodeError, match=f"{data_type}:{reason}"):
        decode_document(wanted(data_type), body(DOCUMENTS[data_type](**broken)))


@pytest.mark.parametrize("data_type", ["sleep", "workout", "cycle"])
@pytest.mark.parametrize(
    "times",
    [
        {"start": None},
        {"start": 5},
        {"start": "2025-03-01"},
        {"start": "2025-03-01T10:00:00"},
        {"start": "0001-01-01T00:00:00+14:00"},
        {"end": "2025-01-01T00:00:00Z"},
        {"start": "2025-03-01T06:00:00Z", "end": "2025-03-01T06:00:00Z"},
    ],
)
def test_a_document_without_its_times_is_refused(data_type: str, times: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match=f"{data_type}:date"):
        decode_document(wanted(data_type), body(DOCUMENTS[data_type](**times)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hrv_rmssd_milli", 0),
        ("hrv_rmssd_milli", "many"),
        ("resting_heart_rate", -54),
        ("recovery_score", 100.5),
        ("spo2_percentage", True),
        ("spo2_percentage", 101),
        ("skin_temp_celsius", {}),
    ],
)
def test_one_field_that_cannot_be_read_costs_only_itself(field: str, value: object) -> None:
    found = decode_document(wanted("recovery"), body(whoop_recovery({field: value})))
    assert found.skipped == {f"recovery:{field}": 1}
    assert [len(e.readings) for e in found.events] == [4]


@pytest.mark.parametrize("score", [0, 100])
def test_the_bounds_of_a_recovery_are_part_of_it(score: int) -> None:
    assert values(one("recovery", whoop_recovery({"recovery_score": score})))["recovery_score"] == score


def test_without_an_update_time_the_notice_orders() -> None:
    assert one("sleep", whoop_sleep(updated_at=None)).version == wanted("sleep").version


def test_a_page_holds_documents_with_their_own_ids() -> None:
    second = whoop_recovery(sleep_id="second", created_at="2025-02-28T06:00:00Z")
    pending = whoop_recovery(score_state="PENDING_SCORE")
    page = {"records": [whoop_recovery(), second, pending, 7], "next_token": "x"}
    found = decode_document(wanted("recovery", "ignored"), body(page))
    assert [e.document_id for e in found.events] == [f"recovery/{SLEEP_ID}", "recovery/second"]
    assert found.skipped == {PENDING: 1, "recovery:shape": 1}
    cycles = decode_document(wanted("cycle", "ignored"), body({"records": [whoop_cycle()]}))
    assert [e.document_id for e in cycles.events] == ["cycle/93845"]
    assert decode_document(wanted("cycle"), body({"records": []})) == Decoded()


def test_an_unknown_document_is_counted() -> None:
    found = decode_document(wanted("body measurement"), body({}))
    assert found.events == []
    assert found.unknown == {"body_measurement": 1}


@pytest.mark.parametrize("data_type", DOCUMENTS)
def test_equal_content_is_the_same_event_whenever_it_is_fetched(data_type: str) -> None:
    document = DOCUMENTS[data_type]()
    first = one(data_type, document)
    later = replace(wanted(data_type), version=5, received_at=datetime(2025, 4, 1, tzinfo=UTC))
    spaced = json.dumps(dict(reversed(document.items())), indent=2).encode()
    (again,) = decode_document(later, spaced).events
    (other,) = decode_document(replace(wanted(data_type), user_id="bert"), body(document)).events
    assert first.event_id == again.event_id != other.event_id


@pytest.mark.parametrize("word", [word for word, (_, deleted) in NOTICES.items() if deleted])
def test_a_deletion_names_what_the_document_was_called(word: str) -> None:
    for notice in decode(delivery("whoop", whoop_notice(type=word))).notices:
        document = wanted(notice.data_type, notice.document_id, notice.version)
        gone = deletion(document)
        stored = one(notice.data_type, DOCUMENTS[notice.data_type]())
        assert (gone.kind, gone.document_id, gone.provider) == ("deletion", stored.document_id, "whoop")
        assert gone.version == RECEIVED_MS > stored.version
        assert events.faults(gone) == []
        assert gone.event_id == deletion(document).event_id != deletion(replace(document, version=9)).event_id


# What holds for all

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
NEARLY = JSON_VALUES | st.sampled_from(
    ["SCORED", "2025-03-01T06:25:44.774Z", "2200-12-31T23:59:59-23:59:59", "9999-12-31T00:00:00Z", "1e999", 0, 1e308]
)


@given(NEARLY | st.dictionaries(st.sampled_from(["type", "id", "user_id"]), NEARLY | st.sampled_from(list(NOTICES))))
def test_any_notice_is_decoded_or_refused(value: object) -> None:
    for read in (read_whose, decode):
        with contextlib.suppress(DecodeError):
            read(delivery("whoop", value))


@given(st.binary(max_size=100))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    for read in (read_whose, decode):
        with contextlib.suppress(DecodeError):
            read(delivery("whoop", raw))
    for data_type in DOCUMENTS:
        with contextlib.suppress(DecodeError):
            decode_document(wanted(data_type), raw)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, Any]:
    """A document with some of its fields replaced, at any depth."""
    data_type = draw(st.sampled_from(sorted(DOCUMENTS)))
    document = DOCUMENTS[data_type]()
    for _ in range(draw(st.integers(0, 4))):
        place: dict[str, Any] = document
        key = draw(st.sampled_from(sorted(place)))
        while isinstance(place[key], dict) and place[key] and draw(st.booleans()):
            place = place[key]
            key = draw(st.sampled_from(sorted(place)))
        place[key] = draw(NEARLY)
    return data_type, document


@given(damaged(), st.booleans())
def test_any_document_is_decoded_or_refused_but_never_breaks(found: tuple[str, Any], paged: bool) -> None:
    data_type, document = found
    try:
        decoded = decode_document(wanted(data_type), body({"records": [document]} if paged else document))
    except DecodeError:
        return
    for event in decoded.events:
        assert events.faults(event) == []
        value = events.encode(event)
        assert events.decode(value) == event
        assert len(value) < events.MAX_EVENT_BYTES


@given(JSON_VALUES, st.sampled_from([*DOCUMENTS, "other"]))
def test_any_json_is_decoded_or_refused(value: Any, data_type: str) -> None:
    with contextlib.suppress(DecodeError):
        assert decode_document(wanted(data_type), body(value)).events == []
