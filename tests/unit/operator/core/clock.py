"""Time that stands still until a test moves it, for what sets timers on the event loop or asks how late it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Timer:
    """What ``call_later`` gives back."""

    def __init__(self, when: float, call: Callable[[], object]) -> None:
        self._when, self.call, self.cancelled = when, call, False

    def when(self) -> float:
        """When it is due."""
        return self._when

    def cancel(self) -> None:
        """It is not due any more."""
        self.cancelled = True


class Clock:
    """As much of an event loop, and of the module ``time``, as timers need."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.timers: list[Timer] = []

    def time(self) -> float:
        """The loop's time."""
        return self.now

    def monotonic(self) -> float:
        """The same, as ``time.monotonic``."""
        return self.now

    def call_later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> Timer:
        """As the loop's."""
        timer = Timer(self.now + seconds, lambda: call(*arguments))
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Time passes, and what falls due in it is called in order."""
        until = self.now + seconds
        while due := sorted((t for t in self.timers if not t.cancelled and t.when() <= until), key=Timer.when):
            self.now = max(self.now, due[0].when())
            due[0].cancel()
            due[0].call()
        self.now = until

    @property
    def pending(self) -> list[float]:
        """In how many seconds timers are due."""
        return sorted(t.when() - self.now for t in self.timers if not t.cancelled)
