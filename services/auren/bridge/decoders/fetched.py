"""What the decoders of fetched documents share: bodies, fields with units, and a document's events. Pure."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from math import isfinite
from typing import Any, Final

import msgspec

from auren.bridge.decoders import Decoded, DecodeError, Document, Whose, plain_body
from auren.bridge.decoders.units import rounded
from auren.bridge.decoders.values import UnreadableError, identifier, moment, number
from auren.events import METRICS, SCHEMA, Delivery, Event, Kind, Reading, Sleep, Workout, event_id

MAX_READINGS: Final = 2000
"""Per event: a reading takes at most 240 bytes as JSON, so an event stays below 512 KiB."""

PENDING: Final = "pending_score"
"""In `Decoded.skipped`: the vendor has not computed the document yet; fetch it again later."""

ANY_SIGN: Final = frozenset({"temperature_deviation", "skin_temperature"})
MAY_BE_ZERO: Final = frozenset(
    {"steps", "active_energy", "distance", "recovery_score", "strain"}
    | {name for name in METRICS if name.startswith("sleep_")}
)
"""A heart rate, an oxygen saturation or a variability of 0 is a gap in the measurement, not a value."""

_OFFSET: Final = re.compile(r"[+-](?:0\d|1[0-4]):[0-5]\d")
_json: Final = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Measure:
    """A field of a vendor's document, the metric that it is, and the factor to the metric's unit."""

    field: str
    metric: str
    factor: float = 1.0


def _zone(offset: str) -> tzinfo | None:
    return datetime.fromisoformat(f"2000-01-01T00:00{offset}").tzinfo


class Fields:
    """A JSON object of a document. Fields that are absent or null are None; what cannot be read is counted."""

    def __init__(self, kind: str, raw: object, skipped: Counter[str]) -> None:
        """`kind` is the document's type in our words. Raises UnreadableError("shape") when `raw` is no object."""
        if not isinstance(raw, dict):
            raise UnreadableError("shape")
        self.raw: Mapping[str, Any] = raw
        self._kind = kind
        self._skipped = skipped

    def skip(self, name: str) -> None:
        """Count a part of this document as unreadable. `name` is a constant, never a value."""
        self._skipped[f"{self._kind}:{name}"] += 1

    def moment(self, name: str) -> datetime:
        """A time that the document cannot do without, by the clock that it names. Raises UnreadableError.

        WHOOP writes times in UTC and the offset from it in a field of its own, `timezone_offset` ("-05:00").
        """
        time, offset = moment(self.raw.get(name)), self.raw.get("timezone_offset")
        return time.astimezone(_zone(offset)) if isinstance(offset, str) and _OFFSET.fullmatch(offset) else time

    def interval(self, start: str, end: str) -> tuple[datetime, datetime]:
        """Two such times. Raises UnreadableError, also when the end is not behind the start."""
        first, last = self.moment(start), self.moment(end)
        if last <= first:
            raise UnreadableError("date")
        return first, last

    def part(self, name: str) -> Fields | None:
        """An object inside this one."""
        raw = self.raw.get(name)
        if raw is None:
            return None
        try:
            return Fields(self._kind, raw, self._skipped)
        except UnreadableError:
            self.skip(name)
            return None

    def amount(self, name: str, metric: str, factor: float = 1.0) -> float | None:
        """A number times `factor`, if it is one that the metric can have."""
        raw = self.raw.get(name)
        if raw is None:
            return None
        try:
            return possible(metric, rounded(number(raw) * factor))
        except UnreadableError:
            self.skip(name)
            return None

    def readings(
        self, measures: Iterable[Measure], time: datetime, end: datetime | None = None, flags: tuple[str, ...] = ()
    ) -> list[Reading]:
        """The measures that the document has, all of the moment or interval."""
        found = []
        for measure in measures:
            value = self.amount(measure.field, measure.metric, measure.factor)
            if value is not None:
                found.append(reading(measure.metric, value, time, end, flags))
        return found


def possible(metric: str, value: float) -> float:
    """The value, in the metric's unit. Raises UnreadableError("value") for one that no living person has."""
    negative = value < 0 and metric not in ANY_SIGN
    nothing = value == 0 and metric not in ANY_SIGN | MAY_BE_ZERO
    if negative or nothing or not isfinite(value) or (value > 100 and METRICS[metric].unit == "%"):
        raise UnreadableError("value")
    return value


def reading(
    metric: str, value: float, time: datetime, end: datetime | None = None, flags: tuple[str, ...] = ()
) -> Reading:
    """A reading in the metric's own unit."""
    return Reading(metric=metric, value=value, unit=METRICS[metric].unit, time=time, end_time=end, flags=flags)


