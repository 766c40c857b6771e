"""WHOOP v2: webhooks that hold ids, and the documents behind them (developer.whoop.com, OpenAPI 2.0.0 of 2026-08).

    {"user_id": 456, "id": "550e8400-…", "type": "sleep.updated", "trace_id": "e369c784-…"}

A recovery has no id of its own: it goes by its sleep's, and goes with it. Durations are milliseconds, energy is
kilojoule, variability is RMSSD in milliseconds. Only a document in state SCORED has values. What a cycle burned
includes the energy at rest, which is none of our metrics, so it is left out; a workout's numbers stand in its
`Workout` alone, for the cycle's contain them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from auren.bridge.decoders import Decoded, DecodeError, Document, Notice
from auren.bridge.decoders.fetched import (
    PENDING,
    Fields,
    Measure,
    document_event,
    durations,
    items_of,
    notice_body,
    read_all,
    readings_events,
)
from auren.bridge.decoders.fetched import deletion as _deletion
from auren.bridge.decoders.units import rounded
from auren.bridge.decoders.values import UnreadableError, identifier, milliseconds, named, printable
from auren.events import Delivery, Event, Sleep, Workout

PROVIDER: Final = "whoop"

KCAL_PER_KILOJOULE: Final = 0.239006
MINUTES_PER_MILLISECOND: Final = 1 / 60_000
SIGNED_AT: Final = "x-whoop-signature-timestamp"

NOTICES: Final[Mapping[str, tuple[tuple[str, ...], bool]]] = {
    "workout.updated": (("workout",), False),
    "workout.deleted": (("workout",), True),
    "sleep.updated": (("sleep",), False),
    # Both go, and both tombstones are needed: WHOOP does not promise a notice for the recovery.
    "sleep.deleted": (("sleep", "recovery"), True),
    "recovery.updated": (("recovery",), False),
    "recovery.deleted": (("recovery",), True),
}
"""Type of a notice → types of the documents that it is about, and whether they are gone."""

RECOVERY: Final = (
    Measure("recovery_score", "recovery_score"),
    Measure("resting_heart_rate", "resting_heart_rate"),
    Measure("hrv_rmssd_milli", "hrv_rmssd"),
    Measure("spo2_percentage", "spo2"),
    Measure("skin_temp_celsius", "skin_temperature"),
)
CYCLE: Final = (
    Measure("strain", "strain"),
    Measure("average_heart_rate", "heart_rate"),
    Measure("max_heart_rate", "heart_rate_max"),
)
SLEEP: Final = (Measure("respiratory_rate", "respiratory_rate"),)


def decode(delivery: Delivery) -> Decoded:
    """The notices of one webhook, or the count of its unknown type. Raises DecodeError."""
    body = notice_body(delivery)
    word = body.get("type")
    if not isinstance(word, str):
        raise DecodeError("the notice has no type")
    decoded = Decoded()
    if word not in NOTICES:
        decoded.unknown[named(word)] += 1
        return decoded
    data_types, deleted = NOTICES[word]
    try:
        user, document_id = identifier(body.get("user_id")), _uuid(body.get("id"))
    except UnreadableError:
        raise DecodeError("the notice has no id or no user") from None
    decoded.notices += [Notice(user, name, document_id, deleted, _version(delivery)) for name in data_types]
    return decoded


def _version(delivery: Delivery) -> int:
    """When WHOOP signed it, by the clock that also makes `updated_at`; else when it came. Milliseconds."""
    signed_at = dict(delivery.vendor).get(SIGNED_AT, "")
    # Thirteen digits are milliseconds from 2001 to 2286.
    if len(signed_at) == 13 and signed_at.isascii() and signed_at.isdigit():
        return int(signed_at)
    return milliseconds(delivery.received_at)


def deletion(document: Document) -> Event:
    """The event that takes back a document's earlier events."""
    return _deletion(PROVIDER, document)


def decode_document(document: Document, raw: bytes) -> Decoded:
    """One document, or a page of them (`records`), as events.

    A document that WHOOP still computes is counted as `skipped["pending_score"]`: fetch it again later. Raises
    DecodeError when nothing can be read.
    """
    read = READERS.get(document.data_type)
    if read is None:
        return Decoded(unknown=Counter({named(document.data_type): 1}))
    items, is_page = items_of(raw, "records")
    return read_all(document.data_type, items, lambda item: read(_known(document, item, is_page), item))


