"""Oura v2: webhooks that hold ids, and the documents behind them (vendor's OpenAPI, copy of 2026-08).

    {"event_type": "update", "data_type": "sleep", "object_id": "…", "event_time": "2023-01-01T08:00:00+00:00",
     "user_id": "…"}

Durations are seconds, variability is RMSSD in milliseconds, a temperature deviation is a difference. Documents have no
update time: the notice's `event_time` orders them. Oura's scores (readiness, sleep, activity) are no metrics of ours.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

from auren.bridge.decoders import Decoded, DecodeError, Document, Notice
from auren.bridge.decoders.fetched import (
    Fields,
    Measure,
    document_event,
    durations,
    items_of,
    notice_body,
    possible,
    read_all,
    reading,
    readings_events,
)
from auren.bridge.decoders.fetched import deletion as _deletion
from auren.bridge.decoders.values import (
    UnreadableError,
    day,
    identifier,
    milliseconds,
    moment,
    named,
    number,
    printable,
)
from auren.events import Delivery, Event, Reading, Sleep, SleepStage, Stage, Workout

PROVIDER: Final = "oura"

EVENT_TYPES: Final[Mapping[str, bool]] = {"create": False, "update": False, "delete": True}
"""Whether the document is gone."""

MINUTES_PER_SECOND: Final = 1 / 60
DAY: Final = timedelta(days=1)
PHASE: Final = timedelta(minutes=5)
PHASES: Final[Mapping[str, Stage]] = {"1": "deep", "2": "light", "3": "rem", "4": "awake"}
LONGEST_SLEEP: Final = timedelta(days=3)
"""864 phases at most, so a night's event stays far below the limit of an event."""
LONGEST_INTERVAL_SECONDS: Final = 24 * 3600
MOST_SAMPLES: Final = 50_000
"""Of one series: a day of samples every two seconds."""

NAPS: Final = frozenset({"sleep", "late_nap"})
NO_SLEEP: Final = frozenset({"deleted", "rest"})
"""Deleted by the person, or rejected when the app asked whether it was sleep."""

HEART_RATE_SOURCES: Final = frozenset({"awake", "workout", "rest", "sleep", "live", "session"})

NIGHT: Final = (
    Measure("average_breath", "respiratory_rate"),
    Measure("lowest_heart_rate", "heart_rate_min"),
)
NIGHT_AVERAGES: Final = (
    Measure("average_heart_rate", "heart_rate"),
    Measure("average_hrv", "hrv_rmssd"),
)
READINESS: Final = (Measure("temperature_deviation", "temperature_deviation"),)
ACTIVITY: Final = (
    Measure("steps", "steps"),
    Measure("active_calories", "active_energy"),
    Measure("equivalent_walking_distance", "distance"),
)
SPO2: Final = (Measure("average", "spo2"),)
VO2_MAX: Final = (Measure("vo2_max", "vo2_max"),)


def decode(delivery: Delivery) -> Decoded:
    """The notice of one webhook, or the count of its unknown type. Raises DecodeError.

    A type that no reader knows is not worth a request to Oura: it is unknown here already.
    """
    body = notice_body(delivery)
    event_type, data_type = body.get("event_type"), body.get("data_type")
    if not isinstance(event_type, str) or not isinstance(data_type, str):
        raise DecodeError("the notice has no type")
    if event_type not in EVENT_TYPES:
        return Decoded(unknown=Counter({f"event:{named(event_type)}": 1}))
    if data_type.lower() not in READERS:
        return Decoded(unknown=Counter({named(data_type): 1}))
    try:
        user, document_id = identifier(body.get("user_id")), identifier(body.get("object_id"))
    except UnreadableError:
        raise DecodeError("the notice has no object or no user") from None
    version = _version(body.get("event_time"), delivery.received_at)
    return Decoded(notices=[Notice(user, data_type.lower(), document_id, EVENT_TYPES[event_type], version)])


def _version(event_time: object, received_at: datetime) -> int:
    try:
        return milliseconds(moment(event_time))
    except UnreadableError:
        return milliseconds(received_at)


def deletion(document: Document) -> Event:
    """The event that takes back a document's earlier events."""
    return _deletion(PROVIDER, document)


def decode_document(document: Document, raw: bytes) -> Decoded:
    """One document, or a page of them (`data`), as events. Raises DecodeError when nothing can be read."""
    items, is_page = items_of(raw, "data")
    if document.data_type == HEART_RATE:
        return _heart_rates(document, items)
    read = READERS.get(document.data_type)
    if read is None:
        return Decoded(unknown=Counter({named(document.data_type): 1}))
    return read_all(document.data_type, items, lambda item: read(_own(document, item, is_page), item))


def _own(document: Document, item: Fields, is_page: bool) -> Document:
    return replace(document, document_id=identifier(item.raw.get("id"))) if is_page else document


def _sleep(document: Document, item: Fields) -> Iterator[Event]:
    """A night or nap. The event with its averages comes first: it is what a decision should see, not one sample."""
    kind = printable(item.raw.get("type"))
    if kind in NO_SLEEP:
        yield deletion(document)
        return
    start, end = item.interval("bedtime_start", "bedtime_end")
    if end - start > LONGEST_SLEEP:
        raise UnreadableError("date")
    sleep = Sleep(
        start=start,
        end=end,
        in_bed_start=start,
        in_bed_end=end,
        total_minutes=_minutes(item, "total_sleep_duration", "sleep_total"),
        light_minutes=_minutes(item, "light_sleep_duration", "sleep_light"),
        deep_minutes=_minutes(item, "deep_sleep_duration", "sleep_deep"),
        rem_minutes=_minutes(item, "rem_sleep_duration", "sleep_rem"),
        awake_minutes=_minutes(item, "awake_time", "sleep_awake"),
        in_bed_minutes=_minutes(item, "time_in_bed", "sleep_in_bed"),
        stages=tuple(_stages(item, start, end)),
    )
    nap = ("nap",) if kind in NAPS else ()
    readings = durations(sleep, nap) + item.readings(NIGHT, start, end, nap)
    # At the end of the night, where the series below has no later value.
    readings += item.readings(NIGHT_AVERAGES, end, None, ("average", *nap))
    yield document_event(PROVIDER, document, "sleep", readings, sleep=sleep)
    taken = {(r.metric, r.time) for r in readings}
    series = [*_series(item, "heart_rate", "heart_rate"), *_series(item, "hrv", "hrv_rmssd")]
    yield from readings_events(PROVIDER, document, [r for r in series if (r.metric, r.time) not in taken])