def durations(sleep: Sleep, flags: tuple[str, ...] = ()) -> list[Reading]:
    """A night's durations as readings too, so that whatever looks at readings sees them."""
    minutes = {
        "sleep_total": sleep.total_minutes,
        "sleep_deep": sleep.deep_minutes,
        "sleep_light": sleep.light_minutes,
        "sleep_rem": sleep.rem_minutes,
        "sleep_awake": sleep.awake_minutes,
        "sleep_in_bed": sleep.in_bed_minutes,
    }
    return [reading(name, value, sleep.start, sleep.end, flags) for name, value in minutes.items() if value is not None]


def notice_body(delivery: Delivery) -> dict[str, Any]:
    """The JSON object of a webhook. Raises DecodeError."""
    body = parsed(plain_body(delivery))
    if not isinstance(body, dict):
        raise DecodeError("the notice is no JSON object")
    return body


def read_whose(delivery: Delivery) -> Whose | None:
    """The vendor's user of a notice, which all of them call `user_id`; None when it names none. Raises DecodeError."""
    user = notice_body(delivery).get("user_id")
    if user is None:
        return None
    try:
        return Whose(provider_user_id=identifier(user))
    except UnreadableError:
        raise DecodeError("the notice's user id is none") from None


def parsed(raw: bytes) -> object:
    """JSON as Python values. Raises DecodeError."""
    try:
        found: object = _json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DecodeError("no JSON") from None
    except RecursionError:
        raise DecodeError("nested too deeply") from None
    return found


def items_of(raw: bytes, page: str) -> tuple[list[object], bool]:
    """The objects of an answer, and whether it is a page: an object with a list called `page`. Raises DecodeError."""
    body = parsed(raw)
    if isinstance(body, dict) and isinstance(body.get(page), list):
        return body[page], True
    return [body], False


def read_all(kind: str, items: Sequence[object], read: Callable[[Fields], Iterable[Event]]) -> Decoded:
    """What `read` makes of each object. Raises DecodeError when there are objects and none of them can be read."""
    decoded = Decoded()
    unreadable = 0
    for item in items:
        try:
            decoded.events += list(read(Fields(kind, item, decoded.skipped)))
        except UnreadableError as error:
            decoded.skipped[PENDING if str(error) == PENDING else f"{kind}:{error}"] += 1
            unreadable += str(error) != PENDING
    if items and unreadable == len(items):
        raise DecodeError("nothing can be read: " + ", ".join(sorted(decoded.skipped)))
    return decoded


def document_key(document: Document) -> str:
    """The `document_id` of a document's events and of its deletion: ids of two types may be equal."""
    return f"{document.data_type}/{document.document_id}"


def deletion(provider: str, document: Document) -> Event:
    """The event that takes back everything of a document up to its version."""
    key = document_key(document)
    return Event(
        schema=SCHEMA,
        kind="deletion",
        event_id=event_id(provider, document.user_id, "deletion", key, document.version),
        user_id=document.user_id,
        provider=provider,
        document_id=key,
        version=document.version,
        observed_at=document.received_at,
        received_at=document.received_at,
    )


def readings_events(provider: str, document: Document, readings: Iterable[Reading]) -> Iterator[Event]:
    """Events of readings alone, as many as the size of one asks for. The last of two for a moment stands."""
    distinct = list({(r.metric, r.time): r for r in readings}.values())
    for first in range(0, len(distinct), MAX_READINGS):
        yield document_event(provider, document, "readings", distinct[first : first + MAX_READINGS])


def document_event(
    provider: str,
    document: Document,
    kind: Kind,
    readings: Sequence[Reading] = (),
    *,
    sleep: Sleep | None = None,
    workout: Workout | None = None,
) -> Event:
    """One event. Its id is that of its content, so that equal content fetched again is the same event."""
    key = document_key(document)
    content = hashlib.sha256(msgspec.json.encode((readings, sleep, workout))).hexdigest()[:32]
    ends = [r.end_time or r.time for r in readings] + [part.end for part in (sleep, workout) if part is not None]
    return Event(
        schema=SCHEMA,
        kind=kind,
        event_id=event_id(provider, document.user_id, kind, f"{key}#{content}", 0),
        user_id=document.user_id,
        provider=provider,
        document_id=key,
        version=document.version,
        # The running day ends later, but nothing is observed before it comes.
        observed_at=min(max(ends), document.received_at),
        received_at=document.received_at,
        readings=tuple(readings),
        sleep=sleep,
        workout=workout,
    )
