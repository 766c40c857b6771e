"""The collector: everything is sent, parked or a dead letter, and the log names nothing of a person's document."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import structlog
from prometheus_client import generate_latest

from auren.bridge import collect_process, outbox
from auren.bridge import collector as module
from auren.bridge.desk import Source
from auren.link import UnavailableError
from tests.unit.services.collecting import NOW, Works, arrived

REFERENCE, TERRA_ID = "anna", "5d1f7c0e-0000-4000-8000-000000000001"


@pytest.fixture
def works() -> Works:
    return Works()


def daily(reference: str | None = REFERENCE, kind: str = "daily") -> dict[str, Any]:
    day = {
        "metadata": {"start_time": "2026-02-28T00:00:00+01:00", "end_time": "2026-03-01T00:00:00+01:00"},
        "heart_rate_data": {"summary": {"resting_hr_bpm": 52}},
        "distance_data": {"steps": 4321},
    }
    return {"type": kind, "user": {"user_id": TERRA_ID, "reference_id": reference, "provider": "GARMIN"}, "data": [day]}


async def test_what_could_not_be_sent_is_not_counted_and_names_stay_out_of_the_log(works: Works) -> None:
    sample = {"date": "2026-03-01 11:00:00 +0000", "qty": 61}
    known = {"name": "resting_heart_rate", "units": "count/min", "data": [sample]}
    private = {"name": "annas secret", "units": "", "data": [{"qty": 1}, {"qty": 2}]}
    record = arrived("healthkit", {"data": {"metrics": [known, private]}}, "anna")
    works.log.refusals = 1
    with structlog.testing.capture_logs() as written:
        with pytest.raises(UnavailableError):
            await works.collector.handle([record])
        assert 'auren_collector_events_total{kind="readings"' not in generate_latest(works.metrics.registry).decode()
        await works.collector.handle([record])
    text = generate_latest(works.metrics.registry).decode()
    assert 'auren_collector_events_total{kind="readings",provider="healthkit"} 1.0' in text
    assert 'auren_collector_deliveries_total{outcome="decoded",provider="healthkit"} 1.0' in text
    assert len(works.log.sent) == 1
    (line,) = [entry for entry in written if entry["event"] == "left out"]
    assert (line["unknown"], line["skipped"]) == (2, 0)
    assert "secret" not in str(written)


async def test_terra_names_our_user_itself(works: Works) -> None:
    await works.collector.handle([arrived("terra", daily())])
    assert {event.user_id for event in works.log.events()} == {"anna"}
    readings = {reading.metric: reading.value for event in works.log.events() for reading in event.readings}
    assert readings["resting_heart_rate"] == 52
    assert readings["steps"] == 4321
    assert works.park.parked == {}


async def test_a_person_whom_nobody_knows_yet_is_waited_for_and_found(works: Works) -> None:
    await works.collector.handle([arrived("terra", daily(reference=None))])
    assert works.log.sent == []
    [parked] = works.park.parked.values()
    assert (parked.provider, parked.reason) == ("terra", "unknown-user")
    assert not await works.errands.turn(parked.due_at - timedelta(seconds=1))
    assert await works.errands.turn(parked.due_at)
    [parked] = works.park.parked.values()
    assert parked.attempts == 2
    works.people.users["terra", TERRA_ID] = "anna"
    await works.errands.turn(parked.due_at)
    assert works.park.parked == {}
    assert {event.user_id for event in works.log.events()} == {"anna"}


async def test_a_person_who_stays_unknown_is_a_dead_letter_after_a_day_and_never_dropped(works: Works) -> None:
    await works.collector.handle([arrived("whoop", {"user_id": 7, "id": "a1", "type": "sleep.updated"})])
    now, tries = NOW, 0
    while works.park.parked:
        [parked] = works.park.parked.values()
        now, tries = max(now, parked.due_at), tries + 1
        await works.errands.turn(now)
    assert tries > 20
    [dead] = works.log.dead
    assert (dead["stage"], dead["error"], dead["provider"]) == ("wait", "unknown-user", "whoop")
    assert int(dead["attempts"]) == tries


async def test_terras_own_words_connect_and_disconnect(works: Works) -> None:
    auth = {"type": "auth", "status": "success", "user": daily()["user"]}
    await works.collector.handle([arrived("terra", auth)])
    assert works.people.users == {("terra", TERRA_ID): "anna"}
    await works.collector.handle([arrived("terra", daily(reference=None))])
    assert {event.user_id for event in works.log.events()} == {"anna"}
    await works.collector.handle([arrived("terra", {"type": "deauth", "user": {"user_id": TERRA_ID}})])
    assert works.people.users == {}


async def test_a_batch_is_parked_at_once(works: Works) -> None:
    notices = [arrived("whoop", {"user_id": 7, "id": f"a{n}", "type": "sleep.updated"}) for n in range(200)]
    await works.collector.handle(notices)
    assert (len(works.park.parked), works.park.statements, works.woken) == (200, 1, 0)
    works.people.users["whoop", "7"] = "anna"
    await works.collector.handle(notices)
    assert (len(works.park.parked), works.park.statements, works.woken) == (400, 2, 1)


async def test_large_bodies_are_in_hand_a_few_at_a_time(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [arrived("terra", daily()) for _ in range(6)]
    size = len(batch[0].value or b"")
    monkeypatch.setattr(module, "SLICE_BYTES", 2 * size)
    sizes: list[int] = []
    owners = works.collector._desk.owners

    async def counted(deliveries: Any) -> Any:
        sizes.append(len(deliveries))
        return await owners(deliveries)

    monkeypatch.setattr(works.collector._desk, "owners", counted)
    batch.insert(3, arrived("terra", daily() | {"padding": "x" * 3 * size}))
    await works.collector.handle(batch)
    assert sizes == [2, 1, 1, 2, 1]
    assert len(works.log.events()) == 7


async def test_dead_letters_come_after_everything_else_of_a_batch(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 1)
    batch = [arrived("terra", b"no json"), arrived("whoop", {"user_id": 7, "id": "a1", "type": "sleep.updated"})]
    works.park.refusals = 2
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await works.collector.handle(batch)
    assert works.log.dead == []
    await works.collector.handle(batch)
    assert len(works.log.dead) == 1


@pytest.mark.parametrize("after", [timedelta(days=1), timedelta(), timedelta(days=-1)])
async def test_what_comes_of_who_was_erased_is_dropped(works: Works, after: timedelta) -> None:
    works.erased["anna"] = NOW - after
    await works.collector.handle([arrived("terra", daily())])
    await works.collector.handle([arrived("terra", daily(reference=None))])
    works.people.users["terra", TERRA_ID] = "anna"
    await works.errands.turn(NOW + timedelta(days=365))
    assert (works.log.sent, works.log.dead, works.park.parked) == ([], [], {})


@pytest.mark.parametrize(
    ("provider", "body", "error"),
    [
        ("terra", b"no json", "not a message of Terra"),
        ("nobody", b"{}", "no decoder for this provider"),
        ("healthkit", b"{}", "the delivery names no user"),
    ],
)
async def test_what_can_never_work_is_a_dead_letter_and_holds_up_nobody(
    works: Works, provider: str, body: bytes, error: str
) -> None:
    await works.collector.handle([arrived(provider, body), arrived("terra", daily())])
    assert [(dead["stage"], dead["error"]) for dead in works.log.dead] == [("decode", error)]
    assert works.log.events()


async def test_a_batch_that_is_repeated_buries_its_broken_record_once(works: Works) -> None:
    batch = [arrived("terra", b"no json"), arrived("terra", daily())]
    works.log.refusals = 2
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await works.collector.handle(batch)
    await works.collector.handle(batch)
    assert len(works.log.dead) == 1
    assert works.log.events()


async def test_events_leave_in_portions_and_are_let_go(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "FLUSH_BYTES", 1)
    sizes: list[int] = []
    send_all = works.log.send_all

    async def counted(topic: Any, records: Any) -> None:
        sizes.append(len(records))
        await send_all(topic, records)

    monkeypatch.setattr(works.log, "send_all", counted)
    await works.collector.handle([arrived("terra", daily()) for _ in range(5)])
    assert sizes == [1] * 5
    assert (
        'auren_collector_events_total{kind="readings",provider="terra"} 5.0'
        in generate_latest(works.metrics.registry).decode()
    )


async def test_a_defect_of_a_reader_is_a_dead_letter(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise KeyError("anna")

    monkeypatch.setitem(collect_process.SOURCES, "whoop", Source(collect_process.SOURCES["whoop"].decode, broken))
    await works.collector.handle([arrived("whoop", {"user_id": 7}), arrived("terra", daily())])
    assert [dead["error"] for dead in works.log.dead] == ["defect: KeyError"]
    assert works.log.events()
