"""Reading Terra's documents piece by piece: what is not needed is never built, what cannot be read spoils nothing else.

A document is up to 10 MB of mostly samples, positions and powers. Objects are opened one level at a time with their
values left raw; lists of samples are read into small structs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from auren.bridge.decoders.fetched import possible, reading
from auren.bridge.decoders.units import rounded
from auren.bridge.decoders.values import EARLIEST_YEAR, LATEST_YEAR, UnreadableError
from auren.events import Reading

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)
"""What msgspec raises for JSON that is broken, or is not of the type that is asked for. Numbers in text, booleans,
NaN and what is too large for a double are no numbers for it."""

ZONE_UNKNOWN: Final = "zone_unknown"
"""Flag of a reading whose time came without an offset: local time, read as if it were UTC."""

_WITHOUT_ZONE: Final = (ZONE_UNKNOWN,)

T = TypeVar("T")

_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list: Final = msgspec.json.Decoder(list[msgspec.Raw])
_number: Final = msgspec.json.Decoder(float | None)
_flag: Final = msgspec.json.Decoder(bool | None)
_text: Final = msgspec.json.Decoder(str | None)
_empty: Final = frozenset({b"null", b"{}", b"[]", b'""'})


def _is_empty(raw: msgspec.Raw) -> bool:
    # A section may be megabytes long: its length is looked at before it is copied.
    return memoryview(raw).nbytes <= len(b"null") and bytes(raw) in _empty


class Sample(msgspec.Struct, gc=False):
    """One value of a series. Subclasses name the fields as Terra does in that series."""

    timestamp: str | None = None
    value: float | None = None


class Samples(Generic[T]):
    """Reads a list of samples: at once where all are well-formed, else one by one."""

    def __init__(self, kind: type[T]) -> None:
        """`kind` is the struct of one sample."""
        self._all = msgspec.json.Decoder(list[kind] | None)  # type: ignore[valid-type]
        self._one = msgspec.json.Decoder(kind)

    def decode(self, raw: msgspec.Raw) -> tuple[list[T], int]:
        """The samples and how many cannot be read. Raises what `UNREADABLE` names when `raw` is no list."""
        try:
            return self._all.decode(raw) or [], 0
        except UNREADABLE:
            return self._decode_each(_list.decode(raw))

    def _decode_each(self, items: list[msgspec.Raw]) -> tuple[list[T], int]:
        found = []
        for item in items:
            try:
                found.append(self._one.decode(item))
            except UNREADABLE:
                continue
        return found, len(items) - len(found)


class Part:
    """A JSON object of a document, its values still raw. Absent and null are alike."""

    def __init__(self, kind: str, values: Mapping[str, msgspec.Raw], skipped: Counter[str]) -> None:
        """`kind` is the document's type."""
        self.values = values
        self._kind = kind
        self._skipped = skipped

    @classmethod
    def of(cls, kind: str, raw: msgspec.Raw, skipped: Counter[str]) -> Part:
        """One whole document. Raises UnreadableError("shape") when it is no object."""
        try:
            return cls(kind, _object.decode(raw), skipped)
        except UNREADABLE:
            raise UnreadableError("shape") from None

    def skip(self, name: str, count: int = 1) -> None:
        """Count something of this document that cannot be read. `name` is a constant, never a value."""
        if count:
            self._skipped[f"{self._kind}:{name}"] += count

    def part(self, name: str) -> Part:
        """An object inside this one; an empty one where there is none."""
        raw = self.values.get(name)
        if raw is None or _is_empty(raw):
            return Part(self._kind, {}, self._skipped)
        try:
            return Part.of(self._kind, raw, self._skipped)
        except UnreadableError:
            self.skip(name)
            return Part(self._kind, {}, self._skipped)

    def holds_something(self, name: str) -> bool:
        """Whether there is more than an object of nulls."""
        raw = self.values[name]
        try:
            return any(not _is_empty(value) for value in _object.decode(raw).values())
        except UNREADABLE:
            return not _is_empty(raw)

    def number(self, name: str) -> float | None:
        """A plain number."""
        raw = self.values.get(name)
        try:
            return None if raw is None else _number.decode(raw)
        except UNREADABLE:
            self.skip(name)
            return None

    def amount(self, name: str, metric: str, factor: float = 1.0) -> float | None:
        """A number times `factor`, if it is one that the metric can have."""
        found = self.number(name)
        try:
            return None if found is None else possible(metric, rounded(found * factor))
        except UnreadableError:
            self.skip(name)
            return None

    def flag(self, name: str) -> bool:
        """Whether it is said to be so."""
        raw = self.values.get(name)
        try:
            return raw is not None and _flag.decode(raw) is True
        except UNREADABLE:
            self.skip(name)
            return False

    def text(self, name: str) -> str:
        """A text; empty where there is none."""
        raw = self.values.get(name)
        try:
            return (_text.decode(raw) or "") if raw is not None else ""
        except UNREADABLE:
            self.skip(name)
            return ""

    def samples(self, name: str, series: Samples[T]) -> list[T]:
        """The samples that can be read."""
        raw = self.values.get(name)
        if raw is None:
            return []
        try:
            found, unreadable = series.decode(raw)
        except UNREADABLE:
            self.skip(name)
            return []
        self.skip(name, unreadable)
        return found


class Moment(NamedTuple):
    """A time, and the flags of what was measured then."""

    time: datetime
    flags: tuple[str, ...] = ()


class Clock:
    """Reads a document's times. Terra gives them an offset where it knows one; else they are local, or, when
    `timestamp_localization` is 0, in UTC."""

    def __init__(self, metadata: Part) -> None:
        """An offset of `start_time` holds for all times that have none. Raises UnreadableError for a wrong start."""
        start = _parsed(metadata.text("start_time"))
        utc = UTC if metadata.number("timestamp_localization") == 0 else None
        self._zone: tzinfo | None = start.tzinfo or utc
        self.start = self._moment(start)

    def read(self, text: str | None) -> Moment:
        """The time of an ISO 8601 text. Raises UnreadableError("date")."""
        return self._moment(_parsed(text))

    def _moment(self, time: datetime) -> Moment:
        if time.tzinfo is not None:
            return Moment(time)
        return Moment(time.replace(tzinfo=self._zone or UTC), () if self._zone else _WITHOUT_ZONE)


def _parsed(text: str | None) -> datetime:
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        raise UnreadableError("date") from None
    offset = time.utcoffset() or timedelta()
    # An offset with seconds cannot be written in an event.
    if not EARLIEST_YEAR <= time.year <= LATEST_YEAR or offset % timedelta(minutes=1):
        raise UnreadableError("date")
    return time


def readings_of(part: Part, name: str, samples: Sequence[Sample], metric: str, clock: Clock) -> Iterator[Reading]:
    """Samples of one series as readings; those without a value are none."""
    for sample in samples:
        if sample.value is None:
            continue
        try:
            moment = clock.read(sample.timestamp)
            yield reading(metric, possible(metric, sample.value), moment.time, None, moment.flags)
        except UnreadableError as error:
            part.skip(f"{name}:{error}")
