"""Whatever stands in a topic, every record has an outcome, and none of them holds up those behind it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import UTC, timedelta
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auren import events
from auren.bridge.dead_letters import letter, marked
from auren.events import Delivery, InvalidRecordError
from tests.unit.services.collecting import NOW, Works
from tests.unit.services.mutated import SECRET, TIMES, mutated
from tests.unit.services.test_consumer import Arrived
from tests.unit.services.test_decoder_fuzz import HEALTHKIT, NOTICES, TERRA

NAMES: Final = ("ce_id", "ce_time", "ce_subject", "ce_source", "provider", "content-type", "content-encoding")
ADDED: Final = ("stage", "error", "attempts", "first_seen", "replayed", "replayed-from", "traceparent")
TEXTS: Final = ("", "gzip", "br", "healthkit", "terra", "anna", "nobody\x00", "a/b", SECRET, "\u202e", "1" * 5000)
VALUES: Final[st.SearchStrategy[bytes | None]] = (
    st.sampled_from([text.encode() for text in (*TIMES, *TEXTS)]) | st.binary(max_size=20) | st.none()
)
HEADERS: Final = st.lists(
    st.tuples(st.sampled_from([*NAMES, *ADDED, "vendor-x-terra-ordering-timestamp"]) | st.text(max_size=8), VALUES),
    max_size=6,
)
"""As aiokafka hands them over: a header may come twice, and have no value."""

SENT: Final[dict[str, Any]] = {"healthkit": HEALTHKIT, **NOTICES, **{f"terra {k}": d for k, d in TERRA.items()}}


def good(provider: str, body: bytes) -> list[tuple[str, bytes | None]]:
    """The headers of a delivery as intake writes them."""
    user_id = "anna" if provider == "healthkit" else ""
    made = Delivery(id="1", provider=provider, received_at=NOW, body=body, user_id=user_id)
    return list(made.headers())


@given(HEADERS, st.booleans())
def test_any_headers_are_a_delivery_or_refused(headers: Any, complete: bool) -> None:
    headers = [*(good("healthkit", b"{}") if complete else ()), *headers]
    try:
        found = events.delivery(b"{}", headers)
    except InvalidRecordError as error:
        reason = str(error)
    else:
        reason = ""
        assert found.received_at.tzinfo is UTC
        assert found.received_at + timedelta(days=30) > found.received_at - timedelta(days=30)
        assert events.delivery(found.body, found.headers()) == found
    assert SECRET not in reason


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59Z", "0001-06-01T00:00:00Z"]
)
def test_a_time_at_the_calendars_end_is_no_time_of_a_delivery(time: str) -> None:
    headers = [(n, time.encode() if n == "ce_time" else v) for n, v in good("healthkit", b"{}")]
    with pytest.raises(InvalidRecordError, match="ce_time"):
        events.delivery(b"{}", headers)  # type: ignore[arg-type]


def test_a_person_who_can_be_none_is_refused_before_a_database_is_asked() -> None:
    headers = [(n, b"nobody\x00" if n == "ce_subject" else v) for n, v in good("healthkit", b"{}")]
    with pytest.raises(InvalidRecordError, match="ce_subject"):
        events.delivery(b"{}", headers)  # type: ignore[arg-type]


def test_a_header_without_value_is_an_empty_one() -> None:
    headers: Any = [*good("whoop", b"{}"), ("traceparent", None)]
    assert events.delivery(b"{}", headers) == events.delivery(b"{}", headers[:-1])
    broken: Any = [*headers, ("stage", b"decode"), ("error", None)]
    found = letter(Arrived(0, headers=broken))
    assert found is not None
    assert found.summary()["error"] == ""
    assert marked(Arrived(0, headers=[("replayed", None)])) == set()  # type: ignore[list-item]


@pytest.mark.parametrize("kind", SENT)
@given(st.data())
@settings(max_examples=25)
async def test_every_record_is_decoded_parked_or_dead(kind: str, data: st.DataObject) -> None:
    provider, document = kind.split()[0], SENT[kind]
    works = Works()
    works.people.users = dict.fromkeys((("oura", "a1B2-oura"), ("whoop", "456")), "anna")
    payload = json.dumps(TERRA["daily"]).encode()
    works.payloads = defaultdict(lambda: payload)
    records: list[Any] = []
    for offset in range(data.draw(st.integers(1, 3))):
        body = data.draw(mutated(document) | st.just(json.dumps(document).encode()) | st.binary(max_size=30))
        headers = [*good(provider, body), *data.draw(st.just([]) | HEADERS)]
        records.append(Arrived(offset, value=body, headers=headers, timestamp=int(NOW.timestamp() * 1000)))  # type: ignore[arg-type]
    await works.collector.handle(records)
    outcomes: Counter[str] = Counter()
    for metric in works.metrics.registry.collect():
        for sample in metric.samples:
            if sample.name == "auren_collector_deliveries_total":
                outcomes[sample.labels["outcome"]] += int(sample.value)
    assert sum(outcomes.values()) == len(records)
    assert len(works.log.dead) == outcomes["dead"]
    assert len(works.park.parked) <= outcomes["parked"]
    assert not any(SECRET in found["error"] or found["error"].startswith("defect") for found in works.log.dead)
    # What was parked is tried as well, and has an outcome of its own.
    while await works.errands.turn(NOW + timedelta(days=3)):
        pass
    assert not works.park.parked
