"""Apple health data as Health Auto Export pushes it (its wiki's "API Export - JSON Format", 2025-09).

    {"data": {"metrics": [{"name": "heart_rate", "units": "count/min", "data": [{"date": …, "Avg": …}]}]}}

Dates are `yyyy-MM-dd HH:mm:ss Z`. Units follow the phone's locale and are converted by the `units` field. The same days
come several times a day, so equal content makes equal events. What is not known is counted, and stays in the raw log.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from auren.bridge.decoders import Decoded, DecodeError, plain_body
from auren.bridge.decoders.units import Conversion, UnknownUnitError, conversion, rounded
from auren.bridge.decoders.values import UnreadableError, finite, measured, named, number, printable
from auren.events import METRICS, SCHEMA, Delivery, Event, Kind, Reading, Sleep, event_id

PROVIDER: Final = "healthkit"
MAX_READINGS: Final = 2000
"""Per event: a reading takes at most 240 bytes as JSON, so an event stays below 512 KiB."""

SIMPLE: Final[Mapping[str, str]] = {
    "resting_heart_rate": "resting_heart_rate",
    "walking_heart_rate": "walking_heart_rate",
    "walking_heart_rate_average": "walking_heart_rate",
    "heart_rate_variability": "hrv_sdnn",
    "heart_rate_variability_sdnn": "hrv_sdnn",
    "blood_oxygen_saturation": "spo2",
    "oxygen_saturation": "spo2",
    "blood_oxygen": "spo2",
    "respiratory_rate": "respiratory_rate",
    "body_temperature": "body_temperature",
    "apple_sleeping_wrist_temperature": "wrist_temperature",
    "sleeping_wrist_temperature": "wrist_temperature",
    "step_count": "steps",
    "steps": "steps",
    "active_energy": "active_energy",
    "active_energy_burned": "active_energy",
    "basal_energy_burned": "basal_energy",
    "basal_energy": "basal_energy",
    "walking_running_distance": "distance",
    "distance_walking_running": "distance",
    "vo2max": "vo2_max",
    "vo2_max": "vo2_max",
    "weight_body_mass": "body_mass",
    "body_mass": "body_mass",
}
"""Name in the document (builds of the app differ) → canonical metric, where a sample is one quantity."""

Sample = Mapping[str, Any]
Readings = dict[str, dict[tuple[str, datetime], Reading]]
"""By device, then by metric and time: the last of two values for the same moment stands."""


class _Metric(msgspec.Struct):
    name: str
    data: list[msgspec.Raw]
    units: str = ""


class _Document(msgspec.Struct):
    data: dict[str, msgspec.Raw]


_document: Final = msgspec.json.Decoder(_Document)
_raw_list: Final = msgspec.json.Decoder(list[msgspec.Raw])
_metric: Final = msgspec.json.Decoder(_Metric)
_sample: Final = msgspec.json.Decoder(dict[str, Any])


def decode(delivery: Delivery) -> Decoded:
    """Events of one delivery. Raises DecodeError when it is no such document, or nothing of it can be read."""
    if not delivery.user_id:
        raise DecodeError("the delivery names no user")
    try:
        decoded = _decode(delivery)
    except RecursionError:
        raise DecodeError("nested too deeply") from None
    except UnicodeDecodeError:
        raise DecodeError("not UTF-8") from None
    if not decoded.events and decoded.skipped:
        raise DecodeError("no sample can be read: " + ", ".join(sorted(decoded.skipped)))
    return decoded


def _decode(delivery: Delivery) -> Decoded:
    decoded = Decoded()
    readings: Readings = defaultdict(dict)
    for raw in _metrics(delivery, decoded):
        try:
            metric = _metric.decode(raw)
        except msgspec.DecodeError:
            decoded.skipped["metric"] += 1
            continue
        _read_metric(metric, delivery, decoded, readings)
    for device, values in sorted(readings.items()):
        decoded.events += _reading_events(delivery, device, list(values.values()))
    return decoded


def _metrics(delivery: Delivery, decoded: Decoded) -> list[msgspec.Raw]:
    """The raw metrics; other sections that hold something are counted as unknown."""
    try:
        sections = _document.decode(plain_body(delivery)).data
        metrics = _raw_list.decode(sections.pop("metrics")) if "metrics" in sections else []
        for name, raw in sections.items():
            held = _raw_list.decode(raw)
            if held:
                decoded.unknown[f"section:{named(name)}"] += len(held)
    except msgspec.DecodeError:
        raise DecodeError("not a Health Auto Export document") from None
    return metrics


def _read_metric(metric: _Metric, delivery: Delivery, decoded: Decoded, readings: Readings) -> None:
    name = named(metric.name)
    reader = READERS.get(name)
    if reader is None and name != "sleep_analysis":
        decoded.unknown[name] += len(metric.data)
        return
    for raw in metric.data:
        try:
            sample = {key.lower(): value for key, value in _sample.decode(raw).items()}
            device = printable(sample.get("source"))
            if reader is None:
                decoded.events.append(_sleep_event(delivery, device, sample, metric.units))
            else:
                readings[device].update({(r.metric, r.time): r for r in reader(sample, metric.units)})
        except UnreadableError as error:
            decoded.skipped[f"{name}:{error}"] += 1
        except UnknownUnitError:
            decoded.skipped[f"{name}:unit"] += 1
        except msgspec.DecodeError:
            decoded.skipped[f"{name}:shape"] += 1


def _quantity(metric: str) -> Callable[[Sample, str], Iterator[Reading]]:
    def read(sample: Sample, units: str) -> Iterator[Reading]:
        yield _reading(metric, sample, "qty", conversion(units, METRICS[metric].unit))

    return read


def _heart_rate(sample: Sample, units: str) -> Iterator[Reading]:
    """`Avg` with `Min` and `Max` of the interval, or a single `qty`."""
    convert = conversion(units, "/min")
    yield _reading("heart_rate", sample, "avg" if sample.get("avg") is not None else "qty", convert)
    if sample.get("min") is not None and sample.get("max") is not None and sample["min"] != sample["max"]:
        yield _reading("heart_rate_min", sample, "min", convert)
        yield _reading("heart_rate_max", sample, "max", convert)


def _blood_pressure(sample: Sample, units: str) -> Iterator[Reading]:
    convert = conversion(units, "mm[Hg]")
    yield _reading("blood_pressure_systolic", sample, "systolic", convert)
    yield _reading("blood_pressure_diastolic", sample, "diastolic", convert)


READERS: Final[Mapping[str, Callable[[Sample, str], Iterator[Reading]]]] = {
    **{name: _quantity(metric) for name, metric in SIMPLE.items()},
    "heart_rate": _heart_rate,
    "blood_pressure": _blood_pressure,
}


def _reading(metric: str, sample: Sample, key: str, convert: Conversion) -> Reading:
    time = instant(sample.get("date", sample.get("startdate")))
    end = instant(sample["enddate"]) if sample.get("enddate") else None
    return Reading(
        metric=metric,
        value=_converted(convert, sample.get(key)),
        unit=METRICS[metric].unit,
        time=time,
        end_time=end if end is not None and end > time else None,
    )


def _converted(convert: Conversion, value: object) -> float:
    return finite(rounded(convert(number(value))))


def instant(text: object) -> datetime:
    """The time of `2025-03-01 07:30:00 +0100`, with the app's variants: ISO 8601, and 12 hours with AM or PM."""
    if not isinstance(text, str):
        raise UnreadableError("date")
    # Newer systems put a narrow no-break space before AM and PM.
    words = text.replace("\u202f", " ").replace("\u00a0", " ").split()
    try:
        if len(words) == 4:
            time = datetime.strptime(" ".join(words), "%Y-%m-%d %I:%M:%S %p %z")
        elif len(words) == 3:
            time = datetime.fromisoformat(f"{words[0]} {words[1]}{words[2]}")
        else:
            time = datetime.fromisoformat(" ".join(words))
    except ValueError:
        raise UnreadableError("date") from None
    return measured(time)


