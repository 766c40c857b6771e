"""The envelope: what is on the topics, held to its schema and to itself."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # published without types
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren import events
from auren.events import METRICS, Delivery, Event, InvalidRecordError, Reading, Sleep

SCHEMA_FILE = Path(events.__file__).parent / "schema" / "biometric-event.json"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text()))
MORNING = datetime(2025, 3, 1, 7, 30, tzinfo=UTC)


def event(**changes: object) -> Event:
    """A readings event with one heart rate."""
    plain = Event(
        schema=1,
        kind="readings",
        event_id=uuid.UUID(int=1),
        user_id="anna",
        provider="healthkit",
        document_id="d",
        version=1,
        observed_at=MORNING,
        received_at=MORNING,
        readings=(Reading(metric="heart_rate", value=61.5, unit="/min", time=MORNING),),
    )
    return msgspec.structs.replace(plain, **changes)


def test_the_schema_in_the_repository_is_the_generated_one() -> None:
    printed = subprocess.run([sys.executable, "-m", "auren.events"], capture_output=True, text=True, check=True).stdout
    assert printed == SCHEMA_FILE.read_text(), (
        "run: python -m auren.events > services/auren/schema/biometric-event.json"
    )


@given(st.sampled_from(sorted(METRICS)), st.floats(allow_nan=False, allow_infinity=False), st.datetimes())
def test_what_is_encoded_fits_the_schema_and_comes_back(metric: str, value: float, time: datetime) -> None:
    reading = Reading(metric=metric, value=value, unit=METRICS[metric].unit, time=time.replace(tzinfo=UTC))
    sent = event(readings=(reading,))
    encoded = events.encode(sent)
    VALIDATOR.validate(json.loads(encoded))
    assert events.decode(encoded) == sent
    assert events.faults(sent) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("schema", 2), ("kind", "other"), ("user_id", "a/b"), ("user_id", ""), ("observed_at", "2025-03-01T07:30:00")],
)
def test_a_record_that_breaks_the_promise_is_refused(field: str, value: object) -> None:
    document = json.loads(events.encode(event()))
    document[field] = value
    with pytest.raises(InvalidRecordError, match=field):
        events.decode(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "anna-secret"}, "$.kind is not valid"),
        ({"user_id": "anna secret"}, "$.user_id is not valid"),
        ({"readings": [{"metric": "m", "value": "anna-secret"}]}, "$.readings[0].value is not valid"),
        ({"readings": [{"metric": "anna-secret"}]}, "$.readings[0].value is missing"),
    ],
)
def test_a_refusal_names_the_place_and_repeats_no_value(change: dict[str, object], reason: str) -> None:
    document = json.loads(events.encode(event())) | change
    with pytest.raises(InvalidRecordError) as refused:
        events.decode(json.dumps(document).encode())
    assert str(refused.value) == reason
    with pytest.raises(InvalidRecordError, match=r"^no JSON$"):
        events.decode(b'{"anna-secret')


def test_a_field_of_a_later_minor_change_is_ignored() -> None:
    document = json.loads(events.encode(event())) | {"mood": "fine"}
    assert events.decode(json.dumps(document).encode()) == event()


def test_event_ids_are_stable_and_tell_their_parts_apart() -> None:
    vector = uuid.uuid5(
        uuid.uuid5(uuid.NAMESPACE_DNS, "events.auren.aupex.ai"), '["oura", "anna", "sleep", "doc", 7, 0]'
    )
    assert events.event_id("oura", "anna", "sleep", "doc", 7) == vector
    ids = {
        events.event_id("a", "bc", "sleep", "d", 1),
        events.event_id("ab", "c", "sleep", "d", 1),
        events.event_id("a", "bc", "readings", "d", 1),
        events.event_id("a", "bc", "sleep", "d", 2),
        events.event_id("a", "bc", "sleep", "d", 1, part=1),
    }
    assert len(ids) == 5


def test_headers_of_an_event_name_no_person() -> None:
    headers = dict(events.event_headers(event(user_id="anna-secret")))
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_type"] == b"ai.aupex.auren.readings.v1"
    assert headers["ce_id"] == str(uuid.UUID(int=1)).encode()
    assert b"anna" not in b"".join(headers.values())


def test_faults_name_units_metrics_and_missing_parts() -> None:
    wrong = (
        Reading(metric="heart_rate", value=1, unit="Hz", time=MORNING),
        Reading(metric="mood", value=1, unit="1", time=MORNING),
    )
    assert events.faults(event(readings=wrong)) == [
        "$.readings[0].unit is not the metric's",
        "$.readings[1].metric is none of ours",
    ]
    assert events.faults(event(readings=())) == ["a readings event without readings"]
    assert events.faults(event(kind="sleep")) == ["a sleep event without sleep"]
    assert events.faults(event(kind="workout")) == ["a workout event without workout"]
    assert events.faults(event(user_id="a/b")) == ["a user id that is none"]
    assert events.faults(event(kind="sleep", sleep=Sleep(start=MORNING, end=MORNING))) == []


def test_source_is_provider_and_device() -> None:
    assert event().source == "healthkit"
    assert event(device="Watch").source == "healthkit/Watch"


def test_a_delivery_comes_back_from_its_record() -> None:
    sent = Delivery(
        id="1",
        provider="terra",
        received_at=MORNING,
        body=b"\x1f\x8b",
        user_id="anna",
        content_encoding="gzip",
        vendor=(("x-terra-trace-id", "t"),),
    )
    assert events.delivery(sent.body, sent.headers()) == sent


@pytest.mark.parametrize("missing", ["ce_id", "ce_time", "provider", "content-type"])
def test_a_delivery_without_a_header_is_refused_by_its_name(missing: str) -> None:
    headers = [h for h in Delivery(id="1", provider="p", received_at=MORNING, body=b"").headers() if h[0] != missing]
    with pytest.raises(InvalidRecordError, match=missing):
        events.delivery(b"", headers)


def test_dead_letters_keep_the_headers_and_say_why_once() -> None:
    first = events.dead_letter_headers(
        [("provider", b"oura")], stage="decode", error="broken", attempts=1, first_seen=MORNING
    )
    again = events.dead_letter_headers(first, stage="publish", error="large", attempts=2, first_seen=MORNING)
    assert again == [
        ("provider", b"oura"),
        ("stage", b"publish"),
        ("error", b"large"),
        ("attempts", b"2"),
        ("first_seen", MORNING.isoformat().encode()),
    ]
