"""Runs the chores when they are due, one after the other, in the background of the process.

One after the other, because a chore that runs keeps a connection of a small pool. A chore that fails is tried again
after a pause that doubles up to its period; when it has failed for three periods, the health report says so.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from auren.background import Background
from auren.bridge.chores import Chore, ChoreFailedError, IdleError
from auren.bridge.vendors import RetryLaterError, VendorError
from auren.health import UnhealthyError
from auren.link import UnavailableError
from auren.telemetry import Metrics, logger

FIRST_PAUSE_SECONDS: Final = 10.0
"""After the first failure."""

JITTER: Final = 0.1
"""Of a period, at random: replicas that started together do not stay together."""

START_SECONDS: Final = 2.0
"""So long after the start, less up to a half at random, the first look at a chore: the database is usually there."""

LOOK_AGAIN_SECONDS: Final = 10.0
"""While another process is at it, or nothing is configured."""

PATIENCE_PERIODS: Final = 3
"""A chore that has failed for so many of its periods is an illness of the process."""

_log = logger(__name__)


class Turn(Protocol):
    """As ledger.Turn."""

    @property
    def age_seconds(self) -> float | None:
        """Since it last worked anywhere; None: never."""
        ...

    async def done(self) -> None:
        """It has worked. Raises UnavailableError."""
        ...


class Turns(Protocol):
    """As ledger.Ledger."""

    def turn(self, name: str) -> AbstractAsyncContextManager[Turn | None]:
        """The chore for the block; None while another process has it. Raises UnavailableError."""
        ...


@dataclass
class _State:
    """What this process knows of a chore. Times are those of its clock."""

    chore: Chore
    due_at: float
    started_at: float
    wanted: bool
    succeeded_at: float | None = None
    failures: int = 0
    reason: str = ""
    idle: str = ""


class Chores:
    """One for the process: it registers the metrics."""

    def __init__(
        self, chores: Sequence[Chore], ledger: Turns, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` gives seconds."""
        self._ledger = ledger
        self._clock = clock
        self._states = [
            _State(c, clock() + START_SECONDS * (1 - random.random() / 2), clock(), wanted=c.at_start) for c in chores
        ]
        self._succeeded = metrics.gauge("chore_success_timestamp_seconds", "When a chore last worked", ("chore",))
        self._failed = metrics.counter("chore_failures", "Times a chore failed", ("chore",))
        for chore in chores:
            self._failed.labels(chore.name)
        self._task = Background("chores", self._run)

    async def start(self) -> None:
        """Begin in the background."""
        self._task.start()

    async def stop(self) -> None:
        """Stop at once; what was under way is done again by whoever comes next."""
        await self._task.stop()

    async def check(self) -> None:
        """For the health report: raises UnhealthyError with the chores that have failed for long."""
        if not self._task.running:
            raise UnhealthyError("periodic jobs do not run")
        now = self._clock()
        ill = [f"{state.chore.name} ({state.reason})" for state in self._states if _failed_long(state, now)]
        if ill:
            raise UnhealthyError("failing for long: " + "; ".join(ill))

    async def _run(self) -> None:
        while True:
            pause = await self.turn()
            await asyncio.sleep(pause)

    async def turn(self) -> float:
        """Do what is due; the seconds until something is due again. Raises nothing."""
        for state in self._states:
            if state.due_at <= self._clock():
                await self._try(state)
        return max(0.0, min((state.due_at for state in self._states), default=LOOK_AGAIN_SECONDS) - self._clock())

    async def _try(self, state: _State) -> None:
        try:
            async with self._ledger.turn(state.chore.name) as turn:
                if turn is None:
                    self._wait(state)
                elif not state.wanted and (age := turn.age_seconds) is not None and age < state.chore.period_seconds:
                    self._worked(state, age)
                else:
                    await state.chore.work()
                    await turn.done()
                    self._worked(state, 0.0)
        except IdleError as error:
            self._idle(state, str(error))
        except (ChoreFailedError, VendorError, UnavailableError) as error:
            seconds = error.seconds if isinstance(error, RetryLaterError) else 0.0
            self._fail(state, str(error), seconds)
            _log.warning("a chore failed, trying again", chore=state.chore.name, reason=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other chores must get their turn
            self._fail(state, type(error).__name__)
            _log.exception("a chore failed, trying again", chore=state.chore.name)

    def _worked(self, state: _State, age_seconds: float) -> None:
        """It worked so long ago, here or elsewhere."""
        state.wanted = False
        state.failures, state.reason, state.idle = 0, "", ""
        state.succeeded_at = self._clock() - age_seconds
        left = max(0.0, state.chore.period_seconds - age_seconds)
        state.due_at = self._clock() + left + state.chore.period_seconds * JITTER * random.random()
        self._succeeded.labels(state.chore.name).set(time.time() - age_seconds)

    def _fail(self, state: _State, reason: str, least_seconds: float = 0.0) -> None:
        state.failures += 1
        state.reason, state.idle = reason, ""
        pause = FIRST_PAUSE_SECONDS * 2.0 ** min(state.failures - 1, 20) * (1 - JITTER * random.random())
        state.due_at = self._clock() + max(min(pause, state.chore.period_seconds), least_seconds)
        self._failed.labels(state.chore.name).inc()

    def _idle(self, state: _State, reason: str) -> None:
        """Said once: what is missing may be missing on purpose, and may come at any time."""
        if reason != state.idle:
            _log.info("a chore has nothing to do", chore=state.chore.name, reason=reason)
        self._wait(state)
        state.idle = reason

    def _wait(self, state: _State) -> None:
        """Nothing to do here now: another process is at it, and tells of its failures itself, or something lacks."""
        state.failures, state.reason, state.idle = 0, "", ""
        state.due_at = self._clock() + min(LOOK_AGAIN_SECONDS, state.chore.period_seconds)


def _failed_long(state: _State, now: float) -> bool:
    since = state.started_at if state.succeeded_at is None else max(state.started_at, state.succeeded_at)
    return bool(state.reason) and now - since > PATIENCE_PERIODS * state.chore.period_seconds
