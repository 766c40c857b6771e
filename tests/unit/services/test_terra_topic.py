"""Terra's Kafka destination: pointers that expire, from a log that somebody else writes."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from auren.bridge.decoders import Pointer
from auren.bridge.vendors import ExpiredError
from auren.events import delivery
from auren.topics import TERRA_DLQ, WEBHOOKS_DLQ
from tests.unit.services.collecting import NOW, Works, arrived, from_terra
from tests.unit.services.test_collector import TERRA_ID, daily

URL = "https://storage.example.org/payload"
MESSAGE = {"status": "success", "type": "s3_payload", "url": URL, "expires_in": 600}
NEWER = MESSAGE | {"user_id": "someone", "reference_id": "someone-else", "payload_reference": "p-1"}


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> Works:
    """Downloads keep to the pointer's time."""
    works = Works()
    download = works.errands._download

    async def in_time(pointer: Pointer, now: datetime) -> bytes:
        if pointer.expires_at is not None and now >= pointer.expires_at:
            raise ExpiredError("the payload's address has expired")
        return await download(pointer, now)

    monkeypatch.setattr(works.errands, "_download", in_time)
    works.payloads[URL] = json.dumps(daily()).encode()
    return works


@pytest.mark.parametrize("message", [MESSAGE, NEWER])
async def test_a_payload_is_downloaded_and_becomes_events_of_whomever_it_names(
    works: Works, message: dict[str, Any]
) -> None:
    await works.collector.handle([from_terra(message)])
    assert works.park.reasons == ["to-fetch"]
    await works.errands.turn(NOW + timedelta(seconds=599))
    assert {key for key, _, _ in works.log.sent} == {b"anna"}
    assert works.park.parked == {}
    assert works.metric('deliveries_total{outcome="decoded",provider="terra"}') == 1


async def test_time_runs_from_when_the_record_was_put_there(works: Works) -> None:
    await works.collector.handle([from_terra(MESSAGE, at=NOW - timedelta(seconds=600))])
    await works.errands.turn(NOW)
    [dead] = works.log.dead
    assert (dead["topic"], dead["stage"]) == (TERRA_DLQ.name, "fetch")
    assert dead["error"] == "the payload's address has expired"
    assert works.log.sent == []


async def test_a_replayed_pointer_has_not_become_any_younger(works: Works) -> None:
    old = (NOW - timedelta(days=2)).isoformat().encode()
    await works.collector.handle([from_terra(MESSAGE, headers=[("ce_time", old), ("replayed-from", b"x.dlq:0:1")])])
    await works.errands.turn(NOW)
    assert [dead["error"] for dead in works.log.dead] == ["the payload's address has expired"]
    assert works.log.dead[0]["replayed-from"] == "x.dlq:0:1"


async def test_a_header_makes_no_pointer_younger_and_no_person(works: Works) -> None:
    tomorrow = (NOW + timedelta(days=1)).isoformat().encode()
    forged = [("ce_time", tomorrow), ("ce_subject", b"ben"), ("provider", b"healthkit"), ("ce_id", b"1")]
    await works.collector.handle([from_terra(MESSAGE, headers=forged)])
    await works.errands.turn(NOW + timedelta(seconds=600))
    assert [dead["error"] for dead in works.log.dead] == ["the payload's address has expired"]
    await works.collector.handle([from_terra(MESSAGE, 1, headers=[*forged[1:], ("ce_time", b"no time")])])
    await works.errands.turn(NOW)
    assert {event.user_id for event in works.log.events()} == {"anna"}


@pytest.mark.parametrize("body", [b"no json", b"", b"[1]", {"status": "success", "url": URL}, {"type": "s3_payload"}])
async def test_what_cannot_be_read_goes_to_that_topics_dead_letters(works: Works, body: object) -> None:
    await works.collector.handle([from_terra(body), arrived("terra", b"no json"), arrived("terra", daily())])
    assert [dead["topic"] for dead in works.log.dead] == [TERRA_DLQ.name, WEBHOOKS_DLQ.name]
    assert {dead["stage"] for dead in works.log.dead} == {"decode"}
    assert works.log.events()


@pytest.mark.parametrize("message", [MESSAGE | {"status": "error"}, {"status": "success", "type": "news"}])
async def test_another_status_or_type_is_counted_as_unknown_and_stays_in_the_log(
    works: Works, message: dict[str, Any]
) -> None:
    await works.collector.handle([from_terra(message)])
    assert (works.park.parked, works.log.dead, works.log.sent) == ({}, [], [])
    assert works.metric('unknown_items_total{provider="terra"}') == 1


async def test_a_message_with_the_data_itself_is_read_as_a_webhook_is(works: Works) -> None:
    await works.collector.handle([from_terra(daily())])
    assert {event.user_id for event in works.log.events()} == {"anna"}


async def test_a_person_of_a_payload_who_is_unknown_is_waited_for(works: Works) -> None:
    works.payloads[URL] = json.dumps(daily(reference=None)).encode()
    await works.collector.handle([from_terra(MESSAGE)])
    await works.errands.turn(NOW)
    assert works.park.reasons == ["unknown-user"]
    works.people.users["terra", TERRA_ID] = "anna"
    await works.errands.turn(NOW + timedelta(hours=20))  # the address has ended long before
    assert {event.user_id for event in works.log.events()} == {"anna"}
    assert (works.park.parked, works.log.dead) == ({}, [])


async def test_a_payload_that_cannot_be_read_is_a_dead_letter_without_its_address(works: Works) -> None:
    works.payloads[URL] = b'{"type": "daily", "user": {"user_id": "x", "reference_id": "anna"}, "data": 7}'
    await works.collector.handle([from_terra(MESSAGE)])
    await works.errands.turn(NOW)
    [dead] = works.log.dead
    assert (dead["stage"], dead["error"]) == ("decode", "the message has no list of data")
    assert works.log.bodies == [works.payloads[URL]]
    assert dead["topic"] == WEBHOOKS_DLQ.name  # a replay reads it as a webhook of Terra's
    assert delivery(works.log.bodies[0], [(name, text.encode()) for name, text in dead.items()]).provider == "terra"


async def test_a_producer_without_a_clock_is_understood(works: Works) -> None:
    record = from_terra(MESSAGE)
    record.timestamp = -1
    await works.collector.handle([record])
    await works.errands.turn(NOW)
    assert [dead["error"] for dead in works.log.dead] == ["the payload's address has expired"]
