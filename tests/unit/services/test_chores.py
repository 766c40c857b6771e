"""The runner of the periodic jobs, on a clock and a ledger of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from auren.bridge.chores import Chore, ChoreFailedError, IdleError
from auren.bridge.chores.ledger import lock_of
from auren.bridge.chores.runner import FIRST_PAUSE_SECONDS, LOOK_AGAIN_SECONDS, START_SECONDS, Chores
from auren.bridge.vendors import RetryLaterError
from auren.health import UnhealthyError
from auren.link import UnavailableError
from auren.telemetry import Metrics
from tests.unit.services.test_vendors_breaker import Time

PERIOD = 1000.0


@dataclass
class Books:
    """Stands for the ledger: when a chore last worked, and who has it."""

    clock: Time
    succeeded_at: dict[str, float] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    away: bool = False
    lost: bool = False

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[Page | None]:
        if self.away:
            raise UnavailableError("database", "away")
        if name in self.taken:
            yield None
            return
        self.taken.add(name)
        try:
            yield Page(self, name)
        finally:
            self.taken.discard(name)


@dataclass
class Page:
    books: Books
    name: str

    @property
    def age_seconds(self) -> float | None:
        at = self.books.succeeded_at.get(self.name)
        return None if at is None else self.books.clock.now - at

    async def done(self) -> None:
        if self.books.lost:
            raise UnavailableError("database", "the connection was lost")
        self.books.succeeded_at[self.name] = self.books.clock.now


@dataclass
class Work:
    """Counts; fails with what the test says."""

    times: int = 0
    error: Exception | None = None

    async def __call__(self) -> None:
        self.times += 1
        if self.error is not None:
            raise self.error


class Bench:
    """A chore, and as many processes as the test makes."""

    def __init__(self, *, at_start: bool = False) -> None:
        self.clock, self.work = Time(), Work()
        self.books = Books(self.clock)
        self.chore = Chore("test", PERIOD, self.work, at_start=at_start)
        self.metrics = Metrics("collector")
        self.runner = Chores((self.chore,), self.books, self.metrics, self.clock)
        self.clock.now += START_SECONDS

    def another(self) -> Chores:
        """A process that has just started."""
        runner = Chores((self.chore,), self.books, Metrics("collector"), self.clock)
        self.clock.now += START_SECONDS
        return runner

    async def pass_time(self, seconds: float) -> None:
        """Let the runner work through so much time."""
        end = self.clock.now + seconds
        while (pause := await self.runner.turn()) <= end - self.clock.now:
            self.clock.now += pause
        self.clock.now = end

    def metric(self, name: str) -> str:
        lines = generate_latest(self.metrics.registry).decode().splitlines()
        return next(line.rpartition(" ")[2] for line in lines if line.startswith(f"auren_collector_{name}"))


async def test_a_chore_runs_once_in_a_period() -> None:
    bench = Bench()
    await bench.pass_time(10.5 * PERIOD)
    assert 9 <= bench.work.times <= 11


async def test_nobody_runs_what_another_process_is_at() -> None:
    bench = Bench()
    bench.books.taken.add("test")
    assert await bench.runner.turn() == pytest.approx(LOOK_AGAIN_SECONDS)
    bench.books.taken.clear()
    bench.clock.now += LOOK_AGAIN_SECONDS + 1
    await bench.runner.turn()
    assert bench.work.times == 1


async def test_a_restart_does_not_repeat_what_has_just_worked() -> None:
    bench = Bench()
    await bench.runner.turn()
    bench.clock.now += PERIOD / 2
    pause = await bench.another().turn()
    assert bench.work.times == 1
    assert PERIOD / 2 - START_SECONDS <= pause <= PERIOD


async def test_another_process_takes_over_when_it_is_due() -> None:
    bench = Bench()
    await bench.runner.turn()
    bench.clock.now += PERIOD
    await bench.another().turn()
    assert bench.work.times == 2


async def test_what_runs_at_the_start_does_so_once_in_each_process() -> None:
    bench = Bench(at_start=True)
    for runner in (bench.runner, bench.another(), bench.another()):
        await runner.turn()
        await runner.turn()
    assert bench.work.times == 3


async def test_what_runs_at_the_start_waits_for_its_turn() -> None:
    bench = Bench(at_start=True)
    bench.books.succeeded_at["test"] = bench.clock.now
    bench.books.taken.add("test")
    await bench.runner.turn()
    bench.books.taken.clear()
    bench.clock.now += LOOK_AGAIN_SECONDS + 1
    await bench.runner.turn()
    assert bench.work.times == 1


ERRORS: list[Callable[[], Exception]] = [
    lambda: ChoreFailedError("refused"),
    lambda: UnavailableError("kafka", "away"),
    lambda: RetryLaterError(5, "limit"),
    lambda: RuntimeError("defect"),
]


@pytest.mark.parametrize("error", ERRORS)
async def test_a_failure_is_counted_and_tried_again_with_growing_pauses(error: Callable[[], Exception]) -> None:
    bench = Bench()
    bench.work.error = error()
    pauses = []
    for _ in range(12):
        pauses.append(round(await bench.runner.turn(), 6))
        bench.clock.now += pauses[-1] + 1
    assert 0.9 * FIRST_PAUSE_SECONDS <= pauses[0] <= FIRST_PAUSE_SECONDS
    assert all(a <= b + 1e-6 for a, b in pairwise(pauses))
    assert pauses[-1] == pytest.approx(PERIOD)
    assert bench.metric("chore_failures_total") == "12.0"
    assert bench.books.succeeded_at == {}
    bench.work.error = None
    await bench.runner.turn()
    assert "test" in bench.books.succeeded_at


async def test_a_vendor_is_not_asked_sooner_than_it_wants() -> None:
    bench = Bench()
    bench.work.error = RetryLaterError(3 * PERIOD, "limit")
    assert await bench.runner.turn() == pytest.approx(3 * PERIOD)


async def test_what_is_not_recorded_has_not_worked() -> None:
    bench = Bench()
    bench.books.lost = True
    assert await bench.runner.turn() <= FIRST_PAUSE_SECONDS
    assert bench.metric("chore_failures_total") == "1.0"


async def test_one_that_fails_does_not_keep_the_others() -> None:
    clock, good, bad = Time(), Work(), Work(error=RuntimeError("defect"))
    runner = Chores((Chore("bad", 1, bad), Chore("good", 1, good)), Books(clock), Metrics("collector"), clock)
    clock.now += START_SECONDS
    await runner.turn()
    assert (bad.times, good.times) == (1, 1)


async def test_failing_for_three_periods_is_an_illness() -> None:
    bench = Bench()
    await bench.runner.start()
    try:
        bench.work.error = ChoreFailedError("Oura does not reach us")
        await bench.pass_time(2.9 * PERIOD)
        await bench.runner.check()
        await bench.pass_time(PERIOD)
        with pytest.raises(UnhealthyError, match=r"failing for long: test \(Oura does not reach us\)"):
            await bench.runner.check()
        bench.work.error = None
        await bench.pass_time(PERIOD)
        await bench.runner.check()
    finally:
        await bench.runner.stop()


async def test_it_is_none_where_another_process_succeeds() -> None:
    bench = Bench()
    await bench.runner.start()
    try:
        bench.work.error = ChoreFailedError("here")
        for _ in range(8):
            await bench.pass_time(PERIOD * 0.9)
            bench.books.succeeded_at["test"] = bench.clock.now
        await bench.pass_time(0.5 * PERIOD)
        await bench.runner.check()
    finally:
        await bench.runner.stop()


async def test_it_is_none_while_another_process_tries() -> None:
    bench = Bench()
    await bench.runner.start()
    try:
        bench.work.error = ChoreFailedError("here")
        await bench.pass_time(4 * PERIOD)
        bench.books.taken.add("test")
        await bench.pass_time(PERIOD)
        await bench.runner.check()
    finally:
        await bench.runner.stop()


async def test_one_without_anything_to_do_says_so_once_and_is_no_failure() -> None:
    bench = Bench()
    bench.work.error = IdleError("no address")
    await bench.runner.start()
    try:
        with capture_logs() as logs:
            await bench.pass_time(5 * PERIOD)
        assert [(line["event"], line["reason"]) for line in logs] == [("a chore has nothing to do", "no address")]
        await bench.runner.check()
        assert bench.metric("chore_failures_total") == "0.0"
        bench.work.error = None
        await bench.pass_time(LOOK_AGAIN_SECONDS)
        assert "test" in bench.books.succeeded_at
    finally:
        await bench.runner.stop()


async def test_a_log_line_of_a_defect_names_its_type_alone() -> None:
    bench = Bench()
    bench.work.error = RuntimeError("anna")
    await bench.pass_time(10 * PERIOD)
    await bench.runner.start()
    try:
        with pytest.raises(UnhealthyError, match=r"test \(RuntimeError\)"):
            await bench.runner.check()
    finally:
        await bench.runner.stop()


async def test_stopping_does_not_wait_for_a_chore() -> None:
    clock, began = Time(), asyncio.Event()
    books = Books(clock)

    async def forever() -> None:
        began.set()
        await asyncio.Event().wait()

    runner = Chores((Chore("test", PERIOD, forever),), books, Metrics("collector"), clock)
    clock.now += START_SECONDS
    await runner.start()
    await began.wait()
    assert books.taken == {"test"}
    await runner.stop()
    assert books.taken == set()


async def test_the_health_report_says_when_nothing_runs() -> None:
    with pytest.raises(UnhealthyError, match="do not run"):
        await Bench().runner.check()


def test_locks_have_numbers_of_their_own() -> None:
    numbers = {lock_of(name) for name in ("reconciliation", "oura-subscriptions", "token-reencryption", "")}
    assert len(numbers) == 4
    assert all(0 <= number < 2**63 for number in numbers)
