"""What a batch of records becomes, before any store is involved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from auren.biometric.ingest.batch import Poison, read
from auren.biometric.ingest.worker import _letter, parts
from auren.events import Event, Kind, Reading, encode, event_id

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class FakeRecord:
    """A record as the consumer hands it over."""

    value: bytes | None
    key: bytes | None = b"anna"
    topic: str = "biometric-events"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    headers: Sequence[tuple[str, bytes]] = field(default_factory=list)


def event(
    value: float = 60,
    *,
    user: str = "anna",
    document: str = "d1",
    version: int = 1,
    kind: Kind = "readings",
    time: datetime = NOW,
    metric: str = "heart_rate",
    unit: str = "/min",
) -> Event:
    """An event with one reading; a deletion has none."""
    reading = Reading(metric=metric, value=value, unit=unit, time=time)
    return Event(
        schema=1,
        kind=kind,
        event_id=event_id("oura", user, kind, document, version),
        user_id=user,
        provider="oura",
        document_id=document,
        version=version,
        observed_at=NOW,
        received_at=NOW,
        readings=() if kind == "deletion" else (reading,),
    )


def test_what_is_no_event_is_poison_with_a_reason_without_values() -> None:
    good = FakeRecord(encode(event()))
    bad = [
        FakeRecord(None),
        FakeRecord(b"{not json"),
        FakeRecord(encode(event()).replace(b'"schema":1', b'"schema":7')),
        FakeRecord(encode(event(4711, unit="bpm"))),
        FakeRecord(encode(event(metric="mood", unit="1"))),
    ]
    accepted, poison = read([*bad, good])
    assert [one.record for one in accepted] == [good]
    assert [one.record for one in poison] == bad
    assert all(one.reason and "4711" not in one.reason for one in poison)


def test_a_dead_letter_says_when_its_record_came() -> None:
    _, _, headers = _letter(Poison(FakeRecord(b"x", timestamp=int(NOW.timestamp() * 1000)), "no JSON"))
    assert dict(headers)["first_seen"].decode() == NOW.isoformat()


@given(st.lists(st.integers(0, 30)), st.integers(1, 40))
def test_parts_hold_every_record_once_in_order_and_no_more_than_allowed(sizes: list[int], most: int) -> None:
    records = [FakeRecord(b"x" * size, offset=index) for index, size in enumerate(sizes)]
    found = list(parts(records, most))
    assert [record for part in found for record in part] == records
    assert all(len(part) == 1 or sum(len(r.value or b"") for r in part) <= most for part in found)