def _known(document: Document, item: Fields, is_page: bool) -> Document:
    """The document under its own id and version. Raises UnreadableError when it has no values to read."""
    match item.raw.get("score_state"):
        case "SCORED" | "UNSCORABLE":
            pass
        case "PENDING_SCORE":
            raise UnreadableError(PENDING)
        case _:
            raise UnreadableError("score_state")
    # A cycle's recovery may belong to another sleep than the one that led to it.
    is_recovery = document.data_type == "recovery"
    own_id = item.raw.get("sleep_id" if is_recovery else "id") if is_page or is_recovery else document.document_id
    try:
        version = milliseconds(item.moment("updated_at"))
    except UnreadableError:
        version = document.version
    return replace(document, document_id=_uuid(own_id), version=version)


def _uuid(value: object) -> str:
    """An id in one case, so that a document and its deletion are called the same."""
    return identifier(value).lower()


def _score(item: Fields) -> Fields | None:
    """None when WHOOP says that there will be none. Raises UnreadableError when there should be one."""
    if item.raw["score_state"] == "UNSCORABLE":
        return None
    score = item.part("score")
    if score is None:
        raise UnreadableError("score")
    return score


def _recovery(document: Document, item: Fields) -> Iterator[Event]:
    score = _score(item)
    if score is None:
        return
    flags = ("calibrating",) if score.raw.get("user_calibrating") is True else ()
    yield from readings_events(PROVIDER, document, score.readings(RECOVERY, item.moment("created_at"), None, flags))


def _cycle(document: Document, item: Fields) -> Iterator[Event]:
    """The day's strain so far; the running cycle has no end."""
    score = _score(item)
    if score is None:
        return
    if item.raw.get("end") is None:
        start, end = item.moment("start"), None
    else:
        start, end = item.interval("start", "end")
    yield from readings_events(PROVIDER, document, score.readings(CYCLE, start, end))


def _sleep(document: Document, item: Fields) -> Iterator[Event]:
    score = _score(item)
    if score is None:
        return
    stages = score.part("stage_summary")
    if stages is None:
        raise UnreadableError("stage_summary")
    start, end = item.interval("start", "end")
    light = _minutes(stages, "total_light_sleep_time_milli", "sleep_light")
    deep = _minutes(stages, "total_slow_wave_sleep_time_milli", "sleep_deep")
    rem = _minutes(stages, "total_rem_sleep_time_milli", "sleep_rem")
    sleep = Sleep(
        start=start,
        end=end,
        total_minutes=None if light is None or deep is None or rem is None else rounded(light + deep + rem),
        light_minutes=light,
        deep_minutes=deep,
        rem_minutes=rem,
        awake_minutes=_minutes(stages, "total_awake_time_milli", "sleep_awake"),
        in_bed_minutes=_minutes(stages, "total_in_bed_time_milli", "sleep_in_bed"),
    )
    flags = ("nap",) if item.raw.get("nap") is True else ()
    readings = durations(sleep, flags) + score.readings(SLEEP, start, end, flags)
    yield document_event(PROVIDER, document, "sleep", readings, sleep=sleep)


def _minutes(stages: Fields, name: str, metric: str) -> float | None:
    return stages.amount(name, metric, MINUTES_PER_MILLISECOND)


def _workout(document: Document, item: Fields) -> Iterator[Event]:
    score = _score(item)
    if score is None:
        return
    start, end = item.interval("start", "end")
    workout = Workout(
        activity=printable(item.raw.get("sport_name")),
        start=start,
        end=end,
        energy_kcal=score.amount("kilojoule", "active_energy", KCAL_PER_KILOJOULE),
        distance_m=score.amount("distance_meter", "distance"),
        average_heart_rate=score.amount("average_heart_rate", "heart_rate"),
        max_heart_rate=score.amount("max_heart_rate", "heart_rate_max"),
        strain=score.amount("strain", "strain"),
    )
    yield document_event(PROVIDER, document, "workout", workout=workout)


READERS: Final[Mapping[str, Callable[[Document, Fields], Iterable[Event]]]] = {
    "recovery": _recovery,
    "cycle": _cycle,
    "sleep": _sleep,
    "workout": _workout,
}
"""By type of document, as notices and the API's paths name it."""

POLLED: Final = "cycle"
"""The type of document that no webhook names."""
