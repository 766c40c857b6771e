"""Parked deliveries: a payload behind a pointer becomes events, and whatever fails keeps its reason."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from auren.bridge.errands import FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, PATIENCE
from auren.bridge.vendors import ExpiredError, RetryLaterError
from auren.link import UnavailableError
from tests.unit.services.collecting import Works, arrived
from tests.unit.services.test_collector import daily

URL = "https://storage.example.org/payload"
POINTER = {"status": "success", "type": "s3_payload", "url": URL, "expires_in": 600}


@pytest.fixture
async def works() -> Works:
    """With a pointer that the collector has parked."""
    works = Works()
    await works.collector.handle([arrived("terra", POINTER)])
    assert [parked.reason for parked in works.park.parked.values()] == ["to-fetch"]
    return works


async def turn(works: Works) -> float:
    """One turn when the delivery is due; in how many seconds it is due again."""
    [parked] = works.park.parked.values()
    await works.errands.turn(parked.due_at)
    return sum((left.due_at - parked.due_at).total_seconds() for left in works.park.parked.values())


async def test_the_payload_is_a_delivery_of_whomever_it_names(works: Works) -> None:
    works.payloads[URL] = json.dumps(daily()).encode()
    assert await turn(works) == 0
    assert works.park.parked == {}
    assert {event.user_id for event in works.log.events()} == {"anna"}


async def test_a_payload_that_is_gone_is_a_dead_letter(works: Works) -> None:
    works.payloads[URL] = ExpiredError("the payload's address has expired")
    await turn(works)
    [dead] = works.log.dead
    assert (dead["stage"], dead["error"]) == ("fetch", "the payload's address has expired")
    assert works.park.parked == {}


async def test_delays_double_up_to_an_hour_and_never_undercut_the_vendor(works: Works) -> None:
    works.payloads[URL] = RetryLaterError(1.0, "away")
    delays = [await turn(works) for _ in range(9)]
    assert delays[:3] == [FIRST_DELAY_SECONDS, 2 * FIRST_DELAY_SECONDS, 4 * FIRST_DELAY_SECONDS]
    assert delays[-1] == LONGEST_DELAY_SECONDS
    works.payloads[URL] = RetryLaterError(7200.0, "limit")
    assert await turn(works) == 7200
    works.payloads[URL] = json.dumps(daily()).encode()
    await turn(works)
    assert works.log.events()


async def test_a_payload_that_points_on_is_not_followed(works: Works) -> None:
    works.payloads[URL] = json.dumps(POINTER).encode()
    await turn(works)
    assert [dead["error"] for dead in works.log.dead] == ["a payload that points at another one"]


async def test_while_kafka_is_away_it_stays_parked_and_comes_once_in_effect(works: Works) -> None:
    works.payloads[URL] = json.dumps(daily()).encode()
    works.log.refusals = 1
    [parked] = works.park.parked.values()
    with pytest.raises(UnavailableError):
        await works.errands.turn(parked.due_at)
    assert works.park.parked
    await works.errands.turn(parked.due_at)
    assert works.park.parked == {}
    assert len({event.event_id for event in works.log.events()}) == 1


async def test_ids_to_fetch_wait_for_a_connection_that_can_fetch_them(works: Works) -> None:
    works.park.parked.clear()
    works.people.users["whoop", "7"] = "anna"
    await works.collector.handle([arrived("whoop", {"user_id": 7, "id": "a1", "type": "sleep.updated"})])
    [parked] = works.park.parked.values()
    await works.errands.turn(parked.due_at)
    [parked] = works.park.parked.values()
    assert parked.reason == "not-connected"
    await works.errands.turn(parked.first_seen + PATIENCE + timedelta(hours=2))
    assert [dead["error"] for dead in works.log.dead] == ["not-connected"]


async def test_one_that_cannot_be_handled_lets_the_others_pass(works: Works) -> None:
    works.payloads[URL] = KeyError("a defect")
    await works.collector.handle([arrived("terra", {**POINTER, "url": URL + "/2"})])
    works.payloads[URL + "/2"] = json.dumps(daily()).encode()
    now = max(parked.due_at for parked in works.park.parked.values())
    while await works.errands.turn(now):
        pass
    assert works.log.events()
    assert [parked.reason for parked in works.park.parked.values()] == ["defect"]