def _minutes(sample: Sample, units: str, *keys: str) -> float | None:
    for key in keys:
        if sample.get(key) is not None:
            return _converted(conversion(units, "min"), sample[key])
    return None


def _sleep_event(delivery: Delivery, device: str, sample: Sample, units: str) -> Event:
    """One aggregated night."""
    start, end = instant(sample.get("sleepstart")), instant(sample.get("sleepend"))
    if end <= start:
        raise UnreadableError("date")
    light, deep, rem = (_minutes(sample, units, key) for key in ("core", "deep", "rem"))
    unspecified = _minutes(sample, units, "asleep")
    total = _minutes(sample, units, "totalsleep")
    if total is None and unspecified is not None:
        total = finite(rounded(sum(part or 0.0 for part in (unspecified, light, deep, rem))))
    sleep = Sleep(
        start=start,
        end=end,
        in_bed_start=instant(sample["inbedstart"]) if sample.get("inbedstart") else None,
        in_bed_end=instant(sample["inbedend"]) if sample.get("inbedend") else None,
        total_minutes=total,
        light_minutes=light,
        deep_minutes=deep,
        rem_minutes=rem,
        awake_minutes=_minutes(sample, units, "awake"),
        # The app sends 0 where the phone has no in-bed record.
        in_bed_minutes=_minutes(sample, units, "inbed") or None,
    )
    document = f"sleep/{device}/{start.astimezone(UTC).isoformat()}"
    return _event(delivery, "sleep", device, document, _sleep_readings(sleep), sleep)