def _minutes(item: Fields, name: str, metric: str) -> float | None:
    return item.amount(name, metric, MINUTES_PER_SECOND)


def _stages(item: Fields, start: datetime, end: datetime) -> Iterator[SleepStage]:
    """Intervals of `sleep_phase_5_min`, one digit for five minutes; equal neighbours are one."""
    phases = item.raw.get("sleep_phase_5_min")
    if phases is None:
        return
    if not isinstance(phases, str) or len(phases) > LONGEST_SLEEP // PHASE:
        item.skip("sleep_phase_5_min")
        return
    first = start
    for digit, group in groupby(phases):
        last = min(first + PHASE * len(list(group)), end)
        stage = PHASES.get(digit)
        if stage is None:
            item.skip("phase")
        elif first < last:
            yield SleepStage(stage=stage, start=first, end=last)
        first = last


def _series(item: Fields, name: str, metric: str) -> list[Reading]:
    """Samples at equal intervals (seconds) from a first time; null is a gap."""
    series = item.part(name)
    if series is None:
        return []
    try:
        start, step = series.moment("timestamp"), number(series.raw.get("interval"))
        samples = series.raw.get("items")
        if not isinstance(samples, list) or len(samples) > MOST_SAMPLES or not 0 < step <= LONGEST_INTERVAL_SECONDS:
            raise UnreadableError("shape")
    except UnreadableError:
        item.skip(name)
        return []
    return list(_samples(item, name, metric, [(start + timedelta(seconds=step * i), s) for i, s in enumerate(samples)]))


def _samples(item: Fields, name: str, metric: str, samples: Iterable[tuple[datetime, object]]) -> Iterator[Reading]:
    for time, sample in samples:
        if sample is None:
            continue
        try:
            yield reading(metric, possible(metric, number(sample)), time)
        except UnreadableError:
            item.skip(f"{name}.sample")


def _readiness(document: Document, item: Fields) -> Iterator[Event]:
    yield from readings_events(PROVIDER, document, item.readings(READINESS, item.moment("timestamp")))


def _activity(document: Document, item: Fields) -> Iterator[Event]:
    """Totals of a day of 24 hours, which begins at four in the morning; `timestamp` says when that was."""
    start = item.moment("timestamp")
    yield from readings_events(PROVIDER, document, item.readings(ACTIVITY, start, start + DAY))


def _spo2(document: Document, item: Fields) -> Iterator[Event]:
    """The document says a day without a zone, so the interval is that day in UTC."""
    start = day(item.raw.get("day"))
    average = item.part("spo2_percentage")
    if average is not None:
        yield from readings_events(PROVIDER, document, average.readings(SPO2, start, start + DAY))


def _vo2_max(document: Document, item: Fields) -> Iterator[Event]:
    yield from readings_events(PROVIDER, document, item.readings(VO2_MAX, item.moment("timestamp")))


def _session(document: Document, item: Fields) -> Iterator[Event]:
    """What was measured during breathing, meditation or rest."""
    series = _series(item, "heart_rate", "heart_rate") + _series(item, "heart_rate_variability", "hrv_rmssd")
    yield from readings_events(PROVIDER, document, series)


def _workout(document: Document, item: Fields) -> Iterator[Event]:
    """Its energy and distance are part of the day's activity, so they are no readings of their own."""
    start, end = item.interval("start_datetime", "end_datetime")
    workout = Workout(
        activity=printable(item.raw.get("activity")),
        start=start,
        end=end,
        energy_kcal=item.amount("calories", "active_energy"),
        distance_m=item.amount("distance", "distance"),
    )
    yield document_event(PROVIDER, document, "workout", workout=workout)


READERS: Final[Mapping[str, Callable[[Document, Fields], Iterable[Event]]]] = {
    "sleep": _sleep,
    "daily_readiness": _readiness,
    "daily_activity": _activity,
    "daily_spo2": _spo2,
    "vo2_max": _vo2_max,
    "session": _session,
    "workout": _workout,
}
"""By `data_type` of a notice."""

HEART_RATE: Final = "heartrate"
"""Rows without ids, fetched by range; no webhook names them."""


def _heart_rates(document: Document, rows: list[object]) -> Decoded:
    """The rows of each UTC day are one document, whatever range was asked for."""
    by_day: dict[str, list[Reading]] = defaultdict(list)

    def keep(row: Fields) -> tuple[Event, ...]:
        time = row.moment("timestamp").astimezone(UTC)
        source = printable(row.raw.get("source"))
        flags = (source,) if source in HEART_RATE_SOURCES else ()
        by_day[time.date().isoformat()] += row.readings((Measure("bpm", "heart_rate"),), time, None, flags)
        return ()

    decoded = read_all(HEART_RATE, rows, keep)
    for name, readings in sorted(by_day.items()):
        decoded.events += readings_events(PROVIDER, replace(document, document_id=name), readings)
    return decoded
