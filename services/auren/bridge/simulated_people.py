"""People who do not exist: their ids at each vendor, and what a wearable would measure of them at any moment.

Everything is a function of the seed, the person and the time. Two deliveries whose windows overlap tell the same of the
same minute, and a second run with the same seed tells the same of the same day.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

MINUTE: Final = timedelta(minutes=1)
DAY: Final = timedelta(days=1)

CYCLE_MINUTES: Final = (("light", 24), ("deep", 20), ("light", 18), ("rem", 22), ("awake", 3))
"""One cycle of a night, about 90 minutes; deep sleep gets shorter and REM longer towards the morning."""


class Chance:
    """Chance that a seed has fixed: equal words give equal values."""

    def __init__(self, seed: int) -> None:
        """Any whole number."""
        self._key = str(seed).encode()[:64]

    def fraction(self, *words: object) -> float:
        """From 0 to below 1."""
        return int.from_bytes(self._digest(words, 7), "big") / 2**56

    def between(self, low: float, high: float, *words: object) -> float:
        """From `low` to below `high`."""
        return low + (high - low) * self.fraction(*words)

    def one_of(self, choices: Sequence[str], *words: object) -> str:
        """One of some words."""
        return choices[int(self.fraction(*words) * len(choices))]

    def uuid(self, *words: object) -> str:
        """A version 4 UUID."""
        return str(uuid.UUID(bytes=self._digest(words, 16), version=4))

    def _digest(self, words: tuple[object, ...], size: int) -> bytes:
        return hashlib.blake2b(repr(words).encode(), digest_size=size, key=self._key).digest()


class Night(NamedTuple):
    """A night: when it began, and the stages one after the other with their minutes."""

    start: datetime
    stages: tuple[tuple[str, int], ...]

    @property
    def end(self) -> datetime:
        """When it ended."""
        return self.start + MINUTE * sum(minutes for _, minutes in self.stages)

    def minutes(self, stage: str) -> int:
        """Time in one stage."""
        return sum(minutes for name, minutes in self.stages if name == stage)


@dataclass(frozen=True, slots=True)
class Person:
    """One simulated person. `user_id` is ours, the others are what the vendors call the same person."""

    chance: Chance
    user_id: str

    @property
    def oura_id(self) -> str:
        """A string, as Oura has it."""
        return self.chance.uuid(self.user_id, "oura")

    @property
    def whoop_id(self) -> int:
        """A 64 bit number, as WHOOP has it."""
        return int(self.chance.between(10_000, 2**31, self.user_id, "whoop"))

    @property
    def terra_id(self) -> str:
        """A UUID, as Terra has it."""
        return self.chance.uuid(self.user_id, "terra")

    def resting_heart_rate(self, day: datetime) -> float:
        """Per minute; the person's own level with a little of the day."""
        level = self.chance.between(48, 66, self.user_id, "resting")
        return round(level + self._of(day, "resting", -2, 2), 1)

    def heart_rate(self, minute: datetime) -> float:
        """Per minute: low in the night, high in the afternoon, never twice the same."""
        awake = max(0.0, math.sin((minute.hour + minute.minute / 60 - 6) / 24 * 2 * math.pi))
        noise = self.chance.between(0, 9, self.user_id, "bpm", minute.isoformat(timespec="minutes"))
        return round(self.resting_heart_rate(minute) + 4 + 24 * awake + noise, 1)

    def hrv_rmssd_ms(self, day: datetime) -> float:
        """Milliseconds."""
        return round(self._of(day, "rmssd", 25, 75), 1)

    def hrv_sdnn_ms(self, day: datetime) -> float:
        """Milliseconds."""
        return round(self._of(day, "sdnn", 35, 90), 1)

    def spo2_percent(self, day: datetime) -> float:
        """Percent."""
        return round(self._of(day, "spo2", 94, 99), 1)

    def respiratory_rate(self, day: datetime) -> float:
        """Breaths per minute."""
        return round(self._of(day, "breaths", 12, 18), 1)

    def steps_until(self, moment: datetime) -> int:
        """Steps of the day so far: none before 7, all by 22 o'clock."""
        of_the_day = self._of(moment, "steps", 4000, 13000)
        waking = min(1.0, max(0.0, (moment.hour + moment.minute / 60 - 7) / 15))
        return int(of_the_day * waking)

    def night(self, day: datetime) -> Night:
        """The night that ended on a day: four or five cycles."""
        start = midnight(day) - timedelta(minutes=int(self._of(day, "bedtime", 0, 120)))
        cycles = 4 + int(self._of(day, "cycles", 0, 2))
        stages = tuple(
            (stage, max(1, minutes + int(self._of(day, f"{stage}{cycle}", -4, 5)) + _towards_morning(stage, cycle)))
            for cycle in range(cycles)
            for stage, minutes in CYCLE_MINUTES
        )
        return Night(start, stages)

    def last_night(self, now: datetime) -> Night:
        """The last night that is over."""
        night = self.night(now)
        return night if night.end <= now else self.night(now - DAY)

    def _of(self, day: datetime, what: str, low: float, high: float) -> float:
        return self.chance.between(low, high, self.user_id, what, day.date().isoformat())


def _towards_morning(stage: str, cycle: int) -> int:
    return {"deep": -4 * cycle, "rem": 3 * cycle}.get(stage, 0)


def midnight(day: datetime) -> datetime:
    """The first moment of a day."""
    return day.replace(hour=0, minute=0, second=0, microsecond=0)


def people(names: Sequence[str], seed: int) -> list[Person]:
    """The people of these user ids."""
    chance = Chance(seed)
    return [Person(chance, name) for name in names]
