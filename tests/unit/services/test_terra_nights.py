"""Terra's nights as events: vectors by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from auren.bridge.decoders import Decoded, DecodeError
from auren.bridge.decoders.terra.stages import MAX_STAGES
from tests.unit.services.terra_documents import (
    CONNECTION,
    activity,
    asleep,
    decoded,
    holds,
    hypnogram,
    night,
    of_kind,
    readings,
    samples,
    values,
)


def test_a_night() -> None:
    found = decoded(
        "sleep",
        night(
            sleep_durations_data=asleep(
                (25200, 14400, 5400, 5400, 1200, 28800),
                hypnogram_samples=[
                    {"timestamp": "2026-04-01T22:30:00.000000+02:00", "level": 1},
                    {"timestamp": "2026-04-01T22:50:00.000000+02:00", "level": 4},
                    *hypnogram(
                        ("00:30:00", 5),
                        ("00:30:30", 5),
                        ("02:00:00", 0),
                        ("02:10:00", 2),
                        ("04:30:00", 6),
                        ("06:00:00", 3),
                    ),
                ],
            ),
            heart_rate_data={
                "summary": {"avg_hr_bpm": 52, "min_hr_bpm": 45, "avg_hrv_rmssd": 48.5, "avg_hrv_sdnn": None},
                "detailed": {
                    "hrv_samples_rmssd": samples("hrv_rmssd", ("03:00:00", 40)),
                    "hrv_samples_sdnn": samples("hrv_sdnn", ("03:00:00", 62)),
                },
            },
            respiration_data={
                "breaths_data": {"avg_breaths_per_min": 14.2, "samples": None, "max_breaths_per_min": 18},
                "oxygen_saturation_data": {"avg_saturation_percentage": 96, "samples": []},
                "snoring_data": {"total_snoring_duration_seconds": 60},
            },
            temperature_data={"delta": -0.3},
            readiness_data={"readiness": 85},
        ),
    )
    event = of_kind(found, "sleep")
    sleep = event.sleep
    assert sleep is not None
    start = datetime(2026, 4, 1, 20, 30, tzinfo=UTC)
    assert (sleep.start, sleep.end) == (start, start + timedelta(hours=8))
    assert (sleep.total_minutes, sleep.light_minutes, sleep.deep_minutes) == (420, 240, 90)
    assert (sleep.rem_minutes, sleep.awake_minutes, sleep.in_bed_minutes) == (90, 20, 480)
    minutes = [
        (stage.stage, (stage.start - start) / timedelta(minutes=1), (stage.end - start) / timedelta(minutes=1))
        for stage in sleep.stages
    ]
    assert minutes == [
        ("awake", 0, 20),
        ("light", 20, 120),
        ("deep", 120, 210),
        ("asleep", 220, 360),
        ("rem", 360, 450),
        ("awake", 450, 480),
    ]
    assert values(found) == {
        "sleep_total": 420,
        "sleep_light": 240,
        "sleep_deep": 90,
        "sleep_rem": 90,
        "sleep_awake": 20,
        "sleep_in_bed": 480,
        "heart_rate": 52,
        "heart_rate_min": 45,
        "hrv_rmssd": 48.5,
        "hrv_sdnn": 62,
        "respiratory_rate": 14.2,
        "spo2": 96,
        "temperature_deviation": -0.3,
    }
    assert {one.document_id for one in found.events} == {f"sleep/{CONNECTION}/night-1"}
    assert found.unknown == {"sleep:readiness_data": 1}
    assert {reading.flags for reading in readings(found)} == {()}
    holds(found)


def test_a_nap_is_marked() -> None:
    found = decoded(
        "sleep", night(metadata={"is_nap": True}, sleep_durations_data=asleep((1200, None, None, None, None, 0)))
    )
    assert {(r.metric, r.value, r.flags) for r in readings(found)} == {("sleep_total", 20, ("nap",))}
    sleep = of_kind(found, "sleep").sleep
    assert sleep is not None
    assert sleep.in_bed_minutes is None


def test_a_total_that_is_not_said_is_that_of_the_stages() -> None:
    found = decoded("sleep", night(sleep_durations_data=asleep((None, 6000, None, 3000, None, None))))
    sleep = of_kind(found, "sleep").sleep
    assert sleep is not None
    assert (sleep.total_minutes, sleep.deep_minutes) == (150, None)


def test_stages_come_in_any_order_and_end_with_the_night() -> None:
    levels = hypnogram(("05:00:00", 6), ("01:00:00", 4), ("06:30:00", 1), ("07:00:00", 1))
    sleep = of_kind(decoded("sleep", night(sleep_durations_data={"hypnogram_samples": levels})), "sleep").sleep
    assert sleep is not None
    assert [(stage.stage, stage.end.isoformat()) for stage in sleep.stages] == [
        ("light", "2026-04-02T05:00:00+02:00"),
        ("rem", "2026-04-02T06:30:00+02:00"),
    ]


def test_wrong_stages_are_counted_and_leave_the_others() -> None:
    levels = [
        *hypnogram(("01:00:00", 4), ("02:00:00", 9), ("03:00:00", "4"), ("04:00:00", True), ("05:00:00", None)),
        {"timestamp": "yesterday", "level": 4},
        None,
    ]
    found = decoded("sleep", night(sleep_durations_data={"hypnogram_samples": levels}))
    sleep = of_kind(found, "sleep").sleep
    assert sleep is not None
    assert [stage.stage for stage in sleep.stages] == ["light"]
    assert found.skipped == {
        "sleep:hypnogram_samples": 3,
        "sleep:hypnogram_samples:level": 2,
        "sleep:hypnogram_samples:date": 1,
    }


def test_more_stages_than_a_night_has_are_left_out() -> None:
    start = datetime(2026, 4, 1, 20, 30, tzinfo=UTC)

    def sleep_of(count: int) -> Decoded:
        levels = [{"timestamp": (start + timedelta(seconds=n)).isoformat(), "level": 4 + n % 2} for n in range(count)]
        return decoded("sleep", night(sleep_durations_data={"hypnogram_samples": levels}))

    full, over = sleep_of(MAX_STAGES), sleep_of(MAX_STAGES + 1)
    for found, expected in ((full, MAX_STAGES), (over, 0)):
        sleep = of_kind(found, "sleep").sleep
        assert sleep is not None
        assert len(sleep.stages) == expected
        holds(found)
    assert over.skipped == {"sleep:hypnogram_samples:size": 1}


def test_documents_without_an_id_go_by_their_start() -> None:
    found = decoded("sleep", night(metadata={"summary_id": None}))
    assert found.events[0].document_id == f"sleep/{CONNECTION}/2026-04-01T20:30:00+00:00"
    strange = decoded("sleep", night(metadata={"summary_id": "a/b \x00" * 100}))
    again = decoded("sleep", night(metadata={"summary_id": "a/b \x00" * 100}))
    other = decoded("sleep", night(metadata={"summary_id": "a/b \x00"}))
    assert strange.events[0].document_id == again.events[0].document_id != other.events[0].document_id
    assert len(strange.events[0].document_id) == len(f"sleep/{CONNECTION}/") + 32


@pytest.mark.parametrize(
    "metadata",
    [
        {"end_time": "2026-04-01T22:30:00.000000+02:00"},
        {"end_time": "2026-04-01T20:00:00.000000+02:00"},
        {"end_time": None},
        {"end_time": "soon"},
        {"start_time": None},
        {"start_time": 1775196000},
        {"start_time": "0001-01-01T00:00:00+14:00"},
        {"start_time": "2201-01-01T00:00:00+00:00"},
        {"start_time": "2026-04-01T22:30:00+02:00:30"},
    ],
)
def test_nights_and_activities_need_a_start_and_an_end(metadata: dict[str, Any]) -> None:
    for type_, document in (("sleep", night(metadata=metadata)), ("activity", activity(metadata=metadata))):
        if type_ == "activity" and "end_time" in metadata and metadata["end_time"] is not None:
            document["metadata"]["start_time"] = "2026-04-01T22:30:00.000000+02:00"
        with pytest.raises(DecodeError, match="nothing can be read"):
            decoded(type_, document)
