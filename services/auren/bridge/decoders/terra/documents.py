"""Terra's documents as events: an activity, a day, a day's body measurements, a night.

Documents are told apart as the vendor's rules say: by `summary_id`, or by the first ten characters of the start, the
local date, whatever the offset says; and by the connection, for ids are unique within one.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

import msgspec

from auren.bridge.decoders.fetched import MAX_READINGS, durations
from auren.bridge.decoders.terra.activities import ACTIVITIES
from auren.bridge.decoders.terra.fields import Clock, Part
from auren.bridge.decoders.terra.message import PROVIDER
from auren.bridge.decoders.terra.readings import (
    DISTANCE,
    HEART_RATE,
    STEPS,
    Span,
    blood_pressure,
    breaths,
    heart,
    saturation,
    temperatures,
    total,
    vo2_max,
    weights,
)
from auren.bridge.decoders.terra.stages import stages
from auren.bridge.decoders.units import rounded
from auren.bridge.decoders.values import UnreadableError, identifier, named
from auren.events import SCHEMA, Event, Kind, Reading, Sleep, Workout, event_id

DELETED: Final = 4
"""`upload_type` of an activity that is marked for deletion. In a night the same number says nothing of the kind."""

KCAL_PER_KILOJOULE: Final = 1 / 4.184
MINUTES_PER_SECOND: Final = 1 / 60

ABOUT: Final = frozenset({"metadata", "device_data", "data_enrichment"})
SECTIONS: Final[Mapping[str, frozenset[str]]] = {
    "activity": frozenset(
        {"calories_data", "distance_data", "energy_data", "heart_rate_data", "oxygen_data", "strain_data"}
    ),
    "body": frozenset({"blood_pressure_data", "heart_data", "measurements_data", "oxygen_data", "temperature_data"}),
    "daily": frozenset({"calories_data", "distance_data", "heart_rate_data", "oxygen_data", "scores", "strain_data"}),
    "sleep": frozenset({"heart_rate_data", "respiration_data", "sleep_durations_data", "temperature_data"}),
}
"""By type of document, the sections that are read. Others that hold something are counted as unknown."""

_DATE: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Source:
    """Where documents come from: the person, the connection (Terra's user), the wearable's brand, the delivery."""

    user_id: str
    connection: str
    device: str
    version: int
    received_at: datetime
    unknown: Counter[str]


def activity(source: Source, part: Part) -> Iterator[Event]:
    """A workout, and its samples as readings; or the deletion of both.

    Its sums stand in the `Workout` alone, for the day's contain them. Variability is not read: under strain it is not
    what baselines and modes mean by it. Raises UnreadableError.
    """
    metadata = part.part("metadata")
    document = f"activity/{source.connection}/{_summary(metadata)}"
    if metadata.number("upload_type") == DELETED:
        yield _event(source, "deletion", document)
        return
    _count_unread(source, part, "activity")
    span = _span(metadata)
    if span.end is None:
        raise UnreadableError("end_time")
    beats, oxygen = part.part("heart_rate_data"), part.part("oxygen_data")
    yield _event(source, "workout", document, workout=_workout(source, part, span.start, span.end))
    readings = [
        *span.series(beats.part("detailed"), HEART_RATE),
        *saturation(span, oxygen, "saturation_samples", None),
        *vo2_max(span, oxygen),
    ]
    yield from _readings_events(source, document, readings)


def _workout(source: Source, part: Part, start: datetime, end: datetime) -> Workout:
    beats = part.part("heart_rate_data").part("summary")
    return Workout(
        activity=_activity(source, part.part("metadata")),
        start=start,
        end=end,
        energy_kcal=_energy(part),
        distance_m=part.part("distance_data").part("summary").amount("distance_meters", "distance"),
        average_heart_rate=beats.amount("avg_hr_bpm", "heart_rate"),
        max_heart_rate=beats.amount("max_hr_bpm", "heart_rate_max"),
        strain=part.part("strain_data").amount("strain_level", "strain"),
    )


def _activity(source: Source, metadata: Part) -> str:
    kind = metadata.number("type")
    if kind is None:
        return "unknown"
    found = ACTIVITIES.get(kind)
    if found is None:
        source.unknown["activity:type"] += 1
    return found or "other"


def _energy(part: Part) -> float | None:
    """What the activity burned; where the vendor does not tell that apart, with what the body burned at rest."""
    calories = part.part("calories_data")
    for name in ("net_activity_calories", "total_burned_calories"):
        found = calories.amount(name, "active_energy")
        if found:
            return found
    return part.part("energy_data").amount("energy_kilojoules", "active_energy", KCAL_PER_KILOJOULE)


def daily(source: Source, part: Part) -> Iterator[Event]:
    """A day's readings. Raises UnreadableError."""
    _count_unread(source, part, "daily")
    metadata = part.part("metadata")
    span = _span(metadata)
    distance, calories, oxygen = (part.part(f"{name}_data") for name in ("distance", "calories", "oxygen"))
    detailed = distance.part("detailed")
    readings = [
        *heart(span, part.part("heart_rate_data")),
        *total(span, distance, "steps", detailed, STEPS),
        *total(span, distance, "distance_meters", detailed, DISTANCE),
        *span.reading(calories, "net_activity_calories", "active_energy"),
        *span.reading(calories, "BMR_calories", "basal_energy"),
        *saturation(span, oxygen, "saturation_samples", "avg_saturation_percentage"),
        *vo2_max(span, oxygen),
        *span.reading(part.part("scores"), "recovery", "recovery_score"),
        *span.reading(part.part("strain_data"), "strain_level", "strain"),
    ]
    yield from _readings_events(source, f"daily/{source.connection}/{_date(metadata)}", readings)


def body(source: Source, part: Part) -> Iterator[Event]:
    """A day's body measurements. Raises UnreadableError."""
    _count_unread(source, part, "body")
    metadata = part.part("metadata")
    span = _span(metadata)
    oxygen = part.part("oxygen_data")
    readings = [
        *heart(span, part.part("heart_data").part("heart_rate_data")),
        *blood_pressure(span, part.part("blood_pressure_data")),
        *saturation(span, oxygen, "saturation_samples", "avg_saturation_percentage"),
        *vo2_max(span, oxygen),
        *temperatures(span, part.part("temperature_data")),
        *weights(span, part.part("measurements_data")),
    ]
    yield from _readings_events(source, f"body/{source.connection}/{_date(metadata)}", readings)


def sleep(source: Source, part: Part) -> Iterator[Event]:
    """A night or a nap with its durations, and what was measured in it as readings. Raises UnreadableError."""
    _count_unread(source, part, "sleep")
    metadata = part.part("metadata")
    span = _span(metadata)
    if span.end is None:
        raise UnreadableError("end_time")
    document = f"sleep/{source.connection}/{_summary(metadata)}"
    night = _sleep(part.part("sleep_durations_data"), span, span.end)
    nap = ("nap",) if metadata.flag("is_nap") else ()
    yield _event(source, "sleep", document, durations(night, span.flags + nap), sleep=night)
    breathing = part.part("respiration_data")
    readings = [
        *heart(span, part.part("heart_rate_data"), night=True),
        *breaths(span, breathing.part("breaths_data")),
        *saturation(span, breathing.part("oxygen_saturation_data"), "samples", "avg_saturation_percentage"),
        *span.reading(part.part("temperature_data"), "delta", "temperature_deviation"),
    ]
    yield from _readings_events(source, document, readings)


def _sleep(part: Part, span: Span, end: datetime) -> Sleep:
    asleep = part.part("asleep")
    light, deep, rem = (_minutes(asleep, f"duration_{stage}_sleep_state") for stage in ("light", "deep", "REM"))
    total_minutes = _minutes(asleep, "duration_asleep_state")
    known = [minutes for minutes in (light, deep, rem) if minutes is not None]
    if total_minutes is None and known:
        total_minutes = rounded(sum(known))
    return Sleep(
        start=span.start,
        end=end,
        total_minutes=total_minutes,
        light_minutes=light,
        deep_minutes=deep,
        rem_minutes=rem,
        awake_minutes=_minutes(part.part("awake"), "duration_awake_state"),
        # Nobody sleeps outside of a bed that was measured: 0 says that it was not.
        in_bed_minutes=_minutes(part.part("other"), "duration_in_bed") or None,
        stages=stages(part, span.clock, end),
    )


def _minutes(part: Part, name: str) -> float | None:
    return part.amount(f"{name}_seconds", "sleep_total", MINUTES_PER_SECOND)


def _count_unread(source: Source, part: Part, kind: str) -> None:
    for name in part.values:
        if name not in SECTIONS[kind] and name not in ABOUT and part.holds_something(name):
            source.unknown[f"{kind}:{named(name)}"] += 1


def _span(metadata: Part) -> Span:
    """From `start_time` to `end_time`, which is None where it is not behind it. Raises UnreadableError."""
    clock = Clock(metadata)
    start, flags = clock.start
    text = metadata.text("end_time")
    end = clock.read(text).time if text else None
    return Span(clock, start, end if end is not None and end > start else None, flags)


def _date(metadata: Part) -> str:
    date = metadata.text("start_time")[:10]
    if not _DATE.fullmatch(date):
        raise UnreadableError("date")
    return date


def _summary(metadata: Part) -> str:
    """The vendor's id, or what stands for it: of one that no id looks like a digest, of none the start."""
    summary = metadata.text("summary_id")
    if not summary:
        return Clock(metadata).start.time.astimezone(UTC).isoformat()
    try:
        return identifier(summary)
    except UnreadableError:
        return hashlib.sha256(summary.encode()).hexdigest()[:32]


def _readings_events(source: Source, document: str, readings: Iterable[Reading]) -> Iterator[Event]:
    """Events of what holds for the whole document, and of the samples hour by hour.

    An hour that a superset does not add to is the same event again, whatever comes before and after it.
    """
    distinct = sorted({(r.metric, r.time): r for r in readings}.values(), key=lambda r: (_hour(r), r.time, r.metric))
    for _, group in groupby(distinct, key=_hour):
        hour = list(group)
        for first in range(0, len(hour), MAX_READINGS):
            yield _event(source, "readings", document, hour[first : first + MAX_READINGS])


def _hour(reading: Reading) -> int:
    """0 for what has an end, which only summaries have; for samples the hour in Unix time, from 1900 on."""
    return 0 if reading.end_time is not None else int(reading.time.timestamp() // 3600) or 1


def _event(
    source: Source,
    kind: Kind,
    document: str,
    readings: Sequence[Reading] = (),
    *,
    sleep: Sleep | None = None,
    workout: Workout | None = None,
) -> Event:
    """One event. Its id is that of its content: what a superset holds unchanged is the same event in a new version."""
    content = hashlib.sha256(msgspec.json.encode((source.device, readings, sleep, workout))).hexdigest()[:32]
    version = source.version if kind == "deletion" else 0
    ends = [r.end_time or r.time for r in readings] + [part.end for part in (sleep, workout) if part is not None]
    return Event(
        schema=SCHEMA,
        kind=kind,
        event_id=event_id(PROVIDER, source.user_id, kind, f"{document}#{content}", version),
        user_id=source.user_id,
        provider=PROVIDER,
        device=source.device,
        document_id=document,
        version=source.version,
        # A day ends later than it is sent, but nothing is observed before it comes.
        observed_at=min(max(ends, default=source.received_at), source.received_at),
        received_at=source.received_at,
        readings=tuple(readings),
        sleep=sleep,
        workout=workout,
    )
