"""Background tasks that no error ends: what they raise is logged, and they begin anew after a pause.

One that ends all the same is a defect of this process, not of a dependency: `/health/live` fails then.
"""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import Awaitable, Callable
from typing import Final

from auren.telemetry import logger

FIRST_BACKOFF_SECONDS: Final = 0.2
LONGEST_BACKOFF_SECONDS: Final = 5.0
STEADY_SECONDS: Final = 60.0
"""After so long without an error the next one counts as the first."""

_log = logger(__name__)
_started: weakref.WeakSet[Background] = weakref.WeakSet()


def backoff_seconds(attempt: int) -> float:
    """How long to wait before attempt number `attempt` (from 1): doubling, capped, with half of it random."""
    ceiling = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * (1 << min(attempt - 1, 10)))
    return ceiling * (0.5 + random.random() / 2)


def ended() -> list[str]:
    """Names of the tasks of this process that ended although nobody stopped them."""
    return sorted(task.name for task in _started if not task.running)


class Background:
    """One such task: `work` runs until it is stopped, or, with `once`, until it has returned."""

    def __init__(self, name: str, work: Callable[[], Awaitable[None]], *, once: bool = False) -> None:
        """`work` begins from its start after an error, so it must leave nothing half done."""
        self.name = name
        self._work = work
        self._once = once
        self._finished = False
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Started and not ended; a task that had to run only once may have finished."""
        return self._task is not None and (self._finished or not self._task.done())

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name=self.name)
        _started.add(self)

    async def stop(self, patience_seconds: float = 0.0) -> None:
        """End it; work that ends by itself gets some patience first."""
        _started.discard(self)
        if self._task is None:
            return
        if patience_seconds:
            await asyncio.wait({self._task}, timeout=patience_seconds)
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            try:
                await self._work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the task must go on
                failures = 1 if loop.time() - began > STEADY_SECONDS else failures + 1
                _log.exception("a background task failed, trying on", task=self.name, reason=type(error).__name__)
                await asyncio.sleep(backoff_seconds(failures))
            else:
                self._finished = self._once
                return
