"""Patience with whoever changes an object again each time it was put right: another controller, a script in a loop.

Healing stays immediate for people, who cannot delete or edit one object a hundred times in a row; with a machine it
goes on at a pace that the API server does not feel.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from auren_operator.kube.view import ChildKey

BURST: Final = 100
"""Writes to one object without a pause."""

REFILL_SECONDS: Final = 1.0
"""After the burst, one write in so many seconds."""


class Patience:
    """A token bucket for each object of a stack."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._spent_until: dict[ChildKey, float] = {}

    def wait_seconds(self, key: ChildKey) -> float:
        """0, and one write is counted; or how long to leave the object alone, and none is."""
        now = self._clock()
        full_at = max(self._spent_until.get(key, now), now)
        wait = full_at - now - (BURST - 1) * REFILL_SECONDS
        if wait > 0:
            return wait
        self._spent_until.pop(key, None)
        self._spent_until[key] = full_at + REFILL_SECONDS
        for oldest in list(self._spent_until)[:2]:  # names of Jobs come and go
            if self._spent_until[oldest] <= now:
                del self._spent_until[oldest]
        return 0.0
