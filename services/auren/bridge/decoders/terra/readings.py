"""What Terra's sections hold, as readings.

Where a section has samples and their average, the samples are read, for the average stands at the section's start and
would take the place of a sample there. Variability in the night is the other way round: one value for a night is what
baselines and modes compare, and five minutes of it say little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from auren.bridge.decoders.fetched import reading
from auren.bridge.decoders.terra.fields import Clock, Part, Sample, Samples, readings_of
from auren.events import Reading

MUSCLE: Final = 1
"""`type` of an oxygen saturation that is not the blood's."""


class _HeartRate(Sample):
    value: float | None = msgspec.field(name="bpm", default=None)


class _Rmssd(Sample):
    value: float | None = msgspec.field(name="hrv_rmssd", default=None)


class _Sdnn(Sample):
    value: float | None = msgspec.field(name="hrv_sdnn", default=None)


class _Breaths(Sample):
    value: float | None = msgspec.field(name="breaths_per_min", default=None)


class _Temperature(Sample):
    value: float | None = msgspec.field(name="temperature_celsius", default=None)


class _Vo2(Sample):
    value: float | None = msgspec.field(name="vo2max_ml_per_min_per_kg", default=None)


class _Saturation(Sample):
    value: float | None = msgspec.field(name="percentage", default=None)
    type: float | None = None


class _Weight(Sample):
    timestamp: str | None = msgspec.field(name="measurement_time", default=None)
    value: float | None = msgspec.field(name="weight_kg", default=None)


class _Pressure(msgspec.Struct, gc=False):
    timestamp: str | None = None
    systolic_bp: float | None = None
    diastolic_bp: float | None = None


class _Steps(Sample):
    value: float | None = msgspec.field(name="steps", default=None)


class _Distance(Sample):
    value: float | None = msgspec.field(name="distance_meters", default=None)


@dataclass(frozen=True, slots=True)
class Series:
    """A list of samples in a document: its name there, how one is read, the metric that it is."""

    name: str
    samples: Samples[Sample]
    metric: str


HEART_RATE: Final = Series("hr_samples", Samples[Sample](_HeartRate), "heart_rate")
RMSSD: Final = Series("hrv_samples_rmssd", Samples[Sample](_Rmssd), "hrv_rmssd")
SDNN: Final = Series("hrv_samples_sdnn", Samples[Sample](_Sdnn), "hrv_sdnn")
BREATHS: Final = Series("samples", Samples[Sample](_Breaths), "respiratory_rate")
BODY_TEMPERATURE: Final = Series("body_temperature_samples", Samples[Sample](_Temperature), "body_temperature")
SKIN_TEMPERATURE: Final = Series("skin_temperature_samples", Samples[Sample](_Temperature), "skin_temperature")
VO2: Final = Series("vo2_samples", Samples[Sample](_Vo2), "vo2_max")
WEIGHT: Final = Series("measurements", Samples[Sample](_Weight), "body_mass")
STEPS: Final = Series("step_samples", Samples[Sample](_Steps), "steps")
DISTANCE: Final = Series("distance_samples", Samples[Sample](_Distance), "distance")

_saturation: Final = Samples(_Saturation)
_pressure: Final = Samples(_Pressure)


@dataclass(frozen=True, slots=True)
class Span:
    """What a document is about: from when to when, and how its times are read."""

    clock: Clock
    start: datetime
    end: datetime | None
    flags: tuple[str, ...] = ()

    def reading(self, part: Part, name: str, metric: str) -> list[Reading]:
        """One value that holds for the whole of it, if it is there."""
        value = part.amount(name, metric)
        return [] if value is None else [reading(metric, value, self.start, self.end, self.flags)]

    def series(self, part: Part, series: Series) -> list[Reading]:
        """The samples of it."""
        return list(
            readings_of(part, series.name, part.samples(series.name, series.samples), series.metric, self.clock)
        )


