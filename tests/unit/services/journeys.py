"""Weeks of invented people as events, in the order of the log: nights, pulses, corrections, deletions, repetitions."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone

import msgspec

from auren.events import METRICS, Event, Kind, Reading, Sleep, Workout, event_id

BEGIN = datetime(2026, 2, 1, tzinfo=UTC)
NOON = timedelta(hours=12)


def journeys(users: Sequence[str], days: int, seed: int = 1) -> list[Event]:
    """The events of all users, in the order of their receipt."""
    chance = random.Random(seed)
    events = [event for user in users for event in _journey(user, days, chance)]
    return sorted(events, key=lambda event: (event.received_at, event.user_id))


def _journey(user: str, days: int, chance: random.Random) -> Iterator[Event]:
    usual = chance.uniform(50, 70)
    for number in range(days):
        zone = timezone(timedelta(hours=1 if number < days // 2 else -5))
        day = (BEGIN + timedelta(days=number)).replace(tzinfo=zone)
        night = _night(user, number, day, usual, chance)
        yield night
        if chance.random() < 0.2:
            yield _again(night)
        if chance.random() < 0.2:
            yield _corrected(night, chance)
        if chance.random() < 0.05:
            yield _deleted(night)
        for hour in range(8, 23, 3):
            yield _pulse(user, day + timedelta(hours=hour), chance)
            yield _variability(user, day + timedelta(hours=hour), chance)
        if chance.random() < 0.3:
            yield _workout(user, number, day + timedelta(hours=18))


def _night(user: str, number: int, day: datetime, usual: float, chance: random.Random) -> Event:
    end = day + timedelta(hours=7, minutes=chance.randrange(60))
    start = end - timedelta(minutes=chance.randrange(360, 520)) + timedelta(hours=chance.choice((0, 0, 0, 3)))
    bad = chance.random() < 0.15
    measured = {
        "hrv_rmssd": usual * (chance.uniform(0.3, 0.6) if bad else chance.uniform(0.9, 1.1)),
        "resting_heart_rate": chance.uniform(70, 110) if bad else chance.uniform(50, 56),
        "recovery_score": chance.uniform(5, 45) if bad else chance.uniform(50, 95),
        "sleep_total": (end - start) / timedelta(minutes=1),
        "sleep_rem": chance.uniform(20, 140),
        "respiratory_rate": chance.uniform(14, 16),
        "spo2": chance.choice((97, 98, 96, 30)),
    }
    readings = tuple(
        Reading(metric=metric, value=round(value, 3), unit=METRICS[metric].unit, time=start, end_time=end)
        for metric, value in measured.items()
    )
    sleep = Sleep(start=start, end=end, total_minutes=measured["sleep_total"], rem_minutes=measured["sleep_rem"])
    return _event(user, "sleep", f"night {number}", end + timedelta(minutes=20), readings, sleep=sleep)


def _pulse(user: str, time: datetime, chance: random.Random) -> Event:
    values = [chance.choice((55, 62, 71.5, 88, 120, 999)) for _ in range(5)]
    readings = tuple(
        Reading(metric="heart_rate", value=value, unit="/min", time=time + timedelta(minutes=minute))
        for minute, value in enumerate(values)
    )
    return _event(user, "readings", f"pulse {time}", time + timedelta(minutes=chance.randrange(4, 90)), readings)


def _variability(user: str, time: datetime, chance: random.Random) -> Event:
    low = time.hour == 14 and chance.random() < 0.6
    reading = Reading(
        metric="hrv_sdnn", value=chance.uniform(20, 30) if low else chance.uniform(45, 60), unit="ms", time=time
    )
    return _event(user, "readings", f"sdnn {time}", time + timedelta(minutes=chance.randrange(1, 9)), (reading,))


def _workout(user: str, number: int, time: datetime) -> Event:
    workout = Workout(activity="run", start=time, end=time + timedelta(minutes=40), energy_kcal=400.5)
    return _event(user, "workout", f"run {number}", time + timedelta(hours=1), (), workout=workout)


def _again(event: Event) -> Event:
    """The same event in a second delivery."""
    return msgspec.structs.replace(event, received_at=event.received_at + timedelta(minutes=3))


def _corrected(event: Event, chance: random.Random) -> Event:
    """The document once more, with other values, or an older version of it that comes late."""
    version = event.version + chance.choice((1, 1, -1))
    readings = tuple(msgspec.structs.replace(r, value=round(r.value * 0.97, 3)) for r in event.readings)
    return msgspec.structs.replace(
        event,
        version=version,
        event_id=event_id(event.provider, event.user_id, event.kind, event.document_id, version),
        received_at=event.received_at + timedelta(minutes=40),
        readings=readings,
    )


def _deleted(event: Event) -> Event:
    later = event.received_at + timedelta(hours=5)
    return msgspec.structs.replace(
        _event(event.user_id, "deletion", event.document_id, later, ()), version=event.version + 2
    )


def _event(
    user: str,
    kind: Kind,
    document: str,
    received: datetime,
    readings: tuple[Reading, ...],
    sleep: Sleep | None = None,
    workout: Workout | None = None,
) -> Event:
    return Event(
        schema=1,
        kind=kind,
        event_id=event_id("oura", user, kind, document, 10),
        user_id=user,
        provider="oura",
        document_id=document,
        version=10,
        observed_at=received,
        received_at=received,
        device="ring",
        readings=readings,
        sleep=sleep,
        workout=workout,
    )