def _sleep_readings(sleep: Sleep) -> list[Reading]:
    """The night's durations as readings too, so that whatever looks at readings sees them."""
    durations = {
        "sleep_total": sleep.total_minutes,
        "sleep_deep": sleep.deep_minutes,
        "sleep_light": sleep.light_minutes,
        "sleep_rem": sleep.rem_minutes,
        "sleep_awake": sleep.awake_minutes,
        "sleep_in_bed": sleep.in_bed_minutes,
    }
    return [
        Reading(metric=metric, value=minutes, unit="min", time=sleep.start, end_time=sleep.end)
        for metric, minutes in durations.items()
        if minutes is not None
    ]


def _reading_events(delivery: Delivery, device: str, readings: Sequence[Reading]) -> Iterator[Event]:
    for first in range(0, len(readings), MAX_READINGS):
        part = readings[first : first + MAX_READINGS]
        yield _event(delivery, "readings", device, f"readings/{_fingerprint(device, part, None)}", part, None)


def _fingerprint(device: str, readings: Sequence[Reading], sleep: Sleep | None) -> str:
    return hashlib.sha256(msgspec.json.encode((device, readings, sleep))).hexdigest()[:32]


def _event(
    delivery: Delivery, kind: Kind, device: str, document: str, readings: Sequence[Reading], sleep: Sleep | None
) -> Event:
    # The app has no version of its own: content makes the event itself, the time of the delivery orders it.
    content = f"{document}#{_fingerprint(device, readings, sleep)}"
    ends = [r.end_time or r.time for r in readings]
    return Event(
        schema=SCHEMA,
        kind=kind,
        event_id=event_id(PROVIDER, delivery.user_id, kind, content, 0),
        user_id=delivery.user_id,
        provider=PROVIDER,
        device=device,
        document_id=document,
        version=int(delivery.received_at.timestamp() * 1000),
        # A phone's clock may be fast, but nothing is observed before it comes.
        observed_at=min(max(ends, default=delivery.received_at), delivery.received_at),
        received_at=delivery.received_at,
        readings=tuple(readings),
        sleep=sleep,
    )
