"""Terra's messages: whom they are about, connections, pointers, what is not known and what cannot be read."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from auren.bridge.decoders import ConnectionChange, Decoded, DecodeError, Pointer, Whose
from auren.bridge.decoders.terra import decode, read_whose
from tests.unit.services.terra_documents import (
    CONNECTION,
    RECEIVED,
    body,
    daily,
    decoded,
    delivery,
    heart_rates,
    message,
    notice,
    user,
    values,
)

MIDNIGHT = datetime(2026, 4, 1, 22, 0, tzinfo=UTC)
OLD = "00000000-0000-4000-8000-000000000001"


# --- whom a message is about


def test_the_person_is_the_connection_and_the_reference() -> None:
    assert read_whose(delivery(message("daily"), user_id="")) == Whose(CONNECTION, "anna")


@pytest.mark.parametrize("reference", [None, "", " anna", "anna\n", "a/b", "x" * 129, 7, ["anna"], "../x"])
def test_a_reference_that_is_no_user_id_names_nobody_of_ours(reference: Any) -> None:
    sent = message("daily", user=user(reference_id=reference))
    assert read_whose(delivery(sent, user_id="")) == Whose(CONNECTION, "")


@pytest.mark.parametrize("terra_id", [None, "", "a/b", "x" * 300, 7, "\x00"])
def test_an_id_of_terra_that_is_none_is_left_to_the_reference(terra_id: Any) -> None:
    sent = message("sleep", user=user(user_id=terra_id))
    assert read_whose(delivery(sent, user_id="")) == Whose("", "anna")


@pytest.mark.parametrize("nobody", [None, {}, [], "anna", {"user_id": None}, {"user_id": "", "reference_id": "/"}])
def test_data_of_nobody_is_an_error(nobody: Any) -> None:
    for type_ in ("activity", "body", "daily", "sleep"):
        with pytest.raises(DecodeError, match="names no user"):
            read_whose(delivery(message(type_, user=nobody), user_id=""))
    assert read_whose(delivery(message("nutrition", user=nobody), user_id="")) is None


@pytest.mark.parametrize(
    "type_",
    [
        "healthcheck",
        "processing",
        "large_request_processing",
        "large_request_sending",
        "rate_limit_hit",
        "google_no_datasource",
    ],
)
def test_operational_messages_are_about_nobody_and_say_nothing(type_: str) -> None:
    for sent in (notice(type_), message(type_, reference="r", expected_payloads=3)):
        assert read_whose(delivery(sent, user_id="")) is None
        assert decode(delivery(sent, user_id="")) == Decoded()


@pytest.mark.parametrize("type_", ["auth_cancelled", "permission_change", "connection_error"])
def test_what_connects_and_disconnects_nobody_is_acknowledged_quietly(type_: str) -> None:
    for sent in (notice(type_, status="error", reason="no"), notice(type_, user=user(), status="warning")):
        assert read_whose(delivery(sent, user_id="")) is None
        assert decode(delivery(sent, user_id="")) == Decoded()


# --- connections


def test_a_person_connects() -> None:
    sent = notice("auth", status="success", user=user(), flow_id="f")
    assert read_whose(delivery(sent, user_id="")) == Whose(CONNECTION, "anna")
    assert decode(delivery(sent)).changes == [ConnectionChange(CONNECTION, "anna", True)]
    assert decode(delivery(sent, user_id="")).changes == [ConnectionChange(CONNECTION, "anna", True)]


def test_nobody_connects_without_a_person_of_ours() -> None:
    with pytest.raises(DecodeError, match="nobody is known"):
        decode(delivery(notice("auth", status="success", user=user(reference_id=None)), user_id=""))
    with pytest.raises(DecodeError, match="names no user"):
        decode(delivery(notice("auth", status="success")))


def test_an_attempt_that_failed_connects_nobody() -> None:
    sent = notice("auth", status="error", user=user(), message="denied")
    assert decode(delivery(sent)) == Decoded()


@pytest.mark.parametrize("type_", ["deauth", "access_revoked"])
def test_a_person_disconnects(type_: str) -> None:
    sent = notice(type_, status="warning", user=user(reference_id=None), message="gone")
    assert read_whose(delivery(sent, user_id="")) == Whose(CONNECTION, "")
    assert decode(delivery(sent)).changes == [ConnectionChange(CONNECTION, "anna", False)]
    assert decode(delivery(sent, user_id="")).changes == [ConnectionChange(CONNECTION, "", False)]


def test_a_person_who_connects_again_goes_by_another_id() -> None:
    sent = notice("user_reauth", status="warning", old_user=user(user_id=OLD), new_user=user())
    assert read_whose(delivery(sent, user_id="")) == Whose(OLD, "anna")
    assert decode(delivery(sent)).changes == [ConnectionChange(CONNECTION, "anna", True, OLD)]


def test_a_new_id_without_a_reference_is_found_by_the_old_one() -> None:
    without = {"old_user": user(user_id=OLD, reference_id=None), "new_user": user(reference_id=None)}
    assert read_whose(delivery(notice("user_reauth", **without), user_id="")) == Whose(OLD, "")
    forgotten = notice("user_reauth", old_user=None, new_user=user())
    assert read_whose(delivery(forgotten, user_id="")) == Whose(CONNECTION, "anna")
    assert decode(delivery(forgotten)).changes == [ConnectionChange(CONNECTION, "anna", True, "")]
    same = notice("user_reauth", old_user=user(), new_user=user())
    assert decode(delivery(same)).changes == [ConnectionChange(CONNECTION, "anna", True, "")]


# --- pointers


@pytest.mark.parametrize(
    ("expires_in", "expected"),
    [
        (600, RECEIVED + timedelta(minutes=10)),
        (0, RECEIVED),
        (1.5, RECEIVED + timedelta(seconds=1.5)),
        (604800, RECEIVED + timedelta(days=7)),
        (604801, None),
        (-1, None),
        (1e300, None),
        (True, None),
        ("600", None),
        (None, None),
    ],
)
def test_a_pointer_expires_after_its_receipt(expires_in: Any, expected: datetime | None) -> None:
    sent = notice("s3_payload", status="success", url="https://store.example/p?sig=1", expires_in=expires_in)
    assert decode(delivery(sent, user_id="")).pointers == [Pointer("https://store.example/p?sig=1", expected)]


def test_a_pointer_of_kafka_is_about_nobody_until_it_is_fetched() -> None:
    sent = notice(
        "s3_payload",
        url="https://store.example/p",
        expires_in=600,
        user_id=CONNECTION,
        reference_id="anna",
        user=user(),
    )
    assert read_whose(delivery(sent, user_id="")) is None
    assert decode(delivery(sent, user_id="")) == Decoded(
        pointers=[Pointer("https://store.example/p", RECEIVED + timedelta(minutes=10))]
    )


@pytest.mark.parametrize("url", [None, "", 7, ["https://store.example"]])
def test_a_pointer_to_nowhere_is_an_error(url: Any) -> None:
    with pytest.raises(DecodeError, match="no address"):
        decode(delivery(notice("s3_payload", url=url, expires_in=600)))


# --- what is not known


@pytest.mark.parametrize(
    ("sent", "counted"),
    [
        (message("menstruation", {"a": 1}, {"a": 2}), {"menstruation": 2}),
        (message("nutrition", {}), {"nutrition": 1}),
        (message("hormone", {"timestamp": "2026-05-07T08:00:00+02:00"}), {"hormone": 1}),
        (message("planned_workout", {}), {"planned_workout": 1}),
        (message("route", {}), {"route": 1}),
        (message("health_observation", {}), {"health_observation": 1}),
        (message("lab_report"), {"lab_report": 0}),
        (notice("lab_report.completed", data={"results": []}), {"lab_report_completed": 1}),
        (notice("athlete", user=user(), athlete={"age": 40}), {"athlete": 1}),
        (message("Telepathy & more", {}), {"type:telepathy___more": 1}),
        (notice("brand_new"), {"type:brand_new": 1}),
    ],
)
def test_what_has_no_metric_is_counted_and_no_error(sent: Any, counted: dict[str, int]) -> None:
    assert decode(delivery(sent, user_id="")) == Decoded(unknown=Counter(counted))
    read_whose(delivery(sent, user_id=""))


def test_sections_without_a_metric_are_counted_where_they_hold_something() -> None:
    found = decoded(
        "body",
        body(
            glucose_data={"day_avg_blood_glucose_mg_per_dL": 90},
            ketone_data={"ketone_samples": None},
            hydration_data={"samples": []},
            ecg=None,
            device_data={"name": "scale"},
            data_enrichment={"score": 1},
        ),
    )
    assert found == Decoded(unknown=Counter({"body:glucose_data": 1}))


# --- what cannot be read


@pytest.mark.parametrize("value", [True, "61", [61], {"bpm": 61}, 0, -5])
def test_what_is_no_number_is_counted_without_its_value(value: Any) -> None:
    found = decoded("daily", daily(heart_rate_data=heart_rates(("07:00:00", value), ("08:00:00", 61))))
    assert values(found) == {"heart_rate": 61}
    assert found.skipped.total() == 1
    assert set(found.skipped) <= {"daily:hr_samples", "daily:hr_samples:value"}


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity"])
def test_what_json_does_not_know_is_no_message(literal: bytes) -> None:
    sent = json.dumps(message("daily", daily(distance_data={"steps": 12345}))).encode().replace(b"12345", literal)
    with pytest.raises(DecodeError):
        decode(delivery(sent))


def test_a_number_beyond_all_numbers_is_counted() -> None:
    sent = json.dumps(message("daily", daily(distance_data={"steps": 12345, "distance_meters": 1})))
    found = decode(delivery(sent.replace("12345", "1e999").encode()))
    assert values(found) == {"distance": 1}
    assert found.skipped == {"daily:steps": 1}


@pytest.mark.parametrize(
    ("metric", "value", "kept"),
    [
        ("avg_saturation_percentage", 100, True),
        ("avg_saturation_percentage", 100.1, False),
        ("avg_saturation_percentage", 0, False),
    ],
)
def test_a_share_ends_at_a_hundred(metric: str, value: float, kept: bool) -> None:
    sent = daily(oxygen_data={metric: value}, distance_data={"steps": 1})
    assert ("spo2" in values(decoded("daily", sent))) is kept


def test_one_bad_section_spoils_no_other() -> None:
    found = decoded(
        "daily",
        daily(
            heart_rate_data=[1, 2],
            oxygen_data={"saturation_samples": "none", "vo2max_ml_per_min_per_kg": 44},
            distance_data={"steps": "many", "distance_meters": 5},
        ),
        7,
    )
    assert values(found) == {"vo2_max": 44, "distance": 5}
    assert found.skipped == {
        "daily:heart_rate_data": 1,
        "daily:saturation_samples": 1,
        "daily:steps": 1,
        "daily:shape": 1,
    }


def test_a_sample_without_a_value_is_none() -> None:
    found = decoded("daily", daily(heart_rate_data=heart_rates(("07:00:00", None))))
    assert found == Decoded()


def test_a_sample_without_a_time_is_counted() -> None:
    beats = {"detailed": {"hr_samples": [{"bpm": 60}, {"timestamp": None, "bpm": 61}, {"timestamp": "", "bpm": 62}]}}
    found = decoded("daily", daily(heart_rate_data=beats, distance_data={"steps": 1}))
    assert found.skipped == {"daily:hr_samples:date": 3}


def test_a_message_of_which_nothing_can_be_read_is_an_error_without_values() -> None:
    with pytest.raises(DecodeError) as caught:
        decoded("daily", daily(distance_data={"steps": "secret-7"}), "secret-8")
    assert str(caught.value) == "nothing can be read: daily:shape, daily:steps"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"type": 7}',
        b'{"type": null}',
        b'\xff\xfe{"type": "daily"}',
        b'{"type": "\xff"}',
        b'{"type": "daily", "data": {}}',
        b'{"type": "daily", "data": null}',
        b'{"type": "daily"}',
    ],
)
def test_what_is_no_message_is_an_error(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(delivery(raw))


def test_data_for_nobody_is_not_decoded() -> None:
    with pytest.raises(DecodeError, match="names no user"):
        decoded("daily", daily(distance_data={"steps": 1}), user_id="")


@pytest.mark.parametrize(
    "template",
    [
        b'{"type": "daily", "user": %b}',
        b'{"type": "daily", "data": %b}',
        b'{"type": "daily", "data": [{"heart_rate_data": %b}]}',
        b'{"type": "nutrition", "data": [%b]}',
        b'{"type": "auth", "user": {"user_id": %b}}',
        b'{"surprise": %b, "type": "daily"}',
        b"%b",
    ],
)
def test_deep_nesting_ends_with_an_error(template: bytes) -> None:
    for deep in (b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000):
        for read in (decode, read_whose):
            with pytest.raises(DecodeError):
                read(delivery(template.replace(b"%b", deep)))


def test_bodies_may_be_compressed() -> None:
    sent = gzip.compress(json.dumps(message("daily", daily(distance_data={"steps": 7}))).encode())
    assert values(decode(delivery(sent, encoding="gzip"))) == {"steps": 7}
    assert read_whose(delivery(sent, encoding="gzip")) == Whose(CONNECTION, "anna")


def test_nesting_near_the_limit_is_read_or_refused() -> None:
    """What the envelope's reader still takes may be too deep for the reader of its parts, which starts further in."""
    for depth in range(800, 1000):
        nested = b'{"a":' * depth + b"1" + b"}" * depth
        weight = {"measurement_time": "2026-04-02T07:10:00+02:00", "weight_kg": 70.5, "aside": 12345}
        sent = json.dumps(message("body", body(measurements_data={"measurements": [weight]})))
        with contextlib.suppress(DecodeError):
            assert values(decode(delivery(sent.encode().replace(b"12345", nested)))) == {"body_mass": 70.5}
