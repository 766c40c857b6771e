"""A queue of stacks that need a look: each key at most once in it, and at most one worker on a key at a time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from typing import Final, Generic, TypeVar

from auren_operator import metrics

BACKOFF_FIRST_SECONDS: Final = 0.2
BACKOFF_CAP_SECONDS: Final = 30.0

K = TypeVar("K")


class WorkQueue(Generic[K]):
    """Keys come in by `add`, `add_after` and `retry`; workers take them by `get` and give them back by `done`."""

    def __init__(self) -> None:
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()
        self._running: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._since: dict[K, float] = {}
        self._wakeup = asyncio.Event()

    def add(self, key: K, *, urgent: bool = False) -> None:
        """Have the key looked at as soon as a worker is free; while it is being worked on, once more after that.

        An urgent key goes to the front: what was deleted must not wait until a hundred stacks have been looked at.
        """
        self._cancel(key)
        if key in self._running:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._since[key] = time.monotonic()
            (self._ready.appendleft if urgent else self._ready.append)(key)
            self._wakeup.set()
        elif urgent and self._ready[0] != key:
            self._ready.remove(key)
            self._ready.appendleft(key)
        metrics.queue_depth.set(len(self._ready))

    def add_after(self, key: K, seconds: float) -> None:
        """Have the key looked at no later than in so many seconds. An earlier appointment stands."""
        if key in self._waiting or key in self._again:
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self.add, key)

    def retry(self, key: K) -> float:
        """Have the key looked at after a back-off that doubles with each failure in a row; the delay in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay: float = min(BACKOFF_CAP_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(failures - 1, 16))
        delay *= random.uniform(0.8, 1.2)
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """The key is well: the next failure starts again from the shortest delay."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Wait for a key. Every key taken must be given back by `done`."""
        while not self._ready:
            self._wakeup.clear()
            await self._wakeup.wait()
        key = self._ready.popleft()
        self._waiting.discard(key)
        self._running.add(key)
        metrics.queue_depth.set(len(self._ready))
        metrics.queue_seconds.observe(time.monotonic() - self._since.pop(key, time.monotonic()))
        return key

    def done(self, key: K) -> None:
        """The worker has finished with the key."""
        self._running.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _cancel(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def __len__(self) -> int:
        return len(self._ready)
