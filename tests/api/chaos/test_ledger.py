"""The comparison itself: what is missing, twice or too many after a run is found."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from auren.events import Event, Kind, Reading, Workout, event_id
from tests.api.chaos.deliveries import Delivery, Ending, Key, Person, Plan
from tests.api.chaos.ledger import UNREADABLE, Found, verdict

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PLAN = Plan(
    marker="0123abcd",
    began=NOW.isoformat(),
    people=[Person("anna", "oura-anna", 7, "token")],
    secrets={"oura": "o", "whoop": "w", "terra": "t"},
    port=1,
    seed=1,
    rate=10,
    seconds=2,
    patience_seconds=1,
)
RUN = Workout(activity="running", start=NOW, end=NOW)


def event(key: Key, kind: Kind, document: str, number: int = 0, value: float | None = None) -> Event:
    readings: tuple[Reading, ...] = ()
    if value is not None:
        readings = (Reading(metric="heart_rate", value=value, unit="/min", time=PLAN.second(number)),)
    return Event(
        schema=1,
        kind=kind,
        event_id=event_id(key.provider, key.user, kind, document, 1),
        user_id=key.user,
        provider=key.provider,
        document_id=document,
        version=1,
        observed_at=NOW,
        received_at=NOW,
        readings=readings,
        workout=RUN if kind == "workout" else None,
    )


def take(found: Found, number: int, delivery: Delivery) -> None:
    """What a bridge without a fault makes of a delivery."""
    match delivery.ending:
        case Ending.READING:
            found.add_event(event(delivery.key, "readings", f"d{number}", number, delivery.value))
            found.rows[delivery.key].append(delivery.value)
        case Ending.DOCUMENT:
            found.add_event(event(delivery.key, "workout", delivery.key.name))
        case Ending.DELETION:
            found.add_event(event(delivery.key, "deletion", delivery.key.name))
            found.buried.add(delivery.key)
        case Ending.DEAD:
            found.dead[number] = f"{UNREADABLE}: heart_rate:value"
        case Ending.PARKED:
            found.parked[number] = "unknown-user"


def run(*without: int) -> Found:
    """A run in which everything goes well, but for some deliveries of which nothing came."""
    found = Found()
    for number in range(PLAN.count):
        if number not in without:
            take(found, number, PLAN.delivery(number))
    return found


def numbers(ending: Ending) -> list[int]:
    return [number for number in range(PLAN.count) if PLAN.delivery(number).ending is ending]


def test_a_run_without_a_fault_has_none() -> None:
    assert verdict(PLAN, [], run()).faults() == {}


@pytest.mark.parametrize("ending", list(Ending))
def test_what_came_to_nothing_is_lost(ending: Ending) -> None:
    number = numbers(ending)[0]
    assert verdict(PLAN, [], run(number)).lost == [number]


def test_what_was_never_accepted_may_be_there_or_not() -> None:
    there, gone = numbers(Ending.READING)[:2]
    assert verdict(PLAN, [there, gone], run(gone)).faults() == {"never_accepted": 2}


def test_the_same_event_twice_is_one_effect() -> None:
    found, number = run(), numbers(Ending.READING)[0]
    delivery = PLAN.delivery(number)
    found.add_event(event(delivery.key, "readings", f"d{number}", number, delivery.value))
    assert verdict(PLAN, [], found).faults() == {}


def test_a_document_with_two_contents_is_found() -> None:
    found, number = run(), numbers(Ending.READING)[0]
    found.add_event(event(PLAN.delivery(number).key, "readings", f"d{number}", number, 49.0))
    assert verdict(PLAN, [], found).faults() == {"lost": 1, "twice": 1}


def test_a_row_too_many_is_found() -> None:
    found, delivery = run(), PLAN.delivery(numbers(Ending.READING)[0])
    found.rows[delivery.key].append(delivery.value)
    assert verdict(PLAN, [], found).wrong_rows == [delivery.key]


def test_effects_that_nobody_caused_are_found() -> None:
    found, stranger = run(), PLAN.delivery(numbers(Ending.PARKED)[0])
    found.add_event(event(stranger.key, "workout", stranger.key.name))
    found.add_event(event(Key("terra", "anna", ""), "readings", "none", PLAN.count, 60.0))
    assert len(verdict(PLAN, [], found).unwanted) == 2
