"""Events as wearables give them, in the order of time: nights, then days of minute by minute heart rates.

Everything is a function of person and time, so a replay is the same bytes. A round is one event of each person:

* a night: eighteen five-minute HRV values, the resting heart rate and the recovery score, once a day at seven;
* twenty minutes of heart rate, received when they are over.

First come two weeks of nights, so that baselines are there; then days of 72 rounds and a night. On one night in twenty
a person's HRV is two fifths lower than usual, which is a switch to another mode, and one back on a later night.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final

from auren.events import METRICS, SCHEMA, Event, Reading, event_id

READINGS: Final = 20
HRV_READINGS: Final = READINGS - 2
NIGHTS: Final = 14
MONTH_NIGHTS: Final = 28
WAKING_HOUR: Final = 7
FALL_EVERY: Final = 20
FALL: Final = 0.6
"""What is left of the HRV: below the 70 % at which the rule about its fall holds, and no halving at a stroke, which
would be taken for a fault of the device."""

DAY: Final = timedelta(days=1)
MINUTE: Final = timedelta(minutes=1)
TWENTY: Final = READINGS * MINUTE


@dataclass(frozen=True)
class Plan:
    """Who is measured, and from which midnight on; `rounds` events each."""

    users: Sequence[str]
    start: datetime
    rounds: int
    hrv: str = "hrv_rmssd"
    """Which of the two kinds of HRV their nights have."""
    nights: int = NIGHTS
    """How many there are before the days."""

    @property
    def events(self) -> int:
        """All of them."""
        return self.rounds * len(self.users)

    @property
    def rows(self) -> int:
        """Readings of all events; each is under a key of its own."""
        return self.events * READINGS

    def __iter__(self) -> Iterator[Event]:
        """The events in the order in which they were received."""
        for round_ in itertools.islice(_rounds(self.start, self.nights), self.rounds):
            for number, user in enumerate(self.users):
                yield self._night(user, number, round_.at) if round_.night else _minutes(user, number, round_.at)

    def fell(self, number: int, woke: datetime) -> bool:
        """Whether a person's HRV is low on the night that ended on this day."""
        return (number * 7 + woke.toordinal() * 13) % FALL_EVERY == 0

    def _night(self, user: str, number: int, woke: datetime) -> Event:
        hrv = usual_hrv_ms(number) * (FALL if self.fell(number, woke) else 1.0)
        day, first = woke.toordinal(), woke - HRV_READINGS * 5 * MINUTE
        readings = [
            _reading(self.hrv, hrv + (day + turn) % 5, first + turn * 5 * MINUTE) for turn in range(HRV_READINGS)
        ]
        readings.append(_reading("resting_heart_rate", 52.0 + (number + day) % 5, woke - MINUTE))
        readings.append(_reading("recovery_score", 70.0 + (number + day) % 25, woke - MINUTE))
        return _event(user, f"night-{woke:%Y-%m-%d}", woke, readings)


def plan(rows: int, users: int) -> Plan:
    """At least so many rows; the last of them is from before today."""
    rounds = -(-rows // (users * READINGS))
    first = datetime(2000, 1, 1, tzinfo=UTC)
    *_, last = itertools.islice(_rounds(first, NIGHTS), rounds)
    today = datetime.combine(datetime.now(UTC).date(), time(), UTC)
    return Plan(
        [f"user-{number:06d}" for number in range(users)], today - DAY - (last.at.date() - first.date()), rounds
    )


def month(users: Sequence[str], hrv: str = "hrv_rmssd") -> Plan:
    """Four weeks of nights, the last of them yesterday's: what somebody needs who is to be compared with the usual."""
    today = datetime.combine(datetime.now(UTC).date(), time(), UTC)
    return Plan(users, today - MONTH_NIGHTS * DAY, MONTH_NIGHTS, hrv, nights=MONTH_NIGHTS)


@dataclass(frozen=True)
class _Round:
    at: datetime
    """When its events are received."""
    night: bool


def _rounds(start: datetime, nights: int) -> Iterator[_Round]:
    for day in range(nights):
        yield _Round(start + day * DAY + timedelta(hours=WAKING_HOUR), night=True)
    for day in itertools.count(nights):
        midnight = start + day * DAY
        for end in (midnight + turn * TWENTY for turn in range(1, DAY // TWENTY + 1)):
            yield _Round(end, night=False)
            if end == midnight + timedelta(hours=WAKING_HOUR):
                yield _Round(end, night=True)


def usual_hrv_ms(number: int) -> float:
    """A person's usual HRV."""
    return 45.0 + number % 40


def _minutes(user: str, number: int, end: datetime) -> Event:
    first = end - TWENTY
    calm = 58.0 + number % 20
    values = (calm + (first.hour * 3 + minute * 7) % 25 + 0.5 for minute in range(READINGS))
    readings = [_reading("heart_rate", value, first + minute * MINUTE) for minute, value in enumerate(values)]
    return _event(user, f"minutes-{first:%Y-%m-%dT%H:%M}", end, readings)


def _reading(metric: str, value: float, at: datetime) -> Reading:
    return Reading(metric=metric, value=value, unit=METRICS[metric].unit, time=at)


def _event(user: str, document: str, received: datetime, readings: Sequence[Reading]) -> Event:
    return Event(
        schema=SCHEMA,
        kind="readings",
        event_id=event_id("oura", user, "readings", document, 1),
        user_id=user,
        provider="oura",
        document_id=document,
        version=1,
        observed_at=readings[0].time,
        received_at=received,
        device="ring",
        readings=tuple(readings),
    )
