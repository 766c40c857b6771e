"""Terra's hypnogram: samples that say which stage begins, as intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from auren.bridge.decoders.terra.fields import Clock, Part, Sample, Samples
from auren.bridge.decoders.values import UnreadableError
from auren.events import SleepStage, Stage

MAX_STAGES: Final = 2000
"""Per night: one takes at most 120 bytes as JSON, so that with its readings a night stays below 512 KiB."""

LEVELS: Final[Mapping[float, Stage | None]] = {
    0: None,
    1: "awake",
    2: "asleep",
    3: "awake",
    4: "light",
    5: "deep",
    6: "rem",
}
"""Terra's `level`. 3 is out of bed; 0 is not known, which leaves a gap."""


class _Level(Sample):
    value: float | None = msgspec.field(name="level", default=None)


_levels: Final = Samples[Sample](_Level)


def stages(part: Part, clock: Clock, end: datetime) -> tuple[SleepStage, ...]:
    """The stages of `sleep_durations_data`: each lasts until the next begins, the last one until `end`."""
    name = "hypnogram_samples"
    begun = sorted(_begun(part, name, clock, end).items())
    ends = [*(time for time, _ in begun), end][1:]
    found = _merged((stage, start, until) for (start, stage), until in zip(begun, ends, strict=True))
    if len(found) > MAX_STAGES:
        part.skip(f"{name}:size")
        return ()
    return tuple(found)


def _begun(part: Part, name: str, clock: Clock, end: datetime) -> dict[datetime, Stage | None]:
    begun = {}
    for sample in part.samples(name, _levels):
        try:
            if sample.value is None or sample.value not in LEVELS:
                raise UnreadableError("level")
            time = clock.read(sample.timestamp).time
        except UnreadableError as error:
            part.skip(f"{name}:{error}")
            continue
        if time < end:
            begun[time] = LEVELS[sample.value]
    return begun


def _merged(intervals: Iterable[tuple[Stage | None, datetime, datetime]]) -> list[SleepStage]:
    """Vendors repeat a stage every 30 seconds; it is one interval until another begins."""
    found: list[SleepStage] = []
    for stage, start, end in intervals:
        if stage is None:
            continue
        if found and found[-1].stage == stage and found[-1].end == start:
            start = found.pop().start
        found.append(SleepStage(stage=stage, start=start, end=end))
    return found
