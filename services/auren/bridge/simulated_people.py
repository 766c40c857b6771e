"""People who do not exist: their ids at each vendor, and what a wearable would measure of them at any moment.

Everything is a function of the seed, the person and the time. Two deliveries whose windows overlap tell the same of the
same minute, and a second run with the same seed tells the same of the same day. People differ from each other by much
more than one of them differs from day to day, so a baseline of two weeks says something. One night may be a bad one.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

MINUTE: Final = timedelta(minutes=1)
DAY: Final = timedelta(days=1)

CYCLE_MINUTES: Final = (("light", 24), ("deep", 20), ("light", 18), ("rem", 22), ("awake", 3))
"""One cycle of a night, about 90 minutes; deep sleep gets shorter and REM longer towards the morning."""

BAD_HRV_SHARE: Final = 0.61
"""Of the usual HRV after a bad night: more than 30 % below it, but never less than half of the reading before."""
BAD_RESTING_RISE: Final = 15.0
BAD_CYCLES: Final = 3
BAD_AWAKE_MINUTES: Final = 20
"""More awake in each cycle. A bad night is over before the same night would be as a good one."""

NIGHT_SAMPLES: Final = 5
NIGHT_SAMPLE_EVERY: Final = timedelta(minutes=25)
"""How often a watch measures HRV after midnight."""


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
    """One simulated person. `user_id` is ours, the others are what the vendors call the same person.

    What a day is measured at depends on the night before it; the night that ended on `bad_day` was a bad one.
    """

    chance: Chance
    user_id: str
    bad_day: date | None = None

    def after_a_bad_night(self, now: datetime) -> Person:
        """The same person, whose last night at `now` was a bad one."""
        return replace(self, bad_day=self.last_night(now).end.date())

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
        usual = self._level("resting", 48, 66) + self._of(day, "resting", -2, 2)
        return round(usual + (BAD_RESTING_RISE if self._is_bad(day) else 0), 1)

    def heart_rate(self, minute: datetime) -> float:
        """Per minute: low in the night, high in the afternoon, never twice the same."""
        awake = max(0.0, math.sin((minute.hour + minute.minute / 60 - 6) / 24 * 2 * math.pi))
        noise = self.chance.between(0, 9, self.user_id, "bpm", minute.isoformat(timespec="minutes"))
        return round(self.resting_heart_rate(minute) + 4 + 24 * awake + noise, 1)

    def hrv_rmssd_ms(self, day: datetime) -> float:
        """Milliseconds; of the whole night."""
        return round(self._hrv_share(day) * (self._rmssd_level_ms + self._of(day, "rmssd", -3, 3)), 1)

    def hrv_sdnn_ms(self, day: datetime, sample: int) -> float:
        """Milliseconds; of one of the NIGHT_SAMPLES, from 0."""
        level = self._rmssd_level_ms + self._level("sdnn above rmssd", 8, 20)
        noise = self._of(day, "sdnn", -3, 3) + self._of(day, f"sdnn{sample}", -1.5, 1.5)
        return round(self._hrv_share(day) * (level + noise), 1)

    def spo2_percent(self, day: datetime) -> float:
        """Percent."""
        return round(self._level("spo2", 95.5, 97.5) + self._of(day, "spo2", -0.8, 0.8), 1)

    def respiratory_rate(self, day: datetime) -> float:
        """Breaths per minute."""
        return round(self._level("breaths", 13, 17) + self._of(day, "breaths", -0.6, 0.6), 1)

    def steps_until(self, moment: datetime) -> int:
        """Steps of the day so far: none before 7, all by 22 o'clock."""
        of_the_day = self._level("steps", 6000, 10_000) + self._of(moment, "steps", -2000, 2000)
        waking = min(1.0, max(0.0, (moment.hour + moment.minute / 60 - 7) / 15))
        return int(of_the_day * waking)

    def night(self, day: datetime) -> Night:
        """The night that ended on a day: the person's four or five cycles, three of a bad one."""
        start = midnight(day) - timedelta(
            minutes=int(self._level("bedtime", 30, 90) + self._of(day, "bedtime", -30, 30))
        )
        bad = self._is_bad(day)
        cycles = BAD_CYCLES if bad else 4 + int(self._level("cycles", 0, 2))
        stages = tuple(
            (stage, max(1, minutes + int(self._of(day, f"{stage}{cycle}", -4, 5)) + _towards_morning(stage, cycle)))
            for cycle in range(cycles)
            for stage, minutes in CYCLE_MINUTES
        )
        return Night(start, _restless(stages) if bad else stages)

    def last_night(self, now: datetime) -> Night:
        """The last night that is over."""
        night = self.night(now)
        return night if night.end <= now else self.night(now - DAY)

    def night_samples(self, day: datetime) -> list[datetime]:
        """When HRV was measured in the night that ended on a day: after midnight, and before the shortest one ends.

        Good or bad, a night is measured at the same moments, so what is told of it takes the place of what was told.
        """
        return [midnight(day) + NIGHT_SAMPLE_EVERY * number for number in range(1, NIGHT_SAMPLES + 1)]

    @property
    def _rmssd_level_ms(self) -> float:
        return self._level("rmssd", 45, 75)

    def _is_bad(self, day: datetime) -> bool:
        return day.date() == self.bad_day

    def _hrv_share(self, day: datetime) -> float:
        return BAD_HRV_SHARE if self._is_bad(day) else 1.0

    def _level(self, what: str, low: float, high: float) -> float:
        """What is the person's own, every day."""
        return self.chance.between(low, high, self.user_id, what)

    def _of(self, day: datetime, what: str, low: float, high: float) -> float:
        return self.chance.between(low, high, self.user_id, what, day.date().isoformat())


def _towards_morning(stage: str, cycle: int) -> int:
    return {"deep": -4 * cycle, "rem": 3 * cycle}.get(stage, 0)


def _restless(stages: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    return tuple((stage, minutes + (BAD_AWAKE_MINUTES if stage == "awake" else 0)) for stage, minutes in stages)


def midnight(day: datetime) -> datetime:
    """The first moment of a day."""
    return day.replace(hour=0, minute=0, second=0, microsecond=0)


def people(names: Sequence[str], seed: int, *, bad_night_before: datetime | None = None) -> list[Person]:
    """The people of these user ids; each one's last night before a moment (UTC) may have been a bad one."""
    chance = Chance(seed)
    crowd = [Person(chance, name) for name in names]
    return crowd if bad_night_before is None else [person.after_a_bad_night(bad_night_before) for person in crowd]
