"""What the biometric service concludes from simulated weeks, at any hour, also when partitions mix up their order."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from auren.biometric.ingest import sequence
from auren.biometric.ingest.judge import Judge
from auren.biometric.ingest.person import Person as Known
from auren.biometric.ingest.sequence import Outcome, Prior
from auren.bridge.decoders import healthkit, terra
from auren.bridge.simulated_history import History
from auren.bridge.simulated_people import Person, people
from auren.bridge.simulated_vendors import Sent, deliver
from auren.events import Delivery, Event
from auren.modes import DEFAULTS, Mode

USER = "simulated-0001"
PROVIDERS = ("healthkit", "terra")
DECODE = {"healthkit": healthkit.decode, "terra": terra.decode}
HOURS = [datetime(2026, 3, 1, hour, 17, tzinfo=UTC) for hour in (0, 5, 7, 13, 23)]
SEEDS = range(1, 7)
MIXED_UP = 12
"""How many deliveries another may overtake: three days of a person."""


def deliveries(person: Person, days: int, now: datetime) -> list[Sent]:
    """The history, then what a short steady run sends."""
    past = [past.delivery(now, b"key") for past in History(PROVIDERS, [person], days, now)]
    return past + [deliver(provider, person, number, now, b"key") for number in range(3) for provider in PROVIDERS]


def events(sent: Sent, now: datetime) -> list[Event]:
    vendor = tuple((name, value) for name, value in sent.headers.items() if name.startswith("x-terra"))
    delivery = Delivery(id="1", provider=sent.provider, received_at=now, body=sent.body, user_id=USER, vendor=vendor)
    return DECODE[sent.provider](delivery).events


def concluded(person: Person, days: int, now: datetime, order: int) -> Outcome:
    """Of one batch with all of it, the deliveries out of order unless `order` is 0."""
    chance = random.Random(order)
    numbered = enumerate(deliveries(person, days, now))
    late = sorted((number + (chance.uniform(0, MIXED_UP) if order else 0), number, sent) for number, sent in numbered)
    found = [event for _, _, sent in late for event in events(sent, now)]
    fresh = frozenset(event.event_id for event in found)
    return sequence.run(found, Prior(people={USER: Known(USER, 0, now)}, fresh=fresh), Judge(DEFAULTS))


def person_of(seed: int, bad_night_before: datetime | None = None) -> Person:
    (person,) = people([USER], seed, bad_night_before=bad_night_before)
    return person


@pytest.mark.parametrize("days", [14, 21])
@pytest.mark.parametrize("now", HOURS, ids=lambda now: f"{now.hour}h")
def test_a_bad_night_is_reflex_and_nothing_else_before(now: datetime, days: int) -> None:
    for seed in SEEDS:
        outcome = concluded(person_of(seed, now), days, now, order=seed - 1)
        (switch,) = outcome.switches
        assert (switch.mode, switch.rule) == (Mode.REFLEX, "hrv-fall"), (seed, switch)
        # Before today's night has ended, what is told today is still of the bad one.
        assert outcome.people[USER].mode.mode == Mode.REFLEX


@pytest.mark.parametrize("now", HOURS, ids=lambda now: f"{now.hour}h")
def test_weeks_without_one_lead_to_no_mode(now: datetime) -> None:
    for seed in SEEDS:
        assert concluded(person_of(seed), 21, now, order=seed - 1).switches == []


def test_a_bad_night_alone_says_nothing() -> None:
    assert concluded(person_of(1, HOURS[3]), 0, HOURS[3], order=0).switches == []


def test_what_is_older_than_a_month_is_late_and_nothing_else_is_flagged() -> None:
    now = HOURS[3]
    rows = concluded(person_of(1), 40, now, order=0).stored_rows()
    assert {row.flags for row in rows if row.time >= now - timedelta(days=29)} == {None}
    assert {row.flags for row in rows if row.time < now - timedelta(days=29)} == {("late",)}
