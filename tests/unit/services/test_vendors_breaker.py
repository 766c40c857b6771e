"""The circuit breaker: opens after failures in a row, lets one probe through, and closes when that one works."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from prometheus_client import generate_latest

from auren.bridge.vendors import GoneError, RetryLaterError, UpstreamFailedError
from auren.bridge.vendors.breaker import FAILURES, OPEN_SECONDS, PROBE_WAIT_SECONDS, Breaker, Breakers
from auren.health import UnhealthyError
from auren.link import CLOSED, HALF_OPEN, OPEN
from auren.telemetry import Metrics


@dataclass
class Time:
    """Stands still until it is moved."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


FAILURE = UpstreamFailedError(1, "answered 503")


def fail(breaker: Breaker) -> None:
    with pytest.raises(UpstreamFailedError), breaker.attempt():
        raise FAILURE


def opened(clock: Time) -> Breaker:
    breaker = Breaker("whoop", clock, failures=3, open_seconds=30)
    for _ in range(3):
        fail(breaker)
    return breaker


def test_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker("whoop", Time(), failures=3)
    for _ in range(2):
        fail(breaker)
    with breaker.attempt():
        pass
    for _ in range(2):
        fail(breaker)
    assert breaker.state == CLOSED
    fail(breaker)
    assert breaker.state == OPEN


def test_says_how_long_an_upstream_is_left_alone() -> None:
    clock = Time()
    breaker = opened(clock)
    clock.now += 10
    with pytest.raises(RetryLaterError) as refused, breaker.attempt():
        pytest.fail("the call went through")
    assert refused.value.seconds == 20
    assert not isinstance(refused.value, UpstreamFailedError)


def test_lets_exactly_one_probe_through() -> None:
    clock = Time()
    breaker = opened(clock)
    clock.now += 30
    assert breaker.state == HALF_OPEN
    with breaker.attempt():
        for _ in range(3):
            with pytest.raises(RetryLaterError) as refused, breaker.attempt():
                pytest.fail("a second call went through")
            assert refused.value.seconds == PROBE_WAIT_SECONDS
        assert breaker.state == HALF_OPEN
    assert breaker.state == CLOSED


def test_a_failed_probe_opens_it_at_once() -> None:
    clock = Time()
    breaker = opened(clock)
    clock.now += 30
    fail(breaker)
    assert breaker.state == OPEN
    clock.now += 29.9
    assert breaker.state == OPEN


async def test_a_cancelled_probe_leaves_the_place_to_the_next() -> None:
    clock = Time()
    breaker = opened(clock)
    clock.now += 30

    async def probe() -> None:
        with breaker.attempt():
            await asyncio.Event().wait()

    task = asyncio.create_task(probe())
    await asyncio.sleep(0)
    with pytest.raises(RetryLaterError), breaker.attempt():
        pytest.fail("a second call went through")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert breaker.state == HALF_OPEN
    with breaker.attempt():
        pass
    assert breaker.state == CLOSED


def test_other_errors_say_nothing_about_the_upstream() -> None:
    breaker = Breaker("whoop", Time(), failures=1)
    with pytest.raises(GoneError), breaker.attempt():
        raise GoneError("the vendor has no such document")
    assert breaker.state == CLOSED


async def test_the_health_report_names_whom_nobody_asks_now() -> None:
    clock, metrics = Time(), Metrics("collector")
    breakers = Breakers(metrics, clock)
    breakers.of("oura")
    for _ in range(FAILURES):
        with pytest.raises(UpstreamFailedError), breakers.of("whoop").attempt():
            raise FAILURE
    with pytest.raises(UnhealthyError, match=r"^open after failures: whoop$"):
        await breakers.check()
    assert 'auren_collector_breaker_state{upstream="whoop"} 2.0' in generate_latest(metrics.registry).decode()
    clock.now += OPEN_SECONDS  # whoever comes next asks; perhaps nobody does
    await breakers.check()
    assert 'auren_collector_breaker_state{upstream="whoop"} 1.0' in generate_latest(metrics.registry).decode()


def test_a_call_from_before_the_outage_says_nothing_about_its_end() -> None:
    clock = Time()
    breaker = Breaker("whoop", clock, failures=1, open_seconds=30)
    late = breaker.attempt()
    late.__enter__()
    fail(breaker)
    clock.now += 30
    late.__exit__(None, None, None)
    assert breaker.state == HALF_OPEN


class AnyOrder(RuleBasedStateMachine):
    """Calls that begin and end in any order, as concurrent ones do."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Time()
        self.breaker = Breaker("whoop", self.clock, failures=2, open_seconds=30)
        self.under_way: list[AbstractContextManager[None]] = []
        self.probe: AbstractContextManager[None] | None = None

    @rule()
    def begin(self) -> None:
        state = self.breaker.state
        call = self.breaker.attempt()
        try:
            call.__enter__()
        except RetryLaterError:
            assert state == OPEN or (state == HALF_OPEN and self.probe is not None)
            return
        assert state != OPEN
        if state == HALF_OPEN:
            assert self.probe is None
            self.probe = call
        self.under_way.append(call)

    @precondition(lambda self: self.under_way)
    @rule()
    def succeed(self) -> None:
        call, state = self.under_way.pop(0), self.breaker.state
        call.__exit__(None, None, None)
        if call is self.probe:
            self.probe = None
            assert self.breaker.state == CLOSED
        else:
            assert self.breaker.state == state

    @precondition(lambda self: self.under_way)
    @rule()
    def end_with_failure(self) -> None:
        call = self.under_way.pop()
        assert not call.__exit__(UpstreamFailedError, FAILURE, None)
        if call is self.probe:
            self.probe = None
            assert self.breaker.state == OPEN

    @rule()
    def wait(self) -> None:
        self.clock.now += 15

    @invariant()
    def a_probe_means_half_open(self) -> None:
        assert self.probe is None or self.breaker.state == HALF_OPEN


AnyOrder.TestCase.settings = settings(max_examples=200, stateful_step_count=30)
TestAnyOrder = AnyOrder.TestCase