def heart(span: Span, part: Part, *, night: bool = False) -> Iterator[Reading]:
    """`heart_rate_data` of a day or a night."""
    summary, detailed = part.part("summary"), part.part("detailed")
    yield from span.series(detailed, HEART_RATE) or span.reading(summary, "avg_hr_bpm", "heart_rate")
    yield from span.reading(summary, "min_hr_bpm", "heart_rate_min")
    yield from span.reading(summary, "max_hr_bpm", "heart_rate_max")
    yield from span.reading(summary, "resting_hr_bpm", "resting_heart_rate")
    for series, average in ((RMSSD, "avg_hrv_rmssd"), (SDNN, "avg_hrv_sdnn")):
        if night:
            yield from span.reading(summary, average, series.metric) or span.series(detailed, series)
        else:
            yield from span.series(detailed, series) or span.reading(summary, average, series.metric)


def saturation(span: Span, part: Part, name: str, average: str | None) -> Iterator[Reading]:
    """Samples of the blood's oxygen, or their average unless muscles were measured: it does not say which it is of."""
    samples = part.samples(name, _saturation)
    blood: list[Sample] = [sample for sample in samples if sample.type != MUSCLE]
    found = list(readings_of(part, name, blood, "spo2", span.clock))
    if not found and average is not None and len(blood) == len(samples):
        found = span.reading(part, average, "spo2")
    yield from found


def vo2_max(span: Span, part: Part) -> list[Reading]:
    """`oxygen_data`: samples, or the one value."""
    return (
        span.series(part, VO2)
        or span.reading(part, "vo2max_ml_per_min_per_kg", "vo2_max")
        or span.reading(part, "day_avg_vo2max_ml_per_min_per_kg", "vo2_max")
    )


def breaths(span: Span, part: Part) -> list[Reading]:
    """`breaths_data` of a night."""
    return span.series(part, BREATHS) or span.reading(part, "avg_breaths_per_min", "respiratory_rate")


def temperatures(span: Span, part: Part) -> Iterator[Reading]:
    """`temperature_data` of a day: the skin's is not the body's, and the room's is neither."""
    yield from span.series(part, BODY_TEMPERATURE) or span.reading(
        part, "day_avg_body_temperature_celsius", "body_temperature"
    )
    yield from span.series(part, SKIN_TEMPERATURE) or span.reading(
        part, "day_avg_skin_temperature_celsius", "skin_temperature"
    )


def blood_pressure(span: Span, part: Part) -> Iterator[Reading]:
    """`blood_pressure_data` in mmHg: two readings for a sample."""
    name = "blood_pressure_samples"
    samples = part.samples(name, _pressure)
    pairs: Iterable[tuple[str, str, list[Sample]]] = (
        ("systolic", "day_avg_systolic_bp", [Sample(s.timestamp, s.systolic_bp) for s in samples]),
        ("diastolic", "day_avg_diastolic_bp", [Sample(s.timestamp, s.diastolic_bp) for s in samples]),
    )
    for side, average, values in pairs:
        metric = f"blood_pressure_{side}"
        yield from list(readings_of(part, name, values, metric, span.clock)) or span.reading(part, average, metric)


def weights(span: Span, part: Part) -> list[Reading]:
    """`measurements_data`: of all it holds, the body's mass is one of our metrics."""
    return span.series(part, WEIGHT) or span.reading(part, "day_avg_weight_kg", "body_mass")


def total(span: Span, part: Part, name: str, detailed: Part, series: Series) -> list[Reading]:
    """A day's sum as one reading that each delivery of the day overwrites: the vendor's, else the greatest sample.

    The samples count from the start of the payload. Their differences are not read: a delivery that holds only the
    sum, or the same day cut into other intervals, would leave rows beside them that count the same steps again.
    """
    found = span.reading(part, name, series.metric)
    if found:
        return found
    counted = [sample.value for sample in detailed.samples(series.name, series.samples) if sample.value is not None]
    greatest = max(counted, default=0)
    return [reading(series.metric, greatest, span.start, span.end, span.flags)] if greatest > 0 else []
