"""The model's breaker: opens after the server's failures in a row, lets one probe through, closes when that works."""

from __future__ import annotations

import asyncio

import pytest

from auren.link import CLOSED, HALF_OPEN, OPEN
from auren.neuros.models import ModelUnavailableError, Outcome
from auren.neuros.models.breaker import COUNTED, FAILURES, OPEN_SECONDS, Breaker
from tests.unit.services.test_vendors_breaker import Time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr("time.time", clock)  # which purgatory reads
    return clock


def end(breaker: Breaker, outcome: Outcome) -> None:
    with pytest.raises(ModelUnavailableError) as raised, breaker.attempt():
        raise ModelUnavailableError("of the test", outcome)
    assert raised.value.outcome is outcome


def refused(breaker: Breaker) -> None:
    with pytest.raises(ModelUnavailableError) as raised, breaker.attempt():
        pytest.fail("the call went through")
    assert raised.value.outcome is Outcome.BREAKER_OPEN


def opened() -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        end(breaker, Outcome.SERVER_ERROR)
    return breaker


@pytest.mark.parametrize("outcome", sorted(COUNTED))
def test_opens_after_failures_in_a_row_only(clock: Time, outcome: Outcome) -> None:
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        end(breaker, outcome)
    with breaker.attempt():
        pass
    for _ in range(FAILURES - 1):
        end(breaker, outcome)
    assert breaker.state == CLOSED
    end(breaker, outcome)
    assert breaker.state == OPEN
    refused(breaker)


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - COUNTED - {Outcome.OK}))
def test_what_one_person_could_provoke_opens_it_for_nobody(clock: Time, outcome: Outcome) -> None:
    breaker = Breaker()
    for _ in range(2 * FAILURES):
        end(breaker, outcome)
    assert breaker.state == CLOSED


def test_lets_exactly_one_probe_through(clock: Time) -> None:
    breaker = opened()
    clock.now += OPEN_SECONDS
    refused(breaker)
    clock.now += 1
    assert breaker.state == HALF_OPEN
    with breaker.attempt():
        refused(breaker)
        assert breaker.state == HALF_OPEN
    assert breaker.state == CLOSED


def test_a_failed_probe_opens_it_at_once(clock: Time) -> None:
    breaker = opened()
    clock.now += OPEN_SECONDS + 1
    end(breaker, Outcome.TIMEOUT)
    assert breaker.state == OPEN
    refused(breaker)


async def test_a_cancelled_probe_leaves_the_place_to_the_next(clock: Time) -> None:
    breaker = opened()
    clock.now += OPEN_SECONDS + 1

    async def probe() -> None:
        with breaker.attempt():
            await asyncio.Event().wait()

    task = asyncio.create_task(probe())
    await asyncio.sleep(0)
    refused(breaker)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert breaker.state == HALF_OPEN
    with breaker.attempt():
        pass
    assert breaker.state == CLOSED


@pytest.mark.parametrize("late", [None, Outcome.SERVER_ERROR])
def test_a_call_from_before_the_outage_says_nothing_about_its_end(clock: Time, late: Outcome | None) -> None:
    breaker = Breaker()
    before = breaker.attempt()
    before.__enter__()
    for _ in range(FAILURES):
        end(breaker, Outcome.CONNECTION)
    clock.now += OPEN_SECONDS + 1
    with breaker.attempt():  # the probe
        if late is None:
            before.__exit__(None, None, None)
        else:
            error = ModelUnavailableError("late", late)
            assert not before.__exit__(type(error), error, None)
        assert breaker.state == HALF_OPEN
        refused(breaker)
    assert breaker.state == CLOSED
