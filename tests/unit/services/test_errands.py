"""Parked deliveries: a payload behind a pointer becomes events, and whatever fails keeps its reason."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from auren.bridge import errands
from auren.bridge.errands import AWAY_SECONDS, TAKE_DELIVERIES
from auren.bridge.later import VENDOR_AWAY, WAITS
from auren.bridge.vendors import ExpiredError, RetryLaterError, UpstreamFailedError
from auren.health import UnhealthyError
from auren.link import UnavailableError
from tests.unit.services.collecting import NOW, Works, arrived
from tests.unit.services.test_collector import daily

URL = "https://storage.example.org/payload"
POINTER = {"status": "success", "type": "s3_payload", "url": URL, "expires_in": 600}


@pytest.fixture
async def works() -> Works:
    """With a pointer that the collector has parked."""
    works = Works()
    await works.collector.handle([arrived("terra", POINTER)])
    assert (works.park.reasons, works.woken) == (["to-fetch"], 1)
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


async def test_delays_double_up_to_a_bound_and_never_undercut_the_vendor(works: Works) -> None:
    wait = WAITS[VENDOR_AWAY]
    works.payloads[URL] = UpstreamFailedError(1.0, "away")
    delays = [await turn(works) for _ in range(9)]
    assert delays[:3] == [wait.first_seconds, 2 * wait.first_seconds, 4 * wait.first_seconds]
    assert delays[-1] == wait.longest_seconds
    works.payloads[URL] = UpstreamFailedError(7200.0, "away for long")
    assert await turn(works) == 7200
    works.payloads[URL] = json.dumps(daily()).encode()
    await turn(works)
    assert works.log.events()


async def test_a_payload_that_points_on_is_not_followed(works: Works) -> None:
    works.payloads[URL] = json.dumps(POINTER).encode()
    await turn(works)
    assert [dead["error"] for dead in works.log.dead] == ["a payload that points at another one"]


async def test_a_limit_is_no_attempt_and_waits_just_as_long_as_it_says(works: Works) -> None:
    works.payloads[URL] = RetryLaterError(90.0, "the payload's host limits us")
    assert [await turn(works) for _ in range(3)] == [90.0, 90.0, 90.0]
    [parked] = works.park.parked.values()
    assert (parked.reason, parked.attempts) == ("held-back", 1)


async def test_while_kafka_is_away_it_stays_parked_and_comes_once_in_effect(works: Works) -> None:
    works.payloads[URL] = json.dumps(daily()).encode()
    works.log.refusals = 1
    [before] = works.park.parked.values()
    with pytest.raises(UnavailableError):
        await works.errands.turn(before.due_at)
    [after] = works.park.parked.values()
    assert (after.due_at - before.due_at).total_seconds() == AWAY_SECONDS
    assert (after.reason, after.attempts) == (before.reason, before.attempts)
    await works.errands.turn(after.due_at)
    assert works.park.parked == {}
    assert len({event.event_id for event in works.log.events()}) == 1


async def test_nothing_is_taken_while_kafka_is_known_to_be_away(works: Works) -> None:
    works.payloads[URL] = KeyError("asked all the same")
    works.log.away = True
    with pytest.raises(UnavailableError):
        await turn(works)
    assert (works.park.reasons, works.park.leased) == (["to-fetch"], set())


async def test_what_was_done_while_the_table_was_away_is_written_down_when_it_is_back(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errands, "IDLE_SECONDS", 0)
    works.payloads[URL] = json.dumps(daily()).encode()
    take_due = works.park.take_due

    async def taken(*arguments: Any, **named: Any) -> Any:
        due = await take_due(*arguments, **named)
        works.park.refusals = 3
        return due

    monkeypatch.setattr(works.park, "take_due", taken)
    await turn(works)
    assert works.park.parked == {}
    assert len(works.log.events()) == 1


async def test_a_stop_gives_back_what_is_under_way(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = asyncio.Event()

    async def never(*_: object) -> bytes:
        begun.set()
        return await asyncio.Future()

    monkeypatch.setattr(works.errands, "_download", never)
    before = dict(works.park.parked)
    await works.errands.start()
    async with asyncio.timeout(30):
        await begun.wait()
    assert works.park.leased
    await works.errands.stop()
    assert (works.park.parked, works.park.leased) == (before, set())
    with pytest.raises(UnhealthyError):
        await works.errands.check()


async def test_gauges_tell_how_many_wait_and_how_long(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands, "IDLE_SECONDS", 0)
    await works.collector.handle([arrived("terra", daily(reference=None))])
    works.payloads[URL] = UpstreamFailedError(1.0, "away")
    await works.errands.start()
    async with asyncio.timeout(30):
        while works.metric("parked_deliveries") != 2:  # noqa: ASYNC110 - the errands' task sets no event of ours
            await asyncio.sleep(0)
    await works.errands.check()
    await works.errands.stop()
    assert works.metric("oldest_parked_seconds") >= (datetime.now(UTC) - NOW).total_seconds() - 60


async def test_one_that_cannot_be_handled_lets_the_others_pass(works: Works) -> None:
    works.payloads[URL] = KeyError("a defect")
    await works.collector.handle([arrived("terra", {**POINTER, "url": URL + "/2"})])
    works.payloads[URL + "/2"] = json.dumps(daily()).encode()
    await works.errands.turn(max(parked.due_at for parked in works.park.parked.values()))
    assert works.log.events()
    assert works.park.reasons == ["defect"]


async def test_many_are_taken_in_a_turn(works: Works) -> None:
    works.payloads[URL] = json.dumps(daily()).encode()
    count = TAKE_DELIVERIES + 3
    await works.collector.handle([arrived("terra", POINTER) for _ in range(count - 1)])
    assert await works.errands.turn(NOW)
    assert len(works.park.parked) == count - TAKE_DELIVERIES
    assert await works.errands.turn(NOW)
    assert not await works.errands.turn(NOW)
    assert len(works.log.events()) == count


async def test_what_cannot_begin_in_time_is_given_back_as_it_was(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    works.payloads[URL] = json.dumps(daily()).encode()
    before = dict(works.park.parked)
    monkeypatch.setattr(errands, "BEGIN_SECONDS", -1.0)
    assert await works.errands.turn(NOW)
    assert (works.park.parked, works.park.leased, works.log.sent) == (before, set(), [])


async def test_payloads_are_in_hand_a_few_at_a_time(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most = 0, 0

    async def download(*_: object) -> bytes:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return json.dumps(daily()).encode()

    monkeypatch.setattr(works.errands, "_download", download)
    await works.collector.handle([arrived("terra", POINTER) for _ in range(9)])
    await works.errands.turn(NOW)
    assert (most, len(works.log.events())) == (errands.HEAVY_AT_ONCE, 10)


async def test_a_payload_of_a_person_who_was_erased_is_dropped(works: Works) -> None:
    works.payloads[URL] = json.dumps(daily()).encode()
    works.erased["anna"] = NOW
    await turn(works)
    assert (works.log.sent, works.log.dead, works.park.parked) == ([], [], {})
