"""Terra's documents as events: vectors by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from auren import events
from auren.bridge.decoders.terra import PROVIDER, decode
from auren.bridge.decoders.terra.activities import ACTIVITIES
from tests.unit.services.terra_documents import (
    CONNECTION,
    RECEIVED_MILLISECONDS,
    activity,
    body,
    daily,
    decoded,
    delivery,
    heart_rates,
    holds,
    message,
    night,
    of_kind,
    readings,
    samples,
    user,
    values,
)

MIDNIGHT = datetime(2026, 4, 1, 22, 0, tzinfo=UTC)
OLD = "00000000-0000-4000-8000-000000000001"


# --- a day


def test_a_day() -> None:
    found = decoded(
        "daily",
        daily(
            heart_rate_data=heart_rates(
                ("07:30:00", 61),
                ("21:00:00", 75.5),
                avg_hr_bpm=68,
                min_hr_bpm=48,
                max_hr_bpm=140,
                resting_hr_bpm=52,
                avg_hrv_rmssd=41.5,
                avg_hrv_sdnn=55,
                user_max_hr_bpm=185,
            ),
            distance_data={"steps": 8123, "distance_meters": 6400.5, "floors_climbed": 3},
            calories_data={"net_activity_calories": 512, "BMR_calories": 1600, "total_burned_calories": 2112},
            oxygen_data={"avg_saturation_percentage": 97, "vo2max_ml_per_min_per_kg": 44.1},
            scores={"recovery": 78, "activity": 92, "sleep": None},
            strain_data={"strain_level": 14.5},
        ),
    )
    assert values(found) == {
        "heart_rate": [61, 75.5],
        "heart_rate_min": 48,
        "heart_rate_max": 140,
        "resting_heart_rate": 52,
        "hrv_rmssd": 41.5,
        "hrv_sdnn": 55,
        "steps": 8123,
        "distance": 6400.5,
        "active_energy": 512,
        "basal_energy": 1600,
        "spo2": 97,
        "vo2_max": 44.1,
        "recovery_score": 78,
        "strain": 14.5,
    }
    assert {(event.kind, event.user_id, event.provider) for event in found.events} == {("readings", "anna", PROVIDER)}
    assert {(event.source, event.version) for event in found.events} == {("terra/garmin", RECEIVED_MILLISECONDS)}
    assert {event.document_id for event in found.events} == {f"daily/{CONNECTION}/2026-04-02"}
    steps = next(reading for reading in readings(found) if reading.metric == "steps")
    assert (steps.time, steps.end_time, steps.flags) == (MIDNIGHT, MIDNIGHT + timedelta(days=1), ())
    assert not found.skipped
    assert not found.unknown
    holds(found)


def test_the_date_is_the_local_one_before_any_conversion() -> None:
    for start, date in (
        ("2026-04-02T00:00:00.000000+14:00", "2026-04-02"),
        ("2026-04-02T23:59:59.999999-11:00", "2026-04-02"),
        ("2026-04-02T00:00:00Z", "2026-04-02"),
        ("2026-04-02", "2026-04-02"),
    ):
        found = decoded("daily", daily(metadata={"start_time": start}, distance_data={"steps": 1}))
        assert [event.document_id for event in found.events] == [f"daily/{CONNECTION}/{date}"]


def test_two_connections_have_two_days() -> None:
    one, other = (
        decode(delivery(message("daily", daily(distance_data={"steps": 1}), user=user(user_id=id_))))
        for id_ in (CONNECTION, OLD)
    )
    assert one.events[0].document_id != other.events[0].document_id
    assert one.events[0].event_id != other.events[0].event_id


@pytest.mark.parametrize(
    ("brand", "source"),
    [("GARMIN", "terra/garmin"), ("Google Fit", "terra/google_fit"), (None, "terra"), (7, "terra"), ("", "terra")],
)
def test_the_device_is_the_brand(brand: Any, source: str) -> None:
    sent = message("daily", daily(distance_data={"steps": 1}), user=user(provider=brand))
    assert [event.source for event in decode(delivery(sent)).events] == [source]


def test_a_day_that_is_not_over_is_observed_when_it_comes() -> None:
    noon = datetime(2026, 4, 2, 10, 0, tzinfo=UTC)
    found = decoded("daily", daily(distance_data={"steps": 1}), received=noon)
    assert found.events[0].observed_at == noon
    assert found.events[0].readings[0].end_time == MIDNIGHT + timedelta(days=1)


def test_an_average_is_read_where_there_are_no_samples() -> None:
    found = decoded("daily", daily(heart_rate_data={"summary": {"avg_hr_bpm": 68}, "detailed": None}))
    assert values(found) == {"heart_rate": 68}
    assert readings(found)[0].end_time == MIDNIGHT + timedelta(days=1)


def test_variability_by_day_is_its_samples_and_its_kinds_are_apart() -> None:
    detailed = {
        "hrv_samples_rmssd": samples("hrv_rmssd", ("03:00:00", 40), ("03:05:00", 44)),
        "hrv_samples_sdnn": samples("hrv_sdnn", ("03:00:00", 60)),
    }
    summary = {"avg_hrv_rmssd": 42, "avg_hrv_sdnn": None}
    found = decoded("daily", daily(heart_rate_data={"summary": summary, "detailed": detailed}))
    assert values(found) == {"hrv_rmssd": [40, 44], "hrv_sdnn": 60}


# --- steps and distance are counted once


def test_samples_that_count_up_give_one_sum() -> None:
    detailed = {
        "step_samples": samples("steps", ("08:00:00", 100), ("09:00:00", 350), ("10:00:00", 350)),
        "distance_samples": samples("distance_meters", ("09:00:00", 900.5), ("08:00:00", 80)),
    }
    with_sum = {"steps": 360, "distance_meters": 910, "detailed": detailed}
    assert values(decoded("daily", daily(distance_data={"detailed": detailed}))) == {"steps": 350, "distance": 900.5}
    assert values(decoded("daily", daily(distance_data=with_sum))) == {"steps": 360, "distance": 910}


def test_a_later_sum_takes_the_place_of_the_earlier() -> None:
    detailed = {"step_samples": samples("steps", ("08:00:00", 100))}
    places = set()
    for distance in ({"steps": 100}, {"detailed": detailed}, {"steps": 900, "detailed": detailed}):
        (reading,) = readings(decoded("daily", daily(distance_data=distance)))
        places.add((reading.metric, reading.time))
    assert places == {("steps", MIDNIGHT)}


def test_no_steps_are_a_sum_only_where_they_are_said() -> None:
    assert values(decoded("daily", daily(distance_data={"steps": 0}))) == {"steps": 0}
    assert values(decoded("daily", daily(distance_data={"detailed": {"step_samples": samples("steps")}}))) == {}


def test_the_sums_of_an_activity_are_not_counted_beside_the_day_s() -> None:
    found = decoded(
        "activity",
        activity(
            distance_data={
                "summary": {"steps": 6000, "distance_meters": 8000},
                "detailed": {"step_samples": samples("steps", ("18:10:00", 1200))},
            },
            calories_data={"net_activity_calories": 480},
        ),
    )
    assert readings(found) == []


# --- an activity


def test_an_activity_is_a_workout_and_its_samples() -> None:
    found = decoded(
        "activity",
        activity(
            heart_rate_data=heart_rates(("18:00:00", 110), ("18:30:00", 160), avg_hr_bpm=142, max_hr_bpm=171),
            distance_data={"summary": {"distance_meters": 8012.5, "steps": 7300}},
            calories_data={"net_activity_calories": 480, "total_burned_calories": 530},
            energy_data={"energy_kilojoules": 9999},
            oxygen_data={"vo2max_ml_per_min_per_kg": 48, "saturation_samples": []},
            strain_data={"strain_level": 11.2},
            position_data={"position_samples": [{"coords_lat_lng_deg": [1, 2]}]},
        ),
    )
    event = of_kind(found, "workout")
    start = datetime(2026, 4, 2, 16, 0, tzinfo=UTC)
    assert event.workout == events.Workout(
        activity="running",
        start=start,
        end=start + timedelta(minutes=45),
        energy_kcal=480,
        distance_m=8012.5,
        average_heart_rate=142,
        max_heart_rate=171,
        strain=11.2,
    )
    assert event.workout is not None
    assert event.workout.start.utcoffset() == timedelta(hours=2)
    assert event.observed_at == start + timedelta(minutes=45)
    assert values(found) == {"vo2_max": 48, "heart_rate": [110, 160]}
    assert {one.document_id for one in found.events} == {f"activity/{CONNECTION}/run-1"}
    assert found.unknown == {"activity:position_data": 1}
    holds(found)


@pytest.mark.parametrize(
    ("sections", "kcal"),
    [
        ({"calories_data": {"total_burned_calories": 530}}, 530),
        ({"calories_data": {"net_activity_calories": 0, "total_burned_calories": 530}}, 530),
        ({"energy_data": {"energy_kilojoules": 418.4}}, 100),
        ({"calories_data": {"total_burned_calories": None}, "energy_data": {"energy_kilojoules": None}}, None),
        ({}, None),
    ],
)
def test_the_energy_of_a_workout_is_kilocalories(sections: dict[str, Any], kcal: float | None) -> None:
    workout = of_kind(decoded("activity", activity(**sections)), "workout").workout
    assert workout is not None
    assert workout.energy_kcal == kcal


@pytest.mark.parametrize(
    ("number", "name", "unknown"),
    [
        (0, "in_vehicle", 0),
        (8.0, "running", 0),
        (154, "physical_therapy", 0),
        (72, "other", 1),
        (-1, "other", 1),
        (8.5, "other", 1),
        (None, "unknown", 0),
    ],
)
def test_the_kind_of_an_activity(number: Any, name: str, unknown: int) -> None:
    found = decoded("activity", activity(metadata={"type": number}))
    workout = of_kind(found, "workout").workout
    assert workout is not None
    assert workout.activity == name
    assert found.unknown["activity:type"] == unknown


def test_names_of_activities_are_words() -> None:
    assert len(set(ACTIVITIES.values())) == len(ACTIVITIES) == 146
    assert all(name.replace("_", "").isalnum() and name == name.lower() for name in ACTIVITIES.values())


def test_variability_under_strain_is_not_read() -> None:
    detailed = {"hrv_samples_rmssd": samples("hrv_rmssd", ("18:10:00", 8))}
    beats = {"summary": {"avg_hrv_rmssd": 9, "resting_hr_bpm": 50}, "detailed": detailed}
    assert readings(decoded("activity", activity(heart_rate_data=beats))) == []


def test_an_activity_marked_for_deletion_is_deleted() -> None:
    found = decoded("activity", activity(metadata={"upload_type": 4}), ordering="1775170800000")
    (event,) = found.events
    assert (event.kind, event.document_id) == ("deletion", f"activity/{CONNECTION}/run-1")
    assert event.version == 1775170800000
    again = decoded("activity", activity(metadata={"upload_type": 4}), ordering="1775170800001")
    assert again.events[0].event_id != event.event_id
    holds(found)


@pytest.mark.parametrize("upload_type", [0, 1, 2, 3, 5, 6, None, True, "4"])
def test_other_activities_are_not(upload_type: Any) -> None:
    found = decoded("activity", activity(metadata={"upload_type": upload_type}))
    assert [event.kind for event in found.events] == ["workout"]


def test_a_night_of_the_same_number_is_not() -> None:
    assert of_kind(decoded("sleep", night(metadata={"upload_type": 4})), "sleep").sleep is not None


# --- the body


def test_body_measurements() -> None:
    found = decoded(
        "body",
        body(
            heart_data={"heart_rate_data": heart_rates(("07:00:00", 55)), "rr_interval_samples": []},
            blood_pressure_data={
                "blood_pressure_samples": [
                    {"timestamp": "2026-04-02T08:00:00.000000+02:00", "systolic_bp": 121, "diastolic_bp": 79.5}
                ],
                "day_avg_systolic_bp": 130,
            },
            oxygen_data={
                "saturation_samples": [
                    {**samples("percentage", ("02:00:00", 96))[0], "type": 0},
                    {**samples("percentage", ("03:00:00", 60))[0], "type": 1},
                    *samples("percentage", ("04:00:00", 95)),
                ],
                "vo2_samples": samples("vo2max_ml_per_min_per_kg", ("12:00:00", 45)),
            },
            temperature_data={
                "body_temperature_samples": samples("temperature_celsius", ("07:00:00", 36.6)),
                "skin_temperature_samples": samples("temperature_celsius", ("07:00:00", 33.1)),
                "ambient_temperature_samples": samples("temperature_celsius", ("07:00:00", 21)),
            },
            measurements_data={
                "measurements": [
                    {"measurement_time": "2026-04-02T07:10:00.000000+02:00", "weight_kg": 70.5, "height_cm": 175},
                    {"measurement_time": "2026-04-02T07:11:00.000000+02:00", "weight_kg": None, "BMI": 22},
                ]
            },
        ),
    )
    assert values(found) == {
        "heart_rate": 55,
        "blood_pressure_systolic": 121,
        "blood_pressure_diastolic": 79.5,
        "spo2": [96, 95],
        "vo2_max": 45,
        "body_temperature": 36.6,
        "skin_temperature": 33.1,
        "body_mass": 70.5,
    }
    assert {event.document_id for event in found.events} == {f"body/{CONNECTION}/2026-04-02"}
    assert not found.skipped
    holds(found)


def test_averages_of_the_body_where_there_are_no_samples() -> None:
    found = decoded(
        "body",
        body(
            blood_pressure_data={"day_avg_systolic_bp": 120, "day_avg_diastolic_bp": 80},
            oxygen_data={"avg_saturation_percentage": 98, "day_avg_vo2max_ml_per_min_per_kg": 44},
            temperature_data={
                "day_avg_body_temperature_celsius": 36.7,
                "day_avg_skin_temperature_celsius": 33.2,
                "day_avg_ambient_temperature_celsius": 21.5,
            },
            measurements_data={"day_avg_weight_kg": 70.5, "day_avg_bmi": 22.5},
        ),
    )
    assert values(found) == {
        "blood_pressure_systolic": 120,
        "blood_pressure_diastolic": 80,
        "spo2": 98,
        "vo2_max": 44,
        "body_temperature": 36.7,
        "skin_temperature": 33.2,
        "body_mass": 70.5,
    }


def test_muscles_are_not_the_blood() -> None:
    muscle = [{**samples("percentage", ("02:00:00", 60))[0], "type": 1}]
    oxygen = {"saturation_samples": muscle, "avg_saturation_percentage": 60}
    assert readings(decoded("daily", daily(oxygen_data=oxygen))) == []
    assert readings(decoded("activity", activity(oxygen_data={"avg_saturation_percentage": 60}))) == []
