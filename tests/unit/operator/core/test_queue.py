"""The work queue: every key is looked at, by one worker at a time, and no oftener than needed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TypeVar
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from auren_operator.reconcile import queue as module
from auren_operator.reconcile.queue import BACKOFF_CAP_SECONDS, BACKOFF_FIRST_SECONDS, WorkQueue
from tests.unit.operator.core.clock import Clock

JITTER = 1.2

K = TypeVar("K")


def on(clock: Clock) -> object:
    """What the queue takes for asyncio."""
    return SimpleNamespace(Event=asyncio.Event, get_running_loop=lambda: clock)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "asyncio", on(clock))
    monkeypatch.setattr("auren_operator.reconcile.queue.random.uniform", lambda low, high: high)
    return clock


@pytest.fixture
def queue(clock: Clock) -> WorkQueue[str]:
    return WorkQueue()


def take(queue: WorkQueue[K]) -> K:
    """The next key; fails when there is none."""
    assert len(queue), "nothing to take"
    with pytest.raises(StopIteration) as stop:
        queue.get().send(None)
    key: K = stop.value.value
    return key


def all_of(queue: WorkQueue[K]) -> list[K]:
    return [take(queue) for _ in range(len(queue))]


def test_a_key_added_often_is_looked_at_once(queue: WorkQueue[str]) -> None:
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    assert len(queue) == 2
    assert all_of(queue) == ["a", "b"]
    assert len(queue) == 0


def test_an_urgent_key_goes_before_all_others(queue: WorkQueue[str]) -> None:
    for key in ("a", "b", "c"):
        queue.add(key)
    queue.add("d", urgent=True)
    queue.add("b", urgent=True)
    queue.add("b", urgent=True)
    assert all_of(queue) == ["b", "d", "a", "c"]


def test_a_key_added_while_it_is_worked_on_waits_until_the_worker_is_done_and_comes_once_more(
    queue: WorkQueue[str],
) -> None:
    queue.add("a")
    assert take(queue) == "a"
    queue.add("a")
    queue.add("a", urgent=True)
    assert len(queue) == 0, "nobody else may have it"
    queue.done("a")
    assert all_of(queue) == ["a"]
    queue.done("a")
    assert len(queue) == 0


def test_what_was_not_added_again_does_not_come_back(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.done(take(queue))
    assert len(queue) == 0


def test_an_appointment_is_kept(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("a", 5)
    clock.advance(4.9)
    assert len(queue) == 0
    clock.advance(0.2)
    assert all_of(queue) == ["a"]


@pytest.mark.parametrize("appointments", [(5, 9), (9, 5), (5, 5)])
def test_of_two_appointments_the_earlier_is_kept_and_the_later_is_not(
    queue: WorkQueue[str], clock: Clock, appointments: tuple[float, float]
) -> None:
    for seconds in appointments:
        queue.add_after("a", seconds)
    clock.advance(5)
    queue.done(take(queue))
    clock.advance(60)
    assert len(queue) == 0


def test_looking_now_makes_the_appointment_needless(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("a", 5)
    queue.add("a")
    queue.add_after("a", 5)
    queue.done(take(queue))
    clock.advance(60)
    assert len(queue) == 0


def test_an_appointment_made_by_the_worker_itself_is_kept_after_it_is_done(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("a")
    take(queue)
    queue.add_after("a", 5)
    queue.done("a")
    clock.advance(5)
    assert all_of(queue) == ["a"]


def test_an_appointment_that_falls_due_while_the_key_is_worked_on_is_kept_afterwards(
    queue: WorkQueue[str], clock: Clock
) -> None:
    queue.add("a")
    take(queue)
    queue.add_after("a", 5)
    clock.advance(5)
    assert len(queue) == 0
    queue.done("a")
    assert all_of(queue) == ["a"]


def test_failures_in_a_row_are_tried_ever_later_up_to_a_cap_and_success_starts_anew(
    queue: WorkQueue[str], clock: Clock
) -> None:
    delays = []
    for _ in range(12):
        delays.append(queue.retry("a"))
        assert clock.pending == pytest.approx([delays[-1]])
        clock.advance(delays[-1])
        queue.done(take(queue))
    first = BACKOFF_FIRST_SECONDS * JITTER
    assert delays[:4] == pytest.approx([first, first * 2, first * 4, first * 8])
    assert delays[-2:] == pytest.approx([BACKOFF_CAP_SECONDS * JITTER] * 2)
    queue.forget("a")
    assert queue.retry("a") == pytest.approx(first)


def test_keys_fail_each_for_itself(queue: WorkQueue[str]) -> None:
    for _ in range(5):
        queue.retry("a")
    assert queue.retry("b") == pytest.approx(BACKOFF_FIRST_SECONDS * JITTER)


def test_an_event_cuts_a_back_off_short_and_leaves_no_second_look_behind(queue: WorkQueue[str], clock: Clock) -> None:
    for _ in range(8):
        queue.retry("a")
    queue.add("a")
    queue.done(take(queue))
    clock.advance(3600)
    assert len(queue) == 0


async def test_waiting_workers_share_what_comes_and_a_cancelled_one_takes_nothing_with_it() -> None:
    queue: WorkQueue[str] = WorkQueue()
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    workers[0].cancel()
    queue.add("a")
    queue.add("b")
    assert sorted(await asyncio.gather(*workers[1:])) == ["a", "b"]


class Model(RuleBasedStateMachine):
    """Whatever is asked in whatever order: no key is lost, none is with two workers."""

    keys = st.sampled_from("abc")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.patched = mock.patch.object(module, "asyncio", on(self.clock))
        self.patched.start()
        self.queue: WorkQueue[str] = WorkQueue()
        self.owed: set[str] = set()
        self.running: set[str] = set()

    @rule(key=keys, urgent=st.booleans())
    def add(self, key: str, urgent: bool) -> None:
        self.queue.add(key, urgent=urgent)
        self.owed.add(key)

    @rule(key=keys, seconds=st.integers(0, 9))
    def add_after(self, key: str, seconds: int) -> None:
        self.queue.add_after(key, seconds)
        self.owed.add(key)

    @rule(key=keys)
    def retry(self, key: str) -> None:
        assert 0 < self.queue.retry(key) <= BACKOFF_CAP_SECONDS * JITTER
        self.owed.add(key)

    @rule(seconds=st.integers(1, 40))
    def advance(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: len(self.queue) > 0)
    @rule()
    def take(self) -> None:
        key = take(self.queue)
        assert key not in self.running
        self.running.add(key)
        self.owed.discard(key)

    @precondition(lambda self: bool(self.running))
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(key)
        self.queue.done(key)

    @invariant()
    def there_is_at_most_one_appointment_for_each_key(self) -> None:
        assert len(self.clock.pending) <= 3

    def teardown(self) -> None:
        try:
            for key in sorted(self.running):
                self.queue.done(key)
            self.clock.advance(3600)
            assert self.owed <= set(all_of(self.queue))
        finally:
            self.patched.stop()


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
